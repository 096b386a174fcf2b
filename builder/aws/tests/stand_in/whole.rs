//! A snapshot is its whole volume: nothing is readable in it but the disk, whatever its parents hold. [`Lab::check`]
//! sees to that.

use crate::lab::{Disk, Fill, KEY, Lab, REGION, calm, encrypting, hasty, rules, text};
use crate::resuming::crash;
use aws::{BLOCK, BlockDigest, Contents, Encryption, Order, Published, Silent, check_volume};
use ec2_stand_in::{Effect, Fault, Faults, Kind, SnapshotState};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::os::unix::fs::FileExt;

/// Publishes one after the other, with their checks.
async fn publish_all(lab: &Lab, machine: &str, orders: &[Order]) -> Vec<Published> {
    let mut all = Vec::new();
    for order in orders {
        lab.cloud.reset_tally();
        let published = lab.publish_from(machine, order).await.unwrap();
        lab.check(&published, order);
        all.push(published);
    }
    all
}

/// A larger disk, and a smaller one, of which one block differs. Of the ten that the former has more, two are of zeros.
fn larger_and_smaller() -> [Order; 2] {
    let mut disk = Disk::of(40, 1);
    let larger = disk.order();
    disk.0.truncate(30);
    disk.set(5, Fill::Noise(77));
    [larger, disk.order()]
}

/// The block that differs, and those that must not be readable any more.
const SENT: u64 = 1 + 8;

#[tokio::test]
async fn what_a_larger_parent_has_behind_the_disk_is_overwritten() {
    for (rules, encryption) in [
        (rules(), Encryption::Default),
        (encrypting(), Encryption::Default),
        (rules(), Encryption::Key(KEY.parse().unwrap())),
    ] {
        let (lab, mut orders) = (Lab::with(rules), larger_and_smaller());
        orders.iter_mut().for_each(|order| order.encryption = encryption.clone());
        let published = publish_all(&lab, "here", &orders).await;
        assert_eq!((&published[1].parent, published[1].sent), (&published[0].snapshot, SENT * BLOCK as u64));
        assert_eq!(lab.count("PutSnapshotBlock"), SENT);
        assert_eq!(lab.cloud.tally().total_refused(), 0);
    }
}

#[tokio::test]
async fn on_another_machine_too() {
    for rules in [rules(), encrypting()] {
        let (lab, [larger, smaller]) = (Lab::with(rules), larger_and_smaller());
        let first = lab.publish(&larger).await.unwrap();
        let second = lab.publish_from("elsewhere", &smaller).await.unwrap();
        lab.check(&second, &smaller);
        assert_eq!(second.parent, first.snapshot);
    }
}

#[tokio::test]
async fn what_a_parent_has_in_the_gaps_of_the_disk_is_overwritten() {
    let (lab, mut disk) = (Lab::new(), Disk::of(60, 1));
    disk.0.push((1500, Fill::Noise(3)));
    let whole = disk.order();
    disk.0.retain(|(index, _)| index % 5 != 1);
    let published = publish_all(&lab, "here", &[whole, disk.order()]).await;
    assert_eq!(published[1].parent, published[0].snapshot);
}

/// What a grandparent has lies in no contents that are known of the parent.
#[tokio::test]
async fn what_grandparents_have_is_overwritten() {
    for machine in ["here", "elsewhere"] {
        let (lab, mut disk) = (Lab::new(), Disk::of(40, 1));
        let first = disk.order();
        disk.0.truncate(30);
        disk.set(2, Fill::Noise(50));
        let second = disk.order();
        // Larger again, with a gap where the first has something.
        disk.0.extend((32..36).map(|index| (index, Fill::Noise(1000 + u64::from(index)))));
        disk.set(4, Fill::Noise(51));
        let third = disk.order();
        publish_all(&lab, "here", &[first, second]).await;
        let published = publish_all(&lab, machine, &[third]).await;
        let lineage = lab.snapshot(published[0].snapshot.as_ref().unwrap()).lineage;
        // Another machine reads the newest one, which is either of two that were begun in the same second.
        assert_eq!(lineage.len().max(usize::from(machine != "here") * 2), 2, "{machine}");
    }
}

#[tokio::test]
async fn where_zeros_cost_more_than_all_there_is_no_parent() {
    let (lab, mut disk) = (Lab::new(), Disk::of(60, 1));
    let large = disk.order();
    disk.0.truncate(10);
    let published = publish_all(&lab, "here", &[large, disk.order()]).await;
    assert_eq!((&published[1].parent, lab.count("PutSnapshotBlock")), (&None, 10));
}

#[tokio::test]
async fn nothing_is_built_upon_another_repository_or_where_none_is_known() {
    let (lab, [larger, mut smaller]) = (Lab::new(), larger_and_smaller());
    lab.publish(&larger).await.unwrap();
    for (repository, machine) in [("web", "here"), ("web", "elsewhere"), ("", "here"), ("", "elsewhere")] {
        smaller.force = !smaller.repository.is_empty();
        repository.clone_into(&mut smaller.repository);
        smaller.contents = changed(&smaller);
        let published = lab.publish_from(machine, &smaller).await.unwrap();
        assert_eq!(published.parent, None, "{repository:?}");
    }
}

