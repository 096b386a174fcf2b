//! Reads from a disk alone what it is made of, and checks that it still is.

use crate::digest::Digest;
use crate::disk::{BACKUP, SECTOR};
use crate::esp;
use crate::platform::{ARCHES, Arch, Platform};
use crate::provenance::{Part, Provenance};
use anyhow::{Context, Result, bail, ensure};
use fatfs::{FileSystem, FsOptions};
use gptman::{GPT, GPTPartitionEntry};
use initramfs::guid::ESP_TYPE;
use object::read::pe::PeFile64;
use object::{Object, ObjectSection};
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// Largest EFI system partition that is read, in bytes: ours have some seven MiB.
const MAX_ESP: u64 = 512 << 20;

/// How often all of the EFI system partition may be read. Few of it is read even once, unless its tables lead in circles.
const MAX_READS: u64 = 4;

/// A partition in memory, of which only so much is read.
struct Limited {
    inner: Cursor<Vec<u8>>,
    left: u64,
}

impl Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Even an empty answer costs something, so that whoever asks for ever is stopped.
        let read = self.inner.read(buffer)?;
        let left = self.left.checked_sub(read.max(1) as u64);
        self.left = left.ok_or_else(|| io::Error::other("its tables lead in circles"))?;
        Ok(read)
    }
}

/// What fatfs wants even where nothing is written.
impl Write for Limited {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Limited {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

/// A part of a disk, as it was made and as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What it is.
    pub name: &'static str,
    /// As it was made.
    pub made: Part,
    /// As it is.
    pub found: Part,
}

impl Check {
    /// Whether it is what it was.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.made == self.found
    }
}

/// What a disk says of itself, and whether that is true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What it says.
    pub provenance: Provenance,
    /// The parts that can be checked.
    pub checks: Vec<Check>,
}

/// Reads a raw disk.
///
/// # Errors
/// When it can't be read, or is no disk of ours.
pub fn inspect(disk: &Path) -> Result<Report> {
    let shown = disk.display();
    let mut file = open(disk)?;
    check_format(&mut file).with_context(|| shown.to_string())?;
    read(&mut file).with_context(|| shown.to_string())
}

/// The bytes of a raw disk that somebody reads: partitions and tables.
///
/// # Errors
/// When it can't be read, or is no disk of ours.
pub fn extents(disk: &Path) -> Result<Vec<Range<u64>>> {
    let shown = disk.display();
    let mut file = open(disk)?;
    let mut extents = || {
        check_format(&mut file)?;
        let table = table(&mut file)?;
        partitions(&table)?;
        let all: Vec<_> = table.iter().map(|(_, entry)| entry).filter(|entry| entry.is_used()).collect();
        taken(&file, &all)
    };
    extents().with_context(|| shown.to_string())
}

/// Opens a disk; of a pipe not even that would come to an end.
fn open(disk: &Path) -> Result<File> {
    let shown = disk.display();
    let kind = std::fs::metadata(disk).with_context(|| format!("open {shown}"))?.file_type();
    ensure!(kind.is_file() || kind.is_block_device(), "{shown}: this is neither a file nor a disk");
    File::open(disk).with_context(|| format!("open {shown}"))
}

/// The other formats that builder writes are better named than called broken.
fn check_format(file: &mut File) -> Result<()> {
    const OTHERS: &[(&[u8], &str)] =
        &[(b"QFI\xfb", "a qcow2 disk"), (b"KDMV", "a vmdk disk"), (b"\x1f\x8b", "compressed by gzip")];
    let mut start = Vec::new();
    file.take(4).read_to_end(&mut start).context("read the disk")?;
    if let Some((_, what)) = OTHERS.iter().find(|(magic, _)| start.starts_with(magic)) {
        bail!("this is {what}, and only raw disks are read: convert it first (qemu-img convert -O raw, or tar -xzf)");
    }
    Ok(())
}

fn read(file: &mut File) -> Result<Report> {
    let table = table(file)?;
    let (esp, root, arch) = partitions(&table)?;
    let esp = read_partition(file, esp).context("read the EFI system partition")?;
    let len = esp.len() as u64;
    let limited = Limited { inner: Cursor::new(esp), left: len.saturating_mul(MAX_READS) };
    let file_system =
        FileSystem::new(limited, FsOptions::new()).context("its EFI system partition has no FAT file system")?;
    let member = |path: &str| -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let member = file_system.root_dir().open_file(path).with_context(|| format!("it has no {path}"))?;
        member.take(len).read_to_end(&mut bytes).with_context(|| format!("read its {path}"))?;
        Ok(bytes)
    };
    let json = member(&format!("{}/{}", esp::PROVENANCE.0, esp::PROVENANCE.1))
        .context("it does not say what it is made of")?;
    let provenance = Provenance::parse(&json)?;
    let platform: Platform = provenance.platform.parse().context("it says that it is for a platform that is none")?;
    ensure!(
        platform.arch.name == arch.name,
        "it says that it is for {platform}, and its root is one for {}",
        arch.name
    );
    let program = member(&format!("EFI/BOOT/{}", arch.efi_file))?;
    let parts = &provenance.parts;
    let section = |name: &str| section(&program, name).map(Part::of);
    let checks = vec![
        Check { name: "root", made: parts.root, found: hash(file, root, parts.root.bytes)? },
        Check { name: "EFI program", made: parts.efi_program, found: Part::of(&program) },
        Check { name: "kernel", made: parts.vmlinuz, found: section(".linux")? },
        Check { name: "initramfs", made: parts.initramfs, found: section(".initrd")? },
    ];
    Ok(Report { provenance, checks })
}

