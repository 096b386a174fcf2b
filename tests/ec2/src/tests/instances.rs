//! RunInstances and what is asked of instances.

use super::client::{Answer, Lab, REGION, base64};
use crate::{Faults, InstanceState};

fn lab_with_image(changes: &[&str]) -> (Lab, String) {
    let lab = Lab::new();
    let snapshot = lab.completed(&[1]);
    let image = lab.register("name", &snapshot, changes).accepted().element("imageId").unwrap();
    (lab, image)
}

fn run(lab: &Lab, image: &str, more: &[&str]) -> Answer {
    let image = format!("ImageId={image}");
    let mut parameters = vec![image.as_str(), "MinCount=1", "MaxCount=1"];
    parameters.extend(more);
    lab.ec2("RunInstances", &parameters)
}

#[test]
fn an_instance_starts_runs_and_ends() {
    let (lab, image) = lab_with_image(&[]);
    let tag = ["TagSpecification.1.ResourceType=instance", "TagSpecification.1.Tag.1.Key=a"];
    let answer = run(&lab, &image, &[&["InstanceType=t3.nano"], &tag[..]].concat()).accepted();
    let id = answer.element("instanceId").unwrap();
    let describe = || lab.ec2("DescribeInstances", &[&format!("InstanceId.1={id}")]).accepted();
    let console = || lab.ec2("GetConsoleOutput", &[&format!("InstanceId={id}"), "Latest=true"]).accepted();
    lab.stand_in.set_console("hello\u{1}");
    assert_eq!(console().element("output"), None);
    let (first, second) = (describe(), describe());
    assert_eq!((first.element("name").unwrap(), first.element("ipAddress")), ("pending".to_owned(), None));
    assert_eq!(second.element("name").unwrap(), "running");
    assert_eq!(second.element("ipAddress").as_deref(), Some("127.0.0.1"));
    assert_eq!(console().element("output").unwrap(), base64("hello\u{1}".as_bytes()));
    let ended = lab.ec2("TerminateInstances", &[&format!("InstanceId.1={id}")]).accepted();
    assert_eq!(ended.element("name").unwrap(), "shutting-down");
    assert_eq!([describe(), describe()].map(|answer| answer.element("name").unwrap()), ["shutting-down", "terminated"]);
    let instance = lab.stand_in.instances(REGION).remove(0);
    assert_eq!((instance.state(), instance.tags.contains_key("a")), (InstanceState::Terminated, true));
    let filter = ["Filter.1.Name=instance-state-name", "Filter.1.Value.1=running"];
    assert_eq!(lab.ec2("DescribeInstances", &filter).accepted().element("instanceId"), None);
}

#[test]
fn what_does_not_fit_is_not_launched() {
    let (lab, image) = lab_with_image(&["TpmSupport=v2.0"]);
    for (wrong, code, says) in [
        ("InstanceType=t4g.nano", "InvalidParameterValue", "The architecture 'arm64' of the specified instance type"),
        ("InstanceType=t2.micro", "InvalidParameterCombination", "boot mode or TPM"),
        ("InstanceType=z9.huge", "InvalidParameterValue", "'z9.huge' for InstanceType"),
        ("SubnetId=subnet-0", "InvalidSubnetID.NotFound", "subnet-0"),
        ("UserData=!", "InvalidUserData.Malformed", "BASE64"),
        ("Colour=red", "UnknownParameter", "Colour"),
    ] {
        run(&lab, &image, &[wrong]).refused(400, code, says);
    }
    run(&lab, "ami-x", &[]).refused(400, "InvalidAMIID.Malformed", "");
    run(&lab, "ami-0123456789abcdef0", &[]).refused(400, "InvalidAMIID.NotFound", "");
    lab.ec2("RunInstances", &[&format!("ImageId={image}"), "MinCount=1"]).refused(400, "MissingParameter", "MaxCount");
    let large = format!("UserData={}", base64(&[b'x'; 16_385]).replace('+', "%2B"));
    run(&lab, &image, &[&large]).refused(400, "InvalidParameterValue", "16384");
    for count in ["MaxCount=0", "MaxCount=21"] {
        lab.ec2("RunInstances", &[&format!("ImageId={image}"), "MinCount=1", count]).refused(
            400,
            "InvalidParameterValue",
            "",
        );
    }
}

