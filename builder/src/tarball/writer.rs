//! Writes the one tar dialect that is needed: ustar headers, with PAX records for what those can't hold.

use super::{Entry, Kind};
use std::io::{self, Read, Write};
use tar::{Builder, EntryType, Header};

/// Octal digits end before these (POSIX.1-2017, ustar): seven for ids, eleven for sizes and times.
const MAX_ID: u32 = 0o7_777_777;
const MAX_SIZE: u64 = 0o77_777_777_777;
/// Bytes of the name and link name fields.
const NAME_FIELD: usize = 100;

/// Writes an archive, entry by entry.
pub struct Writer<W: Write> {
    builder: Builder<W>,
}

impl<W: Write> std::fmt::Debug for Writer<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Writer")
    }
}

impl<W: Write> Writer<W> {
    /// An empty archive that goes to `out`.
    pub fn new(out: W) -> Self {
        Writer { builder: Builder::new(out) }
    }

    /// Adds an entry; `content` must give exactly the entry's size.
    ///
    /// # Errors
    /// What the writer or `content` answers; `UnexpectedEof` when `content` is too short.
    pub fn append(&mut self, entry: &Entry, content: impl Read) -> io::Result<()> {
        let mut records: Vec<(String, Vec<u8>)> = Vec::new();
        let mut header = Header::new_ustar();
        let (kind, target) = kind(&entry.kind);
        header.set_entry_type(kind);
        put_name(&mut header.as_mut_bytes()[..NAME_FIELD], &entry.path, "path", &mut records);
        put_name(&mut header.as_mut_bytes()[157..157 + NAME_FIELD], target, "linkpath", &mut records);
        if let Kind::CharDevice(major, minor) | Kind::BlockDevice(major, minor) = entry.kind {
            header.set_device_major(major)?;
            header.set_device_minor(minor)?;
        }
        let attributes = entry.attributes;
        header.set_mode(attributes.mode);
        header.set_uid(put_id(attributes.uid, "uid", &mut records));
        header.set_gid(put_id(attributes.gid, "gid", &mut records));
        header.set_size(put(entry.size, MAX_SIZE, "size", &mut records));
        header.set_mtime(match u64::try_from(attributes.mtime) {
            Ok(mtime) => put(mtime, MAX_SIZE, "mtime", &mut records),
            Err(_) => {
                records.push(("mtime".to_owned(), attributes.mtime.to_string().into_bytes()));
                0
            }
        });
        for (name, value) in &entry.xattrs {
            // A name that is not UTF-8 is none that Linux's own namespaces have; the record keeps the rest.
            records.push((format!("SCHILY.xattr.{}", String::from_utf8_lossy(name)), value.clone()));
        }
        header.set_cksum();
        self.builder.append_pax_extensions(records.iter().map(|(key, value)| (key.as_str(), value.as_slice())))?;
        let mut content = content.take(entry.size);
        self.builder.append(&header, &mut content)?;
        if content.limit() > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Ends the archive and gives the writer back.
    ///
    /// # Errors
    /// What the writer answers.
    pub fn finish(self) -> io::Result<W> {
        self.builder.into_inner()
    }
}

fn kind(kind: &Kind) -> (EntryType, &[u8]) {
    match kind {
        Kind::File => (EntryType::Regular, &[]),
        Kind::HardLink(target) => (EntryType::Link, target),
        Kind::Symlink(target) => (EntryType::Symlink, target),
        Kind::Directory => (EntryType::Directory, &[]),
        Kind::CharDevice(..) => (EntryType::Char, &[]),
        Kind::BlockDevice(..) => (EntryType::Block, &[]),
        Kind::Fifo => (EntryType::Fifo, &[]),
    }
}

fn put_name(field: &mut [u8], name: &[u8], key: &str, records: &mut Vec<(String, Vec<u8>)>) {
    let fitting = name.len().min(field.len());
    field[..fitting].copy_from_slice(&name[..fitting]);
    if fitting < name.len() {
        records.push((key.to_owned(), name.to_vec()));
    }
}

fn put_id(id: u32, key: &str, records: &mut Vec<(String, Vec<u8>)>) -> u64 {
    put(u64::from(id), u64::from(MAX_ID), key, records)
}

/// The number for a header's field: itself where it fits, else 0 and a record with the number.
fn put(number: u64, limit: u64, key: &str, records: &mut Vec<(String, Vec<u8>)>) -> u64 {
    if number <= limit {
        return number;
    }
    records.push((key.to_owned(), number.to_string().into_bytes()));
    0
}
