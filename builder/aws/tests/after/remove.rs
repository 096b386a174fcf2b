//! Removing what we made.

use crate::lab::{Lab, OTHER, REGION, says};
use aws::{Removed, Silent, list, remove};
use ec2_stand_in::{Effect, Fault, Faults, Kind, Moment};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Removes, and tells what became of each.
async fn all(lab: &Lab, ids: &[&str]) -> BTreeMap<String, Result<Removed, String>> {
    let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
    let results = remove(&lab.session().await, &ids, &Silent).await.unwrap();
    results.into_iter().map(|(id, result)| (id, result.map_err(|error| format!("{error:#}")))).collect()
}

#[tokio::test]
async fn an_image_goes_with_its_snapshot_and_twice_is_no_failure() {
    let lab = Lab::new();
    let (one, other) = (lab.image(1).await, lab.image(2).await);
    let snapshot = one.snapshot.unwrap();
    let results = all(&lab, &[&one.image, &one.image, &snapshot]).await;
    assert_eq!(results[&one.image], Ok(Removed::Image { deleted: vec![snapshot.clone()], kept: vec![] }));
    assert_eq!(results[&snapshot], Ok(Removed::Gone));
    assert_eq!(
        all(&lab, &[&one.image, &snapshot]).await.into_values().collect::<Vec<_>>(),
        [Ok(Removed::Gone), Ok(Removed::Gone)]
    );
    let rest = list(&lab.session().await).await.unwrap();
    assert_eq!((rest.images.len(), rest.snapshots.len()), (1, 1));
    assert_eq!(rest.images[0].id, other.image);
}

#[tokio::test]
async fn a_snapshot_that_two_images_use_goes_with_the_last_of_them() {
    let lab = Lab::new();
    let one = lab.image(1).await;
    let mut again = lab.order(1);
    again.machine.tpm = true;
    let two = lab.publish(&again).await;
    let snapshot = one.snapshot.clone().unwrap();
    assert_eq!(two.snapshot, one.snapshot);
    let results = all(&lab, &[&snapshot]).await;
    assert!(results[&snapshot].as_ref().unwrap_err().contains("is used by ami-"), "{results:?}");
    let results = all(&lab, &[&one.image]).await;
    assert_eq!(results[&one.image], Ok(Removed::Image { deleted: vec![], kept: vec![snapshot.clone()] }));
    let results = all(&lab, &[&two.image]).await;
    assert_eq!(results[&two.image], Ok(Removed::Image { deleted: vec![snapshot], kept: vec![] }));
    assert!(lab.cloud.snapshots(REGION).is_empty());
}

#[tokio::test]
async fn both_images_of_a_snapshot_go_at_once() {
    let lab = Lab::new();
    let one = lab.image(1).await;
    let mut again = lab.order(1);
    again.machine.tpm = true;
    let two = lab.publish(&again).await;
    let snapshot = one.snapshot.unwrap();
    let results = all(&lab, &[&snapshot, &one.image, &two.image]).await;
    assert!(results[&snapshot].is_err());
    assert_eq!(results[&two.image], Ok(Removed::Image { deleted: vec![snapshot], kept: vec![] }));
    assert!(lab.cloud.snapshots(REGION).is_empty() && lab.cloud.images(REGION).is_empty());
}

#[tokio::test]
async fn what_is_not_ours_is_refused_before_anything_is_removed() {
    let lab = Lab::new();
    let (ours, foreign) = (lab.image(1).await, lab.image(2).await);
    lab.untag(&foreign);
    let session = lab.session().await;
    for foreign in [&foreign.image, foreign.snapshot.as_ref().unwrap()] {
        let ids = [ours.image.clone(), foreign.clone()];
        let error = remove(&session, &ids, &Silent).await.unwrap_err();
        says(&error, &["builder did not make", foreign, "nothing was removed"]);
    }
    for bad in ["vol-0123456789abcdef0", "ami-", "ami-xyz", "", "nginx"] {
        let error = remove(&session, &[ours.image.clone(), bad.to_owned()], &Silent).await.unwrap_err();
        says(&error, &["is the id of no image (ami-…), snapshot (snap-…) or instance (i-…); nothing was removed"]);
    }
    assert_eq!(lab.cloud.images(REGION).len(), 2);
    assert_eq!(lab.count("DeregisterImage") + lab.count("DeleteSnapshot"), 0);
    // Ids of another region are not there.
    let there = remove(&lab.account().await.region(OTHER), std::slice::from_ref(&ours.image), &Silent).await.unwrap();
    assert_eq!(there[0].1.as_ref().unwrap(), &Removed::Gone);
}

