//! What RegisterImage refuses.

use super::client::{Lab, REGION, id};
use crate::{Delay, ImageState, Rules};
use serde_json::json;

#[test]
fn an_image_is_registered_with_all_that_was_said() {
    let lab = Lab::new();
    let snapshot = lab.completed(&[1]);
    let more = [
        "TpmSupport=v2.0",
        "Description=d",
        "BlockDeviceMapping.1.Ebs.DeleteOnTermination=false",
        "BlockDeviceMapping.2.DeviceName=/dev/xvdb",
        "BlockDeviceMapping.2.Ebs.VolumeSize=3",
        "BlockDeviceMapping.2.Ebs.VolumeType=gp3",
        "BlockDeviceMapping.2.Ebs.Encrypted=true",
        "TagSpecification.1.ResourceType=image",
        "TagSpecification.1.Tag.1.Key=a",
        "TagSpecification.1.Tag.1.Value=b",
    ];
    lab.register("name", &snapshot, &more).accepted();
    let image = lab.stand_in.images(REGION).remove(0);
    assert_eq!((image.state(), image.tags["a"].as_str(), image.ena), (ImageState::Available, "b", true));
    assert_eq!((image.tpm.as_deref(), image.imds.as_deref()), (Some("v2.0"), Some("v2.0")));
    let (root, data) = (&image.mappings[0], &image.mappings[1]);
    assert_eq!((root.size, root.delete_on_termination, root.snapshot.as_deref()), (1, false, Some(snapshot.as_str())));
    assert_eq!((data.size, data.delete_on_termination, data.encrypted), (3, true, true));
    let told = lab.ec2("DescribeImages", &[&format!("ImageId.1={}", image.id)]).accepted();
    for (name, value) in [
        ("imageState", "available"),
        ("architecture", "x86_64"),
        ("virtualizationType", "hvm"),
        ("bootMode", "uefi"),
        ("tpmSupport", "v2.0"),
        ("imdsSupport", "v2.0"),
        ("sriovNetSupport", "simple"),
        ("enaSupport", "true"),
        ("rootDeviceName", "/dev/xvda"),
        ("deleteOnTermination", "false"),
        ("key", "a"),
    ] {
        assert_eq!(told.element(name).as_deref(), Some(value), "{name}");
    }
}

#[test]
fn names_follow_the_rule_and_are_unique() {
    let lab = Lab::new();
    let snapshot = lab.completed(&[1]);
    for wrong in ["ab", &"x".repeat(129), "a:b", "a%2Bb", "a%C3%A9b", "a%23b"] {
        lab.register(wrong, &snapshot, &[]).refused(400, "InvalidAMIName.Malformed", "between 3 and 128 characters");
    }
    let name = "a()[] ./-'@_9";
    let image = lab.register(name, &snapshot, &[]).accepted().element("imageId").unwrap();
    let says = format!("AMI name {name} is already in use by AMI {image}");
    lab.register(name, &snapshot, &[]).refused(400, "InvalidAMIName.Duplicate", &says);
    lab.ec2("DeregisterImage", &[&format!("ImageId={image}")]).accepted();
    lab.register(name, &snapshot, &[]).accepted();
    lab.register("name", &snapshot, &["Name"]).refused(400, "MissingParameter", "Name");
}

#[test]
fn dangerous_defaults_are_refused_unless_the_rules_say_so() {
    let lab = Lab::new();
    let snapshot = lab.completed(&[1]);
    for name in ["Architecture", "VirtualizationType", "BootMode", "EnaSupport", "ImdsSupport"] {
        lab.register("name", &snapshot, &[name]).refused(400, "InvalidParameterValue", &format!("strict: {name}"));
    }
    lab.register("name", &snapshot, &["EnaSupport=false"]).refused(400, "InvalidParameterValue", "strict: EnaSupport");
    let lab = Lab::with(Rules { strict: false, ..Rules::default() });
    let snapshot = lab.completed(&[1]);
    lab.register("name", &snapshot, &["Architecture", "VirtualizationType", "BootMode", "EnaSupport", "ImdsSupport"])
        .accepted();
    let image = lab.stand_in.images(REGION).remove(0);
    assert_eq!((image.architecture.as_str(), image.virtualization.as_str(), image.ena), ("i386", "paravirtual", false));
}

#[test]
fn values_are_of_those_there_are() {
    let lab = Lab::new();
    let snapshot = lab.completed(&[1]);
    for wrong in [
        "Architecture=riscv",
        "VirtualizationType=kvm",
        "BootMode=coreboot",
        "TpmSupport=v1.2",
        "ImdsSupport=v1.0",
        "EnaSupport=1",
    ] {
        lab.register("name", &snapshot, &[wrong]).refused(400, "InvalidParameterValue", "is invalid");
    }
    let tpm = ["TpmSupport=v2.0", "BootMode=uefi-preferred"];
    lab.register("name", &snapshot, &tpm).refused(400, "InvalidParameterCombination", "TpmSupport");
    let arm = ["Architecture=arm64", "BootMode=uefi-preferred"];
    lab.register("name", &snapshot, &arm).refused(400, "InvalidParameterCombination", "arm64");
    let tag = ["TagSpecification.1.ResourceType=instance", "TagSpecification.1.Tag.1.Key=a"];
    lab.register("name", &snapshot, &tag).refused(400, "InvalidParameterValue", "taggable");
    lab.register("name", &snapshot, &["Kernel=x"]).refused(400, "UnknownParameter", "Kernel");
}

