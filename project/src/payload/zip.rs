//! Zip archives, with a bound for all that their headers claim (PKWARE, APPNOTE.TXT).
//!
//! The directory of an archive is never in memory: it is read anew for each question, one entry at a time.

use flate2::read::DeflateDecoder;
use rawzip::{CompressionMethod, RECOMMENDED_BUFFER_SIZE, ReaderAt, ZipArchive, ZipArchiveEntryWayfinder, ZipLocator};
use std::cell::RefCell;
use std::io::{self, Read, Seek, SeekFrom};

/// Entries of an archive. The largest jars, with all of their libraries unpacked into one, have some 100,000.
const ENTRIES: usize = 1_000_000;

/// An archive.
pub(super) struct Zip<R> {
    archive: ZipArchive<At<R>>,
}

/// A file that is read at any place.
struct At<R>(RefCell<R>);

impl<R: Read + Seek> ReaderAt for At<R> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut file = self.0.borrow_mut();
        file.seek(SeekFrom::Start(offset))?;
        file.read(buffer)
    }
}

/// A file in an archive.
#[derive(Clone)]
pub(super) struct Entry {
    /// Its path, with `/` between its parts.
    pub(super) name: String,
    place: ZipArchiveEntryWayfinder,
    method: CompressionMethod,
}

/// Why an archive cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    #[error("the zip archive is damaged ({0}): build or copy it again")]
    Damaged(String),
    #[error("the zip archive has more than {ENTRIES} entries: leave out what the program does not need")]
    Entries,
    #[error("{0} in the zip archive is compressed by another method than deflate: pack it again")]
    Method(String),
    #[error("{0} in the zip archive is longer than {1} bytes: pack it again")]
    Long(String, u64),
}

impl<R: Read + Seek> Zip<R> {
    /// Finds the directory of an archive.
    pub(super) fn open(mut file: R) -> Result<Self, Problem> {
        let mut buffer = vec![0; RECOMMENDED_BUFFER_SIZE];
        let end = file.seek(SeekFrom::End(0)).map_err(|error| Problem::Damaged(error.to_string()))?;
        let archive = ZipLocator::new().locate_in_reader(At(RefCell::new(file)), &mut buffer, end);
        Ok(Zip { archive: archive.map_err(|(_, error)| damaged(&error))? })
    }

    /// Reads the directory. Names that are not UTF-8 are not Java's, and are passed over.
    pub(super) fn for_each(&self, mut visit: impl FnMut(&Entry)) -> Result<(), Problem> {
        let mut buffer = vec![0; RECOMMENDED_BUFFER_SIZE];
        let mut entries = self.archive.entries(&mut buffer);
        let mut left = ENTRIES;
        while let Some(entry) = entries.next_entry().map_err(|error| damaged(&error))? {
            left = left.checked_sub(1).ok_or(Problem::Entries)?;
            let Ok(name) = str::from_utf8(entry.file_path().as_bytes()) else { continue };
            let (place, method) = (entry.wayfinder(), entry.compression_method());
            visit(&Entry { name: name.to_owned(), place, method });
        }
        Ok(())
    }

    /// The entry of this name.
    pub(super) fn entry(&self, name: &str) -> Result<Option<Entry>, Problem> {
        let mut found = None;
        self.for_each(|entry| {
            if entry.name == name {
                found = Some(entry.clone());
            }
        })?;
        Ok(found)
    }

    /// All of a file, whatever length its header claims, if it has no more than `limit` bytes.
    pub(super) fn read(&self, entry: &Entry, limit: u64) -> Result<Vec<u8>, Problem> {
        let bytes = self.beginning(entry, limit + 1)?;
        if bytes.len() as u64 > limit { Err(Problem::Long(entry.name.clone(), limit)) } else { Ok(bytes) }
    }

    /// The first bytes of a file.
    pub(super) fn beginning(&self, entry: &Entry, length: u64) -> Result<Vec<u8>, Problem> {
        let mut bytes = Vec::new();
        let reader = self.archive.get_entry(entry.place).map_err(|error| damaged(&error))?.reader();
        let read = match entry.method {
            CompressionMethod::STORE => reader.take(length).read_to_end(&mut bytes),
            CompressionMethod::DEFLATE => DeflateDecoder::new(reader).take(length).read_to_end(&mut bytes),
            _ => return Err(Problem::Method(entry.name.clone())),
        };
        read.map_err(|error| Problem::Damaged(format!("{}: {error}", entry.name)))?;
        Ok(bytes)
    }
}

fn damaged(error: &rawzip::Error) -> Problem {
    Problem::Damaged(error.to_string())
}
