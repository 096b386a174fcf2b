//! Makes the EFI system partition: a FAT file system with the one file that firmware looks for, and one for people.

use anyhow::{Context, Result, bail, ensure};
use fatfs::{Date, DateTime, FatType, FileSystem, FormatVolumeOptions, FsOptions, Time, TimeProvider};
use std::io::{Cursor, Write};

/// FAT's sector size, in bytes.
const SECTOR: u64 = 512;
/// FAT16 has at least so many clusters, and at most about sixteen times as many ("Microsoft FAT Specification", "FAT Type
/// Determination"). FAT16 is what every firmware's UEFI reads, at sizes from 2 MiB to 2 GiB.
const MIN_CLUSTERS: u64 = 4085;
/// Largest cluster that is safe with every FAT driver, in bytes.
const MAX_CLUSTER: u64 = 32 * 1024;
/// Least size, in bytes: FAT16 with the smallest clusters.
const MIN_SIZE: u64 = 4 << 20;
/// Reserved sectors, two tables, the root directory and two directories take no more than this.
const OVERHEAD: u64 = 384 * 1024;

/// The first moment that FAT can tell. Times in the file system must not depend on when it was made.
#[derive(Debug)]
struct FirstMoment;

static FIRST_MOMENT: FirstMoment = FirstMoment;

impl TimeProvider for FirstMoment {
    fn get_current_date(&self) -> Date {
        Date { year: 1980, month: 1, day: 1 }
    }

    fn get_current_date_time(&self) -> DateTime {
        DateTime { date: self.get_current_date(), time: Time { hour: 0, min: 0, sec: 0, millis: 0 } }
    }
}

/// Folder and name of the file that says what the disk is made of. They are short names of FAT: with its long ones, fatfs
/// 0.3 writes directories that fsck.fat has something to say about.
pub const PROVENANCE: (&str, &str) = ("NANOOS", "ORIGIN.JSN");
/// Bytes of which that file has a multiple, so that few changes of it move the program behind it.
const PROVENANCE_STEP: usize = 16 * 1024;

/// What is in the file system.
#[derive(Debug, Clone, Copy)]
pub struct Files<'a> {
    /// The program, and the name by which firmware looks for it.
    pub program: (&'a str, &'a [u8]),
    /// What the disk is made of, as JSON.
    pub provenance: &'a [u8],
}

/// The least size of a file system for files of these lengths, in bytes.
#[must_use]
pub fn least_size(program: u64, provenance: u64) -> u64 {
    (program + provenance.next_multiple_of(PROVENANCE_STEP as u64) + OVERHEAD).max(MIN_SIZE)
}

/// The file system, of `size` bytes.
///
/// # Errors
/// When the files are too large for it, or it for FAT16.
pub fn make(files: &Files<'_>, volume_id: u32, size: u64) -> Result<Vec<u8>> {
    let (file_name, program) = files.program;
    let needed = least_size(program.len() as u64, files.provenance.len() as u64);
    if needed > size {
        bail!("the EFI system partition has {size} bytes, and {needed} are needed: this is a fault of builder's own");
    }
    let cluster = cluster_size(size);
    ensure!(size / cluster < 65_525, "an EFI program of {} bytes does not fit into FAT16", program.len());
    // Blanks are nothing to JSON.
    let mut provenance = files.provenance.to_vec();
    provenance.resize(provenance.len().next_multiple_of(PROVENANCE_STEP), b' ');
    let written = || -> std::io::Result<Vec<u8>> {
        let mut disk = Cursor::new(vec![0; size as usize]);
        let options = FormatVolumeOptions::new()
            .fat_type(FatType::Fat16)
            .bytes_per_cluster(cluster as u32)
            .bytes_per_sector(SECTOR as u16)
            .total_sectors((size / SECTOR) as u32)
            .volume_id(volume_id)
            .volume_label(*b"NANOOS     ");
        fatfs::format_volume(&mut disk, options)?;
        let file_system = FileSystem::new(&mut disk, FsOptions::new().time_provider(&FIRST_MOMENT))?;
        // First, so that it lies with the tables, where every build changes something.
        let folder = file_system.root_dir().create_dir(PROVENANCE.0)?;
        let mut file = folder.create_file(PROVENANCE.1)?;
        file.write_all(&provenance)?;
        file.flush()?;
        drop((file, folder));
        let boot = file_system.root_dir().create_dir("EFI")?.create_dir("BOOT")?;
        let mut file = boot.create_file(file_name)?;
        file.write_all(program)?;
        file.flush()?;
        drop((file, boot));
        file_system.unmount()?;
        Ok(disk.into_inner())
    };
    written().context("make the EFI system partition")
}

/// The largest cluster with which the file system still is FAT16: firmware follows fewer links to the program's end.
fn cluster_size(size: u64) -> u64 {
    let usable = size - OVERHEAD.min(size);
    let mut cluster = SECTOR;
    while cluster < MAX_CLUSTER && usable / (2 * cluster) > MIN_CLUSTERS {
        cluster *= 2;
    }
    cluster
}

#[cfg(test)]
mod tests;
