//! Tar archives: a strict reader of every dialect that image layers come in, and a writer of one.
//!
//! Header blocks are decoded by the `tar` crate. The walk over the archive is ours, because that crate's reader cuts the
//! values of extended headers at every newline byte (a capability may hold one), takes the first of repeated records
//! where others take the last, and does not read the sparse files of PAX archives.

pub mod pax;
pub mod reader;
pub mod sparse;
pub mod writer;

/// Size of a tar block in bytes: headers are one, contents are padded to whole ones (POSIX.1-2017, pax).
pub const BLOCK: usize = 512;

use serde::{Deserialize, Serialize};

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A regular file; its content follows.
    File,
    /// Another name for the file with this name.
    HardLink(Vec<u8>),
    /// A symbolic link to this target.
    Symlink(Vec<u8>),
    /// A directory.
    Directory,
    /// A character device with its major and minor number.
    CharDevice(u32, u32),
    /// A block device with its major and minor number.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
}

/// Who owns an entry and who may do what with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Attributes {
    /// Permission bits with setuid, setgid and sticky: the low twelve bits of stat's `st_mode`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of last modification, in seconds since 1970; layers may tell fractions, squashfs keeps none.
    pub mtime: i64,
}

/// Extended attributes, name and value, sorted by name, each name once.
pub type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// One entry of an archive, without its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The name as the archive has it.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Owner, permissions, time.
    pub attributes: Attributes,
    /// Length of the content in bytes, holes included. 0 for what is not a regular file.
    pub size: u64,
    /// Extended attributes.
    pub xattrs: Xattrs,
}
