//! What may be written to: a volume that bears our mark, or holds nothing.

use anyhow::{Result, bail, ensure};
use initramfs::swap_mark::{AREA, BLOCK, SMALLEST, areas, block};
use std::io;

/// How much is looked at at a time.
pub const CHUNK: usize = 1 << 20;

/// Why a volume may be overwritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ours {
    /// Both of its marks are whole: between them lies what an earlier boot swapped, or what EC2 gives for blocks that
    /// nobody wrote.
    Marked,
    /// It is blank, but for a mark that was begun and not finished.
    Blank,
}

/// The swap volume as the image names it, and the disk that bears its name.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// Bytes that the image names. Nothing behind them is ever written.
    pub named: u64,
    /// Bytes that the disk has: more where a launch template asks for more than its snapshot has.
    pub disk: u64,
}

impl Extent {
    /// The difference, for whoever gave the volume its size.
    #[must_use]
    pub fn mismatch(self) -> String {
        format!("it has {}, where the image names {}", size(self.disk), size(self.named))
    }
}

fn size(bytes: u64) -> String {
    if bytes.is_multiple_of(1 << 20) { format!("{} MiB", bytes >> 20) } else { format!("{bytes} bytes") }
}

/// Whether a volume may be overwritten, by all that it holds. `read` fills a buffer from an offset on.
///
/// A larger disk is taken by its marks alone: they stand where those of a volume of the named size do. That it is blank
/// would not be enough, as it is not the volume that the image names.
///
/// # Errors
/// Where the first byte stands that is neither zero nor ours; a size that it can't have; what `read` answers.
pub fn check(
    extent: Extent,
    buffer: &mut [u8],
    mut read: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
) -> Result<Ours> {
    let size = extent.named;
    ensure!(size >= SMALLEST && size.is_multiple_of(BLOCK as u64), "{size} bytes are no size for a swap volume");
    ensure!(extent.disk >= size, extent.mismatch());
    ensure!(buffer.len() == CHUNK, "a buffer of the wrong size");
    let [first, last] = areas(size);
    let (mut marked, mut foreign) = (0, None);
    for start in [first, last] {
        read(start, buffer)?;
        for (index, found) in buffer.chunks_exact(BLOCK).enumerate() {
            let offset = start + (index * BLOCK) as u64;
            if found == block(offset, size) {
                marked += 1;
            } else {
                foreign = foreign.or_else(|| nonzero(offset, found));
            }
        }
    }
    if marked == 2 * AREA / BLOCK as u64 {
        return Ok(Ours::Marked);
    }
    ensure!(extent.disk == size, extent.mismatch());
    let mut offset = AREA;
    while foreign.is_none() && offset < last {
        // The last piece may be shorter than a buffer: then it is read with what lies before it.
        let at = offset.min(last - AREA);
        read(at, buffer)?;
        foreign = nonzero(at, buffer);
        offset += CHUNK as u64;
    }
    match foreign {
        None => Ok(Ours::Blank),
        Some(at) if marked == 0 => bail!("it is not blank: something stands at byte {at}"),
        Some(at) => bail!("its mark is not whole, and it is not blank: something else stands at byte {at}"),
    }
}

