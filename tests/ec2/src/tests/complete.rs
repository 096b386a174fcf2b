//! What CompleteSnapshot refuses.

use super::client::{Answer, Lab, REGION, base64, block, digest};
use crate::{Delay, Rules, SnapshotState};
use std::time::Duration;

fn complete(lab: &Lab, snapshot: &str, headers: &str) -> Answer {
    lab.ebs(&format!("POST /snapshots/completion/{snapshot}"), headers, b"")
}

#[test]
fn the_count_has_to_be_right() {
    let lab = Lab::new();
    let snapshot = lab.pending();
    for (index, byte) in [(0, 1), (5, 1), (0, 2)] {
        lab.put(&snapshot, index, byte).accepted();
    }
    complete(&lab, &snapshot, "").refused(400, "ValidationException", "x-amz-ChangedBlocksCount is missing");
    for wrong in [0, 1, 3] {
        lab.complete(&snapshot, wrong).refused(400, "ValidationException", "2 blocks were written");
    }
    let answer = lab.complete(&snapshot, 2).accepted();
    assert_eq!((answer.status, answer.text().as_str()), (202, r#"{"Status":"pending"}"#));
}

#[test]
fn the_aggregated_checksum_has_to_be_right() {
    let lab = Lab::new();
    let snapshot = lab.pending();
    // Put out of order: the aggregate goes by index.
    lab.put(&snapshot, 7, 2).accepted();
    lab.put(&snapshot, 3, 1).accepted();
    let aggregate = |bytes: [u8; 2]| base64(&digest(&bytes.map(|byte| digest(&block(byte))).concat()));
    let headers = |checksum: &str| {
        format!(
            "x-amz-ChangedBlocksCount: 2\r\nx-amz-Checksum: {checksum}\r\nx-amz-Checksum-Algorithm: SHA256\r\n\
             x-amz-Checksum-Aggregation-Method: LINEAR\r\n"
        )
    };
    let (right, wrong) = (headers(&aggregate([1, 2])), headers(&aggregate([2, 1])));
    complete(&lab, &snapshot, &wrong).refused(400, "ValidationException", "aggregated checksum");
    complete(&lab, &snapshot, &headers("x")).refused(400, "ValidationException", "no SHA-256");
    let other = right.replace("SHA256", "SHA1");
    complete(&lab, &snapshot, &other).refused(400, "ValidationException", "Algorithm");
    let other = right.replace("LINEAR", "TREE");
    complete(&lab, &snapshot, &other).refused(400, "ValidationException", "LINEAR");
    complete(&lab, &snapshot, &right).accepted();
}

#[test]
fn completing_takes_as_long_as_the_rules_say() {
    let lab = Lab::with(Rules { completion: Delay::Answers(3), ..Rules::default() });
    let snapshot = lab.pending();
    lab.complete(&snapshot, 0).accepted();
    let told: Vec<_> = (0..5).map(|_| lab.status(&snapshot)).collect();
    assert_eq!(told, ["pending", "pending", "pending", "completed", "completed"]);

    let lab = Lab::with(Rules { completion: Delay::Time(Duration::from_secs(60)), ..Rules::default() });
    let snapshot = lab.pending();
    lab.complete(&snapshot, 0).accepted();
    assert_eq!(lab.status(&snapshot), "pending");
    assert_eq!(lab.stand_in.snapshot(REGION, &snapshot).unwrap().state(), SnapshotState::Completing);
    lab.stand_in.advance(Duration::from_secs(61));
    assert_eq!(lab.status(&snapshot), "completed");
}

#[test]
fn completing_twice_is_as_the_rules_say() {
    let lab = Lab::new();
    let snapshot = lab.pending();
    lab.complete(&snapshot, 0).accepted();
    lab.complete(&snapshot, 0).refused(400, "ValidationException", "INVALID_SNAPSHOT_ID");
    lab.complete("snap-0123", 0).refused(404, "ResourceNotFoundException", "SNAPSHOT_NOT_FOUND");
    let lab = Lab::with(Rules { complete_twice: true, ..Rules::default() });
    let snapshot = lab.pending();
    lab.complete(&snapshot, 0).accepted();
    lab.complete(&snapshot, 0).accepted();
}

#[test]
fn only_so_many_are_completed_in_a_second() {
    let mut rules = Rules::default();
    rules.quotas.complete = 2;
    let lab = Lab::with(rules);
    let answers: Vec<_> = (0..6).map(|_| lab.complete("snap-0123", 0)).collect();
    assert!(answers.iter().any(|answer| answer.text().contains("ACCOUNT_THROTTLED")));
}
