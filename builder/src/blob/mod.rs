//! Blobs: runs of bytes that an image is made of, wherever they lie.

mod arrival;
mod kept;

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

pub use arrival::{Arrival, Delivery};
use kept::Check;
pub use kept::Kept;

/// O_NONBLOCK (open(2)).
const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits() as i32;

/// Bytes that can be read as often as needed, each time from the start.
#[derive(Clone, Debug)]
pub enum Blob {
    /// A part of an open file, such as a member of an archive or a whole file of the cache. The open file keeps the
    /// bytes even when another process prunes the cache.
    File {
        /// The file.
        file: Arc<File>,
        /// Where the blob starts, in bytes.
        offset: u64,
        /// Its length in bytes.
        len: u64,
    },
    /// A file of the cache, verified as it is read from its start to its end.
    Kept(Arc<Kept>),
    /// A part of a blob that is still on its way.
    Arriving {
        /// The whole blob.
        arrival: Arc<Arrival>,
        /// Where this part starts, in bytes.
        offset: u64,
        /// Its length in bytes.
        len: u64,
    },
    /// Bytes that this program made itself.
    Memory(Arc<[u8]>),
}

impl Blob {
    /// The file at a path. Nothing but a regular file will do: a blob is read more than once, and opening a pipe would
    /// wait for somebody to write to it.
    ///
    /// # Errors
    /// When it can't be opened, or is no regular file.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).custom_flags(NONBLOCK).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file: pipes and devices can't be read twice",
            ));
        }
        Blob::file(file)
    }

    /// A whole file.
    ///
    /// # Errors
    /// When the file's size can't be told.
    pub fn file(file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Blob::File { file: Arc::new(file), offset: 0, len })
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Blob::File { len, .. } | Blob::Arriving { len, .. } => *len,
            Blob::Kept(kept) => kept.len(),
            Blob::Memory(bytes) => bytes.len() as u64,
        }
    }

    /// Its bytes, where they are in memory.
    #[must_use]
    pub fn in_memory(&self) -> Option<&[u8]> {
        match self {
            Blob::Memory(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A part of this blob, cut to what there is.
    #[must_use]
    pub fn slice(&self, start: u64, length: u64) -> Self {
        let start = start.min(self.len());
        let length = length.min(self.len() - start);
        match self {
            Blob::File { file, offset, .. } => Blob::File { file: file.clone(), offset: offset + start, len: length },
            Blob::Kept(kept) => Blob::File { file: kept.file().clone(), offset: start, len: length },
            Blob::Arriving { arrival, offset, .. } => {
                Blob::Arriving { arrival: arrival.clone(), offset: offset + start, len: length }
            }
            Blob::Memory(bytes) => {
                // Both bounds are within a slice's length, so they fit usize.
                let range = start as usize..(start + length) as usize;
                Blob::Memory(bytes[range].into())
            }
        }
    }

    /// A reader at the blob's start. Readers don't disturb each other.
    #[must_use]
    pub fn reader(&self) -> BlobReader {
        let check = match self {
            Blob::Kept(kept) => Some(Check::new(kept)),
            _ => None,
        };
        BlobReader { blob: self.clone(), position: 0, check }
    }

    /// All bytes, refused above `limit`.
    ///
    /// # Errors
    /// What the file answers; `InvalidData` when the blob is longer than `limit` bytes.
    pub fn read_all(&self, limit: u64) -> io::Result<Vec<u8>> {
        if self.len() > limit {
            let message = format!("{} bytes where at most {limit} make sense", self.len());
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let mut bytes = Vec::new();
        self.reader().read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Reads a [`Blob`] from its start to its end.
#[derive(Debug)]
pub struct BlobReader {
    blob: Blob,
    position: u64,
    check: Option<Check>,
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.blob.len() - self.position;
        let wanted = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let read = match &self.blob {
            Blob::File { file, offset, .. } => file.read_at(&mut buffer[..wanted], offset + self.position)?,
            Blob::Kept(kept) => kept.file().read_at(&mut buffer[..wanted], self.position)?,
            Blob::Arriving { arrival, offset, len } => {
                // At the end of the whole blob, what is waited for is that it is verified.
                let ends = offset + len == arrival.len();
                if wanted == 0 && (buffer.is_empty() || !ends) {
                    return Ok(0);
                }
                let wanted = if wanted == 0 { buffer.len() } else { wanted };
                arrival.read_at(&mut buffer[..wanted], offset + self.position)?
            }
            Blob::Memory(bytes) => {
                let start = self.position as usize; // within the slice, so within usize
                buffer[..wanted].copy_from_slice(&bytes[start..start + wanted]);
                wanted
            }
        };
        self.position += read as u64;
        if let Some(check) = &mut self.check {
            check.update(&buffer[..read]);
            if read == 0 && !buffer.is_empty() {
                check.verify()?;
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_slice_of_a_file_and_of_memory_read_alike() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        for blob in [Blob::file(file).unwrap(), Blob::Memory(b"0123456789".as_slice().into())] {
            assert_eq!(blob.slice(2, 3).read_all(100).unwrap(), b"234");
            assert_eq!(blob.slice(2, 6).slice(4, 100).read_all(100).unwrap(), b"67");
            assert!(blob.slice(20, 1).is_empty());
            assert_eq!(blob.read_all(9).unwrap_err().to_string(), "10 bytes where at most 9 make sense");
        }
    }
}