/// The same in another place: another identity.
fn changed(order: &Order) -> Contents {
    let block = vec![order.contents.blocks().len() as u8; BLOCK];
    order.disk.write_all_at(&block, 0).unwrap();
    let mut blocks = order.contents.blocks().to_vec();
    blocks[0].1 = BlockDigest::of(&block);
    blocks.pop();
    Contents::new(blocks).unwrap()
}

#[tokio::test]
async fn where_a_parents_blocks_may_not_be_listed_all_is_sent() {
    for kind in [Kind::Denied, Kind::Error(500, Effect::None)] {
        let (mut lab, [larger, smaller]) = (Lab::new(), larger_and_smaller());
        lab.publish(&larger).await.unwrap();
        lab.timing.call = std::time::Duration::from_millis(300);
        lab.cloud.set_faults(Faults::of([Fault::new("ListSnapshotBlocks", kind)]));
        let published = lab.publish(&smaller).await.unwrap();
        lab.check(&published, &smaller);
        assert_eq!((published.parent, published.sent), (None, 26 * BLOCK as u64));
    }
}

/// What lies beside a disk's contents in its file is not sent: zeros are.
#[tokio::test]
async fn zeros_are_zeros_whatever_is_in_the_file() {
    let (lab, [larger, smaller]) = (Lab::new(), larger_and_smaller());
    larger.disk.write_all_at(&vec![9; 50 * BLOCK], 0).unwrap();
    lab.publish(&larger).await.unwrap_err();
    let [larger, _] = larger_and_smaller();
    lab.publish(&larger).await.unwrap();
    smaller.disk.write_all_at(&vec![9; 10 * BLOCK], 30 * BLOCK as u64).unwrap();
    let published = lab.publish(&smaller).await.unwrap();
    lab.check(&published, &smaller);
    assert!(published.parent.is_some());
}

#[tokio::test]
async fn an_interrupted_upload_upon_a_larger_parent_goes_on_with_its_zeros() {
    for (machine, lost) in [("here", false), ("here", true), ("elsewhere", false)] {
        for puts in [1, 5, SENT] {
            let (mut lab, [larger, smaller]) = (Lab::new(), larger_and_smaller());
            let first = lab.publish(&larger).await.unwrap();
            let id = crash(&mut lab, &smaller, puts).await;
            assert_eq!(lab.snapshot(&id).parent, first.snapshot);
            if lost {
                std::fs::remove_file(lab.path("here", &format!("{}.blocks", larger.contents.id()))).unwrap();
            }
            let published = lab.publish_from(machine, &smaller).await.unwrap();
            lab.check(&published, &smaller);
            assert_eq!(published.snapshot, Some(id), "{machine} {lost} {puts}");
        }
    }
}

/// Nobody can tell what it has of its parent: it is given up.
#[tokio::test]
async fn a_pending_snapshot_whose_parent_is_gone_is_replaced() {
    for machine in ["here", "elsewhere"] {
        let (mut lab, [larger, smaller]) = (Lab::new(), larger_and_smaller());
        let first = lab.publish(&larger).await.unwrap();
        let id = crash(&mut lab, &smaller, 5).await;
        lab.cloud.remove(REGION, &first.image, first.snapshot.as_ref().unwrap());
        let published = lab.publish_from(machine, &smaller).await.unwrap();
        lab.check(&published, &smaller);
        assert_ne!(published.snapshot.as_ref(), Some(&id));
        assert_eq!(lab.cloud.snapshots(REGION).len(), 1);
    }
}

/// Another builder may be at work on it, and be allowed to.
#[tokio::test]
async fn a_pending_snapshot_whose_parent_may_not_be_listed_is_left_alone() {
    let (mut lab, [larger, smaller]) = (Lab::new(), larger_and_smaller());
    lab.publish(&larger).await.unwrap();
    let id = crash(&mut lab, &smaller, 5).await;
    lab.cloud.set_faults(Faults::of([Fault::new("ListSnapshotBlocks", Kind::Denied)]));
    let published = lab.publish_from("elsewhere", &smaller).await.unwrap();
    lab.check(&published, &smaller);
    assert_ne!(published.snapshot.as_ref(), Some(&id));
    assert_eq!(lab.snapshot(&id).state(), SnapshotState::Pending);
}

#[tokio::test]
async fn where_listing_a_pending_snapshots_parent_fails_the_next_run_goes_on() {
    let (mut lab, [larger, smaller]) = (Lab::new(), larger_and_smaller());
    lab.publish(&larger).await.unwrap();
    let id = crash(&mut lab, &smaller, 5).await;
    lab.timing = hasty();
    lab.cloud.set_faults(Faults::of([Fault::new("ListSnapshotBlocks", Kind::Error(503, Effect::None))]));
    let error = text(&lab.publish(&smaller).await.unwrap_err());
    assert!(error.contains(&id) && error.contains("the same command goes on with it"), "{error}");
    (lab.timing, _) = (calm(), lab.cloud.set_faults(Faults::default()));
    let published = lab.publish(&smaller).await.unwrap();
    lab.check(&published, &smaller);
    assert_eq!(published.snapshot, Some(id));
}

