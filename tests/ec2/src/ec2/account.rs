//! What an account has before anything is made: regions, keys, a default network, instance types.

use super::filters;
use super::params::invalid;
use super::xml::Xml;
use crate::instance::TYPES;
use crate::refusal::{Outcome, Refusal};
use crate::rules::OptIn;
use crate::server::Call;
use crate::state::Tags;

/// The default VPC.
pub(super) const VPC: &str = "vpc-0a1b2c3d4e5f60718";

/// Its subnet.
pub(super) const SUBNET: &str = "subnet-0a1b2c3d4e5f60718";

pub(super) fn describe_regions(call: &Call<'_>) -> Outcome {
    let filters = filters::parse(call.params, &["endpoint", "opt-in-status", "region-name"])?;
    let (names, all) = (call.params.list("RegionName"), call.params.flag("AllRegions")? == Some(true));
    if let Some(name) = names.iter().find(|name| !call.rules().regions.contains_key(*name)) {
        return Err(invalid("RegionName", name));
    }
    let regions = call.rules().regions.iter().filter(|(name, opt_in)| {
        // Regions that are asked for by name are told, opted in or not.
        let asked = if names.is_empty() { all || **opt_in != OptIn::NotOptedIn } else { names.contains(name) };
        asked
            && filters::pass(&filters, &Tags::new(), |field| match field {
                "endpoint" => Some(endpoint(name)),
                "opt-in-status" => Some(opt_in.as_str().to_owned()),
                _ => Some((*name).clone()),
            })
    });
    Xml::answer("DescribeRegions", |xml| {
        xml.list("regionInfo", regions, |xml, (name, opt_in)| {
            xml.leaf("regionName", name).leaf("regionEndpoint", endpoint(name)).leaf("optInStatus", opt_in.as_str());
        });
    })
}

fn endpoint(region: &str) -> String {
    format!("ec2.{region}.amazonaws.com")
}

pub(super) fn encryption_by_default(call: &Call<'_>) -> Outcome {
    let on = call.encrypts_by_default();
    Xml::answer("GetEbsEncryptionByDefault", |xml| {
        xml.leaf("ebsEncryptionByDefault", on).leaf("sseType", if on { "sse-kms" } else { "none" });
    })
}

pub(super) fn default_key(call: &Call<'_>) -> Outcome {
    let key = crate::ebs::default_key(call);
    Xml::answer("GetEbsDefaultKmsKeyId", |xml| {
        xml.leaf("kmsKeyId", key);
    })
}

pub(super) fn describe_vpcs(call: &Call<'_>) -> Outcome {
    let filters = filters::parse(call.params, &["is-default", "isDefault", "state", "vpc-id"])?;
    let ids = call.params.list("VpcId");
    if let Some(id) = ids.iter().find(|id| *id != VPC) {
        return Err(Refusal::ec2("InvalidVpcID.NotFound", format!("The vpc ID '{id}' does not exist")));
    }
    let passes = filters::pass(&filters, &Tags::new(), |name| match name {
        "state" => Some("available".to_owned()),
        "vpc-id" => Some(VPC.to_owned()),
        _ => Some("true".to_owned()),
    });
    Xml::answer("DescribeVpcs", |xml| {
        xml.list("vpcSet", passes.then_some(VPC), |xml, id| {
            xml.leaf("vpcId", id).leaf("ownerId", call.account()).leaf("state", "available");
            xml.leaf("cidrBlock", "172.31.0.0/16").leaf("isDefault", true).leaf("instanceTenancy", "default");
        });
    })
}

pub(super) fn describe_subnets(call: &Call<'_>) -> Outcome {
    let names = ["availability-zone", "default-for-az", "defaultForAz", "state", "subnet-id", "vpc-id"];
    let filters = filters::parse(call.params, &names)?;
    let ids = call.params.list("SubnetId");
    if let Some(id) = ids.iter().find(|id| *id != SUBNET) {
        return Err(Refusal::ec2("InvalidSubnetID.NotFound", format!("The subnet ID '{id}' does not exist")));
    }
    let zone = format!("{}a", call.region());
    let passes = filters::pass(&filters, &Tags::new(), |name| match name {
        "availability-zone" => Some(zone.clone()),
        "state" => Some("available".to_owned()),
        "subnet-id" => Some(SUBNET.to_owned()),
        "vpc-id" => Some(VPC.to_owned()),
        _ => Some("true".to_owned()),
    });
    Xml::answer("DescribeSubnets", |xml| {
        xml.list("subnetSet", passes.then_some(SUBNET), |xml, id| {
            xml.leaf("subnetId", id).leaf("vpcId", VPC).leaf("ownerId", call.account()).leaf("state", "available");
            xml.leaf("cidrBlock", "172.31.0.0/20").leaf("availabilityZone", &zone).leaf("defaultForAz", true);
            xml.leaf("mapPublicIpOnLaunch", call.rules().instances.public_ip.is_some());
        });
    })
}

pub(super) fn describe_instance_types(call: &Call<'_>) -> Outcome {
    let names = ["current-generation", "instance-type", "processor-info.supported-architecture", "supported-boot-mode"];
    let filters = filters::parse(call.params, &names)?;
    let asked = call.params.list("InstanceType");
    if let Some(other) = asked.iter().find(|name| !TYPES.iter().any(|(known, ..)| known == name)) {
        let message = format!("The following supplied instance types do not exist: [{other}]");
        return Err(Refusal::ec2("InvalidInstanceType", message));
    }
    let types = TYPES.iter().filter(|(name, architecture, _, _, uefi, _)| {
        (asked.is_empty() || asked.iter().any(|asked| asked == name))
            && filters::pass(&filters, &Tags::new(), |field| match field {
                "instance-type" => Some((*name).to_owned()),
                "processor-info.supported-architecture" => Some((*architecture).to_owned()),
                "supported-boot-mode" => Some(if *uefi { "uefi" } else { "legacy-bios" }.to_owned()),
                _ => Some("true".to_owned()),
            })
    });
    let (page, next) = filters::page(call, types.collect(), 5)?;
    Xml::answer("DescribeInstanceTypes", |xml| {
        xml.list("instanceTypeSet", page, |xml, (name, architecture, cpus, memory, uefi, tpm)| {
            xml.leaf("instanceType", name).leaf("currentGeneration", true);
            xml.leaf("bareMetal", name.ends_with(".metal")).leaf("hypervisor", "nitro");
            xml.node("processorInfo", |xml| {
                xml.list("supportedArchitectures", [architecture], |xml, name| xml.text(name));
            });
            xml.node("vCpuInfo", |xml| {
                xml.leaf("defaultVCpus", cpus);
            });
            xml.node("memoryInfo", |xml| {
                xml.leaf("sizeInMiB", memory);
            });
            let bios = *architecture != "arm64";
            let modes = [uefi.then_some("uefi"), bios.then_some("legacy-bios")].into_iter().flatten();
            xml.list("supportedBootModes", modes, Xml::text);
            xml.leaf("nitroTpmSupport", if *tpm { "supported" } else { "unsupported" });
        });
        xml.maybe("nextToken", next);
    })
}
