//! An image upon an earlier one: only what differs is sent.

use crate::lab::{Disk, Fill, KEY, Lab, encrypting, rules};
use aws::{BLOCK, Encryption, Order, Published};
use ec2_stand_in::{Fault, Faults, Kind};
use std::time::Duration;

/// A disk, and the next one: two blocks differ, one has turned to zeros, one to something else, and one is new.
fn two() -> (Order, Order) {
    let mut disk = Disk::of(40, 1);
    let first = disk.order();
    disk.set(5, Fill::Noise(77));
    disk.set(20, Fill::Noise(78));
    disk.set(8, Fill::Zeros);
    disk.set(3, Fill::Noise(79));
    disk.0.push((40, Fill::Noise(80)));
    (first, disk.order())
}

/// Blocks of the second one that differ.
const CHANGED: u64 = 5;

/// Publishes both; the second one from a machine of this name.
async fn publish_two(lab: &Lab, machine: &str, orders: &(Order, Order)) -> (Published, Published) {
    let first = lab.publish(&orders.0).await.unwrap();
    lab.cloud.reset_tally();
    let second = lab.publish_from(machine, &orders.1).await.unwrap();
    lab.check(&first, &orders.0);
    lab.check(&second, &orders.1);
    (first, second)
}

#[tokio::test]
async fn only_what_changed_is_sent_zeros_too() {
    for (rules, encryption) in [
        (rules(), Encryption::Default),
        (encrypting(), Encryption::Default),
        (rules(), Encryption::Encrypted),
        (rules(), Encryption::Key(KEY.parse().unwrap())),
    ] {
        let (lab, mut orders) = (Lab::with(rules), two());
        (orders.0.encryption, orders.1.encryption) = (encryption.clone(), encryption);
        let (first, second) = publish_two(&lab, "here", &orders).await;
        assert_eq!(second.parent, first.snapshot, "{}", orders.0.encryption);
        assert_eq!(lab.count("PutSnapshotBlock"), CHANGED);
        assert_eq!(second.sent, CHANGED * BLOCK as u64);
        assert_eq!((lab.count("ListSnapshotBlocks"), lab.count("GetSnapshotBlock")), (1, 0));
        let snapshot = lab.snapshot(second.snapshot.as_ref().unwrap());
        assert_eq!(snapshot.parent, first.snapshot);
        assert_eq!(snapshot.tags.get("nanoos:parent"), first.snapshot.as_ref());
        assert_eq!(lab.cloud.tally().total_refused(), 0);
    }
}

#[tokio::test]
async fn a_third_one_is_built_upon_the_second_and_reads_through_both() {
    let (lab, orders) = (Lab::new(), two());
    let (_, second) = publish_two(&lab, "here", &orders).await;
    let mut disk = Disk::of(40, 1);
    // As it was in the first, and in neither.
    disk.set(20, Fill::Noise(78));
    disk.set(9, Fill::Zeros);
    let third = disk.order();
    let published = lab.publish(&third).await.unwrap();
    lab.check(&published, &third);
    assert!(published.parent.is_some());
    // Block 40 of the second is none of this disk's.
    assert!(
        published.sent <= 4 * BLOCK as u64,
        "{} upon {:?}, {:?}",
        published.sent,
        published.parent,
        second.snapshot
    );
}

#[tokio::test]
async fn on_another_machine_the_earlier_snapshot_is_read() {
    for rules in [rules(), encrypting()] {
        let (lab, orders) = (Lab::with(rules), two());
        let (first, second) = publish_two(&lab, "elsewhere", &orders).await;
        assert_eq!(second.parent, first.snapshot);
        assert!(lab.count("ListSnapshotBlocks") >= 1 && lab.count("GetSnapshotBlock") >= 20);
        assert_eq!(lab.count("PutSnapshotBlock"), CHANGED);
        // Read once, it is known: the next is compared without reading.
        let mut disk = Disk::of(40, 1);
        disk.set(0, Fill::Noise(99));
        let third = disk.order();
        lab.cloud.reset_tally();
        let published = lab.publish_from("elsewhere", &third).await.unwrap();
        lab.check(&published, &third);
        assert_eq!(lab.count("GetSnapshotBlock"), 0);
    }
}

