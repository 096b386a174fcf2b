//! A partition table: header and entries of whatever disk is plugged in. The checksums are put right first: no fuzzer
//! guesses them, and whoever forges a table computes them.
#![no_main]

use initramfs::guid::ESP_TYPE;
use libfuzzer_sys::fuzz_target;
use nanoos_init::gpt::{find, parse_header};

const BLOCK: usize = 512;

fuzz_target!(|disk: Vec<u8>| {
    let mut disk = disk;
    if disk.len() < BLOCK {
        return;
    }
    let (block, entries) = disk.split_at_mut(BLOCK);
    block[..8].copy_from_slice(b"EFI PART");
    block[88..92].copy_from_slice(&crc32(entries).to_le_bytes());
    let size = usize::from(u16::from_le_bytes([block[12], block[13]]));
    block[14..20].fill(0);
    let sum = block.get(..size).map_or(0, crc32);
    block[16..20].copy_from_slice(&sum.to_le_bytes());
    if let Some(header) = parse_header(block) {
        assert!(header.entries_bytes <= 1 << 20, "a header must not make init read without bound");
        let _ = find(&header, entries, ESP_TYPE);
    }
});

/// CRC-32 as in IEEE 802.3, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    })
}