#[test]
fn an_image_that_failed_is_not_launched() {
    let lab = Lab::new();
    let snapshot = lab.completed(&[1]);
    lab.stand_in.set_faults(Faults { failing_images: 1, ..Faults::default() });
    let image = lab.register("name", &snapshot, &[]).accepted().element("imageId").unwrap();
    assert_eq!(lab.ec2("DescribeImages", &["Owner.1=self"]).element("imageState").unwrap(), "failed");
    run(&lab, &image, &["InstanceType=t3.nano"]).refused(400, "InvalidAMIID.Unavailable", "");
}

#[test]
fn a_token_gives_the_same_instance() {
    let (lab, image) = lab_with_image(&[]);
    let ask = |more: &[&str]| run(&lab, &image, &[&["InstanceType=t3.nano", "ClientToken=t"], more].concat());
    let first = ask(&[]).accepted().element("instanceId");
    assert_eq!(ask(&[]).accepted().element("instanceId"), first);
    ask(&["KeyName=k"]).refused(400, "IdempotentParameterMismatch", "inconsistent");
    let by_token = |token: &str| {
        let filter = ["Filter.1.Name=client-token", &format!("Filter.1.Value.1={token}")];
        lab.ec2("DescribeInstances", &filter).accepted().element("instanceId")
    };
    assert_eq!((by_token("t"), by_token("u")), (first, None));
}

#[test]
fn others_end_instances_and_change_tags() {
    let (lab, image) = lab_with_image(&[]);
    let id = run(&lab, &image, &["InstanceType=t3.nano"]).accepted().element("instanceId").unwrap();
    lab.stand_in.end_instance(REGION, &id);
    lab.stand_in.retag(REGION, &image, |tags| drop(tags.insert("a".to_owned(), "b".to_owned())));
    assert_eq!(lab.stand_in.instances(REGION)[0].state(), InstanceState::Terminated);
    assert_eq!(lab.stand_in.images(REGION)[0].tags["a"], "b");
}

#[test]
fn unknown_instances_vpcs_and_types_are_refused() {
    let lab = Lab::new();
    lab.ec2("DescribeInstances", &["InstanceId.1=i-0123456789abcdef0"]).refused(400, "InvalidInstanceID.NotFound", "");
    lab.ec2("GetConsoleOutput", &["InstanceId=i-x"]).refused(400, "InvalidInstanceID.Malformed", "i-x");
    lab.ec2("TerminateInstances", &[]).refused(400, "MissingParameter", "InstanceId");
    lab.ec2("DescribeInstanceTypes", &["InstanceType.1=z9.huge"]).refused(400, "InvalidInstanceType", "z9.huge");
    lab.ec2("DescribeVpcs", &["VpcId.1=vpc-1"]).refused(400, "InvalidVpcID.NotFound", "vpc-1");
    lab.ec2("DescribeSubnets", &["SubnetId.1=subnet-1"]).refused(400, "InvalidSubnetID.NotFound", "subnet-1");
    let arm = ["Filter.1.Name=processor-info.supported-architecture", "Filter.1.Value.1=arm64"];
    let types = lab.ec2("DescribeInstanceTypes", &arm).accepted().text();
    assert!(types.contains("t4g.nano") && !types.contains("t3.nano"));
    let vpcs = lab.ec2("DescribeVpcs", &["Filter.1.Name=is-default", "Filter.1.Value.1=true"]).accepted();
    assert!(vpcs.element("vpcId").is_some());
    assert!(lab.ec2("DescribeSubnets", &[]).accepted().element("subnetId").is_some());
}
