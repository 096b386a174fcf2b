//! Directory listings: runs of entries, each run behind a header with what its entries have in common (squashfs 4.0,
//! fs/squashfs/squashfs_fs.h, `squashfs_dir_header`).

use super::metadata::{Position, Stream};
use std::io;

/// Entries that one header may stand for.
const MAX_RUN: usize = 256;
/// A listing's length counts three bytes more than it has, for the entries "." and ".." that it does not have.
const DOTS: u32 = 3;

/// A name in a directory.
pub(super) struct Listed<'a> {
    /// At most 255 bytes.
    pub(super) name: &'a [u8],
    /// Where its inode lies in the inode table.
    pub(super) inode: Position,
    /// Its inode's number.
    pub(super) number: u32,
    /// The basic type of its inode.
    pub(super) kind: u16,
}

/// A listing that was written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listing {
    /// Where it starts in the directory table.
    pub(super) start: Position,
    /// Its length, as inodes tell it.
    pub(super) len: u32,
    /// Its index as large directories have it: where to start looking for a name.
    pub(super) index: Vec<u8>,
    /// Entries of the index.
    pub(super) index_len: u16,
}

/// Writes the listing of a directory, whose entries are sorted by name as bytes.
pub(super) fn write(entries: &[Listed<'_>], table: &mut Stream) -> io::Result<Listing> {
    let start = table.position();
    let mut listing = Listing { start, len: DOTS, index: Vec::new(), index_len: 0 };
    let mut rest = entries;
    let mut indexed = start.block;
    while let [first, ..] = rest {
        let (run, later) = rest.split_at(run_length(rest));
        rest = later;
        let position = table.position();
        if position.block != indexed && listing.index_len < u16::MAX {
            indexed = position.block;
            listing.index_len += 1;
            for number in [listing.len - DOTS, position.block, first.name.len() as u32 - 1] {
                listing.index.extend_from_slice(&number.to_le_bytes());
            }
            listing.index.extend_from_slice(first.name);
        }
        let mut bytes = Vec::new();
        for number in [run.len() as u32 - 1, first.inode.block, first.number] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for entry in run {
            let delta = entry.number.wrapping_sub(first.number) as u16; // signed 16 bits: see run_length
            for number in [entry.inode.offset, delta, entry.kind, entry.name.len() as u16 - 1] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            bytes.extend_from_slice(entry.name);
        }
        table.write(&bytes)?;
        let len = u32::try_from(bytes.len()).ok().and_then(|length| listing.len.checked_add(length));
        listing.len =
            len.ok_or_else(|| io::Error::new(io::ErrorKind::FileTooLarge, "a directory of more than 4 GiB"))?;
    }
    Ok(listing)
}

/// How many of the first entries fit under one header: their inodes lie in the same block, with numbers not far apart.
fn run_length(entries: &[Listed<'_>]) -> usize {
    let [first, ..] = entries else { return 0 };
    let together = |entry: &&Listed<'_>| {
        entry.inode.block == first.inode.block
            && i16::try_from(i64::from(entry.number) - i64::from(first.number)).is_ok()
    };
    entries.iter().take(MAX_RUN).take_while(together).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(name: &[u8], block: u32, number: u32) -> Listed<'_> {
        Listed { name, inode: Position { block, offset: 7 }, number, kind: 2 }
    }

    #[test]
    fn an_empty_directory_has_the_length_of_its_dots() {
        let listing = write(&[], &mut Stream::new().unwrap()).unwrap();
        assert_eq!((listing.len, listing.index_len), (3, 0));
    }

    #[test]
    fn a_header_stands_for_inodes_of_one_block_with_near_numbers() {
        let entries = [listed(b"a", 0, 40_000), listed(b"b", 0, 7232), listed(b"c", 0, 7231), listed(b"d", 9, 40_000)];
        assert_eq!(run_length(&entries), 2);
        assert_eq!(run_length(&entries[2..]), 1);
        let many: Vec<_> = (0..300).map(|number| listed(b"x", 0, number)).collect();
        assert_eq!(run_length(&many), 256);
    }

    #[test]
    fn the_index_of_a_large_directory_leads_to_headers() {
        let names: Vec<String> = (0..2000).map(|number| format!("name-{number:05}")).collect();
        let entries: Vec<_> = (0..).zip(&names).map(|(number, name)| listed(name.as_bytes(), 0, number)).collect();
        let mut table = Stream::new().unwrap();
        table.write(&[0; 100]).unwrap();
        let listing = write(&entries, &mut table).unwrap();
        assert_eq!(listing.start.offset, 100);
        // 2000 entries of 18 bytes and 8 headers of 12: five blocks, of which the second to the fourth have a header.
        assert_eq!((listing.len, listing.index_len), (3 + 36_000 + 96, 3));
        assert_eq!(listing.index.len(), 3 * (12 + 10));
        let at = |at: usize| u32::from_le_bytes(listing.index[at..at + 4].try_into().unwrap());
        // The first header that lies in the second block.
        assert_eq!((at(0), at(8)), (2 * (12 + 256 * 18), 9));
        assert_eq!(&listing.index[12..22], b"name-00512");
    }
}
