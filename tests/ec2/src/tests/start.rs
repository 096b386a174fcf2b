//! What StartSnapshot refuses.

use super::client::{Answer, Lab, REGION, id};
use crate::{Rules, SnapshotState};
use serde_json::{Value, json};
use std::time::Duration;

/// Starts with one member changed.
fn start_with(lab: &Lab, name: &str, value: Value) -> Answer {
    let mut body = json!({ "VolumeSize": 1 });
    body[name] = value;
    lab.start(&body)
}

#[test]
fn a_snapshot_is_started_with_all_that_was_said() {
    let lab = Lab::new();
    let tags = json!([{ "Key": "a", "Value": "b" }]);
    let answer = lab.start(&json!({ "VolumeSize": 2, "Description": "d", "Tags": tags })).accepted();
    assert_eq!(answer.status, 201);
    let told = answer.json();
    assert_eq!(
        (&told["Status"], &told["BlockSize"], &told["VolumeSize"]),
        (&"pending".into(), &524_288.into(), &2.into())
    );
    let snapshot = lab.stand_in.snapshot(REGION, &id(&answer)).unwrap();
    assert_eq!((snapshot.state(), snapshot.tags["a"].as_str()), (SnapshotState::Pending, "b"));
    assert_eq!(lab.stand_in.volume_blocks(REGION, &snapshot.id), Some(4096));
}

#[test]
fn sizes_are_whole_gib_from_1_to_65536() {
    let lab = Lab::new();
    for wrong in [json!(0), json!(65_537), json!(-1), json!(1.5), json!("1"), Value::Null] {
        assert_eq!(start_with(&lab, "VolumeSize", wrong.clone()).status, 400, "{wrong}");
    }
    let answer = start_with(&lab, "VolumeSize", json!(65_537));
    answer.refused(400, "ValidationException", "INVALID_VOLUME_SIZE");
    start_with(&lab, "VolumeSize", json!(65_536)).accepted();
}

#[test]
fn timeouts_are_10_to_4320_minutes() {
    let lab = Lab::new();
    for wrong in [0, 9, 4321] {
        start_with(&lab, "Timeout", json!(wrong)).refused(400, "ValidationException", "Timeout");
    }
    start_with(&lab, "Timeout", json!(10)).accepted();
    start_with(&lab, "Timeout", json!(4320)).accepted();
}

#[test]
fn descriptions_tokens_and_members_are_checked() {
    let lab = Lab::new();
    start_with(&lab, "Description", json!("x".repeat(256))).refused(400, "ValidationException", "Description");
    start_with(&lab, "Description", json!("x".repeat(255))).accepted();
    for wrong in ["x".repeat(65), String::new(), "a b".to_owned()] {
        start_with(&lab, "ClientToken", json!(wrong)).refused(400, "ValidationException", "ClientToken");
    }
    start_with(&lab, "ClientToken", json!("x".repeat(64))).accepted();
    start_with(&lab, "Colour", json!("red")).refused(400, "ValidationException", "Colour");
}

#[test]
fn tags_are_checked() {
    let lab = Lab::new();
    let tag = |key: &str, value: &str| json!([{ "Key": key, "Value": value }]);
    for wrong in
        [tag("", ""), tag("aws:x", ""), tag("AWS:x", ""), tag(&"k".repeat(128), ""), tag("k", &"v".repeat(256))]
    {
        start_with(&lab, "Tags", wrong).refused(400, "ValidationException", "INVALID_TAG");
    }
    let twice = json!([{ "Key": "a", "Value": "1" }, { "Key": "a", "Value": "2" }]);
    start_with(&lab, "Tags", twice).refused(400, "ValidationException", "Duplicate tag key 'a'");
    let many = |count: usize| -> Value { (0..count).map(|n| json!({ "Key": n.to_string(), "Value": "" })).collect() };
    start_with(&lab, "Tags", many(51)).refused(400, "ValidationException", "50 tags");
    start_with(&lab, "Tags", many(50)).accepted();
}

#[test]
fn keys_are_arns_and_need_encryption() {
    let lab = Lab::new();
    let arn = "arn:aws:kms:us-east-1:123456789012:key/abc";
    for (key, encrypted) in [(arn, json!(null)), (arn, json!(false)), ("abc", json!(true)), ("alias/x", json!(true))] {
        let answer = lab.start(&json!({ "VolumeSize": 1, "KmsKeyArn": key, "Encrypted": encrypted }));
        answer.refused(400, "ValidationException", "INVALID_CUSTOMER_KEY");
    }
    let answer = lab.start(&json!({ "VolumeSize": 1, "KmsKeyArn": arn, "Encrypted": true })).accepted();
    assert_eq!(answer.json()["KmsKeyArn"], arn);
    let answer = lab.start(&json!({ "VolumeSize": 1, "Encrypted": true })).accepted();
    assert!(answer.json()["KmsKeyArn"].as_str().unwrap().starts_with("arn:aws:kms:"));
}

