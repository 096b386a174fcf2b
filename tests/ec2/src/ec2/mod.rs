//! EC2: the query protocol, version 2016-11-15.

mod account;
mod attributes;
mod copy;
mod filters;
mod images;
mod instances;
mod mappings;
pub(crate) mod params;
mod register;
mod snapshots;
mod tagging;
mod xml;

use crate::refusal::{Outcome, Refusal};
use crate::server::Call;

/// An operation: its name, what performs it, and its parameters' first words.
type Operation = (&'static str, fn(&Call<'_>) -> Outcome, &'static [&'static str]);

const OPERATIONS: &[Operation] = &[
    (
        "DescribeSnapshots",
        snapshots::describe_snapshots,
        &["SnapshotId", "Owner", "RestorableBy", "Filter", "MaxResults", "NextToken"],
    ),
    ("DeleteSnapshot", snapshots::delete_snapshot, &["SnapshotId"]),
    (
        "ModifySnapshotAttribute",
        attributes::modify_snapshot,
        &["SnapshotId", "Attribute", "OperationType", "UserId", "UserGroup", "CreateVolumePermission"],
    ),
    (
        "RegisterImage",
        register::register_image,
        &[
            "Name",
            "Description",
            "Architecture",
            "RootDeviceName",
            "BlockDeviceMapping",
            "VirtualizationType",
            "BootMode",
            "TpmSupport",
            "ImdsSupport",
            "EnaSupport",
            "SriovNetSupport",
            "TagSpecification",
        ],
    ),
    (
        "DescribeImages",
        images::describe_images,
        &[
            "ImageId",
            "Owner",
            "ExecutableBy",
            "Filter",
            "IncludeDeprecated",
            "IncludeDisabled",
            "MaxResults",
            "NextToken",
        ],
    ),
    ("DeregisterImage", images::deregister_image, &["ImageId", "DeleteAssociatedSnapshots"]),
    (
        "CopyImage",
        copy::copy_image,
        &[
            "SourceImageId",
            "SourceRegion",
            "Name",
            "Description",
            "ClientToken",
            "Encrypted",
            "KmsKeyId",
            "CopyImageTags",
            "TagSpecification",
        ],
    ),
    (
        "ModifyImageAttribute",
        attributes::modify_image,
        &["ImageId", "Attribute", "OperationType", "UserId", "UserGroup", "LaunchPermission"],
    ),
    ("DescribeImageAttribute", attributes::describe_image, &["ImageId", "Attribute"]),
    ("CreateTags", tagging::create_tags, &["ResourceId", "Tag"]),
    ("DescribeRegions", account::describe_regions, &["RegionName", "AllRegions", "Filter"]),
    ("GetEbsEncryptionByDefault", account::encryption_by_default, &[]),
    ("GetEbsDefaultKmsKeyId", account::default_key, &[]),
    ("DescribeVpcs", account::describe_vpcs, &["VpcId", "Filter", "MaxResults", "NextToken"]),
    ("DescribeSubnets", account::describe_subnets, &["SubnetId", "Filter", "MaxResults", "NextToken"]),
    ("DescribeInstanceTypes", account::describe_instance_types, &["InstanceType", "Filter", "MaxResults", "NextToken"]),
    (
        "RunInstances",
        instances::run_instances,
        &[
            "ImageId",
            "InstanceType",
            "MinCount",
            "MaxCount",
            "ClientToken",
            "UserData",
            "SubnetId",
            "SecurityGroupId",
            "SecurityGroup",
            "KeyName",
            "NetworkInterface",
            "MetadataOptions",
            "IamInstanceProfile",
            "InstanceInitiatedShutdownBehavior",
            "TagSpecification",
            "BlockDeviceMapping",
            "Placement",
            "Monitoring",
            "EbsOptimized",
            "InstanceMarketOptions",
            "CreditSpecification",
        ],
    ),
    ("DescribeInstances", instances::describe_instances, &["InstanceId", "Filter", "MaxResults", "NextToken"]),
    ("GetConsoleOutput", instances::console_output, &["InstanceId", "Latest"]),
    ("TerminateInstances", instances::terminate_instances, &["InstanceId", "Force", "SkipOsShutdown"]),
];

pub(crate) fn perform(action: &str, call: &Call<'_>) -> Outcome {
    if call.params.get("Version") != Some("2016-11-15") {
        return Err(Refusal::ec2("InvalidParameterValue", "Only version 2016-11-15 is known here"));
    }
    let Some((_, perform, parameters)) = OPERATIONS.iter().find(|(name, ..)| *name == action) else {
        let message = format!("The action {action} is not valid for this web service.");
        return Err(Refusal::ec2("InvalidAction", message));
    };
    call.params.known(parameters)?;
    if call.params.flag("DryRun")? == Some(true) {
        let message = "Request would have succeeded, but DryRun flag is set.";
        return Err(Refusal::new(412, "DryRunOperation", message));
    }
    perform(call)
}

/// Checks the form of an identifier such as `ami-0123456789abcdef0`.
fn check_id(id: &str, prefix: &str, code: &'static str) -> Result<(), Refusal> {
    let digits = id.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-')).unwrap_or("");
    let hex = digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if hex && matches!(digits.len(), 8 | 17) {
        return Ok(());
    }
    Err(Refusal::ec2(code, format!("Invalid id: \"{id}\" (expecting \"{prefix}-...\")")))
}

fn check_snapshot_id(id: &str) -> Result<(), Refusal> {
    check_id(id, "snap", "InvalidSnapshotID.Malformed")
}

fn check_image_id(id: &str) -> Result<(), Refusal> {
    check_id(id, "ami", "InvalidAMIID.Malformed")
}

fn no_snapshot(id: &str) -> Refusal {
    Refusal::ec2("InvalidSnapshot.NotFound", format!("The snapshot '{id}' does not exist."))
}

fn no_image(id: &str) -> Refusal {
    Refusal::ec2("InvalidAMIID.NotFound", format!("The image id '[{id}]' does not exist"))
}
