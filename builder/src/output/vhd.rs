//! Microsoft's format of fixed size: the disk as it is, and a footer behind it that says so (Virtual Hard Disk Image
//! Format Specification 1.0, "Hard Disk Footer Format").

use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes of the footer, and of a sector.
const SECTOR: u64 = 512;
/// The most that Hyper-V takes, in bytes.
const MAX_LEN: u64 = 2040 << 30;

/// Makes a raw disk a VHD, in its place.
pub(super) fn finish(disk: &File) -> Result<()> {
    let len = disk.metadata().context("ask for the disk's size")?.len();
    ensure!(len <= MAX_LEN, "the disk has {} GiB, and a VHD can have 2040 at most", len.div_ceil(1 << 30));
    let write = || -> io::Result<()> {
        let identity = super::identity(disk, "vhd")?;
        disk.write_all_at(&footer(len, &identity.bytes()[..16]), len)
    };
    write().context("write the footer")
}

/// The footer of a disk of `len` bytes with this identity of 16 bytes.
fn footer(len: u64, identity: &[u8]) -> Vec<u8> {
    let (cylinders, heads, sectors) = geometry(len / SECTOR);
    let parts: [&[u8]; 15] = [
        b"conectix",
        &2_u32.to_be_bytes(),           // features: the one bit that is always set
        &0x0001_0000_u32.to_be_bytes(), // format version 1.0
        &u64::MAX.to_be_bytes(),        // no further structures
        &0_u32.to_be_bytes(),           // made in the first second of 2000, whenever that was
        // Readers, QEMU among them, go by the geometry, which can't tell every size, unless Hyper-V made the disk.
        b"win ",
        &0x000a_0000_u32.to_be_bytes(), // Hyper-V's version
        b"Wi2k",
        &len.to_be_bytes(), // size when it was made
        &len.to_be_bytes(), // size now
        &cylinders.to_be_bytes(),
        &[heads, sectors],
        &2_u32.to_be_bytes(), // fixed
        &0_u32.to_be_bytes(), // the checksum's place
        identity,
    ];
    let mut footer = parts.concat();
    footer.resize(SECTOR as usize, 0); // not a saved state; reserved
    let sum: u32 = footer.iter().map(|byte| u32::from(*byte)).sum();
    footer[64..68].copy_from_slice(&(!sum).to_be_bytes());
    footer
}

/// Cylinders, heads and sectors per track (the specification's appendix, "CHS Calculation").
fn geometry(total: u64) -> (u16, u8, u8) {
    let total = total.min(65535 * 16 * 255);
    let (tracks, heads, sectors) = if total >= 65535 * 16 * 63 {
        (total / 255, 16, 255)
    } else {
        let heads = (total / 17).div_ceil(1024).max(4);
        if heads <= 16 && total / 17 < heads * 1024 {
            (total / 17, heads, 17)
        } else if total / 31 < 16 * 1024 {
            (total / 31, 16, 31)
        } else {
            (total / 63, 16, 63)
        }
    };
    // All fit: that is what the limits above are for.
    (u16::try_from(tracks / heads).unwrap_or(u16::MAX), heads as u8, sectors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_geometry_is_that_of_the_specification() {
        const MIB: u64 = 2048; // sectors
        // As QEMU's and VirtualBox's tools have them.
        assert_eq!(geometry(64 * MIB), (963, 8, 17));
        assert_eq!(geometry(200 * MIB), (825, 16, 31));
        assert_eq!(geometry(1024 * MIB), (2080, 16, 63));
        assert_eq!(geometry(u64::MAX), (65535, 16, 255));
    }

    #[test]
    fn the_footer_has_its_fields_at_their_places() {
        let footer = footer(64 << 20, &[7; 16]);
        assert_eq!(footer.len(), 512);
        assert_eq!(footer[48..56], (64_u64 << 20).to_be_bytes());
        assert_eq!(footer[60..64], [0, 0, 0, 2]);
        assert_eq!(footer[68..85], [&[7; 16][..], &[0]].concat());
    }

    #[test]
    fn a_disk_that_no_vhd_can_be_is_refused() {
        let disk = tempfile::tempfile().unwrap();
        disk.set_len(MAX_LEN + 512).unwrap();
        let refused = format!("{:#}", finish(&disk).unwrap_err());
        assert_eq!(refused, "the disk has 2041 GiB, and a VHD can have 2040 at most");
    }
}
