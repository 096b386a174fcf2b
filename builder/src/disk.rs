//! Lays out the disk: a GUID partition table, the EFI system partition, the root.

use crate::digest::Digest;
use crate::esp;
use crate::platform::Arch;
use anyhow::{Context, Result};
use gptman::{GPT, GPTPartitionEntry, PartitionName};
use initramfs::guid::{ESP_TYPE, Guid};
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

/// Blocks in which EBS stores and sends a disk, in bytes. Partitions begin and end on them, so that a change in one
/// partition touches no block of another (Amazon EBS user guide, "EBS direct APIs").
pub const BLOCK: u64 = 512 * 1024;
/// Sectors, in bytes: those of EBS volumes and of QEMU's disks.
const SECTOR: u64 = 512;

/// What goes on a disk.
#[derive(Debug)]
pub struct Parts<'a> {
    /// The architecture.
    pub arch: &'static Arch,
    /// The program that firmware starts.
    pub uki: &'a [u8],
    /// The root file system, read from its start.
    pub root: &'a File,
    /// Its length in bytes.
    pub root_len: u64,
    /// Its digest.
    pub root_digest: Digest,
    /// What the disk's length must be a multiple of, in bytes.
    pub size_multiple: u64,
}

/// Identity of the root partition, by which init finds it: derived from what is in it.
#[must_use]
pub fn root_guid(root: &Digest) -> Guid {
    Guid::from_digest(root.bytes())
}

/// Writes the disk into `out`, an empty file, and gives its length in bytes. What is zero is not written, so the file is
/// sparse.
///
/// # Errors
/// When the file can't be written.
pub fn write(mut out: &File, parts: &Parts<'_>) -> Result<u64> {
    let uki = Digest::of(parts.uki);
    let esp_id = derived(b"ESP", &[&uki]);
    let mut volume_id = [0; 4];
    volume_id.copy_from_slice(&esp_id.bytes()[..4]);
    let esp = esp::make(parts.uki, parts.arch.efi_file, u32::from_le_bytes(volume_id), BLOCK)?;

    // The first block holds the table; its copy has a block of its own at the end.
    let esp_start = BLOCK;
    let root_start = esp_start + esp.len() as u64;
    let root_end = root_start + parts.root_len.next_multiple_of(BLOCK);
    let len = (root_end + BLOCK).next_multiple_of(parts.size_multiple);
    let identities = Identities {
        disk: Guid::from_digest(derived(b"disk", &[&uki, &parts.root_digest]).bytes()),
        esp: Guid::from_digest(esp_id.bytes()),
        root: root_guid(&parts.root_digest),
    };

    out.set_len(len).context("make room for the disk")?;
    write_sparse(out, esp_start, &esp).context("write the EFI system partition")?;
    let mut root = parts.root;
    (|| -> io::Result<()> {
        root.seek(SeekFrom::Start(0))?;
        out.seek(SeekFrom::Start(root_start))?;
        let copied = io::copy(&mut root, &mut out)?;
        if copied == parts.root_len { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    })()
    .context("write the root partition")?;
    let mut table = partition_table(out, parts.arch, &identities, [(esp_start, root_start), (root_start, root_end)])
        .context("make the partition table")?;
    GPT::write_protective_mbr_into(&mut out, SECTOR).context("write the partition table")?;
    table.write_into(&mut out).context("write the partition table")?;
    Ok(len)
}

struct Identities {
    disk: Guid,
    esp: Guid,
    root: Guid,
}

/// The table for an ESP and a root that lie at these bytes, end excluded.
fn partition_table(
    mut out: &File,
    arch: &Arch,
    identities: &Identities,
    [esp, root]: [(u64, u64); 2],
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
    table[1] = entry(ESP_TYPE, identities.esp, esp, "esp");
    table[2] = entry(arch.root_type, identities.root, root, "root");
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

/// Writes what isn't zero, in pages of a file system.
fn write_sparse(mut out: &File, start: u64, bytes: &[u8]) -> io::Result<()> {
    const PAGE: usize = 4096;
    for (page, at) in bytes.chunks(PAGE).zip((start..).step_by(PAGE)) {
        if page.iter().any(|byte| *byte != 0) {
            out.seek(SeekFrom::Start(at))?;
            out.write_all(page)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