#[tokio::test]
async fn where_reading_is_not_allowed_or_fails_all_is_sent() {
    for (actions, kind) in [
        ("ListSnapshotBlocks", Kind::Denied),
        ("GetSnapshotBlock", Kind::Denied),
        ("GetSnapshotBlock", Kind::Error(500, ec2_stand_in::Effect::None)),
    ] {
        let (mut lab, orders) = (Lab::new(), two());
        lab.publish(&orders.0).await.unwrap();
        lab.timing.call = Duration::from_millis(300);
        lab.cloud.reset_tally();
        lab.cloud.set_faults(Faults::of([Fault::new(actions, kind)]));
        let second = lab.publish_from("elsewhere", &orders.1).await.unwrap();
        lab.check(&second, &orders.1);
        assert_eq!((second.parent, lab.count("PutSnapshotBlock")), (None, 40), "{actions} {kind:?}");
    }
}

#[tokio::test]
async fn blocks_that_arrive_damaged_when_read_are_read_once_more() {
    let (lab, orders) = (Lab::new(), two());
    lab.publish(&orders.0).await.unwrap();
    lab.cloud.set_faults(Faults { corrupt_reads: 0.3, seed: 5, ..Faults::default() });
    let second = lab.publish_from("elsewhere", &orders.1).await.unwrap();
    lab.check(&second, &orders.1);
    assert_eq!(second.sent, CHANGED * BLOCK as u64);
}

#[tokio::test]
async fn another_layout_or_another_encryption_is_no_parent() {
    let lab = Lab::new();
    let order = Disk::of(20, 1).order();
    lab.publish(&order).await.unwrap();
    for change in [0, 1, 2] {
        let mut disk = Disk::of(20, if change == 0 { 2 } else { 1 });
        disk.set(0, Fill::Noise(1000 + change));
        let mut other = disk.order();
        match change {
            1 => other.encryption = Encryption::Encrypted,
            2 => other.encryption = Encryption::Key(KEY.parse().unwrap()),
            _ => {}
        }
        let published = lab.publish(&other).await.unwrap();
        lab.check(&published, &other);
        assert_eq!(published.parent, None, "{change}");
    }
}

#[tokio::test]
async fn a_larger_one_is_built_upon_a_smaller_one_and_not_the_other_way() {
    let lab = Lab::new();
    let mut disk = Disk::of(10, 1);
    let small = disk.order();
    disk.0.push((3000, Fill::Noise(5)));
    let large = disk.order();
    disk.0.pop();
    disk.set(0, Fill::Noise(6));
    let small_again = disk.order();
    let first = lab.publish(&small).await.unwrap();
    let second = lab.publish(&large).await.unwrap();
    let third = lab.publish(&small_again).await.unwrap();
    for (published, order) in [(&first, &small), (&second, &large), (&third, &small_again)] {
        lab.check(published, order);
    }
    assert_eq!((&second.parent, &third.parent), (&first.snapshot, &first.snapshot));
}

/// The account's setting is not what it was when the parent was made.
#[tokio::test]
async fn a_parent_from_before_the_accounts_setting_was_changed_is_done_without() {
    // Where the setting may be asked and where it may not: then a parent that is refused is done without, and one
    // that is taken is right all the same.
    for (rules, allowed) in [(rules(), true), (rules(), false), (encrypting(), true), (encrypting(), false)] {
        let (was_on, lab, orders) = (!rules.encryption_by_default.is_empty(), Lab::with(rules), two());
        lab.publish(&orders.0).await.unwrap();
        lab.cloud.switch_encryption_by_default();
        if !allowed {
            lab.cloud.set_faults(Faults::of([Fault::new("GetEbsEncryptionByDefault", Kind::Denied)]));
        }
        let second = lab.publish(&orders.1).await.unwrap();
        lab.check(&second, &orders.1);
        assert_eq!(second.parent.is_some(), was_on && !allowed, "on {was_on}, may ask {allowed}");
        let encrypted = lab.snapshot(second.snapshot.as_ref().unwrap()).encrypted();
        assert_eq!(encrypted, !was_on || !allowed);
    }
}

#[tokio::test]
async fn a_parent_that_is_gone_meanwhile_is_done_without() {
    let (lab, orders) = (Lab::new(), two());
    lab.publish(&orders.0).await.unwrap();
    lab.cloud.reset_tally();
    lab.cloud.set_faults(Faults { lost_parents: 1, ..Faults::default() });
    let second = lab.publish(&orders.1).await.unwrap();
    lab.check(&second, &orders.1);
    assert_eq!((second.parent, lab.count("PutSnapshotBlock")), (None, 40));
}
