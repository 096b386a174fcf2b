//! A disk becomes an image, once.

use crate::lab::{Disk, Fill, KEY, Lab, REGION, encrypting, text};
use aws::{Architecture, BLOCK, Encryption, Machine};
use ec2_stand_in::{Delay, Rules};

#[tokio::test]
async fn an_image_has_all_that_it_must_and_every_block_of_the_disk() {
    let lab = Lab::new();
    let order = Disk::of(40, 1).order();
    let published = lab.publish(&order).await.unwrap();
    lab.check(&published, &order);
    assert!(!published.found && published.parent.is_none());
    assert!(published.name.starts_with("nginx-1.27-"), "{}", published.name);
    for index in 0..40 {
        let block = lab.cloud.block(REGION, published.snapshot.as_ref().unwrap(), index).unwrap();
        assert!(block == aws::read_block(&order.disk, index).unwrap(), "block {index}");
    }
    assert_eq!(lab.count("StartSnapshot"), 1);
    assert_eq!(lab.count("CompleteSnapshot"), 1);
    assert_eq!(lab.cloud.tally().total_refused(), 0);
}

#[tokio::test]
async fn zeros_are_sent_too_since_a_copy_or_a_launch_template_may_encrypt_the_volume() {
    for (rules, encryption, encrypted) in [
        (crate::lab::rules(), Encryption::Default, false),
        (crate::lab::rules(), Encryption::Encrypted, true),
        (encrypting(), Encryption::Default, true),
        (crate::lab::rules(), Encryption::Key(KEY.parse().unwrap()), true),
    ] {
        let lab = Lab::with(rules);
        let mut order = Disk::of(40, 2).order();
        order.encryption = encryption;
        let published = lab.publish(&order).await.unwrap();
        lab.check(&published, &order);
        assert_eq!((lab.count("PutSnapshotBlock"), published.sent), (40, 40 * BLOCK as u64), "{}", order.encryption);
        let snapshot = lab.snapshot(published.snapshot.as_ref().unwrap());
        assert_eq!(snapshot.encrypted(), encrypted);
        if let Encryption::Key(_) = order.encryption {
            assert_eq!(snapshot.kms_key.as_deref(), Some(KEY));
        }
    }
}

#[tokio::test]
async fn a_disk_of_zeros_alone_and_one_with_gaps_become_images() {
    let zeros = Disk((0..4).map(|index| (index, Fill::Zeros)).collect());
    let gaps = Disk(vec![(0, Fill::Noise(1)), (9, Fill::Zeros), (2047, Fill::Noise(2)), (2048, Fill::Noise(3))]);
    for rules in [crate::lab::rules(), encrypting()] {
        for disk in [&zeros, &gaps] {
            let lab = Lab::with(rules.clone());
            let order = disk.order();
            lab.check(&lab.publish(&order).await.unwrap(), &order);
        }
    }
}

#[tokio::test]
async fn the_same_again_is_found_and_force_makes_another() {
    let lab = Lab::new();
    let mut order = Disk::of(12, 3).order();
    let first = lab.publish(&order).await.unwrap();
    lab.cloud.reset_tally();
    for machine in ["here", "elsewhere"] {
        let again = lab.publish_from(machine, &order).await.unwrap();
        assert_eq!((&again.image, &again.snapshot, again.found), (&first.image, &first.snapshot, true));
    }
    for action in ["StartSnapshot", "PutSnapshotBlock", "CompleteSnapshot", "RegisterImage"] {
        assert_eq!(lab.count(action), 0, "{action}");
    }
    order.force = true;
    let (other, third) = (lab.publish(&order).await.unwrap(), lab.publish(&order).await.unwrap());
    for published in [&other, &third] {
        lab.check(published, &order);
        assert!(!published.found && published.sent > 0);
    }
    assert_eq!(lab.cloud.images(REGION).len(), 3);
    assert_eq!(other.name, format!("{}-2", first.name));
    assert_eq!(third.name, format!("{}-3", first.name));
    assert_ne!(other.snapshot, first.snapshot);
}

