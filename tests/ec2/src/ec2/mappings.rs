//! Block device mappings of RegisterImage.

use super::params::{Params, invalid};
use super::{check_snapshot_id, no_snapshot};
use crate::image::Mapping;
use crate::refusal::Refusal;
use crate::server::Call;
use crate::state::{Region, SnapshotState};

/// Volume types, with the GiB that they have at least and at most.
const TYPES: &[(&str, u64, u64)] = &[
    ("standard", 1, 1024),
    ("gp2", 1, 16_384),
    ("gp3", 1, 65_536),
    ("io1", 4, 16_384),
    ("io2", 4, 65_536),
    ("st1", 125, 16_384),
    ("sc1", 125, 16_384),
];

fn refused(message: String) -> Refusal {
    Refusal::ec2("InvalidBlockDeviceMapping", message)
}

/// Reads all mappings of a request and holds them against the snapshots there are.
pub(super) fn read(call: &Call<'_>, region: &Region) -> Result<Vec<Mapping>, Refusal> {
    let mut mappings: Vec<Mapping> = Vec::new();
    for group in call.params.groups("BlockDeviceMapping") {
        let mapping = one(call, region, &group)?;
        if mappings.iter().any(|other| other.device == mapping.device) {
            return Err(refused(format!("The device '{}' is used in more than one mapping", mapping.device)));
        }
        mappings.push(mapping);
    }
    Ok(mappings)
}

fn one(call: &Call<'_>, region: &Region, group: &Params) -> Result<Mapping, Refusal> {
    const KNOWN: [&str; 9] = [
        "Ebs.SnapshotId",
        "Ebs.VolumeSize",
        "Ebs.VolumeType",
        "Ebs.DeleteOnTermination",
        "Ebs.Encrypted",
        "Ebs.KmsKeyId",
        "Ebs.Iops",
        "Ebs.Throughput",
        "DeviceName",
    ];
    if let Some(other) = group.all().keys().find(|key| !KNOWN.contains(&key.as_str())) {
        return Err(Refusal::ec2("UnknownParameter", format!("The parameter {other} is not recognized")));
    }
    let device = group.get("DeviceName").unwrap_or("");
    if !device.starts_with("/dev/") && !device.starts_with("xvd") {
        return Err(refused(format!("Invalid device name {device}")));
    }
    let snapshot_id = group.get("Ebs.SnapshotId").map(str::to_owned);
    let encrypted = group.flag("Ebs.Encrypted")?;
    let kms_key = group.get("Ebs.KmsKeyId").map(str::to_owned);
    let asked_size = group.number("Ebs.VolumeSize")?;
    let (size, encrypted) = match &snapshot_id {
        Some(id) => {
            if encrypted.is_some() || kms_key.is_some() {
                let message = "the encrypted flag cannot be specified since device {} has a snapshot specified.";
                return Err(refused(message.replace("{}", device)));
            }
            of_snapshot(call, region, id, asked_size)?
        }
        None => {
            let message = || format!("Either the snapshot or the size of device {device} must be specified");
            let size = asked_size.ok_or_else(|| Refusal::ec2("MissingParameter", message()))?;
            if kms_key.is_some() && encrypted != Some(true) {
                let message = "The parameter KmsKeyId requires the parameter Encrypted to be set.";
                return Err(Refusal::ec2("InvalidParameterDependency", message));
            }
            (size, encrypted.unwrap_or(false))
        }
    };
    let volume_type = group.get("Ebs.VolumeType").unwrap_or("standard").to_owned();
    let (iops, throughput) = (group.number("Ebs.Iops")?, group.number("Ebs.Throughput")?);
    performance(&volume_type, size, iops, throughput)?;
    let delete_on_termination = group.flag("Ebs.DeleteOnTermination")?.unwrap_or(true);
    let device = device.to_owned();
    let snapshot = snapshot_id;
    Ok(Mapping { device, snapshot, size, volume_type, delete_on_termination, encrypted, kms_key, iops, throughput })
}

/// The size and the encryption of a volume made of a snapshot.
fn of_snapshot(call: &Call<'_>, region: &Region, id: &str, asked: Option<u64>) -> Result<(u64, bool), Refusal> {
    check_snapshot_id(id)?;
    let snapshot = region.snapshots.get(id).filter(|snapshot| snapshot.visible_to(call.account()));
    let snapshot = snapshot.ok_or_else(|| no_snapshot(id))?;
    if snapshot.state() != SnapshotState::Completed {
        let state = snapshot.state().as_str();
        return Err(refused(format!("The snapshot '{id}' is in the state '{state}' and not 'completed'.")));
    }
    let (least, size) = (snapshot.volume_size, asked.unwrap_or(snapshot.volume_size));
    if size < least {
        let message = format!("Volume of size {size}GB is smaller than snapshot '{id}', expect size>= {least}GB");
        return Err(refused(message));
    }
    Ok((size, snapshot.encrypted()))
}

fn performance(kind: &str, size: u64, iops: Option<u64>, throughput: Option<u64>) -> Result<(), Refusal> {
    let Some((_, least, most)) = TYPES.iter().find(|(name, ..)| *name == kind) else {
        return Err(invalid("volumeType", kind));
    };
    if size < *least || size > *most {
        return Err(refused(format!("Volume of {size}GiB is invalid for volume type {kind}; {least} to {most} GiB.")));
    }
    let iops_range = match kind {
        "gp3" => Some(3000..=80_000),
        "io1" => Some(100..=64_000),
        "io2" => Some(100..=256_000),
        _ => None,
    };
    match (iops, iops_range) {
        (None, Some(_)) if kind != "gp3" => {
            return Err(Refusal::ec2("MissingParameter", format!("The parameter iops must be specified for {kind}")));
        }
        (Some(iops), Some(range)) if !range.contains(&iops) => return Err(invalid("iops", &iops.to_string())),
        (Some(_), None) => {
            let message = format!("The parameter iops is not supported for {kind} volumes.");
            return Err(Refusal::ec2("InvalidParameterCombination", message));
        }
        _ => {}
    }
    match throughput {
        Some(_) if kind != "gp3" => {
            let message = format!("The parameter throughput is not supported for {kind} volumes.");
            Err(Refusal::ec2("InvalidParameterCombination", message))
        }
        Some(throughput) if !(125..=2000).contains(&throughput) => Err(invalid("throughput", &throughput.to_string())),
        _ => Ok(()),
    }
}
