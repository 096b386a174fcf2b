//! Faults that answer: errors, throttling, eventual consistency.

use super::client::{Lab, REGION, id};
use crate::{Burst, Delay, Effect, Fault, Faults, Kind, Rules, SnapshotState, Unseen};
use serde_json::json;
use std::time::{Duration, Instant};

fn with(faults: Faults) -> Lab {
    let lab = Lab::new();
    lab.stand_in.set_faults(faults);
    lab
}

#[test]
fn an_error_may_leave_an_effect_or_not() {
    let lab = Lab::new();
    let snapshot = lab.completed(&[1]);
    for (effect, images) in [(Effect::None, 0), (Effect::Taken, 1)] {
        lab.stand_in.set_faults(Faults::of([Fault::new("RegisterImage", Kind::Error(500, effect)).times(1)]));
        lab.register("name", &snapshot, &[]).refused(500, "InternalError", "internal error");
        assert_eq!(lab.stand_in.images(REGION).len(), images);
    }
    // Who tries again learns that the first try worked.
    lab.register("name", &snapshot, &[]).refused(400, "InvalidAMIName.Duplicate", "already in use");
}

#[test]
fn each_service_has_its_errors() {
    let lab = with(Faults::of([Fault::new("*", Kind::Error(503, Effect::None))]));
    lab.ec2("DescribeImages", &[]).refused(503, "Unavailable", "unavailable");
    lab.start(&json!({})).refused(503, "ServiceUnavailable", "");
    lab.stand_in.set_faults(Faults::of([Fault::new("*", Kind::Error(500, Effect::None))]));
    lab.start(&json!({})).refused(500, "InternalServerException", "");
    lab.ssm("GetParameter", &json!({})).refused(500, "InternalServerError", "");
    lab.stand_in.set_faults(Faults::of([Fault::new("*", Kind::Throttled)]));
    lab.ec2("DescribeImages", &[]).refused(503, "RequestLimitExceeded", "Request limit exceeded.");
    lab.start(&json!({})).refused(400, "RequestThrottledException", "ACCOUNT_THROTTLED");
    lab.ssm("GetParameter", &json!({})).refused(400, "ThrottlingException", "Rate exceeded");
    let tally = lab.stand_in.tally();
    assert_eq!((tally.total(), tally.total_refused(), tally.errors["RequestLimitExceeded"]), (7, 7, 1));
    lab.stand_in.reset_tally();
    assert_eq!(lab.stand_in.tally().total(), 0);
}

#[test]
fn an_operation_is_refused_by_the_code_that_is_told() {
    let refused = Kind::Refused(400, "InvalidSnapshot.InUse");
    let lab = Lab::new();
    let snapshot = format!("SnapshotId={}", lab.completed(&[1]));
    lab.stand_in.set_faults(Faults::of([Fault::new("DeleteSnapshot", refused).times(1)]));
    lab.ec2("DeleteSnapshot", &[&snapshot]).refused(400, "InvalidSnapshot.InUse", "");
    lab.ec2("DeleteSnapshot", &[&snapshot]).accepted();
}

#[test]
fn a_probability_holds() {
    let lab = with(Faults { seed: 5, ..Faults::of([Fault::new("Describe*", Kind::Throttled).probability(0.3)]) });
    let refused = (0..200).filter(|_| lab.ec2("DescribeImages", &[]).status == 503).count();
    assert!((35..90).contains(&refused), "{refused}");
}

#[test]
fn bursts_throttle() {
    let burst = Burst { actions: "Put*".to_owned(), answers: 2, every: 4 };
    let lab = with(Faults { bursts: vec![burst], ..Faults::default() });
    let snapshot = lab.pending();
    let statuses: Vec<_> = (0..6).map(|index| lab.put(&snapshot, index, 1).status).collect();
    assert_eq!(statuses, [400, 400, 201, 201, 400, 400]);
}

#[test]
fn a_new_snapshot_is_not_seen_at_first() {
    let lab = with(Faults { unseen_snapshots: Some(Unseen::Requests(2)), ..Faults::default() });
    let snapshot = lab.pending();
    for _ in 0..2 {
        lab.put(&snapshot, 0, 1).refused(404, "ResourceNotFoundException", "SNAPSHOT_NOT_FOUND");
    }
    lab.put(&snapshot, 0, 1).accepted();
    let time = Duration::from_millis(300);
    lab.stand_in.set_faults(Faults { unseen_snapshots: Some(Unseen::For(time)), ..Faults::default() });
    let began = Instant::now();
    let snapshot = lab.pending();
    lab.put(&snapshot, 0, 1).refused(404, "ResourceNotFoundException", "SNAPSHOT_NOT_FOUND");
    while lab.put(&snapshot, 0, 1).status == 404 {}
    assert!(began.elapsed() >= time);
}

