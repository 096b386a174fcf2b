//! The swap volume of an image: it bears the mark whatever encrypts it, and all images of a size share its snapshot.

use crate::lab::{Disk, KEY, Lab, REGION, encrypting, hasty, rules, text};
use aws::{BLOCK, Count, Encryption, Order, Report, Silent, publish_in};
use ec2_stand_in::{Fault, Faults, Kind, StandIn};

/// Blocks of a mark.
const MARK: u64 = 4;

fn order(seed: u64, gib: u32) -> Order {
    let mut order = Disk::of(12, seed).order();
    order.machine.swap = gib;
    order
}

/// The snapshot of an image's swap volume.
fn mark_of(lab: &Lab, image: &str) -> String {
    lab.image(image).mappings[1].snapshot.clone().unwrap()
}

#[tokio::test]
async fn a_swap_volume_bears_the_mark_under_every_encryption_and_noise_or_zeros_between() {
    let key = || Encryption::Key(KEY.parse().unwrap());
    for (rules, encryption, plain, encrypted) in [
        (rules(), Encryption::Default, false, false),
        (encrypting(), Encryption::Default, false, true),
        (rules(), Encryption::Encrypted, false, true),
        (rules(), key(), false, true),
        // What init does not encrypt, EBS does.
        (rules(), Encryption::Default, true, true),
        (rules(), key(), true, true),
    ] {
        let lab = Lab::with(rules);
        let mut order = order(1, 2);
        (order.encryption, order.machine.plain_swap) = (encryption, plain);
        let published = lab.publish(&order).await.unwrap();
        lab.check(&published, &order);
        let volume = lab.cloud.volume(REGION, &published.image, "/dev/xvdb").unwrap();
        assert_eq!((volume.size, volume.encrypted), (2, encrypted), "{} {plain}", order.encryption);
        assert_eq!(volume.read(2) == vec![0; BLOCK], !encrypted, "{} {plain}", order.encryption);
        let snapshot = lab.snapshot(&mark_of(&lab, &published.image));
        assert_eq!((snapshot.encrypted(), snapshot.blocks.len() as u64), (encrypted, MARK));
        if let Encryption::Key(_) = order.encryption {
            assert_eq!(snapshot.kms_key.as_deref(), Some(KEY));
        }
        assert_eq!(lab.cloud.tally().total_refused(), 0);
    }
}

/// Whoever changes the setting after the image was made changes nothing for it.
#[tokio::test]
async fn the_mark_reads_back_where_the_account_begins_to_encrypt() {
    let (lab, order) = (Lab::new(), order(1, 1));
    let published = lab.publish(&order).await.unwrap();
    lab.cloud.switch_encryption_by_default();
    let volume = lab.cloud.volume(REGION, &published.image, "/dev/xvdb").unwrap();
    assert!(volume.encrypted && volume.read(2) != vec![0; BLOCK]);
    lab.check(&published, &order);
}

#[tokio::test]
async fn a_mark_is_sent_once_for_each_size_and_encryption_and_never_a_parent() {
    let lab = Lab::new();
    let first = lab.publish(&order(1, 1)).await.unwrap();
    lab.cloud.reset_tally();
    let other = order(2, 1);
    let second = lab.publish_from("elsewhere", &other).await.unwrap();
    lab.check(&second, &other);
    assert_eq!((lab.count("StartSnapshot"), lab.count("PutSnapshotBlock")), (1, second.sent / BLOCK as u64));
    assert_eq!((mark_of(&lab, &second.image), second.parent), (mark_of(&lab, &first.image), None));
    let mut marks = vec![mark_of(&lab, &first.image)];
    for (gib, encryption) in
        [(2, Encryption::Default), (1, Encryption::Encrypted), (1, Encryption::Key(KEY.parse().unwrap()))]
    {
        let mut order = order(3, gib);
        order.encryption = encryption;
        let published = lab.publish(&order).await.unwrap();
        lab.check(&published, &order);
        marks.push(mark_of(&lab, &published.image));
    }
    marks.sort();
    marks.dedup();
    assert_eq!(marks.len(), 4);
    // Nothing of before is believed.
    let mut order = order(1, 1);
    order.force = true;
    let forced = lab.publish(&order).await.unwrap();
    lab.check(&forced, &order);
    assert!(!marks.contains(&mark_of(&lab, &forced.image)));
}

