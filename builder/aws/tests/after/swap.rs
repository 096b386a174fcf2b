//! The snapshot of a swap volume goes where its images go, and stays as long as one of them does.

use crate::lab::{Lab, OTHER, REGION};
use aws::{Count, Encryption, Promotion, Removed, Report, Silent, Target, list, promote, remove};
use ec2_stand_in::{Fault, Faults, Kind, OTHER_ACCOUNT, Rules};
use std::collections::BTreeSet;

async fn to(lab: &Lab, image: &str, target: &str, encryption: Encryption) -> anyhow::Result<String> {
    let promotion = Promotion { image: image.to_owned(), to: vec![target.parse::<Target>().unwrap()], encryption };
    let (account, session) = (lab.account().await, lab.session().await);
    let mut results = promote(&account, &session, &promotion, &lab.report()).await.unwrap();
    results.remove(0).1.map(|promoted| promoted.image)
}

async fn rm(lab: &Lab, region: &str, id: &str, report: &dyn Report) -> Result<Removed, String> {
    let session = lab.account().await.region(region);
    let mut results = remove(&session, &[id.to_owned()], report).await.unwrap();
    results.remove(0).1.map_err(|error| format!("{error:#}"))
}

#[tokio::test]
async fn a_copy_has_its_own_mark_and_each_snapshot_its_own_tags() {
    for encryption in [Encryption::Default, Encryption::Encrypted] {
        let lab = Lab::new();
        let image = lab.image_with_swap(1).await;
        let copy = to(&lab, &image.image, OTHER, encryption.clone()).await.unwrap();
        let (original, copied) = (lab.described(REGION, &image.image), lab.described(OTHER, &copy));
        assert_eq!(copied.mappings.len(), 2);
        for (from, made) in original.mappings.iter().zip(&copied.mappings) {
            let from = lab.cloud.snapshot(REGION, from.snapshot.as_ref().unwrap()).unwrap();
            let made = lab.cloud.snapshot(OTHER, made.snapshot.as_ref().unwrap()).unwrap();
            let mut expected = from.tags.clone();
            expected.insert("nanoos:encryption".to_owned(), encryption.to_string());
            assert_eq!(made.tags, expected);
            assert_eq!(made.encrypted(), encryption == Encryption::Encrypted);
        }
        let volume = lab.cloud.volume(OTHER, &copy, "/dev/xvdb").unwrap();
        let first = [volume.read(0), volume.read(1)].concat();
        assert!(first == initramfs::swap_mark::area(0, 1 << 30));
    }
}

/// CopyImage gives all snapshots the same tags: until each has its own, none may be taken for a disk.
#[tokio::test]
async fn a_copy_that_was_interrupted_misleads_nobody_and_the_next_run_finishes_it() {
    let lab = Lab::new();
    let image = lab.image_with_swap(1).await;
    lab.cloud.set_faults(Faults::of([Fault::new("CreateTags", Kind::Denied)]));
    to(&lab, &image.image, OTHER, Encryption::Default).await.unwrap_err();
    lab.cloud.set_faults(Faults::default());
    let content = &lab.described(REGION, &image.image).tags["nanoos:content"];
    for snapshot in lab.cloud.snapshots(OTHER) {
        assert!(snapshot.tags.contains_key("nanoos:content"), "it is known as ours");
        assert_ne!(&snapshot.tags["nanoos:content"], content);
        assert!(!snapshot.tags.contains_key("nanoos:swap"));
    }
    let copy = to(&lab, &image.image, OTHER, Encryption::Default).await.unwrap();
    let contents: BTreeSet<String> =
        lab.cloud.snapshots(OTHER).into_iter().map(|snapshot| snapshot.tags["nanoos:content"].clone()).collect();
    assert!(contents.contains(content) && contents.len() == 2, "{contents:?}");
    assert!(rm(&lab, OTHER, &copy, &Silent).await.is_ok());
    assert!(lab.cloud.snapshots(OTHER).is_empty());
}

