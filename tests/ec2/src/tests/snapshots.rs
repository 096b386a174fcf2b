//! DescribeSnapshots, DeleteSnapshot, CreateTags and sharing of snapshots.

use super::client::{Lab, REGION, id};
use crate::{ACCOUNT, OTHER_ACCOUNT, Rules};
use serde_json::json;

fn count(text: &str) -> usize {
    text.matches("<snapshotId>").count()
}

#[test]
fn snapshots_are_found_by_filters() {
    let lab = Lab::new();
    let tags = json!([{ "Key": "name", "Value": "web-1" }]);
    lab.start(&json!({ "VolumeSize": 2, "Description": "first", "Tags": tags })).accepted();
    let second = lab.completed(&[1]);
    let owner = format!("Filter.1.Value.1={ACCOUNT}");
    for (filter, value, found) in [
        ("tag:name", "Filter.1.Value.1=web-*", 1),
        ("tag:name", "Filter.1.Value.1=db-*", 0),
        ("tag-key", "Filter.1.Value.1=name", 1),
        ("status", "Filter.1.Value.1=completed", 1),
        ("status", "Filter.1.Value.1=pending&Filter.1.Value.2=completed", 2),
        ("owner-id", owner.as_str(), 2),
        ("description", "Filter.1.Value.1=first", 1),
        ("volume-size", "Filter.1.Value.1=2", 1),
        ("encrypted", "Filter.1.Value.1=false", 2),
    ] {
        let answer = lab.ec2("DescribeSnapshots", &["Owner.1=self", &format!("Filter.1.Name={filter}"), value]);
        assert_eq!(count(&answer.accepted().text()), found, "{filter} {value}");
    }
    let answer = lab.ec2("DescribeSnapshots", &["Filter.1.Name=colour", "Filter.1.Value.1=red"]);
    answer.refused(400, "InvalidParameterValue", "The filter 'colour' is invalid");
    let answer = lab.ec2("DescribeSnapshots", &[&format!("SnapshotId.1={second}")]).accepted();
    assert_eq!(answer.element("progress").as_deref(), Some("100%"));
}

#[test]
fn unknown_and_malformed_snapshots_are_told_apart() {
    let lab = Lab::new();
    let describe = |id: &str| lab.ec2("DescribeSnapshots", &[&format!("SnapshotId.1={id}")]);
    describe("snap-0123456789abcdef0").refused(
        400,
        "InvalidSnapshot.NotFound",
        "'snap-0123456789abcdef0' does not exist",
    );
    for wrong in ["snap-1", "snap-0123456789ABCDEF0", "ami-0123456789abcdef0", ""] {
        describe(wrong).refused(400, "InvalidSnapshotID.Malformed", wrong);
        let answer = lab.ec2("DeleteSnapshot", &[&format!("SnapshotId={wrong}")]);
        assert_eq!(answer.status, 400);
    }
    lab.ec2("DeleteSnapshot", &["SnapshotId=snap-0123456789abcdef0"]).refused(400, "InvalidSnapshot.NotFound", "");
}

#[test]
fn snapshots_come_in_pages() {
    let lab = Lab::with(Rules { page: 2, ..Rules::default() });
    for _ in 0..5 {
        lab.pending();
    }
    let (mut next, mut found) = (String::new(), Vec::new());
    loop {
        let token = format!("NextToken={next}");
        let parameters = if next.is_empty() { vec!["Owner.1=self"] } else { vec!["Owner.1=self", &token] };
        let answer = lab.ec2("DescribeSnapshots", &parameters).accepted();
        found.push(count(&answer.text()));
        let Some(token) = answer.element("nextToken") else { break };
        next = token;
    }
    assert_eq!(found, [2, 2, 1]);
    lab.ec2("DescribeSnapshots", &["NextToken=2-0000"]).refused(400, "InvalidNextToken", "");
    lab.ec2("DescribeSnapshots", &["MaxResults=4"]).refused(400, "InvalidParameterValue", "MaxResults");
    let answer = lab.ec2("DescribeSnapshots", &["MaxResults=5", "SnapshotId.1=snap-0123456789abcdef0"]);
    answer.refused(400, "InvalidParameterCombination", "snapshotSet");
}

