//! The GUID partition table (UEFI specification, chapter 5.3), as far as naming a partition needs it.

use initramfs::guid::Guid;

/// `EFI PART`, the first bytes of a header.
const SIGNATURE: &[u8; 8] = b"EFI PART";
/// The header as the specification defines it; a larger one may follow in later revisions.
const HEADER_SIZE: usize = 92;
/// Tables have 128 entries of 128 bytes. A hundred times that is still read, more is taken for garbage.
const LARGEST_TABLE: u64 = 1 << 21;

/// Where a header says that its entries lie.
#[derive(Debug, PartialEq, Eq)]
pub struct Header {
    /// Logical block address of the first entry.
    pub entries_lba: u64,
    /// Bytes of all entries together.
    pub entries_bytes: usize,
    entry_size: usize,
    entries_crc: u32,
}

/// Reads the header in a logical block; `None` if there is no valid one.
#[must_use]
pub fn parse_header(block: &[u8]) -> Option<Header> {
    if block.get(..8)? != SIGNATURE {
        return None;
    }
    let size = usize::try_from(u32_at(block, 12)?).ok()?;
    if size < HEADER_SIZE {
        return None;
    }
    // The checksum is taken with its own field as zero.
    let mut header = block.get(..size)?.to_vec();
    header.get_mut(16..20)?.fill(0);
    if crc32(&header) != u32_at(block, 16)? {
        return None;
    }
    let entries = u64::from(u32_at(block, 80)?);
    let entry_size = u64::from(u32_at(block, 84)?);
    let bytes = entries * entry_size;
    if entry_size < 128 || entry_size % 8 != 0 || bytes > LARGEST_TABLE {
        return None;
    }
    Some(Header {
        entries_lba: u64_at(block, 72)?,
        entries_bytes: usize::try_from(bytes).ok()?,
        entry_size: usize::try_from(entry_size).ok()?,
        entries_crc: u32_at(block, 88)?,
    })
}

/// The number, from 1, of the partition with this unique GUID; `None` if the table is damaged or has none such.
#[must_use]
pub fn find(header: &Header, entries: &[u8], unique: Guid) -> Option<u32> {
    if entries.len() != header.entries_bytes || crc32(entries) != header.entries_crc {
        return None;
    }
    let wanted = unique.to_disk_bytes();
    let unused = [0; 16];
    let index = entries
        .chunks_exact(header.entry_size)
        .position(|entry| entry.get(..16) != Some(&unused[..]) && entry.get(16..32) == Some(&wanted[..]))?;
    u32::try_from(index).ok()?.checked_add(1)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// CRC-32 as in IEEE 802.3, which the specification asks for.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = crc32_table();
    !bytes.iter().fold(!0, |crc, byte| {
        let low = (crc ^ u32::from(*byte)) & 0xFF;
        TABLE.get(low as usize).copied().unwrap_or(0) ^ (crc >> 8)
    })
}

// Evaluated by the compiler: an index out of bounds would be its error, not the machine's.
#[allow(clippy::indexing_slicing)]
const fn crc32_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use initramfs::guid::ESP_TYPE;
    use proptest::prelude::*;
    use std::process::Command;

    const FIRST: &str = "11111111-2222-8333-8444-555555555555";
    const SECOND: &str = "aaaaaaaa-bbbb-8ccc-8ddd-eeeeeeeeeeee";

    /// A disk of 4 MiB with two partitions, 1 and 5, as sgdisk makes it.
    fn disk() -> Vec<u8> {
        let path =
            std::env::temp_dir().join(format!("nanoos-gpt-{}-{:?}", std::process::id(), std::thread::current().id()));
        std::fs::write(&path, vec![0; 4 << 20]).unwrap();
        let status = Command::new("sgdisk")
            .args(["--new=1:2048:4095", "--new=5:4096:6143", "-u", &format!("1:{FIRST}"), "-u", &format!("5:{SECOND}")])
            .arg(&path)
            .stdout(std::process::Stdio::null())
            .status()
            .expect("sgdisk is missing: apt-get install gdisk");
        assert!(status.success());
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        bytes
    }

    fn entries<'a>(disk: &'a [u8], header: &Header) -> &'a [u8] {
        let start = usize::try_from(header.entries_lba).unwrap() * 512;
        &disk[start..start + header.entries_bytes]
    }

    #[test]
    fn partitions_are_found_by_their_guid_in_the_table_and_in_its_backup() {
        let disk = disk();
        for header_at in [512, disk.len() - 512] {
            let header = parse_header(&disk[header_at..header_at + 512]).unwrap();
            let entries = entries(&disk, &header);
            assert_eq!(find(&header, entries, FIRST.parse().unwrap()), Some(1));
            assert_eq!(find(&header, entries, SECOND.parse().unwrap()), Some(5));
            assert_eq!(find(&header, entries, ESP_TYPE), None);
            assert_eq!(find(&header, entries, Guid::from_disk_bytes([0; 16])), None);
        }
    }

    #[test]
    fn a_single_flipped_bit_in_header_or_entries_is_noticed() {
        let mut disk = disk();
        let header = parse_header(&disk[512..1024]).unwrap();
        let start = usize::try_from(header.entries_lba).unwrap() * 512;
        disk[start + 1000] ^= 1;
        assert_eq!(find(&header, entries(&disk, &header), FIRST.parse().unwrap()), None);
        disk[512 + 40] ^= 1;
        assert_eq!(parse_header(&disk[512..1024]), None);
    }

    proptest! {
        #[test]
        fn no_block_makes_the_reader_panic(mut block in proptest::collection::vec(any::<u8>(), 0..600), entries: Vec<u8>) {
            // With a valid signature and checksum, so that the fields behind them are reached.
            if block.len() >= 92 {
                block[..8].copy_from_slice(SIGNATURE);
                block[12..16].copy_from_slice(&92u32.to_le_bytes());
                block[16..20].fill(0);
                let crc = crc32(&block[..92]);
                block[16..20].copy_from_slice(&crc.to_le_bytes());
            }
            if let Some(header) = parse_header(&block) {
                let _ = find(&header, &entries, ESP_TYPE);
            }
        }
    }
}