#[test]
fn right_checksums_may_be_refused_and_bodies_not_read() {
    let unread = Fault::new("Put*", Kind::Unread).times(1);
    let lab = with(Faults { refused_checksums: 1, ..Faults::of([unread]) });
    let snapshot = lab.pending();
    lab.put(&snapshot, 0, 1).refused(400, "ValidationException", "Failed to read block data");
    lab.put(&snapshot, 0, 1).refused(400, "ValidationException", "Checksum validation failed");
    assert!(lab.stand_in.snapshot(REGION, &snapshot).unwrap().blocks.is_empty());
    lab.put(&snapshot, 0, 1).accepted();
}

#[test]
fn starting_may_hit_the_limit_of_others() {
    let lab = with(Faults { start_limit: 1, ..Faults::default() });
    lab.start(&json!({ "VolumeSize": 1 })).refused(400, "ConcurrentLimitExceededException", "limit");
    lab.start(&json!({ "VolumeSize": 1 })).accepted();
}

#[test]
fn a_completion_may_end_in_error() {
    let lab = with(Faults { failing_completions: 1, ..Faults::default() });
    let snapshot = lab.pending();
    lab.complete(&snapshot, 0).accepted();
    assert_eq!([lab.status(&snapshot), lab.status(&snapshot)], ["pending", "error"]);
    let told = lab.ec2("DescribeSnapshots", &[&format!("SnapshotId.1={snapshot}")]);
    assert!(told.element("statusMessage").is_some());
    assert_eq!(lab.stand_in.snapshots(REGION)[0].state(), SnapshotState::Error);
    let other = lab.completed(&[1]);
    assert_eq!(lab.status(&other), "completed");
}

#[test]
fn describing_snapshots_may_flap() {
    let lab = Lab::new();
    let snapshot = lab.completed(&[1]);
    lab.stand_in.set_faults(Faults { flapping_pending: 1.0, ..Faults::default() });
    assert_eq!(lab.status(&snapshot), "pending");
    lab.register("name", &snapshot, &[]).accepted();
    lab.stand_in.set_faults(Faults { flapping_missing: 1.0, ..Faults::default() });
    lab.ec2("DescribeSnapshots", &[&format!("SnapshotId.1={snapshot}")]).refused(400, "InvalidSnapshot.NotFound", "");
    assert_eq!(lab.ec2("DescribeSnapshots", &["Owner.1=self"]).accepted().element("snapshotId"), None);
}

#[test]
fn a_new_image_is_not_seen_at_first() {
    let lab = Lab::new();
    let snapshot = lab.completed(&[1]);
    lab.stand_in.set_faults(Faults { unseen_images: 2, ..Faults::default() });
    let image = lab.register("name", &snapshot, &[]).accepted().element("imageId").unwrap();
    let by_id = format!("ImageId.1={image}");
    lab.ec2("DescribeImages", &[&by_id]).refused(400, "InvalidAMIID.NotFound", "");
    assert_eq!(lab.ec2("DescribeImages", &["Owner.1=self"]).accepted().element("imageId"), None);
    assert_eq!(lab.ec2("DescribeImages", &[&by_id]).accepted().element("imageId"), Some(image));
}

#[test]
fn puts_take_as_long_as_latency_and_bandwidth_say() {
    let mut rules = Rules { put_latency: Duration::from_millis(60), ..Rules::default() };
    let lab = Lab::with(rules.clone());
    let snapshot = lab.pending();
    let began = Instant::now();
    lab.put(&snapshot, 0, 1).accepted();
    assert!(began.elapsed() >= Duration::from_millis(60));
    (rules.put_latency, rules.bandwidth) = (Duration::ZERO, Some(10 << 20));
    rules.completion = Delay::Answers(0);
    let lab = Lab::with(rules);
    let snapshot = lab.pending();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for index in 0..4 {
            let (lab, snapshot) = (&lab, &snapshot);
            scope.spawn(move || lab.put(snapshot, index, 1).accepted());
        }
    });
    assert!(began.elapsed() >= Duration::from_millis(200), "four blocks at 10 MiB/s, through all connections");
    assert!(lab.stand_in.tally().most_puts_in_flight > 1);
    lab.complete(&snapshot, 4).accepted();
    assert_eq!(lab.status(&snapshot), "completed", "a delay of no answers is none");
}

#[test]
fn the_first_fault_that_happens_is_taken() {
    let faults =
        [Fault::new("Start*", Kind::Throttled).times(1), Fault::new("*", Kind::Error(500, Effect::Taken)).times(1)];
    let lab = with(Faults::of(faults));
    let body = json!({ "VolumeSize": 1, "ClientToken": "t" });
    lab.start(&body).refused(400, "RequestThrottledException", "");
    lab.start(&body).refused(500, "InternalServerException", "");
    assert_eq!(
        lab.stand_in.snapshots(REGION)[0].id,
        id(&lab.start(&body).accepted()),
        "the token finds what took effect"
    );
}
