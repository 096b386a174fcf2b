//! The very same image elsewhere.

use crate::lab::{Lab, OTHER, REGION, rules, says};
use aws::{Encryption, Promoted, Promotion, Target, promote};
use ec2_stand_in::{Effect, Fault, Faults, Kind, Moment, OTHER_ACCOUNT};
use std::collections::BTreeMap;

const KEY: &str = "arn:aws:kms:us-west-2:123456789012:key/1234abcd";

/// Promotes, and tells what became of each target.
async fn to(
    lab: &Lab,
    image: &str,
    targets: &[&str],
    encryption: Encryption,
) -> BTreeMap<String, anyhow::Result<Promoted>> {
    let to: Vec<Target> = targets.iter().map(|target| target.parse().unwrap()).collect();
    let promotion = Promotion { image: image.to_owned(), to, encryption };
    let (account, session) = (lab.account().await, lab.session().await);
    let results = promote(&account, &session, &promotion, &lab.report()).await.unwrap();
    results.into_iter().map(|(target, result)| (target.to_string(), result)).collect()
}

#[tokio::test]
async fn a_copy_is_the_very_same_with_its_tags_and_is_made_once() {
    let lab = Lab::new();
    let mut order = lab.order(1);
    order.machine.tpm = true;
    let image = lab.publish(&order).await;
    let results = to(&lab, &image.image, &[OTHER, "eu-west-1", REGION], Encryption::Default).await;
    let here = Promoted { image: image.image.clone(), region: REGION.into(), found: true };
    assert_eq!(results[REGION].as_ref().unwrap(), &here);
    let original = lab.described(REGION, &image.image);
    for region in [OTHER, "eu-west-1"] {
        let promoted = results[region].as_ref().unwrap();
        assert!(!promoted.found);
        let copy = lab.described(region, &promoted.image);
        assert_eq!(
            (&copy.name, &copy.description, &copy.tags),
            (&original.name, &original.description, &original.tags)
        );
        assert_eq!((&copy.boot_mode, &copy.tpm, copy.ena), (&original.boot_mode, &original.tpm, true));
        let (from, made) = (image.snapshot.as_ref().unwrap(), copy.mappings[0].snapshot.as_ref().unwrap());
        assert_eq!(lab.cloud.block(region, made, 0), lab.cloud.block(REGION, from, 0));
        let (from, made) = (lab.cloud.snapshot(REGION, from).unwrap(), lab.cloud.snapshot(region, made).unwrap());
        assert_eq!(made.tags, from.tags);
        assert!(made.tags.contains_key("nanoos:content"));
    }
    let again = to(&lab, &image.image, &[OTHER], Encryption::Default).await;
    let first = results[OTHER].as_ref().unwrap();
    assert_eq!(again[OTHER].as_ref().unwrap(), &Promoted { found: true, ..first.clone() });
    assert_eq!(lab.count("CopyImage"), 2);
    assert_eq!(lab.cloud.tally().total_refused(), 0);
}

#[tokio::test]
async fn a_copy_is_encrypted_as_asked() {
    let lab = Lab::new();
    let image = lab.image(1).await.image;
    let key = || Encryption::Key(KEY.parse().unwrap());
    let results = to(&lab, &image, &[OTHER, "eu-west-1"], key()).await;
    says(
        results["eu-west-1"].as_ref().unwrap_err(),
        &["--kms-key", "in its own region, us-west-2, and this is eu-west-1"],
    );
    let copy = lab.described(OTHER, &results[OTHER].as_ref().unwrap().image);
    let snapshot = lab.cloud.snapshot(OTHER, copy.mappings[0].snapshot.as_ref().unwrap()).unwrap();
    assert_eq!((snapshot.kms_key.as_deref(), snapshot.tags["nanoos:encryption"].as_str()), (Some(KEY), KEY));
    to(&lab, &image, &[OTHER], key()).await[OTHER].as_ref().unwrap();
    // It is there without encryption, and is asked for with it.
    to(&lab, &image, &["us-east-2"], Encryption::Default).await["us-east-2"].as_ref().unwrap();
    let results = to(&lab, &image, &["us-east-2"], Encryption::Encrypted).await;
    says(
        results["us-east-2"].as_ref().unwrap_err(),
        &["is this image already, but not encrypted as asked (encrypted)"],
    );
}

