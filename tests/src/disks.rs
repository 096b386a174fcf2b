//! Further disks of a machine, with content that must survive it.

use crate::process::{run, tool};
use anyhow::{Context, Result, bail};
use initramfs::swap_mark;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
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
    /// The mark of a swap volume, over the content.
    pub mark: Option<Mark>,
    /// A file of the scenario's folder whose bytes it begins with; the rest is zeros.
    pub file: Option<PathBuf>,
    /// Whether it stands before the root disk on the machine's bus, or behind it and the swap volume.
    #[serde(default)]
    pub before_root: bool,
    /// Whether it is there from the start; otherwise a step plugs it in.
    #[serde(default = "yes")]
    pub plugged: bool,
    /// Whether the scenario fails if a bit of it has changed. If it may be written, its mark stays all the same, and
    /// what lies behind the volume that the mark names.
    #[serde(default = "yes")]
    pub unchanged: bool,
}

/// The mark of a swap volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// MiB of the volume that it names.
    pub size: u64,
    /// Where it stands.
    #[serde(default)]
    pub at: Ends,
}

/// Ends of a volume.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ends {
    /// As it has to be.
    #[default]
    Both,
    /// The first MiB alone.
    First,
    /// The last MiB alone.
    Last,
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
        Ok(Disk { plan: plan.clone(), digest: digest(plan, &path)?, path })
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
        if digest(&self.plan, &self.path)? != self.digest {
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
    if let Some(Mark { size, at }) = plan.mark {
        let [first, last] = swap_mark::areas(size * MIB);
        let starts = match at {
            Ends::Both => vec![first, last],
            Ends::First => vec![first],
            Ends::Last => vec![last],
        };
        for start in starts {
            disk.write_all_at(&swap_mark::area(start, size * MIB), start)?;
        }
    }
    Ok(())
}

/// What of a disk has to stay as it is: from where to where.
fn kept(plan: &Plan, length: u64) -> Vec<(u64, u64)> {
    match plan.mark {
        _ if plan.unchanged => vec![(0, length)],
        Some(mark) => vec![(0, swap_mark::AREA), (mark.size * MIB - swap_mark::AREA, length)],
        None => Vec::new(),
    }
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

/// Of what has to stay.
fn digest(plan: &Plan, path: &Path) -> Result<[u8; 32]> {
    let mut digest = Sha256::new();
    let mut file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    for (start, end) in kept(plan, file.metadata()?.len()) {
        file.seek(SeekFrom::Start(start))?;
        let mut part = (&mut file).take(end - start);
        let mut buffer = vec![0; 1 << 20];
        loop {
            match part.read(&mut buffer)? {
                0 => break,
                count => digest.update(&buffer[..count]),
            }
        }
    }
    Ok(digest.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(content: Content) -> Plan {
        Plan {
            name: "x".to_owned(),
            serial: None,
            size: 4,
            content,
            mark: None,
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

    #[test]
    fn a_mark_lies_over_noise_and_stays_where_the_rest_may_be_written() {
        let directory = tempfile::tempdir().unwrap();
        let random = plan(Content::Random);
        let (size, area) = (3 << 20, swap_mark::AREA as usize);
        let marked = |at, unchanged| {
            let plan = Plan { mark: Some(Mark { size: 3, at }), unchanged, ..random.clone() };
            Disk::create(&plan, directory.path(), directory.path()).unwrap()
        };
        for (at, first, last) in [(Ends::Both, true, true), (Ends::First, true, false), (Ends::Last, false, true)] {
            let bytes = fs::read(&marked(at, true).path).unwrap();
            assert_eq!(bytes[..area] == swap_mark::area(0, size)[..], first, "{at:?}");
            assert_eq!(bytes[2 << 20..3 << 20] == swap_mark::area(2 << 20, size)[..], last, "{at:?}");
        }
        let disk = marked(Ends::Both, false);
        for (at, may_change) in [(area as u64, true), (0, false), ((3 << 20) - 1, false), ((4 << 20) - 1, false)] {
            let file = File::options().read(true).write(true).open(&disk.path).unwrap();
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[!byte[0]], at).unwrap();
            assert_eq!(disk.check().is_ok(), may_change, "{at}");
            file.write_all_at(&byte, at).unwrap();
        }
    }
}
