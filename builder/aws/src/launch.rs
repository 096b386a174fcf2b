//! Launches an instance of an image, for a check.

use crate::account::Session;
use crate::contents::hex;
use crate::describe::filter;
use crate::failure::Failure;
use crate::image::available;
use crate::retry::Patience;
use crate::tags::{self, Tags};
use crate::verify::Launch;
use anyhow::{Context, Result, anyhow, bail};
use aws_sdk_ec2::types::{
    ArchitectureValues, HttpTokensState, Image, InstanceMetadataOptionsRequest, InstanceType, ResourceType,
    ShutdownBehavior,
};
use sha2::{Digest, Sha256};
use std::time::{SystemTime, UNIX_EPOCH};

/// The smallest types that are sure to have the memory, by architecture. Both are on Nitro, and boot UEFI.
const SMALL_X86_64: &str = "t3.micro";
const SMALL_ARM64: &str = "t4g.micro";

/// What can be done about a refusal, by AWS's words for it (Amazon EC2 API reference, "Error codes").
const ADVICE: &[(&[&str], &str)] = &[
    (
        &["VPCIdNotSpecified", "MissingInput", "DefaultVpcDoesNotExist"],
        "the region has no default VPC, or that has no subnet: name a subnet (--verify-subnet)",
    ),
    (
        &["InvalidSubnetID.NotFound", "InvalidSubnetID.Malformed", "InvalidSubnet"],
        "name a subnet of this region (--verify-subnet)",
    ),
    (
        &["VcpuLimitExceeded", "InstanceLimitExceeded"],
        "the account may run no more instances of this kind in this region: terminate some, ask for a higher quota (Service Quotas, \
         Running On-Demand instances), or check in another region",
    ),
    (
        &["InsufficientInstanceCapacity", "InsufficientHostCapacity", "InsufficientCapacity"],
        "AWS has no such instance to spare there: another type (--verify-type), or a subnet in another zone (--verify-subnet)",
    ),
    (
        &[
            "InvalidParameterValue",
            "InvalidParameterCombination",
            "InvalidInstanceType",
            "Unsupported",
            "UnsupportedOperation",
        ],
        "the image needs a type of its architecture that boots UEFI, and has a NitroTPM where the image asks for one; the zone must \
         have it too (--verify-type, --verify-subnet)",
    ),
];

/// Runs one instance of an image, and returns its id. Where it can't be told whether one runs, it is looked for, and terminated.
pub(crate) async fn launch(session: &Session, image: &str, launch: &Launch) -> Result<String> {
    available(session, image).await?;
    let Some(described) = session.image(image).await? else {
        bail!("{image} in {} has just been removed", session.region)
    };
    let kind = launch.instance_type.clone().unwrap_or_else(|| small(&described).to_owned());
    let token = token(image);
    let tags: Tags =
        [("Name", format!("check of {image}")), (tags::CHECK, image.to_owned())].map(|(k, v)| (k.to_owned(), v)).into();
    let metadata = InstanceMetadataOptionsRequest::builder().http_tokens(HttpTokensState::Required).build();
    let send = || {
        let call = session.ec2.run_instances().image_id(image).min_count(1).max_count(1).client_token(&token);
        let call = call.instance_type(InstanceType::from(kind.as_str())).set_subnet_id(launch.subnet.clone());
        let call = call.set_security_group_ids(launch.security_group.clone().map(|group| vec![group]));
        let call = call.instance_initiated_shutdown_behavior(ShutdownBehavior::Terminate);
        let call = call.metadata_options(metadata.clone());
        call.tag_specifications(tags::specification(ResourceType::Instance, &tags)).send()
    };
    let answer = session.call("ec2:RunInstances", Patience::just_made(&session.timing), send).await;
    let failure = match answer.map(|answer| answer.instances.unwrap_or_default().into_iter().next()) {
        Ok(Some(instance)) if instance.instance_id.is_some() => return Ok(instance.instance_id.unwrap_or_default()),
        Ok(_) => Failure::unexpected("ec2:RunInstances", &session.region, "the answer has no instance"),
        Err(failure) => failure,
    };
    let uncertain = failure.uncertain || failure.kind.is_uncertain();
    let told = explain(&failure, &kind);
    if uncertain { Err(withdraw(session, &token, told).await) } else { Err(told) }
}

fn small(image: &Image) -> &'static str {
    match image.architecture {
        Some(ArchitectureValues::Arm64) => SMALL_ARM64,
        _ => SMALL_X86_64,
    }
}

/// A token for the attempts of one call: another check is another instance.
fn token(image: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let whole = format!("NanoOS check 1\n{image}\n{now} {} {}", std::process::id(), fastrand::u64(..));
    hex(&Sha256::digest(whole))
}

/// Terminates what a call without an answer may have launched.
async fn withdraw(session: &Session, token: &str, failed: anyhow::Error) -> anyhow::Error {
    let found = session.instances(&[filter("client-token", token)]).await;
    let found = found
        .context("an instance may run all the same, and cost money: builder aws ls shows it, builder aws rm ends it");
    let instances = match found {
        Ok(instances) => instances,
        Err(error) => return anyhow!("{failed:#}; {error:#}"),
    };
    let mut told = format!("{failed:#}");
    for id in instances.into_iter().filter_map(|instance| instance.instance_id) {
        match session.terminate(&id, Patience::ordinary(&session.timing)).await {
            Ok(_) => told += &format!("; {id} was launched all the same, and is terminated"),
            Err(error) => told += &format!("; {error:#}"),
        }
    }
    anyhow!(told)
}

fn explain(failure: &Failure, kind: &str) -> anyhow::Error {
    match ADVICE.iter().find(|(codes, _)| codes.contains(&failure.code.as_str())) {
        Some((_, advice)) => anyhow!("launch {kind}: {failure}: {advice}"),
        None => anyhow!("launch {kind}: {failure}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_with_what_to_do() {
        for (code, advice) in [
            ("VPCIdNotSpecified", "--verify-subnet"),
            ("VcpuLimitExceeded", "Service Quotas"),
            ("InsufficientInstanceCapacity", "--verify-type"),
            ("InvalidParameterValue", "boots UEFI"),
        ] {
            let mut failure = Failure::unexpected("ec2:RunInstances", "eu-west-1", "no");
            failure.code = code.to_owned();
            let text = explain(&failure, "t3.micro").to_string();
            assert!(
                text.starts_with(&format!("launch t3.micro: ec2:RunInstances in eu-west-1: no ({code}): ")),
                "{text}"
            );
            assert!(text.contains(advice), "{text}");
        }
    }

    #[test]
    fn each_check_has_its_own_token() {
        assert_ne!(token("ami-1"), token("ami-1"));
        assert_eq!(token("ami-1").len(), 64);
    }
}
