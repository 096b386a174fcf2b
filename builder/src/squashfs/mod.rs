//! Writes the root: the merged tree as a squashfs (version 4.0, zstd), out of packed layers.
//!
//! The contents' blocks are compressed already, so what is left is to choose their places, and to write the tables:
//! inodes, directories, shared blocks, owners, attributes. All of that is known before the first byte is written, so the
//! file system goes out as one stream, from its superblock to its end, hashed on the way.
//!
//! The format is that of the kernel's documentation (Documentation/filesystems/squashfs.rst) and headers
//! (fs/squashfs/squashfs_fs.h).

mod data;
mod directory;
mod inode;
mod metadata;
mod superblock;
mod tables;
mod xattrs;

use crate::digest::{Digest, HashingWriter};
use crate::flatten::tree::Tree;
use crate::pack::Packed;
use anyhow::{Context, Result};
use data::Data;
use std::fs::File;
use std::io::{BufWriter, Write};
use superblock::Superblock;
use tables::Tables;
pub use xattrs::holds as holds_xattr;

/// The file system ends on a whole page, as the kernel's loop devices like it.
const PAGE: u64 = 4096;

/// A file system that can be written.
#[derive(Debug)]
pub struct Squashfs<'a> {
    layers: &'a [Packed],
    superblock: Superblock,
    data: Data,
    tables: Tables,
}

impl<'a> Squashfs<'a> {
    /// Lays out the file system of a tree whose contents lie in `layers`. Times later than `latest` (SOURCE_DATE_EPOCH) become that.
    /// `scratch` is an empty file for what has to be packed anew.
    ///
    /// # Errors
    /// When a packed layer can't be read, or the tree has more of something than squashfs can hold.
    pub fn new(tree: &Tree, layers: &'a [Packed], latest: Option<i64>, scratch: File) -> Result<Self> {
        let data = data::place(tree, layers, superblock::SIZE, scratch)?;
        let tables = Tables::new(tree, layers, &data, latest).context("write the tables of the root")?;
        let superblock = Superblock::new(&data, &tables);
        Ok(Squashfs { layers, superblock, data, tables })
    }

    /// Its length in bytes, whole pages.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.used().next_multiple_of(PAGE)
    }

    /// Never: a squashfs has at least its superblock.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    fn used(&self) -> u64 {
        self.data.end + self.tables.bytes.len() as u64
    }

    /// Writes it, and gives its digest. `done` is told the bytes of each step.
    ///
    /// # Errors
    /// When a packed layer can't be read or `out` not be written.
    pub fn write(&self, out: impl Write, done: impl FnMut(u64)) -> Result<Digest> {
        let mut out = HashingWriter::new(BufWriter::with_capacity(1 << 20, out));
        out.write_all(&self.superblock.bytes()).context("write the root")?;
        data::write(&self.data, self.layers, superblock::SIZE, &mut out, done)?;
        out.write_all(&self.tables.bytes).context("write the root")?;
        out.write_all(&vec![0; (self.len() - self.used()) as usize]).context("write the root")?;
        out.flush().context("write the root")?;
        Ok(out.digest())
    }
}
