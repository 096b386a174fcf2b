//! DescribeImages and DeregisterImage.

use super::xml::Xml;
use super::{check_image_id, filters, no_image};
use crate::clock;
use crate::image::{Image, Mapping};
use crate::refusal::{Outcome, Refusal};
use crate::server::Call;

const FILTERS: &[&str] = &[
    "architecture",
    "boot-mode",
    "description",
    "image-id",
    "is-public",
    "name",
    "owner-id",
    "root-device-type",
    "state",
];

pub(super) fn describe_images(call: &Call<'_>) -> Outcome {
    let filters = filters::parse(call.params, FILTERS)?;
    let (ids, owners) = (call.params.list("ImageId"), call.params.list("Owner"));
    for id in &ids {
        check_image_id(id)?;
    }
    let chosen = choose(call, &ids, &owners)?;
    let passed = chosen
        .into_iter()
        .filter(|(image, state)| filters::pass(&filters, &image.tags, |name| field(image, state, name)));
    let (page, next) = filters::page(call, passed.collect(), 1)?;
    Xml::answer("DescribeImages", |xml| {
        xml.list("imagesSet", &page, |xml, (image, state)| describe(xml, image, state));
        xml.maybe("nextToken", next);
    })
}

/// The images that a request is about, each with its state.
fn choose(call: &Call<'_>, ids: &[String], owners: &[String]) -> Result<Vec<(Image, &'static str)>, Refusal> {
    let with_disabled = call.params.flag("IncludeDisabled")? == Some(true);
    let mut world = call.world();
    let region = world.region(call.region());
    let mut chosen = Vec::new();
    for image in region.images.values_mut() {
        let owned = |owner: &String| *owner == image.owner || (owner == "self" && call.owns(&image.owner));
        let asked = ids.is_empty() || ids.contains(&image.id);
        if !asked || !image.visible_to(call.account()) || !(owners.is_empty() || owners.iter().any(owned)) {
            continue;
        }
        if image.disabled && !with_disabled {
            continue;
        }
        if image.unseen > 0 {
            image.unseen -= 1;
            continue;
        }
        let state = if image.disabled { "disabled" } else { image.progress.tell().as_str() };
        chosen.push((image.clone(), state));
    }
    if let Some(id) = ids.iter().find(|id| !chosen.iter().any(|(image, _)| image.id == **id)) {
        return Err(no_image(id));
    }
    Ok(chosen)
}

fn field(image: &Image, state: &str, name: &str) -> Option<String> {
    Some(match name {
        "architecture" => image.architecture.clone(),
        "boot-mode" => image.boot_mode.clone()?,
        "description" => image.description.clone(),
        "image-id" => image.id.clone(),
        "is-public" => "false".to_owned(),
        "name" => image.name.clone(),
        "owner-id" => image.owner.clone(),
        "root-device-type" => "ebs".to_owned(),
        "state" => state.to_owned(),
        _ => return None,
    })
}

fn describe(xml: &mut Xml, image: &Image, state: &str) {
    xml.leaf("imageId", &image.id).leaf("imageLocation", format!("{}/{}", image.owner, image.name));
    xml.leaf("imageState", state).leaf("imageOwnerId", &image.owner).leaf("isPublic", false);
    xml.leaf("creationDate", clock::iso8601(image.created)).leaf("architecture", &image.architecture);
    xml.leaf("imageType", "machine").leaf("name", &image.name).leaf("description", &image.description);
    xml.leaf("rootDeviceType", "ebs").leaf("rootDeviceName", &image.root_device);
    xml.leaf("virtualizationType", &image.virtualization).leaf("hypervisor", "xen");
    xml.leaf("platformDetails", "Linux/UNIX").leaf("usageOperation", "RunInstances");
    xml.maybe("bootMode", image.boot_mode.as_ref()).maybe("tpmSupport", image.tpm.as_ref());
    xml.maybe("imdsSupport", image.imds.as_ref()).maybe("sriovNetSupport", image.sriov.as_ref());
    xml.leaf("enaSupport", image.ena);
    if let Some(reason) = &image.state_reason
        && state == "failed"
    {
        xml.node("stateReason", |xml| {
            xml.leaf("code", "Server.InternalError").leaf("message", reason);
        });
    }
    if let Some((region, id)) = &image.source {
        xml.leaf("sourceImageId", id).leaf("sourceImageRegion", region);
    }
    xml.list("blockDeviceMapping", &image.mappings, describe_mapping);
    xml.tags(&image.tags);
}

fn describe_mapping(xml: &mut Xml, mapping: &Mapping) {
    xml.leaf("deviceName", &mapping.device).node("ebs", |xml| {
        xml.maybe("snapshotId", mapping.snapshot.as_ref()).leaf("volumeSize", mapping.size);
        xml.leaf("volumeType", &mapping.volume_type).leaf("deleteOnTermination", mapping.delete_on_termination);
        xml.leaf("encrypted", mapping.encrypted).maybe("kmsKeyId", mapping.kms_key.as_ref());
        xml.maybe("iops", mapping.iops).maybe("throughput", mapping.throughput);
    });
}

pub(super) fn deregister_image(call: &Call<'_>) -> Outcome {
    let id = call.params.required("ImageId")?;
    check_image_id(id)?;
    let with_snapshots = call.params.flag("DeleteAssociatedSnapshots")? == Some(true);
    let mut world = call.world();
    let region = world.region(call.region());
    let Some(image) = region.images.get(id).filter(|image| image.visible_to(call.account())) else {
        let message = format!("The image ID '{id}' is no longer available or does not exist");
        return Err(Refusal::ec2("InvalidAMIID.Unavailable", message));
    };
    if !call.owns(&image.owner) {
        let message = format!("Not authorized for image:{id}");
        return Err(Refusal::new(403, "AuthFailure", message));
    }
    let mut deleted = Vec::new();
    if let Some(image) = region.images.remove(id)
        && with_snapshots
    {
        for snapshot in image.mappings.into_iter().filter_map(|mapping| mapping.snapshot) {
            let used = region.images.values().flat_map(|image| &image.mappings);
            let used = used.into_iter().any(|mapping| mapping.snapshot.as_ref() == Some(&snapshot));
            let code = if used { "skipped" } else { "success" };
            if !used {
                region.snapshots.remove(&snapshot);
            }
            deleted.push((snapshot, code));
        }
    }
    drop(world);
    call.shared.blocks.sweep();
    Xml::answer("DeregisterImage", |xml| {
        xml.leaf("return", true);
        if with_snapshots {
            xml.list("deleteSnapshotResultSet", &deleted, |xml, (snapshot, code)| {
                xml.leaf("snapshotId", snapshot).leaf("returnCode", code);
            });
        }
    })
}