#[tokio::test]
async fn a_snapshot_that_is_still_called_used_is_tried_again_for_a_while() {
    let lab = Lab::new();
    let in_use = Fault::new("DeleteSnapshot", Kind::Refused(400, "InvalidSnapshot.InUse"));
    let image = lab.image(1).await;
    lab.cloud.set_faults(Faults::of([in_use.clone().times(3)]));
    all(&lab, &[&image.image]).await[&image.image].as_ref().unwrap();
    assert_eq!(lab.count("DeleteSnapshot"), 4);
    let image = lab.image(2).await;
    lab.cloud.set_faults(Faults::of([in_use]));
    let results = all(&lab, &[&image.image]).await;
    let error = results[&image.image].as_ref().unwrap_err();
    assert!(
        error.contains("is deregistered, but its snapshot remains") && error.contains("InvalidSnapshot.InUse"),
        "{error}"
    );
    // The next run removes it.
    lab.cloud.set_faults(Faults::default());
    let snapshot = image.snapshot.unwrap();
    assert_eq!(all(&lab, &[&snapshot]).await[&snapshot], Ok(Removed::Snapshot));
}

#[tokio::test]
async fn one_that_fails_does_not_hold_up_the_others_and_lost_answers_do_not_matter() {
    let lab = Lab::new();
    let (one, two) = (lab.image(1).await, lab.image(2).await);
    lab.cloud.set_faults(Faults::of([Fault::new("DeregisterImage", Kind::Denied).times(1)]));
    let results = all(&lab, &[&one.image, &two.image]).await;
    assert!(results[&one.image].as_ref().unwrap_err().contains(r#""Action":"ec2:DeregisterImage""#), "{results:?}");
    assert!(results[&two.image].is_ok());
    lab.cloud.set_faults(Faults::of([
        Fault::new("DeregisterImage", Kind::Reset(Moment::BeforeAnswer)).times(1),
        Fault::new("DeleteSnapshot", Kind::Error(500, Effect::Taken)).times(1),
    ]));
    all(&lab, &[&one.image]).await[&one.image].as_ref().unwrap();
    assert!(lab.cloud.images(REGION).is_empty() && lab.cloud.snapshots(REGION).is_empty());
}

#[tokio::test]
async fn what_an_interrupted_run_left_is_removed() {
    let lab = Lab::new();
    lab.cloud.set_faults(Faults::of([Fault::new("CompleteSnapshot", Kind::Denied)]));
    lab.try_publish(&lab.order(1)).await.unwrap_err();
    let pending = lab.cloud.snapshots(REGION)[0].id.clone();
    assert_eq!(all(&lab, &[&pending]).await[&pending], Ok(Removed::Snapshot));
    assert!(lab.cloud.snapshots(REGION).is_empty());
}

#[tokio::test]
async fn what_an_image_uses_that_is_disabled_or_not_listed_stays_at_once() {
    for listed in [true, false] {
        let mut lab = Lab::new();
        lab.timing.seen = Duration::from_secs(60);
        let (one, two) = (lab.image_with_swap(1).await, lab.image_with_swap(2).await);
        let swap = lab.swap(REGION, &one.image);
        if listed {
            lab.cloud.disable(REGION, &two.image);
        } else {
            lab.cloud.recycle(REGION, &two.image);
        }
        let start = Instant::now();
        let ids = [one.image.clone(), swap.clone()];
        let results = remove(&lab.session().await, &ids, lab.report().as_ref()).await.unwrap();
        let removed = results[0].1.as_ref().unwrap();
        let deleted = vec![one.snapshot.clone().unwrap()];
        assert_eq!(removed, &Removed::Image { deleted, kept: vec![swap.clone()] });
        assert_eq!(lab.told.text().contains(&format!("{swap} stays: {} uses it", two.image)), !listed);
        let error = results[1].1.as_ref().unwrap_err();
        assert!(format!("{error:#}").contains(&format!("{swap} in {REGION} is used by {}", two.image)), "{error:#}");
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        if listed {
            let inventory = list(&lab.session().await).await.unwrap();
            assert_eq!(
                (inventory.images[0].id.as_str(), inventory.images[0].state.as_str()),
                (&*two.image, "disabled")
            );
            all(&lab, &[&two.image]).await[&two.image].as_ref().unwrap();
            assert!(lab.cloud.snapshots(REGION).is_empty());
        }
    }
}