/// The identities that earlier builders gave to this: of the contents and of the machine.
fn old_identities(order: &Order) -> (String, String) {
    let hex = |digest: &[u8]| {
        digest.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    };
    let mut hasher = Sha256::new();
    hasher.update(b"NanoOS contents 1\n");
    hasher.update(order.contents.volume().to_le_bytes());
    for (index, digest) in order.contents.blocks() {
        hasher.update(index.to_le_bytes());
        hasher.update(digest.0);
    }
    let (content, swap) = (hex(&hasher.finalize()), order.machine.swap);
    let machine = hex(&Sha256::digest(format!("NanoOS machine 1\n{content}\nX86_64\n{swap}\nfalse\ndefault")));
    (content, machine[..32].to_owned())
}

/// Gives what there is of an order the tags of earlier builders.
fn make_old(lab: &Lab, order: &Order, ids: &[&str]) {
    let (content, machine) = old_identities(order);
    for id in ids {
        lab.cloud.retag(REGION, id, |tags| {
            tags.insert("nanoos:content".to_owned(), content.clone());
            if tags.contains_key("nanoos:machine") {
                tags.insert("nanoos:machine".to_owned(), machine.clone());
            }
        });
    }
}

#[tokio::test]
async fn what_an_earlier_builder_made_is_neither_found_nor_gone_on_with_nor_built_upon() {
    for machine in ["here", "elsewhere"] {
        let (mut lab, [mut larger, smaller]) = (Lab::new(), larger_and_smaller());
        larger.name = Some("old".to_owned());
        let old = lab.publish(&larger).await.unwrap();
        make_old(&lab, &larger, &[&old.image, old.snapshot.as_ref().unwrap()]);
        // Of the same contents, and of others.
        larger.name = None;
        for order in [&larger, &smaller] {
            let published = lab.publish_from(machine, order).await.unwrap();
            lab.check(&published, order);
            assert!(!published.found && published.snapshot != old.snapshot && published.parent != old.snapshot);
            assert!(order.contents != larger.contents || published.parent.is_none());
        }
        // A token of its own began it.
        let pending = crash(&mut lab, &Disk::of(20, 10).order(), 5).await;
        let other = Disk::of(20, 9).order();
        make_old(&lab, &other, &[&pending]);
        let published = lab.publish_from(machine, &other).await.unwrap();
        lab.check(&published, &other);
        assert_ne!(published.snapshot, Some(pending));
        // Its name is taken, and why it is not the same is said.
        larger.name = Some("old".to_owned());
        let error = text(&lab.publish_from(machine, &larger).await.unwrap_err());
        assert!(error.contains("which is an earlier builder's image"), "{error}");
    }
}

#[tokio::test]
async fn a_volume_is_read_back_as_a_whole() {
    for rules in [rules(), encrypting()] {
        let (lab, [larger, smaller]) = (Lab::with(rules), larger_and_smaller());
        let all = publish_all(&lab, "here", &[larger, smaller.clone()]).await;
        let (id, session) = (all[1].snapshot.as_ref().unwrap(), lab.session().await);
        let check = || check_volume(&session, id, &smaller.contents, &Silent);
        // What is damaged on its way is read once more.
        lab.cloud.set_faults(Faults { corrupt_reads: 0.3, seed: 5, ..Faults::default() });
        check().await.unwrap();
        lab.cloud.set_faults(Faults::default());
        for (index, says) in [(2000, "holds what is no part of the disk"), (7, "is not the disk's")] {
            let before = lab.snapshot(id).read(index);
            lab.cloud.overwrite(REGION, id, index, &vec![1; BLOCK]);
            let error = text(&check().await.unwrap_err());
            assert!(error.contains(&format!("block {index} of {id} in {REGION} {says}")), "{error}");
            lab.cloud.overwrite(REGION, id, index, &before);
        }
        let error = text(
            &check_volume(&session, all[0].snapshot.as_ref().unwrap(), &smaller.contents, &Silent).await.unwrap_err(),
        );
        assert!(error.contains("is not the disk's") || error.contains("no part of the disk"), "{error}");
        let more = Disk::of(41, 1).order();
        let error =
            check_volume(&session, all[0].snapshot.as_ref().unwrap(), &more.contents, &Silent).await.unwrap_err();
        assert!(text(&error).contains("block 40 of the disk is missing"), "{error:#}");
        assert!(error.is::<aws::Differs>());
        // What can't be read may be as it should.
        lab.cloud.set_faults(Faults::of([Fault::new("GetSnapshotBlock", Kind::Denied)]));
        assert!(!check().await.unwrap_err().is::<aws::Differs>());
    }
}
