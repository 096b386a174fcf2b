//! Faults of the connection: resets and stalls.

use super::client::{Lab, REGION};
use crate::{Fault, Faults, Kind, Moment};
use serde_json::json;
use std::time::{Duration, Instant};

fn blocks(lab: &Lab, snapshot: &str) -> usize {
    lab.stand_in.snapshot(REGION, snapshot).unwrap().blocks.len()
}

#[test]
fn a_reset_leaves_an_effect_from_before_the_answer_on() {
    let lab = Lab::new();
    let snapshot = lab.pending();
    for (index, (moment, effect)) in
        (0..).zip([(Moment::BeforeBody, 0), (Moment::MidBody, 0), (Moment::BeforeAnswer, 1), (Moment::MidAnswer, 2)])
    {
        lab.stand_in.set_faults(Faults::of([Fault::new("Put*", Kind::Reset(moment)).times(1)]));
        assert!(lab.try_put(&snapshot, index, 1).is_err(), "{moment:?}");
        assert_eq!(blocks(&lab, &snapshot), effect, "{moment:?}");
        lab.stand_in.set_faults(Faults::default());
    }
    assert_eq!(lab.stand_in.tally().resets, 4);
    assert_eq!(lab.stand_in.tally().count("PutSnapshotBlock"), 4);
    lab.put(&snapshot, 0, 1).accepted();
}

#[test]
fn a_reset_is_a_reset_and_no_end() {
    let lab = Lab::new();
    lab.stand_in.set_faults(Faults::of([Fault::new("*", Kind::Reset(Moment::BeforeAnswer))]));
    let error = lab.try_ec2("DescribeImages", &[]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
}

#[test]
fn registering_may_work_and_not_tell() {
    let lab = Lab::new();
    let snapshot = lab.completed(&[1]);
    for (moment, images) in [(Moment::BeforeBody, 0), (Moment::MidBody, 0), (Moment::BeforeAnswer, 1)] {
        lab.stand_in.set_faults(Faults::of([Fault::new("RegisterImage", Kind::Reset(moment))]));
        let parameters = super::client::registration("name", &snapshot, &[]);
        let parameters: Vec<_> = parameters.iter().map(String::as_str).collect();
        assert!(lab.try_ec2("RegisterImage", &parameters).is_err());
        assert_eq!(lab.stand_in.images(REGION).len(), images, "{moment:?}");
    }
}

#[test]
fn a_stall_takes_its_time_and_goes_on() {
    let lab = Lab::new();
    let (snapshot, time) = (lab.pending(), Duration::from_millis(150));
    for moment in [Moment::BeforeBody, Moment::BeforeAnswer] {
        lab.stand_in.set_faults(Faults::of([Fault::new("Put*", Kind::Stall(moment, time)).times(1)]));
        let began = Instant::now();
        lab.put(&snapshot, 0, 1).accepted();
        assert!(began.elapsed() >= time, "{moment:?}");
    }
}

#[test]
fn dropping_the_stand_in_ends_a_stall() {
    let lab = Lab::new();
    let endpoint = lab.stand_in.endpoint();
    let stall = Kind::Stall(Moment::BeforeAnswer, Duration::from_secs(60));
    lab.stand_in.set_faults(Faults::of([Fault::new("*", stall)]));
    let client = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(endpoint.trim_start_matches("http://")).unwrap();
        stream.write_all(b"POST /snapshots HTTP/1.1\r\nContent-Length: 0\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        // An end or a reset: both are ends.
        let _ = stream.read_to_end(&mut answer);
    });
    while lab.stand_in.tally().count("StartSnapshot") == 0 {
        std::thread::yield_now();
    }
    let began = Instant::now();
    drop(lab);
    client.join().unwrap();
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn after_a_crash_everything_is_reset_until_told_otherwise() {
    let lab = Lab::new();
    let snapshot = lab.pending();
    lab.stand_in.set_faults(Faults { crash_after_puts: Some(2), ..Faults::default() });
    lab.put(&snapshot, 0, 1).accepted();
    assert!(lab.try_put(&snapshot, 1, 1).is_err(), "the last Put takes effect and gets no answer");
    assert!(lab.try_put(&snapshot, 2, 1).is_err());
    assert!(lab.try_ec2("DescribeImages", &[]).is_err());
    assert_eq!(blocks(&lab, &snapshot), 2);
    lab.stand_in.set_faults(Faults::default());
    lab.put(&snapshot, 2, 1).accepted();
    lab.complete(&snapshot, 3).accepted();
    lab.start(&json!({ "VolumeSize": 1 })).accepted();
}