#[tokio::test]
async fn an_image_of_before_with_an_empty_swap_volume_is_not_taken_for_this_one() {
    let (lab, order) = (Lab::new(), order(1, 1));
    let mut without = order.clone();
    without.machine.swap = 0;
    let published = lab.publish(&without).await.unwrap();
    // Its identity of before.
    lab.cloud.retag(REGION, &published.image, |tags| {
        tags.insert("nanoos:machine".to_owned(), "0123456789abcdef0123456789abcdef".to_owned());
    });
    let published = lab.publish(&order).await.unwrap();
    assert!(!published.found);
    lab.check(&published, &order);
}

#[tokio::test]
async fn a_mark_that_was_interrupted_is_gone_on_with() {
    for puts in 1..MARK {
        let mut lab = Lab::new();
        // The disk is there: what is sent now is the mark.
        let mut without = order(1, 0);
        without.name = Some("without".to_owned());
        lab.publish(&without).await.unwrap();
        let order = order(1, 1);
        lab.timing = hasty();
        lab.cloud.set_faults(Faults { crash_after_puts: Some(puts), ..Faults::default() });
        text(&lab.publish(&order).await.unwrap_err());
        lab.timing = crate::lab::calm();
        lab.cloud.set_faults(Faults::default());
        let published = lab.publish(&order).await.unwrap();
        lab.check(&published, &order);
        assert_eq!((lab.pending().len(), lab.cloud.snapshots(REGION).len()), (0, 2), "{puts}");
    }
}

#[tokio::test]
async fn two_builders_with_other_disks_at_the_same_time_both_end_well_and_the_next_one_sends_no_mark() {
    let (lab, one, two) = (Lab::new(), order(1, 1), order(2, 1));
    let (first, second) = tokio::join!(lab.publish(&one), lab.publish_from("elsewhere", &two));
    let (first, second) = (first.unwrap(), second.unwrap());
    lab.check(&first, &one);
    lab.check(&second, &two);
    assert_eq!(lab.pending().len(), 0);
    let marks = [mark_of(&lab, &first.image), mark_of(&lab, &second.image)];
    let (third, before) = (order(3, 1), lab.cloud.snapshots(REGION).len());
    let published = lab.publish(&third).await.unwrap();
    lab.check(&published, &third);
    assert!(marks.contains(&mark_of(&lab, &published.image)));
    assert_eq!(lab.cloud.snapshots(REGION).len(), before + 1);
}

#[tokio::test]
async fn what_fails_about_the_mark_is_told_and_the_disk_is_not_sent_again() {
    let (lab, mut order) = (Lab::new(), order(1, 1));
    order.machine.swap = 0;
    lab.publish(&order).await.unwrap();
    order.machine.swap = 1;
    lab.cloud.set_faults(Faults::of([Fault::new("StartSnapshot", Kind::Denied)]));
    let error = text(&lab.publish(&order).await.unwrap_err());
    assert!(error.contains("the snapshot for the swap volume: ebs:StartSnapshot in eu-central-1"), "{error}");
    lab.cloud.set_faults(Faults::default());
    lab.cloud.reset_tally();
    lab.check(&lab.publish(&order).await.unwrap(), &order);
    assert_eq!(lab.count("PutSnapshotBlock"), MARK);
}

/// Removes the mark as soon as the image is to be registered with it.
struct Remover<'a>(&'a StandIn);

impl Report for Remover<'_> {
    fn step(&self, text: String) {
        if text.contains(": register ") {
            let marks = self.0.snapshots(REGION).into_iter().filter(|it| it.tags.contains_key("nanoos:swap"));
            marks.for_each(|mark| self.0.remove(REGION, "", &mark.id));
        }
    }

    fn warn(&self, text: String) {
        assert!(text.contains("the snapshot for the swap volume once more"), "{text}");
    }

    fn count(&self, _: &str, _: u64) -> Box<dyn Count> {
        Box::new(Silent)
    }
}

#[tokio::test]
async fn a_mark_that_was_removed_with_the_last_image_before_is_made_again() {
    let (lab, order) = (Lab::new(), order(1, 1));
    let session = lab.session().await;
    let published = publish_in(&session, &order, &lab.state("here"), &Remover(&lab.cloud)).await.unwrap();
    lab.check(&published, &order);
    assert_eq!(lab.cloud.images(REGION).len(), 1);
}