#[tokio::test]
async fn a_name_that_is_taken_or_no_name_is_told_before_anything_is_sent() {
    let lab = Lab::new();
    let mut order = Disk::of(12, 4).order();
    order.name = Some("web (1)".to_owned());
    let first = lab.publish(&order).await.unwrap();
    lab.check(&first, &order);
    lab.cloud.reset_tally();
    let again = lab.publish(&order).await.unwrap();
    assert_eq!((again.image, again.found), (first.image.clone(), true));

    let mut other = Disk::of(12, 5).order();
    other.name.clone_from(&order.name);
    let error = text(&lab.publish(&other).await.unwrap_err());
    assert!(
        error.contains("\"web (1)\" is taken") && error.contains(&first.image) && error.contains("--name"),
        "{error}"
    );
    order.force = true;
    let error = text(&lab.publish(&order).await.unwrap_err());
    assert!(error.contains("\"web (1)\" is taken"), "{error}");
    for bad in ["x", "what?", "a*", &"x".repeat(129), "ümlaut"] {
        other.name = Some(bad.to_owned());
        let error = text(&lab.publish(&other).await.unwrap_err());
        assert!(error.contains("--name") && error.contains("3 to 128"), "{error}");
    }
    for action in ["StartSnapshot", "PutSnapshotBlock", "RegisterImage"] {
        assert_eq!(lab.count(action), 0, "{action}");
    }
}

#[tokio::test]
async fn the_same_contents_under_another_name_or_on_another_machine_share_the_snapshot() {
    let lab = Lab::new();
    let mut order = Disk::of(12, 6).order();
    let first = lab.publish(&order).await.unwrap();
    let put = lab.count("PutSnapshotBlock");
    order.name = Some("another".to_owned());
    let second = lab.publish(&order).await.unwrap();
    order.name = None;
    order.machine = Machine { architecture: Architecture::Arm64, swap: 0, plain_swap: false, tpm: true };
    let third = lab.publish(&order).await.unwrap();
    lab.check(&third, &order);
    assert_eq!(lab.image(&second.image).name, "another");
    assert!(first.image != second.image && second.image != third.image);
    assert!(first.snapshot == second.snapshot && second.snapshot == third.snapshot);
    assert_eq!((second.sent, lab.count("PutSnapshotBlock")), (0, put));
}

#[tokio::test]
async fn an_image_is_told_only_when_it_can_be_launched() {
    let rules = Rules { registration: Delay::Answers(4), completion: Delay::Answers(6), ..crate::lab::rules() };
    let lab = Lab::with(rules);
    let order = Disk::of(12, 7).order();
    let published = lab.publish(&order).await.unwrap();
    lab.check(&published, &order);
}

#[tokio::test]
async fn a_key_is_refused_in_another_region_than_its_own() {
    let lab = Lab::new();
    let mut order = Disk::of(3, 8).order();
    order.encryption = Encryption::Key(KEY.replace(REGION, "us-east-1").parse().unwrap());
    let error = text(&lab.publish(&order).await.unwrap_err());
    assert!(error.contains("--kms-key") && error.contains("us-east-1"), "{error}");
    assert_eq!(lab.cloud.tally().total(), 0);
}

#[tokio::test]
async fn several_regions_side_by_side_of_which_one_fails() {
    let lab = Lab::new();
    let order = Disk::of(8, 9).order();
    let account = lab.account().await;
    let regions = ["eu-west-1", "me-south-1", "us-east-2", REGION].map(str::to_owned);
    let report: std::sync::Arc<dyn aws::Report> = std::sync::Arc::new(aws::Silent);
    let results = aws::publish(&account, &regions, &order, &lab.state("here"), &report).await;
    assert!(results.iter().map(|(region, _)| region).eq(&regions));
    for (region, result) in results {
        match result {
            Ok(published) => assert!(lab.cloud.images(&region).iter().any(|image| image.id == published.image)),
            Err(error) => {
                let error = text(&error);
                assert!(region == "me-south-1" && error.contains("whether the region is enabled"), "{error}");
            }
        }
    }
}