/// Where the first byte stands that is not zero.
fn nonzero(offset: u64, bytes: &[u8]) -> Option<u64> {
    // Words at a time: this looks at whole volumes.
    let (words, rest) = bytes.as_chunks::<64>();
    if words.iter().all(|word| *word == [0; 64]) && rest.iter().all(|byte| *byte == 0) {
        return None;
    }
    bytes.iter().position(|byte| *byte != 0).map(|at| offset + at as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use initramfs::swap_mark::area;
    use proptest::prelude::*;

    const SIZE: u64 = 5 * AREA + 8192;

    /// By a volume of its own size.
    fn judge(volume: &[u8]) -> Result<Ours, String> {
        judge_as(volume.len() as u64, volume)
    }

    /// By an image that names this size.
    fn judge_as(named: u64, volume: &[u8]) -> Result<Ours, String> {
        let read = |at: u64, buffer: &mut [u8]| {
            let at = usize::try_from(at).unwrap();
            buffer.copy_from_slice(&volume[at..at + buffer.len()]);
            Ok(())
        };
        let extent = Extent { named, disk: volume.len() as u64 };
        check(extent, &mut vec![0; CHUNK], read).map_err(|error| error.to_string())
    }

    fn filled(byte: u8) -> Vec<u8> {
        vec![byte; usize::try_from(SIZE).unwrap()]
    }

    fn mark(volume: &mut [u8], starts: &[u64]) {
        for start in starts {
            let at = usize::try_from(*start).unwrap();
            volume[at..at + AREA as usize].copy_from_slice(&area(*start, SIZE));
        }
    }

    fn marked() -> Vec<u8> {
        let mut volume = filled(0);
        mark(&mut volume, &areas(SIZE));
        volume
    }

    #[test]
    fn blank_and_marked_volumes_are_ours() {
        assert_eq!(judge(&filled(0)), Ok(Ours::Blank));
        let mut volume = marked();
        assert_eq!(judge(&volume), Ok(Ours::Marked));
        volume[AREA as usize + 5] = 1; // swapped by an earlier boot
        assert_eq!(judge(&volume), Ok(Ours::Marked));
    }

    /// As EC2 makes an encrypted volume of our snapshot: what nobody wrote reads as noise.
    #[test]
    fn between_whole_marks_anything_may_stand_and_only_the_marks_are_read() {
        let mut volume = filled(0xa5);
        mark(&mut volume, &areas(SIZE));
        assert_eq!(judge(&volume), Ok(Ours::Marked));
        let mut reads = Vec::new();
        let read = |at: u64, buffer: &mut [u8]| {
            reads.push((at, buffer.len()));
            let at = usize::try_from(at).unwrap();
            buffer.copy_from_slice(&volume[at..at + buffer.len()]);
            Ok(())
        };
        check(Extent { named: SIZE, disk: SIZE }, &mut vec![0; CHUNK], read).unwrap();
        assert_eq!(reads, [(0, CHUNK), (SIZE - AREA, CHUNK)]);
    }

    #[test]
    fn a_mark_at_one_end_makes_noise_not_ours() {
        for start in areas(SIZE) {
            let mut volume = filled(0xa5);
            mark(&mut volume, &[start]);
            let error = judge(&volume).unwrap_err();
            assert!(error.starts_with("its mark is not whole, and it is not blank"), "{error}");
        }
        assert_eq!(judge(&filled(0xa5)).unwrap_err(), "it is not blank: something stands at byte 0");
    }

    #[test]
    fn a_mark_that_was_begun_is_ours_if_there_is_nothing_else() {
        let mut volume = filled(0);
        volume[..BLOCK].copy_from_slice(&block(0, SIZE));
        assert_eq!(judge(&volume), Ok(Ours::Blank));
        volume[3 << 20] = 1;
        let expected = "its mark is not whole, and it is not blank: something else stands at byte 3145728";
        assert_eq!(judge(&volume).unwrap_err(), expected);
    }

    #[test]
    fn a_mark_of_another_size_is_not_ours() {
        let mut volume = marked();
        volume.extend([0; BLOCK]);
        assert!(judge(&volume).is_err());
        assert!(judge(&[0; 4096]).is_err());
        assert!(judge(&[]).is_err());
    }

    /// A launch template may ask for a larger volume than the snapshot's: the marks stand where they stood.
    #[test]
    fn a_larger_disk_is_ours_by_its_marks_alone_and_a_smaller_one_never() {
        let mut volume = marked();
        volume.extend([7; BLOCK]);
        assert_eq!(judge_as(SIZE, &volume), Ok(Ours::Marked));
        for damaged in [0, SIZE as usize - 1] {
            let mut volume = volume.clone();
            volume[damaged] ^= 1;
            let error = judge_as(SIZE, &volume).unwrap_err();
            assert_eq!(error, format!("it has {} bytes, where the image names {SIZE} bytes", volume.len()));
        }
        assert!(judge_as(SIZE, &vec![0; volume.len()]).is_err());
        assert!(judge_as(SIZE + BLOCK as u64, &marked()).is_err());
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
            let mut volume = filled(0);
            volume[at] = byte;
            let expected = format!("it is not blank: something stands at byte {at}");
            prop_assert_eq!(judge(&volume).unwrap_err(), expected);
        }
    }
}
