//! Further disks of a machine, with content that must survive it.

use crate::process::{run, tool};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const MIB: u64 = 1 << 20;
/// The block that a disk ends with, for [`Content::LastBlock`].
const BLOCK: u64 = 4096;

/// What a scenario says of a disk.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Plan {
    /// How steps call it.
    pub name: String,
    /// The NVMe serial number; the name if it is not said.
    pub serial: Option<String>,
    /// MiB; a file from the scenario's folder has its own size if that is larger.
    #[serde(default = "default_size")]
    pub size: u64,
    /// What is on it.
    #[serde(default)]
    pub content: Content,
    /// A file of the scenario's folder whose bytes it begins with; the rest is zeros.
    pub file: Option<PathBuf>,
    /// Whether it stands before the root disk on the machine's bus, or behind it and the swap volume.
    #[serde(default)]
    pub before_root: bool,
    /// Whether it is there from the start; otherwise a step plugs it in.
    #[serde(default = "yes")]
    pub plugged: bool,
    /// Whether the scenario fails if a bit of it has changed.
    #[serde(default = "yes")]
    pub unchanged: bool,
}

fn default_size() -> u64 {
    64
}

fn yes() -> bool {
    true
}

/// What is on a disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// Zeros.
    #[default]
    Blank,
    /// A file system with a file in it.
    Ext4,
    /// Random bytes throughout.
    Random,
    /// Zeros but for random bytes in the last 4 KiB.
    LastBlock,
    /// Random bytes but for the first MiB, which is zeros.
    ZeroFirstMib,
    /// Zeros, but for a partition table whose chain of extended partitions is a circle.
    LoopingPartitions,
}

/// A disk that exists.
#[derive(Debug)]
pub struct Disk {
    /// What it was made from.
    pub plan: Plan,
    /// Where its bytes are.
    pub path: PathBuf,
    digest: [u8; 32],
}

impl Disk {
    /// Makes a disk in a directory; `folder` is the scenario's.
    ///
    /// # Errors
    /// When it cannot be written, or mkfs.ext4 is missing.
    pub fn create(plan: &Plan, directory: &Path, folder: &Path) -> Result<Self> {
        let path = directory.join(format!("{}.disk", plan.name));
        fill(plan, &path, folder).with_context(|| format!("make the disk {}", plan.name))?;
        Ok(Disk { plan: plan.clone(), digest: digest(&path)?, path })
    }

    /// The NVMe serial number.
    #[must_use]
    pub fn serial(&self) -> &str {
        self.plan.serial.as_ref().unwrap_or(&self.plan.name)
    }

    /// Compares the disk with what it was; the machine must be off.
    ///
    /// # Errors
    /// When a bit differs, unless the scenario allows it.
    pub fn check(&self) -> Result<()> {
        if self.plan.unchanged && digest(&self.path)? != self.digest {
            bail!("the machine has written to the disk {}", self.plan.name);
        }
        Ok(())
    }
}

fn fill(plan: &Plan, path: &Path, folder: &Path) -> Result<()> {
    let size = plan.size * MIB;
    let mut disk = match &plan.file {
        Some(name) => {
            fs::copy(folder.join(name), path).with_context(|| format!("copy {}", name.display()))?;
            File::options().write(true).open(path)?
        }
        None => File::create(path)?,
    };
    disk.set_len(size.max(disk.metadata()?.len()))?;
    let zeros = match plan.content {
        Content::Blank | Content::Ext4 | Content::LoopingPartitions => size,
        Content::Random => 0,
        Content::LastBlock => size - BLOCK,
        Content::ZeroFirstMib => MIB,
    };
    disk.seek(SeekFrom::Start(zeros))?;
    let mut random = File::open("/dev/urandom")?.take(size - zeros);
    io::copy(&mut random, &mut disk)?;
    if plan.content == Content::LoopingPartitions {
        disk.seek(SeekFrom::Start(0))?;
        disk.write_all(&looping_partitions())?;
    }
    disk.flush()?;
    if plan.content == Content::Ext4 {
        let files = tempfile::tempdir()?;
        fs::write(files.path().join("precious"), "data that nobody has a copy of\n")?;
        run(tool("mkfs.ext4", "e2fsprogs")?.args(["-q", "-F", "-d"]).arg(files.path()).arg(path))?;
    }
    Ok(())
}

/// The first two sectors: an MBR with an extended partition, and in that a table whose second entry, the next of the chain,
/// is that table again. Types 5 and 0x83 are extended and Linux; start and length count sectors.
fn looping_partitions() -> Vec<u8> {
    let table = |entries: &[(u8, u32, u32)]| {
        let mut sector = vec![0; 512];
        for (entry, (kind, start, length)) in sector[446..].chunks_mut(16).zip(entries) {
            entry[4] = *kind;
            entry[8..12].copy_from_slice(&start.to_le_bytes());
            entry[12..16].copy_from_slice(&length.to_le_bytes());
        }
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        sector
    };
    [table(&[(5, 1, 4096)]), table(&[(0x83, 8, 8), (5, 0, 4096)])].concat()
}

fn digest(path: &Path) -> Result<[u8; 32]> {
    let mut digest = Sha256::new();
    let mut file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(digest.finalize().into()),
            count => digest.update(&buffer[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    fn plan(content: Content) -> Plan {
        Plan {
            name: "x".to_owned(),
            serial: None,
            size: 4,
            content,
            file: None,
            before_root: false,
            plugged: true,
            unchanged: true,
        }
    }

    #[test]
    fn disks_hold_what_they_are_called_and_a_changed_bit_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
        for content in [Content::Blank, Content::Ext4, Content::Random, Content::LastBlock, Content::ZeroFirstMib] {
            let disk = Disk::create(&plan(content), directory.path(), directory.path()).unwrap();
            let bytes = fs::read(&disk.path).unwrap();
            assert_eq!(bytes.len(), 4 << 20);
            let (head, rest) = bytes.split_at(1 << 20);
            let (middle, last) = rest.split_at(rest.len() - 4096);
            let zeros = [is_zero(head), is_zero(middle), is_zero(last)];
            let expected = match content {
                Content::Blank => [true, true, true],
                Content::Random => [false, false, false],
                Content::LastBlock => [true, true, false],
                Content::ZeroFirstMib => [true, false, false],
                Content::LoopingPartitions => unreachable!(),
                Content::Ext4 => {
                    assert_eq!(head[1080..1082], [0x53, 0xef]); // its magic number
                    zeros
                }
            };
            assert_eq!(zeros, expected, "{content:?}");

            disk.check().unwrap();
            let flipped = [bytes[12345] ^ 1];
            File::options().write(true).open(&disk.path).unwrap().write_all_at(&flipped, 12345).unwrap();
            assert_eq!(disk.check().unwrap_err().to_string(), "the machine has written to the disk x");
        }
    }
}