#[test]
fn a_token_gives_the_same_snapshot_as_long_as_the_parameters_are_the_same() {
    let lab = Lab::new();
    let body = json!({ "VolumeSize": 1, "ClientToken": "t" });
    let first = id(&lab.start(&body).accepted());
    assert_eq!(id(&lab.start(&body).accepted()), first);
    let other = lab.start(&json!({ "VolumeSize": 2, "ClientToken": "t" }));
    other.refused(409, "ConflictException", "non-identical");
    lab.finish(&first, &[1]);
    assert_eq!(id(&lab.start(&body).accepted()), first);
    lab.ec2("DeleteSnapshot", &[&format!("SnapshotId={first}")]).accepted();
    assert_eq!(id(&lab.start(&body).accepted()), first, "AWS replays the answer even then");
    lab.put(&first, 0, 1).refused(404, "ResourceNotFoundException", "SNAPSHOT_NOT_FOUND");
}

#[test]
fn parents_are_checked() {
    let mut lab = Lab::new();
    let child = |lab: &Lab, parent: &str, more: (&str, Value)| {
        let mut body = json!({ "VolumeSize": 2, "ParentSnapshotId": parent });
        body[more.0] = more.1;
        lab.start(&body)
    };
    let nothing = ("Description", json!("d"));
    let pending = lab.pending();
    child(&lab, "snap-0123", nothing.clone()).refused(404, "ResourceNotFoundException", "SNAPSHOT_NOT_FOUND");
    child(&lab, "ami-0123", nothing.clone()).refused(400, "ValidationException", "INVALID_SNAPSHOT_ID");
    child(&lab, &pending, nothing.clone()).refused(400, "ValidationException", "not in the completed state");
    let big = id(&lab.start(&json!({ "VolumeSize": 3 })).accepted());
    lab.finish(&big, &[]);
    child(&lab, &big, nothing.clone()).refused(400, "ValidationException", "INVALID_VOLUME_SIZE");
    let parent = lab.completed(&[1]);
    for more in [("Encrypted", json!(false)), ("Encrypted", json!(true)), ("KmsKeyArn", json!("x"))] {
        child(&lab, &parent, more).refused(400, "ValidationException", "excludes Encrypted");
    }
    let mine = child(&lab, &parent, nothing.clone()).accepted();
    assert_eq!(mine.json()["ParentSnapshotId"].as_str(), Some(parent.as_str()));
    lab.key = "AKIAOTHERACCOUNTKEY0";
    child(&lab, &parent, nothing).refused(404, "ResourceNotFoundException", "SNAPSHOT_NOT_FOUND");
}

#[test]
fn encryption_by_default_encrypts_and_refuses_unencrypted_parents() {
    let mut lab = Lab::with(Rules { encryption_by_default: ["eu-west-1".to_owned()].into(), ..Rules::default() });
    assert_eq!(lab.ec2("GetEbsEncryptionByDefault", &[]).element("ebsEncryptionByDefault").unwrap(), "false");
    lab.region = "eu-west-1";
    assert_eq!(lab.ec2("GetEbsEncryptionByDefault", &[]).element("ebsEncryptionByDefault").unwrap(), "true");
    let key = lab.ec2("GetEbsDefaultKmsKeyId", &[]).element("kmsKeyId").unwrap();
    let parent = lab.pending();
    assert_eq!(lab.stand_in.snapshot("eu-west-1", &parent).unwrap().kms_key, Some(key));
    lab.finish(&parent, &[1]);
    let child = lab.start(&json!({ "VolumeSize": 1, "ParentSnapshotId": parent })).accepted();
    assert_eq!(child.json()["SseType"], "sse-kms", "a child is as its parent");
    // An unencrypted one cannot be made here by the API.
    lab.stand_in.shared.world().region("eu-west-1").snapshots.get_mut(&parent).unwrap().kms_key = None;
    let child = lab.start(&json!({ "VolumeSize": 1, "ParentSnapshotId": parent }));
    child.refused(400, "ValidationException", "encryption by default");
}

#[test]
fn only_so_many_snapshots_are_pending() {
    let mut rules = Rules::default();
    rules.quotas.pending_snapshots = 2;
    let lab = Lab::with(rules);
    let first = lab.pending();
    lab.pending();
    let answer = lab.start(&json!({ "VolumeSize": 1 }));
    answer.refused(400, "ConcurrentLimitExceededException", "limit");
    lab.finish(&first, &[]);
    lab.pending();
}

#[test]
fn only_so_many_are_started_in_a_second() {
    let lab = Lab::with(Rules::default());
    let answers: Vec<_> = (0..25).map(|_| lab.start(&json!({ "VolumeSize": 1 }))).collect();
    let refused = answers.iter().find(|answer| answer.status == 400).expect("25 in less than two seconds");
    refused.refused(400, "RequestThrottledException", "ACCOUNT_THROTTLED");
}

#[test]
fn a_snapshot_without_puts_times_out() {
    let lab = Lab::new();
    let snapshot = id(&start_with(&lab, "Timeout", json!(10)));
    lab.stand_in.advance(Duration::from_secs(9 * 60));
    lab.put(&snapshot, 0, 1).accepted();
    lab.stand_in.advance(Duration::from_secs(9 * 60));
    lab.put(&snapshot, 1, 1).accepted();
    lab.stand_in.advance(Duration::from_secs(11 * 60));
    assert_eq!(lab.status(&snapshot), "error");
    lab.put(&snapshot, 2, 1).refused(400, "ValidationException", "takes no more blocks");
    lab.complete(&snapshot, 2).refused(400, "ValidationException", "INVALID_SNAPSHOT_ID");
}
