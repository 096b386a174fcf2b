//! DescribeImages, DeregisterImage, sharing of images, regions.

use super::client::{Lab, REGION};
use crate::{OTHER_ACCOUNT, Rules};

fn count(text: &str) -> usize {
    text.matches("<imageId>").count()
}

#[test]
fn images_are_found_by_filters_and_come_in_pages() {
    let lab = Lab::with(Rules { page: 2, ..Rules::default() });
    let snapshot = lab.completed(&[1]);
    for name in ["web-1", "web-2", "db-1"] {
        let tag = [
            "TagSpecification.1.ResourceType=image",
            "TagSpecification.1.Tag.1.Key=app",
            &*format!("TagSpecification.1.Tag.1.Value={name}"),
        ];
        lab.register(name, &snapshot, &tag).accepted();
    }
    for (filter, value, found) in
        [("name", "web-*", 2), ("tag:app", "db-1", 1), ("tag-key", "other", 0), ("state", "pending", 0)]
    {
        let (name, value) = (format!("Filter.1.Name={filter}"), format!("Filter.1.Value.1={value}"));
        let answer = lab.ec2("DescribeImages", &["Owner.1=self", &name, &value]).accepted();
        assert_eq!(count(&answer.text()), found, "{filter}");
    }
    let first = lab.ec2("DescribeImages", &["Owner.1=self"]).accepted();
    let token = format!("NextToken={}", first.element("nextToken").unwrap());
    let second = lab.ec2("DescribeImages", &["Owner.1=self", &token]).accepted();
    assert_eq!((count(&first.text()), count(&second.text()), second.element("nextToken")), (2, 1, None));
    let answer = lab.ec2("DescribeImages", &["Filter.1.Name=colour", "Filter.1.Value.1=red"]);
    answer.refused(400, "InvalidParameterValue", "'colour'");
}

#[test]
fn unknown_and_malformed_images_are_told_apart() {
    let lab = Lab::new();
    lab.ec2("DescribeImages", &["ImageId.1=ami-0123456789abcdef0"]).refused(
        400,
        "InvalidAMIID.NotFound",
        "does not exist",
    );
    lab.ec2("DescribeImages", &["ImageId.1=ami-x"]).refused(400, "InvalidAMIID.Malformed", "ami-x");
    lab.ec2("DeregisterImage", &["ImageId=ami-x"]).refused(400, "InvalidAMIID.Malformed", "ami-x");
    lab.ec2("DeregisterImage", &["ImageId=ami-0123456789abcdef0"]).refused(400, "InvalidAMIID.Unavailable", "");
}

#[test]
fn an_image_is_seen_by_those_it_is_shared_with() {
    let mut lab = Lab::new();
    let snapshot = lab.completed(&[1]);
    let image = lab.register("name", &snapshot, &[]).accepted().element("imageId").unwrap();
    let (by_id, parameter) = (format!("ImageId.1={image}"), format!("ImageId={image}"));
    lab.key = "AKIAOTHERACCOUNTKEY0";
    lab.ec2("DescribeImages", &[&by_id]).refused(400, "InvalidAMIID.NotFound", "");
    lab.ec2("DeregisterImage", &[&parameter]).refused(400, "InvalidAMIID.Unavailable", "");
    lab.key = "AKIDEXAMPLE";
    let modify = |more: &[&str]| lab.ec2("ModifyImageAttribute", &[&[parameter.as_str()], more].concat());
    modify(&["LaunchPermission.Add.1.UserId=12"]).refused(400, "InvalidAMIAttributeItemValue", "12");
    modify(&[]).refused(400, "InvalidParameterCombination", "No attributes");
    modify(&["Attribute=colour"]).refused(400, "InvalidParameterValue", "colour");
    modify(&["OperationType=spread"]).refused(400, "InvalidParameterValue", "spread");
    let user = format!("LaunchPermission.Add.1.UserId={OTHER_ACCOUNT}");
    modify(&[&user]).accepted();
    let told = lab.ec2("DescribeImageAttribute", &[&parameter, "Attribute=launchPermission"]).accepted();
    assert_eq!(told.element("userId").as_deref(), Some(OTHER_ACCOUNT));
    lab.ec2("DescribeImageAttribute", &[&parameter, "Attribute=colour"]).refused(400, "InvalidParameterValue", "");
    lab.key = "AKIAOTHERACCOUNTKEY0";
    lab.ec2("DescribeImages", &[&by_id]).accepted();
    lab.ec2("DeregisterImage", &[&parameter]).refused(403, "AuthFailure", "Not authorized");
    lab.ec2("ModifyImageAttribute", &[&parameter, &user]).refused(400, "InvalidAMIID.NotFound", "");
}

#[test]
fn deregistering_deletes_the_snapshots_where_asked_and_unused() {
    let lab = Lab::new();
    let snapshot = lab.completed(&[1]);
    let ids =
        ["name-1", "name-2"].map(|name| lab.register(name, &snapshot, &[]).accepted().element("imageId").unwrap());
    let deregister =
        |id: &str| lab.ec2("DeregisterImage", &[&format!("ImageId={id}"), "DeleteAssociatedSnapshots=true"]);
    assert_eq!(deregister(&ids[0]).accepted().element("returnCode").as_deref(), Some("skipped"));
    assert_eq!(lab.stand_in.snapshots(REGION).len(), 1);
    assert_eq!(deregister(&ids[1]).accepted().element("returnCode").as_deref(), Some("success"));
    assert!(lab.stand_in.snapshots(REGION).is_empty());
}

#[test]
fn regions_are_told_with_their_status() {
    let lab = Lab::new();
    let text = lab.ec2("DescribeRegions", &[]).accepted().text();
    assert!(text.contains("ap-east-1") && !text.contains("me-south-1"));
    assert!(lab.ec2("DescribeRegions", &["AllRegions=true"]).text().contains("not-opted-in"));
    let one = lab.ec2("DescribeRegions", &["RegionName.1=me-south-1"]).accepted();
    assert_eq!(one.element("optInStatus").as_deref(), Some("not-opted-in"));
    let filter = ["AllRegions=true", "Filter.1.Name=opt-in-status", "Filter.1.Value.1=opted-in"];
    assert_eq!(lab.ec2("DescribeRegions", &filter).text().matches("<item>").count(), 1);
    lab.ec2("DescribeRegions", &["RegionName.1=mars-1"]).refused(400, "InvalidParameterValue", "mars-1");
}

#[test]
fn a_disabled_image_is_told_of_where_it_is_asked_for_and_a_recycled_one_never() {
    let lab = Lab::new();
    let snapshot = lab.completed(&[1]);
    let image = lab.register("name", &snapshot, &[]).accepted().element("imageId").unwrap();
    let told = |more: &[&str]| count(&lab.ec2("DescribeImages", &[&["Owner.1=self"], more].concat()).accepted().text());
    lab.stand_in.disable(REGION, &image);
    assert_eq!((told(&[]), told(&["IncludeDisabled=true"])), (0, 1));
    lab.stand_in.recycle(REGION, &image);
    assert_eq!(told(&["IncludeDisabled=true"]), 0);
    lab.ec2("DeleteSnapshot", &[&format!("SnapshotId={snapshot}")]).refused(400, "InvalidSnapshot.InUse", &image);
}
