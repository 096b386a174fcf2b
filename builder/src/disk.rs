//! Lays out the disk: a GUID partition table, the EFI system partition, the root.
//!
//! EBS stores a disk in blocks of 512 KiB, and a build that changes few of them is published fast. So what changes with
//! every image lies close together: the table and the start of the EFI system partition (what the disk is made of, and
//! the machine's configuration at the start of the EFI program) share the first block, and the end of the root and
//! the table's backup the last one. The root starts on a block of its own.

use crate::digest::Digest;
use crate::esp::{self, Files};
use crate::pack::blocks::is_zero;
use crate::platform::Arch;
use anyhow::{Context, Result, ensure};
use gptman::{GPT, GPTPartitionEntry, PartitionName};
use initramfs::guid::{ESP_TYPE, Guid};
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Blocks in which EBS stores and sends a disk, in bytes (Amazon EBS user guide, "EBS direct APIs").
pub const BLOCK: u64 = 512 * 1024;
/// Sectors, in bytes: those of EBS volumes and of QEMU's disks.
pub(crate) const SECTOR: u64 = 512;
/// Where the EFI system partition starts: behind the table, on a whole page.
const ESP_START: u64 = 32 * 1024;
/// What the table's backup takes at the disk's end: header and 128 entries (UEFI specification, 5.3).
pub(crate) const BACKUP: u64 = 33 * SECTOR;

/// Where things lie on a disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Where the root starts, and the EFI system partition ends.
    pub root_start: u64,
    /// Where the root ends.
    pub root_end: u64,
    /// The disk's length.
    pub len: u64,
}

impl Layout {
    /// The layout for an EFI program, a provenance and a root of these lengths; the disk's own will be a multiple of
    /// `multiple` and of [`BLOCK`].
    #[must_use]
    pub fn new(program: u64, provenance: u64, root: u64, multiple: u64) -> Self {
        let root_start = (ESP_START + esp::least_size(program, provenance)).next_multiple_of(BLOCK);
        let root_end = (root_start + root).next_multiple_of(SECTOR);
        let len = (root_end + BACKUP).next_multiple_of(BLOCK).next_multiple_of(multiple.max(SECTOR));
        Layout { root_start, root_end, len }
    }

    /// The bytes that somebody reads: partitions and tables.
    #[must_use]
    pub fn extents(&self) -> [Range<u64>; 2] {
        [0..self.root_end, self.len - BACKUP..self.len]
    }
}

/// Identity of the root partition, by which init finds it: derived from what is in it.
#[must_use]
pub fn root_guid(root: &Digest) -> Guid {
    Guid::from_digest(root.bytes())
}

/// Writes everything but the root's content into `out`.
///
/// # Errors
/// When the file can't be written, or the files don't fit into what the layout has for them.
pub fn write(mut out: &File, layout: &Layout, arch: &Arch, files: &Files<'_>, root: &Digest) -> Result<()> {
    let esp_content = derived(b"ESP", &[&Digest::of(files.program.1), &Digest::of(files.provenance)]);
    let mut volume_id = [0; 4];
    volume_id.copy_from_slice(&esp_content.bytes()[..4]);
    ensure!(layout.root_start > ESP_START, "a disk without room for the EFI system partition");
    let esp = esp::make(files, u32::from_le_bytes(volume_id), layout.root_start - ESP_START)?;
    SparseWriter::new(out, ESP_START).write_all(&esp).context("write the EFI system partition")?;
    let identities = Identities {
        disk: Guid::from_digest(derived(b"disk", &[&esp_content, root]).bytes()),
        esp: Guid::from_digest(esp_content.bytes()),
        root: root_guid(root),
    };
    let mut table = partition_table(out, arch, &identities, layout).context("make the partition table")?;
    GPT::write_protective_mbr_into(&mut out, SECTOR).context("write the partition table")?;
    table.write_into(&mut out).context("write the partition table")?;
    Ok(())
}

struct Identities {
    disk: Guid,
    esp: Guid,
    root: Guid,
}

fn partition_table(
    mut out: &File,
    arch: &Arch,
    identities: &Identities,
    layout: &Layout,
) -> Result<GPT, gptman::Error> {
    let mut table = GPT::new_from(&mut out, SECTOR, identities.disk.to_disk_bytes())?;
    let entry = |kind: Guid, identity: Guid, (start, end): (u64, u64), name: &str| GPTPartitionEntry {
        partition_type_guid: kind.to_disk_bytes(),
        unique_partition_guid: identity.to_disk_bytes(),
        starting_lba: start / SECTOR,
        ending_lba: end / SECTOR - 1,
        attribute_bits: 0,
        partition_name: PartitionName::from(name),
    };
    table[1] = entry(ESP_TYPE, identities.esp, (ESP_START, layout.root_start), "esp");
    table[2] = entry(arch.root_type, identities.root, (layout.root_start, layout.root_end), "root");
    Ok(table)
}

/// A digest of digests, different for each use.
fn derived(what: &[u8], of: &[&Digest]) -> Digest {
    let mut bytes = b"NanoOS ".to_vec();
    bytes.extend_from_slice(what);
    for digest in of {
        bytes.extend_from_slice(digest.bytes());
    }
    Digest::of(&bytes)
}

/// Writes into a file of zeros what isn't zero, page by page, so that the file stays sparse.
#[derive(Debug)]
pub struct SparseWriter<'a> {
    file: &'a File,
    at: u64,
}

impl<'a> SparseWriter<'a> {
    /// Writes from `start` on, in bytes.
    #[must_use]
    pub fn new(file: &'a File, start: u64) -> Self {
        SparseWriter { file, at: start }
    }
}

impl Write for SparseWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        const PAGE: usize = 4096;
        let pages: Vec<&[u8]> = bytes.chunks(PAGE).collect();
        let mut done = 0;
        // One call for each run of pages with something in them.
        for run in pages.chunk_by(|one, next| is_zero(one) == is_zero(next)) {
            let length = run.iter().copied().map(<[u8]>::len).sum::<usize>();
            if run.first().is_some_and(|page| !is_zero(page)) {
                self.file.write_all_at(&bytes[done..done + length], self.at + done as u64)?;
            }
            done += length;
        }
        self.at += done as u64;
        Ok(done)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