#[tokio::test]
async fn a_name_that_is_taken_is_told_before_anything_is_copied() {
    let lab = Lab::new();
    let mut order = lab.order(1);
    order.name = Some("web".to_owned());
    let image = lab.publish(&order).await.image;
    to(&lab, &image, &[OTHER], Encryption::Default).await[OTHER].as_ref().unwrap();
    let taken = lab.cloud.images(OTHER)[0].id.clone();
    // Another image of this name, where the first one is gone.
    aws::remove(&lab.session().await, &[image], &aws::Silent).await.unwrap();
    let mut order = lab.order(2);
    order.name = Some("web".to_owned());
    let image = lab.publish(&order).await.image;
    lab.cloud.reset_tally();
    let results = to(&lab, &image, &[OTHER, OTHER_ACCOUNT], Encryption::Default).await;
    says(
        results[OTHER].as_ref().unwrap_err(),
        &["the name \"web\" is taken in us-west-2 by", &taken, "remove that image first"],
    );
    assert!(results[OTHER_ACCOUNT].is_ok());
    assert_eq!(lab.count("CopyImage"), 0);
}

#[tokio::test]
async fn lost_answers_make_no_second_copy_and_a_copy_that_fails_leaves_nothing() {
    let lab = Lab::new();
    let image = lab.image(1).await.image;
    lab.cloud.set_faults(Faults::of([
        Fault::new("CopyImage", Kind::Reset(Moment::BeforeAnswer)).times(1),
        Fault::new("CopyImage", Kind::Error(503, Effect::Taken)).times(1),
        Fault::new("CreateTags", Kind::Throttled).times(1),
    ]));
    to(&lab, &image, &[OTHER], Encryption::Default).await[OTHER].as_ref().unwrap();
    assert_eq!((lab.cloud.images(OTHER).len(), lab.cloud.snapshots(OTHER).len()), (1, 1));
    lab.cloud.set_faults(Faults { failing_copies: 1, unseen_images: 2, ..Faults::default() });
    let results = to(&lab, &image, &["eu-west-1"], Encryption::Default).await;
    says(results["eu-west-1"].as_ref().unwrap_err(), &["in eu-west-1 is failed: Image copy failed"]);
    assert!(lab.cloud.images("eu-west-1").is_empty() && lab.cloud.snapshots("eu-west-1").is_empty());
    to(&lab, &image, &["eu-west-1"], Encryption::Default).await["eu-west-1"].as_ref().unwrap();
}

#[tokio::test]
async fn an_image_that_somebody_else_made_is_promoted_too_and_lacking_tags_are_added() {
    let lab = Lab::new();
    let published = lab.image(1).await;
    lab.untag(&published);
    let image = published.image;
    let first = to(&lab, &image, &[OTHER], Encryption::Default).await;
    assert!(lab.told.text().contains("has no tags that tell where it comes from"), "{}", lab.told.text());
    let first = first[OTHER].as_ref().unwrap();
    // Known by its source, as it has no tag.
    let again = to(&lab, &image, &[OTHER], Encryption::Default).await;
    assert_eq!(again[OTHER].as_ref().unwrap(), &Promoted { found: true, ..first.clone() });
    lab.tag(REGION, &image, "stage", "production");
    to(&lab, &image, &[OTHER], Encryption::Default).await[OTHER].as_ref().unwrap();
    assert_eq!(lab.described(OTHER, &first.image).tags["stage"], "production");
}

