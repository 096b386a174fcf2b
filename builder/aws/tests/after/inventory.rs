//! What we made in a region.

use crate::lab::{Lab, OTHER, REGION, rules};
use aws::{Check, Inventory, Launch, list, verify};
use ec2_stand_in::{Fault, Faults, Kind};
use std::time::{Duration, SystemTime};

#[tokio::test]
async fn images_snapshots_and_instances_are_listed_with_what_they_are_of() {
    let lab = Lab::with(ec2_stand_in::Rules { page: 5, ..rules() });
    let session = lab.session().await;
    assert!(list(&session).await.unwrap().is_empty());
    let mut published = Vec::new();
    for seed in 0..7 {
        published.push(lab.image(seed).await);
    }
    // A run that is cut off leaves a pending snapshot.
    lab.cloud.set_faults(Faults::of([Fault::new("CompleteSnapshot", Kind::Denied)]));
    lab.try_publish(&lab.order(99)).await.unwrap_err();
    lab.cloud.set_faults(Faults::default());
    let inventory = list(&session).await.unwrap();
    assert_eq!((inventory.region.as_str(), inventory.images.len(), inventory.snapshots.len()), (REGION, 7, 8));
    for (image, published) in inventory.images.iter().zip(&published) {
        let it = inventory.images.iter().find(|image| image.id == published.image).unwrap();
        assert_eq!((it.name.as_str(), it.source.as_str()), (published.name.as_str(), "nginx:1.27"));
        assert_eq!(Some(&it.snapshots[0]), published.snapshot.as_ref());
        assert_eq!((it.state.as_str(), it.created.len(), it.content.len()), ("available", 24, 66));
        let snapshot = inventory.snapshots.iter().find(|snapshot| snapshot.id == image.snapshots[0]).unwrap();
        assert_eq!((snapshot.used_by.clone(), snapshot.size), (vec![image.id.clone()], 1));
        assert_eq!((snapshot.state.as_str(), &snapshot.content), ("completed", &image.content));
        assert!(snapshot.started.unwrap().elapsed().unwrap() < Duration::from_secs(60));
    }
    let pending: Vec<_> = inventory.snapshots.iter().filter(|it| it.state == "pending").collect();
    assert_eq!((pending.len(), pending[0].used_by.len()), (1, 0));
    assert_eq!(
        list(&lab.account().await.region(OTHER)).await.unwrap(),
        Inventory { region: OTHER.into(), ..Inventory::default() }
    );
}

#[tokio::test]
async fn what_an_earlier_builder_made_is_marked() {
    let lab = Lab::new();
    let (old, new) = (lab.image(1).await, lab.image(2).await);
    for id in [&old.image, old.snapshot.as_ref().unwrap()] {
        lab.tag(REGION, id, "nanoos:content", &"0f".repeat(32));
    }
    let inventory = list(&lab.session().await).await.unwrap();
    assert_eq!((inventory.images.len(), inventory.snapshots.len()), (2, 2));
    assert!(inventory.images.iter().all(|it| it.old_kind == (it.id != new.image)));
    assert!(inventory.snapshots.iter().all(|it| it.old_kind == (Some(&it.id) != new.snapshot.as_ref())));
}

#[tokio::test]
async fn an_instance_of_a_check_that_could_not_be_terminated_is_listed() {
    let lab = Lab::new();
    let (image, session) = (lab.image(1).await.image, lab.session().await);
    lab.cloud.set_console("up\n");
    lab.cloud.set_faults(Faults::of([Fault::new("TerminateInstances", Kind::Denied)]));
    let how = Launch {
        check: Check::Console("up".to_owned()),
        instance_type: None,
        subnet: None,
        security_group: None,
        timeout: Duration::from_secs(10),
    };
    verify(&session, &image, &how, std::future::pending(), &lab.report()).await.unwrap_err();
    let instances = list(&session).await.unwrap().instances;
    assert_eq!((instances.len(), instances[0].image.as_str()), (1, image.as_str()));
    assert_eq!((instances[0].id.as_str(), instances[0].state.as_str()), (lab.instance().id.as_str(), "running"));
    assert!(instances[0].launched.is_some());
}

#[tokio::test]
async fn a_snapshot_is_unused_when_no_image_uses_it_and_it_is_old() {
    let lab = Lab::new();
    let session = lab.session().await;
    let used = lab.image(1).await.snapshot.unwrap();
    lab.cloud.set_faults(Faults::of([Fault::new("RegisterImage", Kind::Denied).times(1)]));
    lab.try_publish(&lab.order(2)).await.unwrap_err();
    let (inventory, day) = (list(&session).await.unwrap(), Duration::from_secs(86_400));
    assert!(inventory.unused(SystemTime::now(), day).is_empty());
    let later = SystemTime::now() + 2 * day;
    let unused: Vec<&str> = inventory.unused(later, day).iter().map(|snapshot| snapshot.id.as_str()).collect();
    assert_eq!(unused.len(), 1);
    assert!(!unused.contains(&used.as_str()));
}
