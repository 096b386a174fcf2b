//! The machine's disks, and the partition on them that has a given identity.

pub mod search;

use crate::gpt;
use anyhow::{Context, Result};
use initramfs::guid::Guid;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Block devices that are no disks: memory, and devices made of other ones.
const NO_DISKS: &[&str] = &["ram", "loop", "zram", "dm-", "md"];

/// Whether a block device may be a disk, by its name: it is not made of memory or of other devices.
#[must_use]
pub fn may_be_disk(name: &str) -> bool {
    !NO_DISKS.iter().any(|prefix| name.starts_with(prefix))
}

/// The disks that the kernel knows, in the order of their names.
#[must_use]
pub fn names() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir("/sys/block")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| may_be_disk(name))
        .collect();
    names.sort();
    names
}

/// The disks that sysfs has below a device.
#[must_use]
pub fn below(devpath: &str) -> Vec<String> {
    let is_below = |disk: &String| {
        let path = fs::read_link(Path::new("/sys/block").join(disk)).unwrap_or_default();
        path.to_str().is_some_and(|path| path.contains(&format!("{devpath}/")))
    };
    names().into_iter().filter(is_below).collect()
}

fn partition_number(disk: &str, unique: Guid) -> Result<Option<u32>> {
    let sysfs = Path::new("/sys/block").join(disk);
    let block = number_in(&sysfs.join("queue/logical_block_size"))?;
    // sysfs counts in units of 512 bytes whatever the disk's blocks are.
    let bytes = number_in(&sysfs.join("size"))?.saturating_mul(512);
    let device = Path::new("/dev").join(disk);
    let device = File::open(&device).with_context(|| format!("open {}", device.display()))?;
    // The table stands behind the first block; where it is damaged, its backup in the last one counts.
    let backup = bytes.saturating_sub(block);
    for at in [block, backup] {
        let found = || {
            let header = gpt::parse_header(&read(&device, at, usize::try_from(block).ok()?).ok()?)?;
            let entries = read(&device, header.entries_lba.saturating_mul(block), header.entries_bytes).ok()?;
            gpt::find(&header, &entries, unique)
        };
        if let Some(number) = found() {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

/// sysfs lists the partitions of a disk as directories in it, each with its number in a file.
fn device_of(disk: &str, number: u32) -> Option<PathBuf> {
    let directory = fs::read_dir(Path::new("/sys/block").join(disk)).ok()?;
    directory.flatten().find_map(|entry| {
        let found = number_in(&entry.path().join("partition")).ok()?;
        (found == u64::from(number)).then(|| Path::new("/dev").join(entry.file_name()))
    })
}

fn number_in(file: &Path) -> Result<u64> {
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    text.trim().parse().with_context(|| format!("{} is no number in {}", text.trim(), file.display()))
}

fn read(device: &File, at: u64, length: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    device.read_exact_at(&mut bytes, at).with_context(|| format!("read {length} bytes at {at}"))?;
    Ok(bytes)
}