/// The table, or its backup where that is damaged.
fn table(file: &mut File) -> Result<GPT> {
    check_table(file)?;
    GPT::read_from(file, SECTOR).context("it has no partition table that can be read, so it is no disk of builder's")
}

/// Refuses a table of another shape than ours before a library makes room for it: whoever forges one computes its checksum
/// too (UEFI specification, 5.3.2: place, count and size of the entries).
fn check_table(file: &mut File) -> Result<()> {
    const SHAPE: (u32, u32) = (128, 128);
    let end = file.seek(SeekFrom::End(0)).context("read the disk")?;
    for at in [SECTOR, end.saturating_sub(SECTOR)] {
        let mut header = [0; 92];
        file.seek(SeekFrom::Start(at)).context("read the disk")?;
        if file.read_exact(&mut header).is_err() || !header.starts_with(b"EFI PART") {
            continue;
        }
        let number = |at: usize| header[at..at + 4].iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
        let far = number(76) != 0 && at == SECTOR;
        ensure!(
            (number(80), number(84)) == SHAPE && !far,
            "its partition table has another shape than those that builder makes, so it is no disk of builder's"
        );
    }
    file.rewind().context("read the disk")
}

/// The EFI system partition, the root, and the architecture that the root's type tells.
fn partitions(table: &GPT) -> Result<(&GPTPartitionEntry, &GPTPartitionEntry, &'static Arch)> {
    let entries = || table.iter().map(|(_, entry)| entry).filter(|entry| entry.is_used());
    let esp = entries().find(|entry| entry.partition_type_guid == ESP_TYPE.to_disk_bytes());
    let root = entries().find_map(|entry| {
        let arch = ARCHES.iter().find(|arch| entry.partition_type_guid == arch.root_type.to_disk_bytes())?;
        Some((entry, arch))
    });
    let (root, arch) = root.context("it has no root partition, so it is no disk of builder's")?;
    Ok((esp.context("it has no EFI system partition, so it is no disk of builder's")?, root, arch))
}

/// What the tables and these partitions take.
fn taken(file: &File, partitions: &[&GPTPartitionEntry]) -> Result<Vec<Range<u64>>> {
    let len = file.metadata().context("ask for the disk's size")?.len();
    let tables = [0..BACKUP + SECTOR, len.saturating_sub(BACKUP)..len];
    let mut extents = tables.to_vec();
    for entry in partitions {
        let (start, length) = range(entry)?;
        let end = start.checked_add(length).filter(|end| *end <= len).context("its partitions do not lie on it")?;
        extents.push(start..end);
    }
    Ok(extents)
}

/// First byte and length of a partition.
fn range(entry: &GPTPartitionEntry) -> Result<(u64, u64)> {
    let sectors = entry.ending_lba.checked_sub(entry.starting_lba).and_then(|last| last.checked_add(1));
    let range = entry.starting_lba.checked_mul(SECTOR).zip(sectors.and_then(|sectors| sectors.checked_mul(SECTOR)));
    range.context("its partition table makes no sense")
}

fn read_partition(file: &mut File, entry: &GPTPartitionEntry) -> Result<Vec<u8>> {
    let (start, length) = range(entry)?;
    ensure!(length <= MAX_ESP, "it has {length} bytes, which none of builder's has");
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    file.take(length).read_to_end(&mut bytes)?;
    ensure!(bytes.len() as u64 == length, "the disk ends in it");
    Ok(bytes)
}

/// The first `bytes` of a partition, or what there is of them.
fn hash(file: &mut File, entry: &GPTPartitionEntry, bytes: u64) -> Result<Part> {
    let (start, length) = range(entry)?;
    let bytes = bytes.min(length);
    let before = file.seek(SeekFrom::Start(start)).context("read the root")?;
    let digest = Digest::of_reader(file.take(bytes)).context("read the root")?;
    let read = file.stream_position().context("read the root")? - before;
    Ok(Part { digest, bytes: read })
}

/// A section of the EFI program, without its padding.
fn section<'a>(program: &'a [u8], name: &str) -> Result<&'a [u8]> {
    let file = PeFile64::parse(program).context("its EFI program is damaged")?;
    let section = file.section_by_name(name).with_context(|| format!("its EFI program has no section {name}"))?;
    let (data, size) = (section.data().context("its EFI program is damaged")?, section.size());
    let size = usize::try_from(size).unwrap_or(usize::MAX).min(data.len());
    Ok(&data[..size])
}
