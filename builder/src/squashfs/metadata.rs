//! Metadata: inodes, directories and tables are written as a stream that is cut into blocks of 8 KiB, each compressed by
//! itself and preceded by two bytes that tell its length (squashfs 4.0, Documentation/filesystems/squashfs.rst, 3.).

use crate::pack::blocks::LEVEL;
use std::io;

/// Bytes of a metadata block before compression.
pub(super) const BLOCK: usize = 8192;
/// Set in a block's length where it is stored as it is.
const STORED_PLAIN: u16 = 1 << 15;

/// A place in a stream: where its block starts, counted from the start of the compressed stream, and where in the
/// block, once decompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Position {
    /// Bytes before the block.
    pub(super) block: u32,
    /// Bytes in the block.
    pub(super) offset: u16,
}

impl Position {
    /// As one number, the way references are stored.
    pub(super) fn reference(self) -> u64 {
        u64::from(self.block) << 16 | u64::from(self.offset)
    }
}

/// A stream of metadata that is being written.
pub(super) struct Stream {
    compressor: zstd::bulk::Compressor<'static>,
    /// Finished blocks.
    blocks: Vec<u8>,
    /// The block at hand, always less than a whole one.
    block: Vec<u8>,
}

impl Stream {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Stream { compressor: zstd::bulk::Compressor::new(LEVEL)?, blocks: Vec::new(), block: Vec::new() })
    }

    /// Where the next byte goes. Streams beyond 4 GiB are refused when they are finished.
    pub(super) fn position(&self) -> Position {
        Position { block: self.blocks.len() as u32, offset: self.block.len() as u16 } // below BLOCK
    }

    pub(super) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK - self.block.len()));
            self.block.extend_from_slice(now);
            bytes = later;
            if self.block.len() == BLOCK {
                self.end_block()?;
            }
        }
        Ok(())
    }

    fn end_block(&mut self) -> io::Result<()> {
        let compressed = self.compressor.compress(&self.block)?;
        let (length, bytes) = if compressed.len() < self.block.len() {
            (compressed.len() as u16, &compressed)
        } else {
            (self.block.len() as u16 | STORED_PLAIN, &self.block)
        };
        self.blocks.extend_from_slice(&length.to_le_bytes());
        self.blocks.extend_from_slice(bytes);
        self.block.clear();
        Ok(())
    }

    /// The stream as it lies on the disk.
    pub(super) fn finish(mut self) -> io::Result<Vec<u8>> {
        if !self.block.is_empty() {
            self.end_block()?;
        }
        if u32::try_from(self.blocks.len()).is_err() {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "more than 4 GiB of names and attributes"));
        }
        Ok(self.blocks)
    }
}

/// A table of records that is looked up by number: blocks of metadata, and behind them where each of these starts.
pub(super) struct Table {
    /// Blocks and list.
    pub(super) bytes: Vec<u8>,
    /// Where the list starts in them: what the superblock points at.
    pub(super) list: u64,
}

/// Makes a table that will lie at `start` of the file system. Records must divide a block.
pub(super) fn table(records: &[u8], start: u64) -> io::Result<Table> {
    let mut stream = Stream::new()?;
    let mut starts = Vec::new();
    for block in records.chunks(BLOCK) {
        starts.push(start + u64::from(stream.position().block));
        stream.write(block)?;
    }
    let mut bytes = stream.finish()?;
    let list = bytes.len() as u64;
    for start in starts {
        bytes.extend_from_slice(&start.to_le_bytes());
    }
    Ok(Table { bytes, list })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_cut_into_blocks_and_positions_find_them() {
        let mut stream = Stream::new().unwrap();
        assert_eq!(stream.position(), Position::default());
        stream.write(&[1; BLOCK - 1]).unwrap();
        assert_eq!(stream.position(), Position { block: 0, offset: 8191 });
        stream.write(&[1, 2, 3]).unwrap();
        let position = stream.position();
        assert_eq!(position.offset, 2);
        let bytes = stream.finish().unwrap();
        let length = usize::from(u16::from_le_bytes([bytes[0], bytes[1]]));
        assert_eq!(position.block as usize, 2 + length);
        assert_eq!(zstd::bulk::decompress(&bytes[2..2 + length], BLOCK).unwrap(), [1; BLOCK]);
        // Two bytes do not get smaller.
        assert_eq!(bytes[2 + length..], [2, 0x80, 2, 3]);
    }

    #[test]
    fn a_table_lists_its_blocks() {
        let table = table(&[5; BLOCK + 4], 1000).unwrap();
        let list = &table.bytes[table.list as usize..];
        assert_eq!(list.len(), 16);
        assert_eq!(list[..8], 1000u64.to_le_bytes());
        let second = u64::from_le_bytes(list[8..].try_into().unwrap()) - 1000;
        assert_eq!(table.bytes[second as usize..table.list as usize], [4, 0x80, 5, 5, 5, 5]);
    }
}