#[tokio::test]
async fn what_an_earlier_builder_made_goes_nowhere() {
    let lab = Lab::new();
    let published = lab.image(1).await;
    let to = [OTHER, OTHER_ACCOUNT].map(|target| target.parse::<Target>().unwrap()).to_vec();
    let promotion = Promotion { image: published.image.clone(), to, encryption: Encryption::Default };
    let (account, session) = (lab.account().await, lab.session().await);
    // Its own tag says so, and where that was taken off, its snapshot's.
    let old = "0f".repeat(32);
    for id in [&published.image, published.snapshot.as_ref().unwrap()] {
        lab.untag(&published);
        lab.tag(REGION, id, "nanoos:content", &old);
        let error = promote(&account, &session, &promotion, &lab.report()).await.unwrap_err();
        says(&error, &[&published.image, "was made by an earlier builder", "build it again"]);
    }
    assert_eq!((lab.count("CopyImage"), lab.count("ModifySnapshotAttribute")), (0, 0));
}

#[tokio::test]
async fn an_account_may_launch_and_copy_what_is_shared() {
    let lab = Lab::new();
    let image = lab.image(1).await;
    for _ in 0..2 {
        let results = to(&lab, &image.image, &[OTHER_ACCOUNT], Encryption::Default).await;
        assert_eq!(results[OTHER_ACCOUNT].as_ref().unwrap().image, image.image);
    }
    let snapshot = lab.cloud.snapshot(REGION, image.snapshot.as_ref().unwrap()).unwrap();
    let accounts: Vec<_> =
        snapshot.shared_with.into_iter().chain(lab.described(REGION, &image.image).shared_with).collect();
    assert_eq!(accounts, [OTHER_ACCOUNT, OTHER_ACCOUNT]);
}

#[tokio::test]
async fn what_the_default_key_encrypts_can_not_be_shared_and_that_is_told() {
    let mut rules = rules();
    rules.encryption_by_default.insert(REGION.to_owned());
    let lab = Lab::with(rules);
    let image = lab.image(1).await.image;
    let results = to(&lab, &image, &[OTHER_ACCOUNT, OTHER], Encryption::Default).await;
    let parts = ["ec2:ModifySnapshotAttribute in eu-central-1", "the account's default key", "--kms-key"];
    says(results[OTHER_ACCOUNT].as_ref().unwrap_err(), &parts);
    assert!(results[OTHER].is_ok());
    assert!(lab.described(REGION, &image).shared_with.is_empty());
    let mut order = lab.order(2);
    let key = KEY.replace("us-west-2", REGION);
    order.encryption = Encryption::Key(key.parse().unwrap());
    let image = lab.publish(&order).await.image;
    to(&lab, &image, &[OTHER_ACCOUNT], Encryption::Default).await[OTHER_ACCOUNT].as_ref().unwrap();
    assert!(
        lab.told.text().contains(&format!("is encrypted by {key}: {OTHER_ACCOUNT} can launch")),
        "{}",
        lab.told.text()
    );
}

#[tokio::test]
async fn an_image_that_is_not_there_is_an_error_and_so_is_what_is_not_allowed() {
    let lab = Lab::new();
    let (account, session) = (lab.account().await, lab.session().await);
    let to_other = vec![Target::Region(OTHER.to_owned())];
    let promotion = Promotion { image: "ami-0123456789abcdef0".into(), to: to_other, encryption: Encryption::Default };
    let error = promote(&account, &session, &promotion, &lab.report()).await.unwrap_err();
    says(&error, &["ami-0123456789abcdef0 is no image of this account in eu-central-1", "-r for another region"]);
    let image = lab.image(1).await.image;
    lab.cloud.set_faults(Faults::of([
        Fault::new("CopyImage", Kind::Denied),
        Fault::new("ModifyImageAttribute", Kind::Denied),
    ]));
    let results = to(&lab, &image, &[OTHER, OTHER_ACCOUNT, "me-south-1"], Encryption::Default).await;
    says(results[OTHER].as_ref().unwrap_err(), &[r#""Action":"ec2:CopyImage","Resource":"*"}"#]);
    says(results[OTHER_ACCOUNT].as_ref().unwrap_err(), &[r#""Action":"ec2:ModifyImageAttribute""#]);
    says(results["me-south-1"].as_ref().unwrap_err(), &["whether the region is enabled for the account"]);
}
