//! Which volume is the swap volume: the one that says so itself, never one by its place among the others.

use super::mark::Extent;
use crate::disks;
use crate::sys::block::{IDENTIFY_SIZE, nvme_identify};
use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The serial number of the swap volume where a hypervisor lets its user choose one: QEMU, as qemu/boot.sh starts it.
const SERIAL: &str = "nanoos-swap";
/// Amazon's PCI vendor id, and the name of its network disks.
const AMAZON: [u8; 2] = 0x1d0fu16.to_le_bytes();
const EBS: &str = "Amazon Elastic Block Store";

/// The disk that the image's mapping calls `name`; `None` if there is none (yet). `on_ask` hears of each disk before
/// it is asked: it may not answer.
///
/// # Errors
/// When more than one disk has that name: neither is provably the right one.
pub fn find(name: &str, mut on_ask: impl FnMut(&str)) -> Result<Option<PathBuf>> {
    let mut found = disks::names().into_iter().inspect(|disk| on_ask(disk)).filter(|disk| is_called(disk, name));
    match (found.next(), found.next()) {
        (None, _) => Ok(None),
        (Some(disk), None) => Ok(Some(Path::new("/dev").join(disk))),
        (Some(one), Some(other)) => bail!("both {one} and {other} say that they are the swap volume: neither is used"),
    }
}

fn is_called(disk: &str, name: &str) -> bool {
    // Xen's disks have the mapping's name in the kernel.
    if disk.starts_with("xvd") {
        return disk == plain(name);
    }
    if let Some(identity) = identify(disk) {
        return ebs_name(&identity).is_some_and(|it| it == plain(name)) || serial(disk).as_deref() == Some(SERIAL);
    }
    serial(disk).as_deref() == Some(SERIAL)
}

fn identify(disk: &str) -> Option<[u8; IDENTIFY_SIZE]> {
    if !disk.starts_with("nvme") {
        return None;
    }
    // The controller, and not the disk: to open a disk waits until the kernel has read its partition table.
    nvme_identify(File::open(Path::new("/dev").join(controller(disk)?)).ok()?).ok()
}

/// The controller of an NVMe disk by its name: `nvme1` of `nvme1n1`.
fn controller(disk: &str) -> Option<&str> {
    let number = disk.strip_prefix("nvme")?.find('n')?;
    disk.get(.."nvme".len() + number)
}

/// NVMe has it beside the controller, virtio beside the disk.
fn serial(disk: &str) -> Option<String> {
    let sysfs = Path::new("/sys/block").join(disk);
    let text = ["device/serial", "serial"].iter().find_map(|file| fs::read_to_string(sysfs.join(file)).ok())?;
    Some(text.trim().to_owned())
}

fn plain(name: &str) -> &str {
    name.strip_prefix("/dev/").unwrap_or(name)
}

/// The name that an EBS volume has in the mapping, from its vendor's bytes of the controller's identity.
fn ebs_name(identity: &[u8]) -> Option<&str> {
    let text = |range| identity.get(range).and_then(|bytes| std::str::from_utf8(bytes).ok());
    let is_ebs = identity.starts_with(&AMAZON) && text(24..64)?.trim_end() == EBS;
    let name = text(3072..3104)?.trim_end_matches(['\0', ' ']);
    (is_ebs && !name.is_empty()).then(|| plain(name))
}

/// Makes sure that a disk is as the image says, and that nobody uses it. A larger one may yet turn out to be marked.
///
/// # Errors
/// What is not as it should be.
pub fn examine(device: &Path, bytes: u64) -> Result<Extent> {
    let disk = device.file_name().unwrap_or_default();
    let sysfs = Path::new("/sys/block").join(disk);
    let number = |file: &str| -> Result<u64> {
        let text = fs::read_to_string(sysfs.join(file)).with_context(|| format!("read its {file}"))?;
        text.trim().parse().with_context(|| format!("its {file} is no number"))
    };
    // sysfs counts in units of 512 bytes.
    let extent = Extent { named: bytes, disk: number("size")?.saturating_mul(512) };
    ensure!(extent.disk >= bytes, extent.mismatch());
    ensure!(number("ro")? == 0, "it is read-only");
    let is_partition = |entry: &fs::DirEntry| entry.path().join("partition").exists();
    let entries = fs::read_dir(&sysfs).context("list its partitions")?;
    ensure!(!entries.flatten().any(|entry| is_partition(&entry)), "it has partitions");
    let holders = fs::read_dir(sysfs.join("holders")).context("list its users")?;
    ensure!(holders.count() == 0, "it is in use");
    Ok(extent)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As AWS documents it: vendor, serial, model, and the mapping's name in the vendor's bytes.
    fn identity(model: &str, name: &str) -> Vec<u8> {
        let mut bytes = vec![0; IDENTIFY_SIZE];
        bytes[..2].copy_from_slice(&AMAZON);
        bytes[4..24].copy_from_slice(b"vol0123456789abcdef0");
        bytes[24..64].copy_from_slice(format!("{model:<40}").as_bytes());
        bytes[3072..3104].copy_from_slice(format!("{name:<32}").as_bytes());
        bytes
    }

    #[test]
    fn an_ebs_volume_knows_its_name_with_or_without_dev() {
        assert_eq!(ebs_name(&identity(EBS, "/dev/xvdb")), Some("xvdb"));
        assert_eq!(ebs_name(&identity(EBS, "sdf")), Some("sdf"));
        let mut with_nul = identity(EBS, "xvdb");
        with_nul[3076..3104].fill(0);
        assert_eq!(ebs_name(&with_nul), Some("xvdb"));
    }

    #[test]
    fn a_disk_is_named_after_its_controller() {
        let controllers = ["nvme0n1", "nvme12n1p2", "nvme", "sda", "nvmen1"].map(controller);
        assert_eq!(controllers, [Some("nvme0"), Some("nvme12"), None, None, Some("nvme")]);
    }

    #[test]
    fn other_disks_have_no_name() {
        assert_eq!(ebs_name(&identity("Amazon EC2 NVMe Instance Storage", "xvdb")), None);
        assert_eq!(ebs_name(&identity(EBS, "")), None);
        let mut foreign = identity(EBS, "xvdb");
        foreign[0] = 0x36;
        assert_eq!(ebs_name(&foreign), None);
        let mut garbage = identity(EBS, "xvdb");
        garbage[3072] = 0xff;
        assert_eq!(ebs_name(&garbage), None);
        assert_eq!(ebs_name(&[]), None);
    }
}
