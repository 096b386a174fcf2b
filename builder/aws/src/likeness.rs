//! Whether a copy of an image boots and runs as the original does.

use aws_sdk_ec2::types::{
    ArchitectureValues, BlockDeviceMapping, BootModeValues, Image, ImdsSupportValues, TpmSupportValues,
    VirtualizationType, VolumeType,
};
use std::collections::BTreeMap;

/// What a copy has otherwise than its original; nothing where it is as it should be.
pub(crate) fn differences(original: &Image, copy: &Image) -> Vec<String> {
    let (mut differences, theirs) = (Vec::new(), traits(copy));
    for (name, value) in traits(original) {
        match theirs.get(&name) {
            Some(other) if *other == value => {}
            Some(other) => differences.push(format!("{name} is {other} and not {value}")),
            None => differences.push(format!("{name} is missing")),
        }
    }
    let ours = traits(original);
    differences.extend(theirs.keys().filter(|name| !ours.contains_key(*name)).map(|name| format!("{name} is added")));
    differences
}

/// What matters to an instance.
fn traits(image: &Image) -> BTreeMap<String, String> {
    let text = |value: Option<&str>| value.unwrap_or("none").to_owned();
    let mut traits: BTreeMap<String, String> = [
        ("architecture", text(image.architecture().map(ArchitectureValues::as_str))),
        ("boot mode", text(image.boot_mode().map(BootModeValues::as_str))),
        ("TPM", text(image.tpm_support().map(TpmSupportValues::as_str))),
        ("IMDS", text(image.imds_support().map(ImdsSupportValues::as_str))),
        ("ENA", image.ena_support().unwrap_or(false).to_string()),
        ("SR-IOV", text(image.sriov_net_support())),
        ("virtualization", text(image.virtualization_type().map(VirtualizationType::as_str))),
        ("root device", text(image.root_device_name())),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    for mapping in image.block_device_mappings() {
        traits.insert(format!("volume {}", text(mapping.device_name())), volume(mapping));
    }
    traits
}

fn volume(mapping: &BlockDeviceMapping) -> String {
    let Some(ebs) = mapping.ebs() else { return text_of_ephemeral(mapping) };
    let size = ebs.volume_size().unwrap_or_default();
    let kind = ebs.volume_type().map_or("of no type", |kind| kind.as_str());
    // A snapshot's copy may be encrypted where the original is not; an empty volume's is as it was.
    let content = match (ebs.snapshot_id(), ebs.encrypted()) {
        (Some(_), _) => "of a snapshot",
        (None, Some(true)) => "empty, encrypted",
        (None, _) => "empty",
    };
    let fate = if ebs.delete_on_termination() == Some(false) { "kept" } else { "deleted on termination" };
    // What gp3 has where nothing is said may be said of a copy (Amazon EBS user guide, "General Purpose SSD volumes").
    let (iops, throughput) = match ebs.volume_type() {
        Some(VolumeType::Gp3) => (ebs.iops().or(Some(3000)), ebs.throughput().or(Some(125))),
        _ => (ebs.iops(), ebs.throughput()),
    };
    let pace = |name: &str, value: Option<i32>| value.map(|value| format!(", {name} {value}")).unwrap_or_default();
    format!("{size} GiB {kind}, {content}, {fate}{}{}", pace("IOPS", iops), pace("MiB/s", throughput))
}

fn text_of_ephemeral(mapping: &BlockDeviceMapping) -> String {
    mapping.virtual_name().or(mapping.no_device()).unwrap_or("nothing").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_ec2::types::EbsBlockDevice;

    fn image(snapshot: &str) -> Image {
        let root = EbsBlockDevice::builder().snapshot_id(snapshot).volume_size(1).volume_type(VolumeType::Gp3);
        let root = BlockDeviceMapping::builder().device_name("/dev/xvda").ebs(root.build()).build();
        let image = Image::builder().architecture(ArchitectureValues::X8664).boot_mode(BootModeValues::Uefi);
        image.ena_support(true).block_device_mappings(root).build()
    }

    #[test]
    fn a_copy_has_its_own_snapshot_and_all_else_is_the_same() {
        let original = image("snap-1");
        assert_eq!(differences(&original, &image("snap-2")), [""; 0]);
        let mut copy = image("snap-2");
        copy.boot_mode = None;
        copy.ena_support = Some(false);
        assert_eq!(differences(&original, &copy), ["ENA is false and not true", "boot mode is none and not uefi"]);
        let mut copy = image("snap-2");
        let swap = EbsBlockDevice::builder().volume_size(1).encrypted(true).build();
        let swap = BlockDeviceMapping::builder().device_name("/dev/xvdb").ebs(swap).build();
        copy.block_device_mappings.get_or_insert_default().push(swap);
        assert_eq!(differences(&original, &copy), ["volume /dev/xvdb is added"]);
        assert_eq!(differences(&copy, &original), ["volume /dev/xvdb is missing"]);
    }
}
