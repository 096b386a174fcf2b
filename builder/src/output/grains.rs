//! A disk as pieces of one size, of which only those come that hold anything but zeros.

use crate::progress::Bar;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// A piece of a disk.
#[derive(Debug)]
pub(super) struct Grain {
    /// Its place on the disk in bytes.
    pub(super) at: u64,
    /// What it holds. The disk's last one may be shorter than others.
    pub(super) bytes: Vec<u8>,
}

/// Reads a disk from its start. What comes depends on the disk's bytes alone, not on where its file has holes; those
/// only make it faster.
#[derive(Debug)]
pub(super) struct Grains<'a> {
    disk: &'a File,
    len: u64,
    size: u64,
    at: u64,
    bar: &'a Bar,
}

impl<'a> Grains<'a> {
    /// Pieces of `size` bytes.
    pub(super) fn new(disk: &'a File, size: u64, bar: &'a Bar) -> io::Result<Self> {
        Ok(Grains { disk, len: disk.metadata()?.len(), size, at: 0, bar })
    }

    fn next_data(&mut self) -> io::Result<Option<Grain>> {
        while self.at < self.len {
            let data = self.skip_hole()?;
            let at = if data < self.len { data - data % self.size } else { self.len };
            let size = self.size.min(self.len - at);
            self.bar.add(at + size - self.at);
            self.at = at + size;
            let mut bytes = vec![0; usize::try_from(size).map_err(io::Error::other)?];
            self.disk.read_exact_at(&mut bytes, at)?;
            if bytes.iter().any(|byte| *byte != 0) {
                return Ok(Some(Grain { at, bytes }));
            }
        }
        Ok(None)
    }

    /// Where the next data are, at or behind the present place.
    fn skip_hole(&self) -> io::Result<u64> {
        match seek(self.disk, SeekFrom::Data(self.at)) {
            Ok(data) => Ok(data),
            // "No more data" (lseek(2)).
            Err(Errno::NXIO) => Ok(self.len),
            // A file system that does not know holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(self.at),
            Err(error) => Err(error.into()),
        }
    }
}

impl Iterator for Grains<'_> {
    type Item = io::Result<Grain>;

    fn next(&mut self) -> Option<io::Result<Grain>> {
        self.next_data().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_and_written_zeros_are_the_same() {
        let (sparse, dense) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let len = 100 * 65536 + 512;
        sparse.set_len(len).unwrap();
        dense.write_all_at(&vec![0; len as usize], 0).unwrap();
        for file in [&sparse, &dense] {
            file.write_all_at(b"x", 3 * 65536).unwrap();
            file.write_all_at(b"yz", 51 * 65536 - 1).unwrap();
            file.write_all_at(b"end", len - 3).unwrap();
            let bar = Bar::hidden();
            let grains: Vec<Grain> = Grains::new(file, 65536, &bar).unwrap().map(Result::unwrap).collect();
            let places: Vec<(u64, usize)> = grains.iter().map(|grain| (grain.at / 65536, grain.bytes.len())).collect();
            assert_eq!(places, [(3, 65536), (50, 65536), (51, 65536), (100, 512)]);
            assert_eq!((grains[0].bytes[0], grains[1].bytes[65535], grains[2].bytes[0]), (b'x', b'y', b'z'));
            assert!(grains[3].bytes.ends_with(b"end"));
        }
    }
}
