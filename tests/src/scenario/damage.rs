//! What a scenario breaks on its disk between the build and the boot.

use crate::process::{run, tool};
use anyhow::{Context, Result, ensure};
use initramfs::cpio::Archive;
use initramfs::paths::IMAGE_JSON;
use serde::Deserialize;
use serde_json::{Deserializer, Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Sectors of a GPT are counted in these.
const SECTOR: u64 = 512;
/// Where the table of partitions begins, and the length of an entry (UEFI specification, 5.3.2; docs/image-format.md).
const TABLE: u64 = 2 * SECTOR;
const ENTRY: u64 = 128;
/// A zstd frame begins with these (RFC 8878, 3.1.1).
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// The `[damage]` section; everything that is set is done.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Damage {
    /// Percent of the disk that are left.
    pub truncate: Option<u64>,
    /// Ranges of the root partition whose bits are inverted.
    pub root: Vec<Range>,
    /// A part of the primary partition table whose bits are inverted; its backup stays.
    pub gpt: Option<Gpt>,
    /// What becomes of the machine's configuration.
    pub image_json: Option<ImageJson>,
}

/// Bytes of a partition.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// The first one.
    pub at: u64,
    /// How many.
    pub bytes: usize,
}

/// A part of the primary partition table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gpt {
    /// A byte that the header's checksum covers.
    Header,
    /// The first entries.
    Table,
}

/// What becomes of the machine's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageJson {
    /// It is not there.
    Missing,
    /// It breaks off.
    Corrupted,
    /// It has a version that does not exist yet.
    Future,
}

impl Damage {
    /// Damages a disk.
    pub(super) fn apply(&self, disk: &Path) -> Result<()> {
        let file = File::options().read(true).write(true).open(disk).context("open the disk")?;
        if let Some(change) = self.image_json {
            replace_configuration(disk, |_| match change {
                ImageJson::Missing => Ok(Vec::new()),
                ImageJson::Corrupted => configuration(b"{\"version\":1,\"argv\":[\"/pr"),
                ImageJson::Future => configuration(b"{\"version\":999,\"argv\":[\"/probe\"],\"news\":true}"),
            })?;
        }
        for range in &self.root {
            invert(&file, partition(&file, 1)? + range.at, range.bytes)?;
        }
        match self.gpt {
            // In the disk's GUID; the signature stays, by which qemu/boot.sh knows a raw disk.
            Some(Gpt::Header) => invert(&file, SECTOR + 56, 1)?,
            Some(Gpt::Table) => invert(&file, TABLE, 2 * usize::try_from(ENTRY)?)?,
            None => {}
        }
        if let Some(percent) = self.truncate {
            file.set_len(file.metadata()?.len() / 100 * percent).context("truncate the disk")?;
        }
        Ok(())
    }
}

/// Where a partition begins, in bytes.
fn partition(disk: &File, index: u64) -> Result<u64> {
    let mut first = [0; 8];
    disk.read_exact_at(&mut first, TABLE + index * ENTRY + 32).context("read the partition table")?;
    Ok(u64::from_le_bytes(first) * SECTOR)
}

fn invert(disk: &File, at: u64, bytes: usize) -> Result<()> {
    let mut content = vec![0; bytes];
    disk.read_exact_at(&mut content, at).with_context(|| format!("read {bytes} bytes at {at}"))?;
    content.iter_mut().for_each(|byte| *byte = !*byte);
    disk.write_all_at(&content, at).with_context(|| format!("write {bytes} bytes at {at}"))
}

/// The configuration is the first archive of the EFI program's initramfs, before the compressed one. What replaces it takes its
/// place, filled up with the zeros that the kernel passes over, so that nothing else moves.
fn replace_configuration(disk: &Path, change: impl FnOnce(&[u8]) -> Result<Vec<u8>>) -> Result<()> {
    const PROGRAM: &str = "::/EFI/BOOT/BOOTX64.EFI";
    let file = File::open(disk).context("open the disk")?;
    let esp = &format!("{}@@{}", disk.display(), partition(&file, 0)?);
    let directory = tempfile::tempdir().context("make a directory")?;
    let path = directory.path().join("program.efi");
    run(tool("mcopy", "mtools")?.args(["-i", esp, PROGRAM]).arg(&path))?;
    let mut program = fs::read(&path)?;
    let section = section(&program, b".initrd\0").context("the EFI program has no .initrd")?;
    let initrd = program.get_mut(section).context("an .initrd outside of the file")?;
    let end = initrd.windows(ZSTD.len()).position(|window| window == ZSTD).context("no zstd in .initrd")?;
    let archive = &mut initrd[..end];
    let replacement = change(archive).context("replace image.json")?;
    ensure!(replacement.len() <= archive.len(), "{} bytes into {}", replacement.len(), archive.len());
    archive.fill(0);
    archive[..replacement.len()].copy_from_slice(&replacement);
    fs::write(&path, program)?;
    run(tool("mcopy", "mtools")?.args(["-o", "-i", esp]).arg(&path).arg(PROGRAM))?;
    Ok(())
}

/// Gives a disk the processes of a project, which no container image has: the one that it starts, and others.
pub(super) fn add_processes(disk: &Path, processes: &BTreeMap<String, Vec<String>>) -> Result<()> {
    replace_configuration(disk, |archive| {
        let start = archive.iter().position(|byte| *byte == b'{').context("no image.json")?;
        let mut documents = Deserializer::from_slice(&archive[start..]).into_iter::<Value>();
        let mut image = documents.next().context("no image.json")??;
        let started = processes.iter().find(|(_, argv)| image["argv"] == json!(argv));
        image["process"] = json!(started.context("none of the processes is the program of the image")?.0);
        image["processes"] = json!(processes);
        configuration(&serde_json::to_vec(&image)?)
    })
}

/// An archive with this configuration.
fn configuration(json: &[u8]) -> Result<Vec<u8>> {
    let mut archive = Archive::new(Vec::new());
    archive.file(IMAGE_JSON, 0o600, json)?;
    archive.finish().context("pack the configuration")
}

/// Where the bytes of a section of a PE file are (Microsoft's PE format: the header's place at 0x3c; behind the signature and
/// the file header, 24 bytes, the optional header and then 40 bytes for each section).
fn section(program: &[u8], name: &[u8; 8]) -> Option<std::ops::Range<usize>> {
    let word = |at: usize| Some(u32::from_le_bytes(program.get(at..at + 4)?.try_into().ok()?) as usize);
    let half = |at: usize| Some(usize::from(u16::from_le_bytes(program.get(at..at + 2)?.try_into().ok()?)));
    let header = word(0x3c)?;
    let sections = header + 24 + half(header + 20)?;
    let mut entries = (0..half(header + 6)?).map(|number| sections + 40 * number);
    let entry = entries.find(|entry| program.get(*entry..entry + 8) == Some(name))?;
    let (length, start) = (word(entry + 8)?, word(entry + 20)?);
    Some(start..start + length)
}
