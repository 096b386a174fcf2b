//! How much is asked: the limits of an account are found, and nobody who is in trouble is asked more and more.

use crate::lab::{Disk, Lab, hasty, rules, text};
use aws::Timing;
use ec2_stand_in::{Effect, Fault, Faults, Kind, Moment};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_accounts_limit_is_found_with_few_refusals() {
    let mut rules = rules();
    rules.quotas.put = 50;
    let (mut lab, order) = (Lab::with(rules), Disk::of(400, 1).order());
    (lab.timing.pause, lab.timing.longest_pause) = (Timing::default().pause, Timing::default().longest_pause);
    lab.check(&lab.publish(&order).await.unwrap(), &order);
    let tally = lab.cloud.tally();
    let (asked, refused) = (tally.count("PutSnapshotBlock"), tally.refused["PutSnapshotBlock"]);
    println!("{refused} of {asked} blocks were refused");
    // Most of them before the limit is known: a thousand blocks a second are asked of a service that takes 50.
    assert!(refused * 2 < asked, "{refused} of {asked}");
}

/// A call is given up after a time, and pauses grow: so requests are bounded, however many blocks there are.
#[tokio::test]
async fn whoever_is_in_trouble_is_not_asked_more_and_more() {
    let kinds = [
        Kind::Error(500, Effect::None),
        Kind::Error(503, Effect::Taken),
        Kind::Throttled,
        Kind::Reset(Moment::BeforeBody),
        Kind::Reset(Moment::BeforeAnswer),
        Kind::Unread,
        Kind::Denied,
    ];
    let mut running = tokio::task::JoinSet::new();
    for kind in kinds {
        for action in ["PutSnapshotBlock", "StartSnapshot", "CompleteSnapshot", "Describe*", "RegisterImage", "*"] {
            running.spawn(in_trouble(action, kind));
        }
    }
    while let Some(ended) = running.join_next().await {
        ended.unwrap();
    }
}

async fn in_trouble(action: &str, kind: Kind) {
    let (mut lab, order) = (Lab::new(), Disk::of(70, 1).order());
    lab.timing = hasty();
    lab.cloud.set_faults(Faults::of([Fault::new(action, kind)]));
    if let Err(error) = lab.publish(&order).await {
        text(&error);
    }
    // 0.8 s with pauses of 20 ms on average, once they have grown, are 45 attempts; and 64 blocks are sent at a time.
    let most = if action == "PutSnapshotBlock" { 64 * 90 } else { 600 };
    let tally = lab.cloud.tally();
    assert!(tally.total() < most, "{action} {kind:?}: {:?}", tally.requests);
}
