//! Digests of a disk's blocks, computed while the disk is written: what is sent to EBS is known by them, and compared by them.

use crate::disk::BLOCK;
use anyhow::{Context, Result, ensure};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Bytes of a volume of EBS at most.
const LARGEST_VOLUME: u64 = 64 << 40;

/// A block's index and its SHA-256 digest.
pub type Block = (u32, [u8; 32]);

/// Hands on what is written, and computes the digests of the whole blocks among it.
#[derive(Debug)]
pub struct Hashing<'a, W> {
    inner: W,
    blocks: &'a mut Vec<Block>,
    hasher: Sha256,
    at: u64,
}

impl<'a, W: Write> Hashing<'a, W> {
    /// Writes from `start` on, in bytes, where a block starts.
    #[must_use]
    pub fn new(inner: W, start: u64, blocks: &'a mut Vec<Block>) -> Self {
        Hashing { inner, blocks, hasher: Sha256::new(), at: start }
    }
}

impl<W: Write> Write for Hashing<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = usize::try_from(BLOCK - self.at % BLOCK).unwrap_or(usize::MAX);
        let written = self.inner.write(&bytes[..bytes.len().min(room)])?;
        self.hasher.update(&bytes[..written]);
        self.at += written as u64;
        if written > 0 && self.at.is_multiple_of(BLOCK) {
            let index =
                u32::try_from(self.at / BLOCK - 1).map_err(|_| io::Error::other("the disk is too large for EBS"))?;
            self.blocks.push((index, self.hasher.finalize_reset().into()));
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// The digests of all blocks that `ranges` of bytes touch: those that are known, and those that are read now.
///
/// # Errors
/// When the disk can't be read.
pub fn complete(disk: &File, ranges: &[Range<u64>], mut known: Vec<Block>) -> Result<Vec<Block>> {
    let have: BTreeSet<u32> = known.iter().map(|(index, _)| *index).collect();
    let mut buffer = vec![0; usize::try_from(BLOCK).context("blocks too large for this machine")?];
    for index in touched(ranges)?.difference(&have) {
        read(disk, *index, &mut buffer).with_context(|| format!("read block {index} of the disk"))?;
        known.push((*index, Sha256::digest(&buffer).into()));
    }
    known.sort_unstable_by_key(|(index, _)| *index);
    Ok(known)
}

fn touched(ranges: &[Range<u64>]) -> Result<BTreeSet<u32>> {
    let end = ranges.iter().map(|range| range.end).max().unwrap_or_default();
    ensure!(end <= LARGEST_VOLUME, "the disk is too large for EBS: a volume has 64 TiB at most");
    let mut blocks = BTreeSet::new();
    for range in ranges.iter().filter(|range| !range.is_empty()) {
        let last = u32::try_from((range.end - 1) / BLOCK).context("the disk is too large for EBS")?;
        blocks.extend(u32::try_from(range.start / BLOCK).context("the disk is too large for EBS")?..=last);
    }
    Ok(blocks)
}

/// What lies behind the disk's end is zeros.
fn read(disk: &File, index: u32, buffer: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < buffer.len() {
        match disk.read_at(&mut buffer[done..], u64::from(index) * BLOCK + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer[done..].fill(0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_on_the_way_are_those_of_the_blocks_that_are_read_later() {
        let block = usize::try_from(BLOCK).unwrap();
        let content: Vec<u8> = (0..block * 3 + 1000).map(|at| (at / 7 % 251) as u8).collect();
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&content, 2 * BLOCK).unwrap();
        let all = [0..1000, 2 * BLOCK..5 * BLOCK + 1000];
        let read = complete(&file, &all, Vec::new()).unwrap();
        assert_eq!(read.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 2, 3, 4, 5]);
        let mut known = Vec::new();
        let mut writer = Hashing::new(io::sink(), 2 * BLOCK, &mut known);
        for part in content.chunks(99_991) {
            writer.write_all(part).unwrap();
        }
        assert_eq!(known, read[1..4]);
        assert_eq!(complete(&file, &all, known).unwrap(), read);
        let endless = 0..u64::MAX;
        assert!(complete(&file, std::slice::from_ref(&endless), Vec::new()).is_err());
    }
}
