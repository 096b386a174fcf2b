//! The mark of a swap volume: every block of its first and of its last MiB says that the volume is swap, how large it is,
//! and where the block stands. What lies between two whole marks is nobody's data: init writes there at every boot,
//! whatever stands there.
//!
//! Builder puts the mark into the snapshot of which EC2 makes the volume, and init puts it on a volume that is blank.
//! Whoever uses such a volume for something else (a partition table, a file system, a RAID member, an encrypted
//! container) overwrites some of it.

/// What the mark consists of, in bytes.
pub const BLOCK: usize = 4096;
/// Length of each of the two marked areas, in bytes.
pub const AREA: u64 = 1 << 20;
/// The smallest volume that can be swap: the areas, and as much between them.
pub const SMALLEST: u64 = 4 * AREA;

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

#[cfg(test)]
mod tests {
    use super::*;

    /// Snapshots and volumes bear these bytes for years: another mark is one that no image of before knows.
    #[test]
    fn a_block_is_what_it_always_was() {
        let block = block(4096, 1 << 30);
        assert_eq!(&block[..TEXT.len()], TEXT);
        assert_eq!(TEXT.len(), 98);
        assert_eq!(block[98..106], [0, 0, 0, 0x40, 0, 0, 0, 0]);
        assert_eq!(block[106..114], [0, 0x10, 0, 0, 0, 0, 0, 0]);
        assert!(block[114..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn an_area_has_each_of_its_blocks_at_its_place() {
        let size = 8 * AREA;
        let [first, last] = areas(size);
        assert_eq!((first, last), (0, 7 * AREA));
        for start in [first, last] {
            let area = area(start, size);
            assert_eq!(area.len() as u64, AREA);
            for (index, found) in area.chunks_exact(BLOCK).enumerate() {
                assert_eq!(found, block(start + (index * BLOCK) as u64, size));
            }
        }
    }
}