#[test]
fn a_snapshot_that_an_image_uses_is_not_deleted() {
    let lab = Lab::new();
    let (pending, used) = (lab.pending(), lab.completed(&[1]));
    let image = lab.register("name", &used, &[]).accepted().element("imageId").unwrap();
    let delete = |id: &str| lab.ec2("DeleteSnapshot", &[&format!("SnapshotId={id}")]);
    delete(&used).refused(400, "InvalidSnapshot.InUse", &format!("{used} is currently in use by {image}"));
    delete(&pending).accepted();
    lab.put(&pending, 0, 1).refused(404, "ResourceNotFoundException", "SNAPSHOT_NOT_FOUND");
    lab.ec2("DeregisterImage", &[&format!("ImageId={image}")]).accepted();
    delete(&used).accepted();
    assert!(lab.stand_in.snapshots(REGION).is_empty());
}

#[test]
fn tags_are_merged_up_to_fifty() {
    let lab = Lab::new();
    let tags: Vec<_> = (0..49).map(|n| json!({ "Key": format!("k{n}"), "Value": "" })).collect();
    let snapshot = id(&lab.start(&json!({ "VolumeSize": 1, "Tags": tags })).accepted());
    let resource = format!("ResourceId.1={snapshot}");
    lab.ec2("CreateTags", &[&resource, "Tag.1.Key=k0", "Tag.1.Value=new", "Tag.2.Key=more"]).accepted();
    let stored = lab.stand_in.snapshot(REGION, &snapshot).unwrap().tags;
    assert_eq!((stored.len(), stored["k0"].as_str()), (50, "new"));
    lab.ec2("CreateTags", &[&resource, "Tag.1.Key=too-many"]).refused(400, "TagLimitExceeded", "50");
    lab.ec2("CreateTags", &[&resource, "Tag.1.Key=aws:x"]).refused(400, "InvalidParameterValue", "reserved");
    lab.ec2("CreateTags", &[&resource]).refused(400, "MissingParameter", "Tag");
    lab.ec2("CreateTags", &["Tag.1.Key=x"]).refused(400, "MissingParameter", "ResourceId");
    let twice = ["ResourceId.1=ami-0123456789abcdef0", "Tag.1.Key=x", "Tag.2.Key=x"];
    lab.ec2("CreateTags", &twice).refused(400, "InvalidParameterValue", "Duplicate tag key 'x'");
    lab.ec2("CreateTags", &twice[..2]).refused(400, "InvalidAMIID.NotFound", "");
    let both = [&resource, "ResourceId.2=i-0123456789abcdef0", "Tag.1.Key=k1", "Tag.1.Value=changed"];
    lab.ec2("CreateTags", &both).refused(400, "InvalidInstanceID.NotFound", "");
    assert_eq!(lab.stand_in.snapshot(REGION, &snapshot).unwrap().tags["k1"], "", "all or none");
}

#[test]
fn a_snapshot_is_seen_by_those_it_is_shared_with() {
    let mut lab = Lab::new();
    let snapshot = lab.completed(&[1]);
    let encrypted = id(&lab.start(&json!({ "VolumeSize": 1, "Encrypted": true })).accepted());
    let parameter = format!("SnapshotId={snapshot}");
    let user = format!("UserId.1={OTHER_ACCOUNT}");
    lab.key = "AKIAOTHERACCOUNTKEY0";
    let describe = [&*format!("SnapshotId.1={snapshot}")];
    lab.ec2("DescribeSnapshots", &describe).refused(400, "InvalidSnapshot.NotFound", "");
    lab.key = "AKIDEXAMPLE";
    let share = |snapshot: &str, user: &str| {
        lab.ec2("ModifySnapshotAttribute", &[snapshot, "Attribute=createVolumePermission", "OperationType=add", user])
    };
    share(&parameter, "UserId.1=me").refused(
        400,
        "InvalidAMIAttributeItemValue",
        "\"me\"".replace('"', "&quot;").as_str(),
    );
    share(&format!("SnapshotId={encrypted}"), &user).refused(400, "OperationNotPermitted", "default key");
    share(&parameter, &user).accepted();
    lab.key = "AKIAOTHERACCOUNTKEY0";
    lab.ec2("DescribeSnapshots", &describe).accepted();
    assert_eq!(count(&lab.ec2("DescribeSnapshots", &["Owner.1=self"]).text()), 0);
    lab.ec2("DeleteSnapshot", &[&parameter]).refused(400, "InvalidSnapshot.NotFound", "");
    let child = lab.start(&json!({ "VolumeSize": 1, "ParentSnapshotId": snapshot }));
    child.refused(400, "ValidationException", "does not belong to the account");
}
