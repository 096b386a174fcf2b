//! What a packed layer knows of itself: its entries, and where in its data each file's content lies.

use crate::tarball::Entry;
use serde::{Deserialize, Serialize};
use std::io;

/// zstd's level for the index: it is small, and read at every build.
const LEVEL: i32 = 3;
/// Largest index that is read, in bytes: some 300 bytes for each of the 16 million files that a tree may have.
const MAX_LEN: usize = 5 << 30;

/// Where a file's content lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// Nowhere: an empty file, or no file at all.
    Nowhere,
    /// In blocks of its own, one behind the other.
    Blocks {
        /// The first of them.
        first: u32,
        /// How many.
        count: u32,
    },
    /// In a part of a block that small files share, which squashfs calls a fragment.
    Fragment {
        /// Which of the layer's shared blocks.
        number: u32,
        /// Where in it the content starts, in bytes.
        offset: u32,
        /// How long it is, in bytes.
        len: u32,
    },
}

/// The index of a packed layer.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// The size word of each block, in the order in which they lie.
    pub words: Vec<u32>,
    /// Which of the blocks are shared by small files.
    pub shared: Vec<u32>,
    /// The layer's entries, in its own order.
    pub entries: Vec<Entry>,
    /// Where the content of each entry lies.
    pub places: Vec<Place>,
}

impl Index {
    /// The index as bytes.
    ///
    /// # Errors
    /// What zstd answers.
    pub fn encode(&self) -> io::Result<Vec<u8>> {
        let mut encoder = zstd::Encoder::new(Vec::new(), LEVEL)?;
        postcard::to_io(self, &mut encoder).map_err(io::Error::other)?;
        encoder.finish()
    }

    /// Reads what [`Index::encode`] wrote.
    ///
    /// # Errors
    /// `InvalidData` for anything else.
    pub fn decode(bytes: &[u8]) -> io::Result<Self> {
        let mut plain = Vec::new();
        let mut decoder = zstd::Decoder::with_buffer(bytes)?;
        io::copy(&mut io::Read::take(&mut decoder, MAX_LEN as u64), &mut plain)?;
        postcard::from_bytes(&plain).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tarball::{Attributes, Kind};

    #[test]
    fn an_index_reads_back_as_it_was_written() {
        let attributes = Attributes { mode: 0o4755, uid: 70_000, gid: u32::MAX, mtime: -1 };
        let xattrs = vec![(b"user.\xff".to_vec(), vec![0, 255])];
        let entry = |kind| Entry { path: b"a/\xff".to_vec(), kind, attributes, size: 1 << 40, xattrs: xattrs.clone() };
        let kinds = [Kind::File, Kind::HardLink(b"x".to_vec()), Kind::CharDevice(1, 1 << 19), Kind::Fifo];
        let index = Index {
            words: vec![0, 1 << 24, 5],
            shared: vec![2],
            entries: kinds.map(entry).to_vec(),
            places: vec![
                Place::Blocks { first: 0, count: 2 },
                Place::Nowhere,
                Place::Fragment { number: 0, offset: 9, len: 5 },
            ],
        };
        assert_eq!(Index::decode(&index.encode().unwrap()).unwrap(), index);
        assert!(Index::decode(b"\x28\xb5\x2f\xfd").is_err());
    }
}
