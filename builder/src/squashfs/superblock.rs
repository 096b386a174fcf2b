//! The superblock: the first 96 bytes (squashfs 4.0, fs/squashfs/squashfs_fs.h, `squashfs_super_block`).

use super::data::Data;
use super::tables::Tables;
use crate::pack::blocks::BLOCK;

/// Its length in bytes.
pub(super) const SIZE: u64 = 96;
const MAGIC: u32 = 0x7371_7368;
const ZSTD: u16 = 6;
/// A table that is not there.
const ABSENT: u64 = u64::MAX;
/// Flag: there are no extended attributes.
const NO_XATTRS: u16 = 1 << 9;

/// What the superblock tells.
#[derive(Debug)]
pub(super) struct Superblock {
    inodes: u32,
    time: u32,
    shared: u32,
    ids: u16,
    root: u64,
    used: u64,
    id_table: u64,
    xattr_table: Option<u64>,
    inode_table: u64,
    directory_table: u64,
    shared_table: u64,
}

impl Superblock {
    pub(super) fn new(data: &Data, tables: &Tables) -> Self {
        let starts = &tables.starts;
        Superblock {
            inodes: tables.inodes,
            time: tables.newest,
            shared: data.shared.len() as u32, // counted in 32 bits where they are numbered
            ids: tables.ids,
            root: tables.root.reference(),
            used: data.end + tables.bytes.len() as u64,
            id_table: starts.ids,
            xattr_table: starts.xattrs,
            inode_table: starts.inodes,
            directory_table: starts.directories,
            shared_table: starts.shared,
        }
    }

    pub(super) fn bytes(&self) -> [u8; SIZE as usize] {
        let block_log = BLOCK.trailing_zeros() as u16;
        let flags = if self.xattr_table.is_none() { NO_XATTRS } else { 0 };
        let mut bytes = Vec::with_capacity(SIZE as usize);
        for number in [MAGIC, self.inodes, self.time, BLOCK as u32, self.shared] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for number in [ZSTD, block_log, flags, self.ids, 4, 0] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for number in [
            self.root,
            self.used,
            self.id_table,
            self.xattr_table.unwrap_or(ABSENT),
            self.inode_table,
            self.directory_table,
            self.shared_table,
            ABSENT, // for NFS servers
        ] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let mut superblock = [0; SIZE as usize];
        superblock.copy_from_slice(&bytes);
        superblock
    }
}
