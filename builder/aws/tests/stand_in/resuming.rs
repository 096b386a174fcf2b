//! Interrupted uploads go on, whatever other runs did in between.

use crate::lab::{Disk, Fill, Lab, REGION, encrypting, hasty, read_back, rules, text};
use aws::{BLOCK, Order};
use ec2_stand_in::{Delay, Effect, Fault, Faults, Kind, Moment, Rules, SnapshotState};
use std::time::Duration;

/// Fails after so many blocks, and leaves a pending snapshot, whose identifier this gives.
pub(crate) async fn crash(lab: &mut Lab, order: &Order, puts: u64) -> String {
    lab.timing = hasty();
    lab.cloud.set_faults(Faults { crash_after_puts: Some(puts), ..Faults::default() });
    let error = text(&lab.publish(order).await.unwrap_err());
    let pending = lab.pending();
    assert_eq!(pending.len(), 1);
    let id = pending[0].id.clone();
    assert!(error.contains(&id) && error.contains("the same command goes on"), "{error}");
    lab.timing = crate::lab::calm();
    lab.cloud.set_faults(Faults::default());
    lab.cloud.reset_tally();
    id
}

/// An entry in the journal of a snapshot.
fn note(lab: &Lab, snapshot: &str, index: u32) {
    let path = lab.path("here", &format!("{snapshot}.sent"));
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend([index.to_le_bytes(), (!index).to_le_bytes()].concat());
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn after_a_crash_only_the_rest_is_sent() {
    for rules in [rules(), encrypting()] {
        let (mut lab, order) = (Lab::with(rules), Disk::of(40, 1).order());
        lab.publish(&Disk::of(3, 8).order()).await.unwrap();
        let id = crash(&mut lab, &order, 25).await;
        let published = lab.publish(&order).await.unwrap();
        lab.check(&published, &order);
        assert_eq!(published.snapshot, Some(id.clone()));
        // What was taken without an answer is not noted.
        let puts = lab.count("PutSnapshotBlock");
        assert!((40 - 25 - 1..40 - 15).contains(&puts), "{puts}");
        assert_eq!((lab.count("StartSnapshot"), lab.pending().len()), (0, 0));
        assert!(!lab.path("here", &format!("{id}.sent")).exists());
    }
}

#[tokio::test]
async fn a_crash_before_the_first_block_and_after_the_last_one_is_gone_on_with() {
    for puts in [1, 40] {
        let (mut lab, order) = (Lab::new(), Disk::of(40, 1).order());
        let id = crash(&mut lab, &order, puts).await;
        let published = lab.publish(&order).await.unwrap();
        lab.check(&published, &order);
        assert_eq!((published.snapshot, lab.cloud.snapshots(REGION).len()), (Some(id), 1));
    }
}

#[tokio::test]
async fn another_machine_goes_on_without_the_journal() {
    let (mut lab, order) = (Lab::new(), Disk::of(40, 1).order());
    let id = crash(&mut lab, &order, 20).await;
    let published = lab.publish_from("elsewhere", &order).await.unwrap();
    lab.check(&published, &order);
    assert_eq!(published.snapshot, Some(id));
    // All of them; and some that were on their way as the first one went down.
    assert!((40..60).contains(&lab.count("PutSnapshotBlock")));
}

#[tokio::test]
async fn a_journal_that_lies_is_found_out() {
    let (mut lab, order) = (Lab::new(), Disk::of(40, 1).order());
    let id = crash(&mut lab, &order, 20).await;
    let snapshot = lab.snapshot(&id);
    let missing = order.contents.blocks().iter().filter(|(index, _)| !snapshot.blocks.contains_key(index));
    for (index, _) in missing.take(3) {
        note(&lab, &id, *index);
    }
    note(&lab, &id, 4_000_000);
    let published = lab.publish(&order).await.unwrap();
    lab.check(&published, &order);
    assert_eq!(lab.pending().len(), 0);
}

#[tokio::test]
async fn a_journal_that_lies_while_answers_get_lost_is_found_out() {
    let (mut lab, order) = (Lab::new(), Disk::of(40, 1).order());
    let id = crash(&mut lab, &order, 20).await;
    let snapshot = lab.snapshot(&id);
    let missing = order.contents.blocks().iter().find(|(index, _)| !snapshot.blocks.contains_key(index)).unwrap();
    note(&lab, &id, missing.0);
    // The first attempt has no answer: what the second one is told may be of what the first one did.
    lab.cloud.set_faults(Faults::of([Fault::new("CompleteSnapshot", Kind::Error(500, Effect::None)).times(1)]));
    let published = lab.publish(&order).await.unwrap();
    lab.check(&published, &order);
    assert_eq!(lab.pending().len(), 0);
}

/// A snapshot upon a parent whose contents are not known any more: zeros would show the parent's blocks.
#[tokio::test]
async fn a_child_whose_parents_contents_are_lost_gets_its_zeros() {
    let mut lab = Lab::new();
    let mut disk = Disk::of(40, 1);
    let parent = disk.order();
    let first = lab.publish(&parent).await.unwrap();
    for index in 0..10 {
        disk.set(index, Fill::Zeros);
    }
    let order = disk.order();
    let id = crash(&mut lab, &order, 5).await;
    assert_eq!(lab.snapshot(&id).parent, first.snapshot);
    std::fs::remove_file(lab.path("here", &format!("{}.blocks", parent.contents.id()))).unwrap();
    let published = lab.publish(&order).await.unwrap();
    lab.check(&published, &order);
    assert_eq!(published.snapshot, Some(id));
}

#[tokio::test]
async fn a_pending_snapshot_whose_time_is_over_is_replaced() {
    let (mut lab, order) = (Lab::new(), Disk::of(40, 1).order());
    let id = crash(&mut lab, &order, 20).await;
    lab.cloud.advance(Duration::from_secs(4321 * 60));
    assert_eq!(lab.snapshot(&id).state(), SnapshotState::Error);
    let published = lab.publish(&order).await.unwrap();
    lab.check(&published, &order);
    assert_ne!(published.snapshot, Some(id));
}

#[tokio::test]
async fn a_snapshot_that_ends_in_error_is_replaced_and_removed() {
    let (lab, order) = (Lab::new(), Disk::of(40, 1).order());
    lab.cloud.set_faults(Faults { failing_completions: 1, ..Faults::default() });
    let published = lab.publish(&order).await.unwrap();
    lab.check(&published, &order);
    assert_eq!(lab.cloud.snapshots(REGION).len(), 1);
    // Three times is more than bad luck.
    lab.cloud.set_faults(Faults { failing_completions: 3, ..Faults::default() });
    let order = Disk::of(10, 2).order();
    let error = text(&lab.publish(&order).await.unwrap_err());
    assert!(error.contains("is in the state error"), "{error}");
    assert_eq!(lab.cloud.snapshots(REGION).len(), 1);
    lab.check(&lab.publish(&order).await.unwrap(), &order);
}

#[tokio::test]
async fn after_a_registration_that_failed_the_snapshot_is_used_again() {
    for kind in [Kind::Denied, Kind::Error(503, Effect::None), Kind::Reset(Moment::BeforeBody)] {
        let (mut lab, order) = (Lab::new(), Disk::of(20, 1).order());
        lab.timing = hasty();
        lab.cloud.set_faults(Faults::of([Fault::new("RegisterImage", kind)]));
        text(&lab.publish(&order).await.unwrap_err());
        assert_eq!(lab.cloud.images(REGION).len(), 0);
        lab.cloud.set_faults(Faults::default());
        lab.cloud.reset_tally();
        lab.timing = crate::lab::calm();
        let published = lab.publish(&order).await.unwrap();
        lab.check(&published, &order);
        assert_eq!((lab.count("PutSnapshotBlock"), lab.count("StartSnapshot"), published.sent), (0, 0, 0));
    }
}

#[tokio::test]
async fn a_registration_whose_answer_was_lost_is_found() {
    for kind in [Kind::Error(500, Effect::Taken), Kind::Reset(Moment::BeforeAnswer), Kind::Reset(Moment::MidAnswer)] {
        let (lab, order) = (Lab::new(), Disk::of(10, 1).order());
        let faults = Faults::of([Fault::new("RegisterImage", kind).times(1)]);
        lab.cloud.set_faults(Faults { unseen_images: 3, ..faults });
        let published = lab.publish(&order).await.unwrap();
        lab.check(&published, &order);
        assert_eq!(lab.cloud.images(REGION).len(), 1);
    }
}

#[tokio::test]
async fn an_image_that_failed_makes_way() {
    for name in [None, Some("web")] {
        let (lab, mut order) = (Lab::new(), Disk::of(10, 1).order());
        order.name = name.map(str::to_owned);
        lab.cloud.set_faults(Faults { failing_images: 1, ..Faults::default() });
        let error = text(&lab.publish(&order).await.unwrap_err());
        assert!(error.contains("is failed: Internal error") && error.contains("the same command"), "{error}");
        lab.cloud.reset_tally();
        let published = lab.publish(&order).await.unwrap();
        lab.check(&published, &order);
        assert_eq!((lab.cloud.images(REGION).len(), lab.count("PutSnapshotBlock")), (1, 0));
    }
}

#[tokio::test]
async fn two_builders_of_the_same_at_the_same_time_both_end_well() {
    let slow = |rules: Rules| Rules { put_latency: Duration::from_millis(4), ..rules };
    for (rules, second) in [
        (slow(rules()), "here"),
        (slow(rules()), "elsewhere"),
        (slow(encrypting()), "elsewhere"),
        (Rules { completion: Delay::Answers(8), ..slow(rules()) }, "elsewhere"),
        (Rules { complete_twice: true, ..slow(rules()) }, "elsewhere"),
    ] {
        let (lab, order) = (Lab::with(rules), Disk::of(40, 1).order());
        let (one, other) = tokio::join!(lab.publish(&order), lab.publish_from(second, &order));
        for published in [one.unwrap(), other.unwrap()] {
            lab.check(&published, &order);
        }
        assert_eq!((lab.cloud.images(REGION).len(), lab.pending().len()), (1, 0));
        assert_eq!(lab.cloud.snapshots(REGION).len(), 1);
    }
}

/// The second one finds the first one's pending snapshot, and knows nothing of what the first one leaves out of it.
#[tokio::test]
async fn a_builder_that_joins_another_one_in_the_middle_disturbs_it_not() {
    for (round, completion) in [(0, 1), (1, 12), (2, 40)].into_iter().map(|(round, n)| (round, Delay::Answers(n))) {
        let rules = Rules { put_latency: Duration::from_millis(25), completion, ..rules() };
        let (lab, mut disk) = (Lab::with(rules), Disk::of(60, 1));
        lab.publish(&disk.order()).await.unwrap();
        for index in 0..30 {
            disk.set(index, if index % 3 == 0 { Fill::Zeros } else { Fill::Noise(500 + index as u64) });
        }
        let order = disk.order();
        let later = async {
            while lab.pending().iter().all(|snapshot| snapshot.blocks.len() < 4 + 8 * round) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            lab.publish_from("elsewhere", &order).await
        };
        let (one, other) = tokio::join!(lab.publish(&order), later);
        for published in [one.unwrap(), other.unwrap()] {
            lab.check(&published, &order);
        }
        assert_eq!((lab.cloud.images(REGION).len(), lab.pending().len()), (2, 0), "{round}");
    }
}

/// The first one has called for completion when the second one comes, and was killed.
#[tokio::test]
async fn a_snapshot_that_another_one_completes_is_not_removed() {
    for machine in ["here", "elsewhere"] {
        let completion = Delay::Answers(60);
        let (mut lab, order) = (Lab::with(Rules { completion, ..rules() }), Disk::of(40, 1).order());
        lab.timing = aws::Timing { completion: Duration::from_millis(100), ..hasty() };
        let error = text(&lab.publish(&order).await.unwrap_err());
        assert!(error.contains("is not complete after"), "{error}");
        let before = lab.cloud.snapshots(REGION);
        assert_eq!((before.len(), before[0].state()), (1, SnapshotState::Completing));
        lab.timing = crate::lab::calm();
        let published = lab.publish_from(machine, &order).await.unwrap();
        lab.check(&published, &order);
        assert_eq!(published.snapshot.as_ref(), Some(&before[0].id), "{machine}");
        assert_eq!(lab.cloud.snapshots(REGION).len(), 1);
    }
}

#[tokio::test]
async fn blocks_that_arrive_damaged_are_sent_again_and_a_disk_that_changes_is_told() {
    let (lab, order) = (Lab::new(), Disk::of(20, 1).order());
    lab.cloud.set_faults(Faults { refused_checksums: 3, ..Faults::default() });
    lab.check(&lab.publish(&order).await.unwrap(), &order);

    // A way that damages every block is no reason to wait for another builder.
    let order = Disk::of(3, 3).order();
    lab.cloud.set_faults(Faults { refused_checksums: 1000, ..Faults::default() });
    let error = text(&lab.publish(&order).await.unwrap_err());
    assert!(error.contains("Checksum validation failed") && error.contains("stays pending"), "{error}");
    assert!(lab.count("PutSnapshotBlock") < 60);

    let lab = Lab::new();
    let (order, other) = (Disk::of(20, 1).order(), Disk::of(20, 2).order());
    let block = aws::read_block(&other.disk, 9).unwrap();
    std::os::unix::fs::FileExt::write_all_at(order.disk.as_ref(), &block, 9 * BLOCK as u64).unwrap();
    let error = text(&lab.publish(&order).await.unwrap_err());
    assert!(error.contains("block 9 of the disk has changed") && error.contains("make it again"), "{error}");
    assert_eq!(lab.count("CompleteSnapshot"), 0);
    // With the right bytes, it goes on.
    let right = Disk::of(20, 1).order();
    let published = lab.publish(&right).await.unwrap();
    lab.check(&published, &right);
    read_back(&lab.snapshot(published.snapshot.as_ref().unwrap()), &right);
}
