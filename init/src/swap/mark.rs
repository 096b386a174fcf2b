//! What may be written to: a volume that holds nothing, or nothing but our own mark.
//!
//! The mark fills the first and the last MiB, every block of them: whatever somebody puts on the volume later — a
//! partition table, a file system, a RAID member, an encrypted container — overwrites some of it, and the volume is
//! theirs from then on.

use anyhow::{Result, bail, ensure};
use std::io;

/// What the mark consists of: each block says where it stands, and on how large a volume.
pub const BLOCK: usize = 4096;
/// Length of each of the two marked areas, in bytes.
pub const AREA: u64 = 1 << 20;
/// The smallest volume that can be swap: the areas, and as much between them.
pub const SMALLEST: u64 = 4 * AREA;
/// How much is looked at at a time.
pub const CHUNK: usize = 1 << 20;

const TEXT: &[u8] =
    b"NanoOS swap volume: what it holds is lost at every boot, and it is marked so at both of its ends.\n";

/// Where the two areas of a volume of this size begin.
#[must_use]
pub fn areas(size: u64) -> [u64; 2] {
    [0, size.saturating_sub(AREA)]
}

/// The block of the mark that stands at this offset.
#[must_use]
pub fn block(offset: u64, size: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let parts = [TEXT, &size.to_le_bytes(), &offset.to_le_bytes()];
    let bytes = parts.into_iter().flatten();
    block.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    block
}

/// One of the two areas, whole.
#[must_use]
pub fn area(start: u64, size: u64) -> Vec<u8> {
    let offsets = (0..AREA).step_by(BLOCK).map(|offset| start + offset);
    offsets.flat_map(|offset| block(offset, size)).collect()
}

/// Whether a volume may be overwritten, by all that it holds. A mark that was begun and not finished is one of
/// ours, too, if there is nothing else. `read` fills a buffer from an offset on.
///
/// # Errors
/// Where the first byte stands that is neither zero nor ours; what `read` answers.
pub fn check(size: u64, buffer: &mut [u8], mut read: impl FnMut(u64, &mut [u8]) -> io::Result<()>) -> Result<()> {
    ensure!(size >= SMALLEST && size.is_multiple_of(BLOCK as u64), "{size} bytes are no size for a swap volume");
    ensure!(buffer.len() == CHUNK, "a buffer of the wrong size");
    let [first, last] = areas(size);
    let mut marked = 0;
    for start in [first, last] {
        read(start, buffer)?;
        for (index, found) in buffer.chunks_exact(BLOCK).enumerate() {
            let offset = start + (index * BLOCK) as u64;
            if found == block(offset, size) {
                marked += 1;
            } else {
                zeros(offset, found)?;
            }
        }
    }
    // Both ends are ours: what lies between is what an earlier boot swapped.
    if marked == 2 * AREA / BLOCK as u64 {
        return Ok(());
    }
    let mut offset = AREA;
    while offset < last {
        // The last piece may be shorter than a buffer: then it is read with what lies before it.
        let at = offset.min(last - AREA);
        read(at, buffer)?;
        zeros(at, buffer)?;
        offset += CHUNK as u64;
    }
    Ok(())
}

fn zeros(offset: u64, bytes: &[u8]) -> Result<()> {
    // Words at a time: this looks at whole volumes.
    let (words, rest) = bytes.as_chunks::<64>();
    if words.iter().all(|word| *word == [0; 64]) && rest.iter().all(|byte| *byte == 0) {
        return Ok(());
    }
    let at = bytes.iter().position(|byte| *byte != 0).unwrap_or(0);
    bail!("it is not blank: something stands at byte {}", offset + at as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIZE: u64 = 5 * AREA + 8192;

    fn judge(volume: &[u8]) -> Result<(), String> {
        let read = |at: u64, buffer: &mut [u8]| {
            let at = usize::try_from(at).unwrap();
            buffer.copy_from_slice(&volume[at..at + buffer.len()]);
            Ok(())
        };
        check(volume.len() as u64, &mut vec![0; CHUNK], read).map_err(|error| error.to_string())
    }

    fn blank() -> Vec<u8> {
        vec![0; usize::try_from(SIZE).unwrap()]
    }

    fn marked() -> Vec<u8> {
        let mut volume = blank();
        for start in areas(SIZE) {
            let at = usize::try_from(start).unwrap();
            volume[at..at + AREA as usize].copy_from_slice(&area(start, SIZE));
        }
        volume
    }

    #[test]
    fn blank_and_marked_volumes_are_ours() {
        assert_eq!(judge(&blank()), Ok(()));
        let mut volume = marked();
        assert_eq!(judge(&volume), Ok(()));
        volume[AREA as usize + 5] = 1; // swapped by an earlier boot
        assert_eq!(judge(&volume), Ok(()));
    }

    #[test]
    fn a_mark_that_was_begun_is_ours_if_there_is_nothing_else() {
        let mut volume = blank();
        volume[..BLOCK].copy_from_slice(&block(0, SIZE));
        assert_eq!(judge(&volume), Ok(()));
        volume[3 << 20] = 1;
        assert_eq!(judge(&volume).unwrap_err(), "it is not blank: something stands at byte 3145728");
    }

    #[test]
    fn a_mark_of_another_size_is_not_ours() {
        let mut volume = marked();
        volume.extend([0; BLOCK]);
        assert!(judge(&volume).is_err());
        assert!(judge(&[0; 4096]).is_err());
        assert!(judge(&[]).is_err());
    }

    #[test]
    fn the_superblocks_of_file_systems_on_a_marked_volume_are_seen() {
        // ext4's and Linux's md at 1 KiB and 4 KiB, GPT's at 512 bytes and in the last block, btrfs's at 64 KiB.
        for at in [0, 512, 1024, 4096, 65_536, SIZE as usize - 512] {
            let mut volume = marked();
            volume[at] ^= 0x53;
            assert!(judge(&volume).is_err(), "{at}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn one_byte_anywhere_on_a_blank_volume_saves_it(at in 0..SIZE as usize, byte in 1u8..) {
            let mut volume = blank();
            volume[at] = byte;
            let expected = format!("it is not blank: something stands at byte {at}");
            prop_assert_eq!(judge(&volume).unwrap_err(), expected);
        }
    }
}