#[tokio::test]
async fn a_mark_is_shared_with_its_image() {
    let lab = Lab::new();
    let image = lab.image_with_swap(1).await.image;
    to(&lab, &image, OTHER_ACCOUNT, Encryption::Default).await.unwrap();
    for snapshot in lab.cloud.snapshots(REGION) {
        assert!(snapshot.shared_with.contains(OTHER_ACCOUNT), "{}", snapshot.id);
    }
    assert!(lab.described(REGION, &image).shared_with.contains(OTHER_ACCOUNT));
}

#[tokio::test]
async fn a_mark_stays_while_an_image_uses_it_and_goes_with_the_last_one() {
    let lab = Lab::new();
    let (one, two) = (lab.image_with_swap(1).await, lab.image_with_swap(2).await);
    let mark = lab.swap(REGION, &one.image);
    assert_eq!(lab.swap(REGION, &two.image), mark);
    let inventory = list(&lab.session().await).await.unwrap();
    assert_eq!(inventory.snapshots.len(), 3);
    for snapshot in inventory.snapshots {
        assert_eq!((snapshot.swap, snapshot.used_by.len() == 2), (snapshot.id == mark, snapshot.id == mark));
    }
    let refused = rm(&lab, REGION, &mark, &Silent).await.unwrap_err();
    assert!(refused.contains("is used by ami-"), "{refused}");
    let (first, second) = (one.snapshot.unwrap(), two.snapshot.unwrap());
    let removed = rm(&lab, REGION, &one.image, &Silent).await.unwrap();
    assert_eq!(removed, Removed::Image { deleted: vec![first], kept: vec![mark.clone()] });
    let removed = rm(&lab, REGION, &two.image, &Silent).await.unwrap();
    assert_eq!(removed, Removed::Image { deleted: vec![second, mark], kept: vec![] });
    assert!(lab.cloud.snapshots(REGION).is_empty());
}

/// AWS answers a token with the same snapshot for ever.
#[tokio::test]
async fn a_mark_that_was_removed_is_made_again_at_once_however_often() {
    let mut lab = Lab::new();
    // To wait once would take longer than all of this does on a busy machine.
    lab.timing.seen = std::time::Duration::from_secs(30);
    let start = std::time::Instant::now();
    for seed in 0..5 {
        let image = lab.image_with_swap(seed).await.image;
        rm(&lab, REGION, &image, &Silent).await.unwrap();
    }
    // Of other disks each time: nothing had to be found out about what is gone.
    assert_eq!(lab.count("StartSnapshot"), 10);
    assert!(start.elapsed() < lab.timing.seen, "{:?}", start.elapsed());
}

/// Publishes another image with the same mark while the first one is being removed.
struct Publisher<'a>(&'a Lab);

impl Report for Publisher<'_> {
    fn step(&self, _: String) {
        std::thread::scope(|scope| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            scope.spawn(move || runtime.block_on(self.0.image_with_swap(2))).join().unwrap();
        });
    }

    fn warn(&self, _: String) {}

    fn count(&self, _: &str, _: u64) -> Box<dyn Count> {
        Box::new(Silent)
    }
}

#[tokio::test]
async fn a_mark_that_another_image_takes_meanwhile_stays() {
    let lab = Lab::with(Rules { page: 5, ..crate::lab::rules() });
    let one = lab.image_with_swap(1).await;
    let mark = lab.swap(REGION, &one.image);
    let removed = rm(&lab, REGION, &one.image, &Publisher(&lab)).await.unwrap();
    assert_eq!(removed, Removed::Image { deleted: vec![one.snapshot.unwrap()], kept: vec![mark.clone()] });
    assert_eq!(lab.count("DeleteSnapshot"), 1);
    assert!(lab.cloud.snapshot(REGION, &mark).is_some());
}
