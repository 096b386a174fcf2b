//! Makes the EFI system partition: a FAT file system with the one file that firmware looks for.

use anyhow::{Context, Result, ensure};
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

/// The file system, as large as `program` needs, rounded up to whole blocks of `alignment` bytes.
///
/// # Errors
/// When the program is too large for FAT16.
pub fn make(program: &[u8], file_name: &str, volume_id: u32, alignment: u64) -> Result<Vec<u8>> {
    let size = (program.len() as u64 + OVERHEAD).max(MIN_SIZE).next_multiple_of(alignment);
    let cluster = cluster_size(size);
    ensure!(size / cluster < 65_525, "an EFI program of {} bytes does not fit into FAT16", program.len());
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
