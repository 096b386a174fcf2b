//! CopyImage.

use super::client::{Answer, Lab, REGION, block, id};
use crate::{ACCOUNT, Faults, ImageState, OTHER_ACCOUNT, Rules};
use serde_json::json;

const THERE: &str = "eu-west-1";

/// A lab that talks to another region, and an image in the first one.
fn lab_with_image() -> (Lab, String) {
    let mut lab = Lab::new();
    let snapshot = lab.completed(&[1]);
    let tag = ["TagSpecification.1.ResourceType=image", "TagSpecification.1.Tag.1.Key=a"];
    let image = lab.register("name", &snapshot, &tag).accepted().element("imageId").unwrap();
    lab.region = THERE;
    (lab, image)
}

fn copy(lab: &Lab, image: &str, more: &[&str]) -> Answer {
    let source = format!("SourceImageId={image}");
    lab.ec2("CopyImage", &[&[source.as_str(), "SourceRegion=us-east-1", "Name=copy"], more].concat())
}

#[test]
fn a_copy_has_its_own_snapshot_with_the_same_blocks() {
    let (lab, image) = lab_with_image();
    let answer = copy(&lab, &image, &["CopyImageTags=true", "Description=d"]).accepted();
    let by_id = format!("ImageId.1={}", answer.element("imageId").unwrap());
    let state = || lab.ec2("DescribeImages", &[&by_id]).element("imageState").unwrap();
    assert_eq!([state(), state()], ["pending", "available"]);
    let copied = lab.stand_in.images(THERE).remove(0);
    assert_eq!((copied.name.as_str(), copied.boot_mode.as_deref()), ("copy", Some("uefi")));
    assert_eq!(copied.source, Some((REGION.to_owned(), image)));
    assert!(copied.tags.contains_key("a"));
    let snapshot = copied.mappings[0].snapshot.clone().unwrap();
    assert!(lab.stand_in.snapshot(REGION, &snapshot).is_none());
    assert_eq!(lab.stand_in.block(THERE, &snapshot, 0).unwrap(), block(1));
    assert_eq!(lab.stand_in.block(THERE, &snapshot, 1).unwrap(), block(0));
}

#[test]
fn copies_are_refused_as_registrations_are() {
    let (lab, image) = lab_with_image();
    copy(&lab, "ami-x", &[]).refused(400, "InvalidAMIID.Malformed", "");
    copy(&lab, "ami-0123456789abcdef0", &[]).refused(400, "InvalidAMIID.NotFound", "");
    let source = format!("SourceImageId={image}");
    let with = |region: &str, name: &str| lab.ec2("CopyImage", &[&source, region, name]);
    with("SourceRegion=mars-1", "Name=copy").refused(400, "InvalidParameterValue", "mars-1");
    with("SourceRegion=us-east-1", "Name=x").refused(400, "InvalidAMIName.Malformed", "");
    copy(&lab, &image, &["KmsKeyId=x"]).refused(400, "InvalidParameterDependency", "Encrypted");
    let pending = copy(&lab, &image, &[]).accepted().element("imageId").unwrap();
    copy(&lab, &image, &[]).refused(400, "InvalidAMIName.Duplicate", &pending);
    let answer = lab.ec2("CopyImage", &[&format!("SourceImageId={pending}"), "SourceRegion=eu-west-1", "Name=again"]);
    answer.refused(400, "InvalidAMIID.Unavailable", "not available");
}

#[test]
fn a_token_gives_the_same_copy() {
    let (lab, image) = lab_with_image();
    let first = copy(&lab, &image, &["ClientToken=t"]).accepted().element("imageId");
    assert_eq!(copy(&lab, &image, &["ClientToken=t"]).accepted().element("imageId"), first);
    copy(&lab, &image, &["ClientToken=t", "Description=d"]).refused(400, "IdempotentParameterMismatch", "");
    let long = format!("ClientToken={}", "x".repeat(65));
    copy(&lab, &image, &[&long]).refused(400, "InvalidParameterValue", "ClientToken");
}

#[test]
fn an_encrypted_copy_reads_as_noise_where_nobody_wrote() {
    let (lab, image) = lab_with_image();
    copy(&lab, &image, &["Encrypted=true", "KmsKeyId=arn:aws:kms:eu-west-1:123456789012:key/a"]).accepted();
    let copied = lab.stand_in.images(THERE).remove(0);
    assert!(copied.mappings[0].encrypted);
    let snapshot = copied.mappings[0].snapshot.clone().unwrap();
    assert_eq!(lab.stand_in.block(THERE, &snapshot, 0).unwrap(), block(1));
    assert_ne!(lab.stand_in.block(THERE, &snapshot, 1).unwrap(), block(0));
}

#[test]
fn a_copy_may_fail() {
    let (lab, image) = lab_with_image();
    lab.stand_in.set_faults(Faults { failing_copies: 1, ..Faults::default() });
    copy(&lab, &image, &[]).accepted();
    let told = || lab.ec2("DescribeImages", &["Owner.1=self"]);
    assert_eq!(told().element("imageState").unwrap(), "pending");
    let failed = told();
    assert_eq!(
        (failed.element("imageState").unwrap(), failed.element("message").unwrap()),
        ("failed".to_owned(), "Image copy failed".to_owned())
    );
    lab.ec2("DeregisterImage", &[&format!("ImageId={}", failed.element("imageId").unwrap())]).accepted();
    copy(&lab, &image, &[]).accepted();
    told();
    assert_eq!(lab.stand_in.images(THERE)[0].state(), ImageState::Available);
}

#[test]
fn a_shared_image_is_copied_where_its_snapshot_is_shared_too() {
    let mut lab = Lab::with(Rules { encryption_by_default: [THERE.to_owned()].into(), ..Rules::default() });
    let snapshot = id(&lab.start(&json!({ "VolumeSize": 1 })).accepted());
    lab.finish(&snapshot, &[1]);
    let image = lab.register("name", &snapshot, &[]).accepted().element("imageId").unwrap();
    let user = format!("LaunchPermission.Add.1.UserId={OTHER_ACCOUNT}");
    lab.ec2("ModifyImageAttribute", &[&format!("ImageId={image}"), &user]).accepted();
    (lab.key, lab.region) = ("AKIAOTHERACCOUNTKEY0", THERE);
    copy(&lab, &image, &[]).refused(400, "InvalidSnapshot.NotFound", &snapshot);
    (lab.key, lab.region) = ("AKIDEXAMPLE", REGION);
    let user = format!("CreateVolumePermission.Add.1.UserId={OTHER_ACCOUNT}");
    lab.ec2("ModifySnapshotAttribute", &[&format!("SnapshotId={snapshot}"), &user]).accepted();
    (lab.key, lab.region) = ("AKIAOTHERACCOUNTKEY0", THERE);
    copy(&lab, &image, &[]).accepted();
    let copied = lab.stand_in.images(THERE).remove(0);
    assert_eq!(copied.owner, OTHER_ACCOUNT);
    assert!(copied.mappings[0].encrypted, "encryption by default");
    assert_ne!(copied.owner, ACCOUNT);
}