#[test]
fn the_root_is_a_completed_snapshot() {
    let mut lab = Lab::new();
    let (pending, snapshot) = (lab.pending(), lab.completed(&[1]));
    lab.register("name", &pending, &[]).refused(400, "InvalidBlockDeviceMapping", "in the state 'pending'");
    lab.register("name", "snap-0123456789abcdef0", &[]).refused(400, "InvalidSnapshot.NotFound", "does not exist");
    lab.register("name", "x", &[]).refused(400, "InvalidSnapshotID.Malformed", "Invalid id");
    for root in ["RootDeviceName=/dev/xvdb", "RootDeviceName"] {
        lab.register("name", &snapshot, &[root]).refused(
            400,
            "InvalidBlockDeviceMapping",
            "does not match any mapping",
        );
    }
    let blank = ["BlockDeviceMapping.1.Ebs.SnapshotId", "BlockDeviceMapping.1.Ebs.VolumeSize=1"];
    lab.register("name", &snapshot, &blank).refused(400, "InvalidBlockDeviceMapping", "does not match any mapping");
    lab.key = "AKIAOTHERACCOUNTKEY0";
    lab.register("name", &snapshot, &[]).refused(400, "InvalidSnapshot.NotFound", "does not exist");
}

#[test]
fn mappings_are_checked() {
    let lab = Lab::new();
    let snapshot = id(&lab.start(&json!({ "VolumeSize": 2 })).accepted());
    lab.finish(&snapshot, &[1]);
    let ebs = |rest: &str| format!("BlockDeviceMapping.1.Ebs.{rest}");
    let mapping = "InvalidBlockDeviceMapping";
    for (change, code, says) in [
        (ebs("VolumeSize=1"), mapping, "Volume of size 1GB is smaller than snapshot"),
        (
            ebs("Encrypted=true"),
            mapping,
            "the encrypted flag cannot be specified since device /dev/xvda has a snapshot",
        ),
        (ebs("Encrypted=false"), mapping, "the encrypted flag cannot be specified"),
        (ebs("VolumeType=gp9"), "InvalidParameterValue", "gp9"),
        (ebs("VolumeType=st1"), mapping, "125 to 16384"),
        (ebs("Iops=100"), "InvalidParameterValue", "iops"),
        (ebs("Throughput=1"), "InvalidParameterValue", "throughput"),
        (ebs("DeleteOnTermination=yes"), "InvalidParameterValue", "DeleteOnTermination"),
        (ebs("Colour=red"), "UnknownParameter", "Colour"),
        ("BlockDeviceMapping.1.DeviceName=root".to_owned(), mapping, "Invalid device name"),
    ] {
        lab.register("name", &snapshot, &[&change]).refused(400, code, says);
    }
    let io2 = [ebs("VolumeType=io2"), ebs("VolumeSize=4")];
    lab.register("name", &snapshot, &[&io2[0], &io2[1]]).refused(400, "MissingParameter", "iops");
    let gp2 = [ebs("VolumeType=gp2"), ebs("Iops=3000")];
    lab.register("name", &snapshot, &[&gp2[0], &gp2[1]]).refused(400, "InvalidParameterCombination", "gp2");
    let throughput = [ebs("VolumeType=gp2"), ebs("Throughput=125")];
    lab.register("name", &snapshot, &[&throughput[0], &throughput[1]]).refused(
        400,
        "InvalidParameterCombination",
        "gp2",
    );
}

#[test]
fn blank_volumes_are_checked() {
    let lab = Lab::new();
    let snapshot = lab.completed(&[1]);
    let device = "BlockDeviceMapping.2.DeviceName=/dev/xvdb";
    let blank = |more: &[&str]| lab.register("name", &snapshot, &[&[device], more].concat());
    blank(&[]).refused(400, "MissingParameter", "the size of device /dev/xvdb");
    let key = ["BlockDeviceMapping.2.Ebs.VolumeSize=1", "BlockDeviceMapping.2.Ebs.KmsKeyId=x"];
    blank(&key).refused(400, "InvalidParameterDependency", "Encrypted");
    let twice = ["BlockDeviceMapping.2.DeviceName=/dev/xvda", "BlockDeviceMapping.2.Ebs.VolumeSize=1"];
    lab.register("name", &snapshot, &twice).refused(400, "InvalidBlockDeviceMapping", "more than one");
    blank(&["BlockDeviceMapping.2.Ebs.VolumeSize=1"]).accepted();
    assert_eq!(lab.stand_in.images(REGION)[0].mappings[1].volume_type, "standard", "AWS's default");
}

#[test]
fn registration_may_take_its_time() {
    let lab = Lab::with(Rules { registration: Delay::Answers(2), ..Rules::default() });
    let snapshot = lab.completed(&[1]);
    lab.register("name", &snapshot, &[]).accepted();
    let state = || lab.ec2("DescribeImages", &["Owner.1=self"]).element("imageState").unwrap();
    assert_eq!([state(), state(), state()], ["pending", "pending", "available"]);
}
