//! Inodes as bytes (squashfs 4.0, fs/squashfs/squashfs_fs.h). Each kind has a basic form, and an extended one for what
//! few files have: other names, attributes, holes, great length.

use super::directory::Listing;
use crate::pack::blocks::BLOCK;
use crate::tarball::Kind;

/// "No shared block", and "no attributes".
pub(super) const NONE: u32 = u32::MAX;
/// What is added to a basic type to make it the extended one.
const EXTENDED: u16 = 7;

/// Basic types; directories' entries have no others.
pub(super) const DIRECTORY: u16 = 1;
pub(super) const FILE: u16 = 2;
const SYMLINK: u16 = 3;
const BLOCK_DEVICE: u16 = 4;
const CHAR_DEVICE: u16 = 5;
const FIFO: u16 = 6;

/// What all inodes have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Common {
    /// The low twelve bits of `st_mode`.
    pub(super) mode: u16,
    /// Index of the owner in the table of ids.
    pub(super) uid: u16,
    /// Index of the group.
    pub(super) gid: u16,
    /// Seconds since 1970.
    pub(super) mtime: u32,
    /// The inode's number.
    pub(super) number: u32,
    /// Names, or for a directory two and its subdirectories.
    pub(super) links: u32,
    /// Index of its attributes in their table, or [`NONE`].
    pub(super) xattrs: u32,
}

impl Common {
    fn header(&self, kind: u16, extended: bool) -> Vec<u8> {
        let kind = if extended { kind + EXTENDED } else { kind };
        let mut bytes = Vec::with_capacity(64);
        for number in [kind, self.mode, self.uid, self.gid] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        put(&mut bytes, [self.mtime, self.number]);
        bytes
    }
}

fn put(bytes: &mut Vec<u8>, numbers: impl IntoIterator<Item = u32>) {
    for number in numbers {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
}

/// Where a file's content lies on the disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Data<'a> {
    /// Its length in bytes.
    pub(super) size: u64,
    /// Where its first block starts.
    pub(super) start: u64,
    /// Size words of its blocks.
    pub(super) words: &'a [u32],
    /// The shared block, or [`NONE`], and where in it the content starts.
    pub(super) fragment: (u32, u32),
}

/// A regular file.
pub(super) fn file(common: &Common, data: &Data<'_>) -> Vec<u8> {
    let holes = data.words.iter().filter(|word| **word == 0).count() as u64 * BLOCK as u64;
    let small = u32::try_from(data.size).ok().zip(u32::try_from(data.start).ok());
    let basic = small.filter(|_| common.links == 1 && common.xattrs == NONE && holes == 0);
    let mut bytes = common.header(FILE, basic.is_none());
    match basic {
        Some((size, start)) => put(&mut bytes, [start, data.fragment.0, data.fragment.1, size]),
        None => {
            // The last block may be shorter than the others, and a hole no longer than the file.
            for number in [data.start, data.size, holes.min(data.size)] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            put(&mut bytes, [common.links, data.fragment.0, data.fragment.1, common.xattrs]);
        }
    }
    put(&mut bytes, data.words.iter().copied());
    bytes
}

/// A directory; `parent` is the number of the one above.
pub(super) fn directory(common: &Common, listing: &Listing, parent: u32) -> Vec<u8> {
    let short = u16::try_from(listing.len).ok().filter(|_| common.xattrs == NONE && listing.index_len == 0);
    let mut bytes = common.header(DIRECTORY, short.is_none());
    match short {
        Some(len) => {
            put(&mut bytes, [listing.start.block, common.links]);
            bytes.extend_from_slice(&len.to_le_bytes());
            bytes.extend_from_slice(&listing.start.offset.to_le_bytes());
            put(&mut bytes, [parent]);
        }
        None => {
            put(&mut bytes, [common.links, listing.len, listing.start.block, parent]);
            bytes.extend_from_slice(&listing.index_len.to_le_bytes());
            bytes.extend_from_slice(&listing.start.offset.to_le_bytes());
            put(&mut bytes, [common.xattrs]);
            bytes.extend_from_slice(&listing.index);
        }
    }
    bytes
}

/// What has no content, and its basic type.
pub(super) fn special(common: &Common, kind: &Kind) -> (u16, Vec<u8>) {
    let extended = common.xattrs != NONE;
    let (basic, of_its_own) = match kind {
        Kind::Symlink(target) => {
            let mut bytes = (target.len() as u32).to_le_bytes().to_vec(); // at most PATH_MAX
            bytes.extend_from_slice(target);
            (SYMLINK, bytes)
        }
        Kind::BlockDevice(major, minor) => (BLOCK_DEVICE, device(*major, *minor).to_le_bytes().to_vec()),
        Kind::CharDevice(major, minor) => (CHAR_DEVICE, device(*major, *minor).to_le_bytes().to_vec()),
        // The tree holds no other kinds here.
        Kind::Fifo | Kind::File | Kind::Directory | Kind::HardLink(_) => (FIFO, Vec::new()),
    };
    let mut bytes = common.header(basic, extended);
    put(&mut bytes, [common.links]);
    bytes.extend_from_slice(&of_its_own);
    if extended {
        put(&mut bytes, [common.xattrs]);
    }
    (basic, bytes)
}

/// Linux's encoding of device numbers (linux/kdev_t.h, `new_encode_dev`).
fn device(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | major << 8 | (minor & !0xff) << 12
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMON: Common = Common { mode: 0o644, uid: 0, gid: 1, mtime: 5, number: 9, links: 1, xattrs: NONE };

    fn kind(bytes: &[u8]) -> u16 {
        u16::from_le_bytes([bytes[0], bytes[1]])
    }

    #[test]
    fn only_what_needs_it_is_extended() {
        let data = Data { size: 5, start: 96, words: &[], fragment: (0, 0) };
        assert_eq!((kind(&file(&COMMON, &data)), file(&COMMON, &data).len()), (2, 32));
        let hole = Data { size: 131_077, words: &[0, 9], fragment: (NONE, 0), ..data };
        for (common, data) in [
            (Common { links: 2, ..COMMON }, data),
            (Common { xattrs: 0, ..COMMON }, data),
            (COMMON, Data { size: 1 << 32, ..data }),
            (COMMON, Data { start: 1 << 32, ..data }),
            (COMMON, hole),
        ] {
            assert_eq!((kind(&file(&common, &data)), file(&common, &data).len()), (9, 56 + 4 * data.words.len()));
        }
        let fifo = |common: &Common| special(common, &Kind::Fifo);
        assert_eq!((kind(&fifo(&COMMON).1), fifo(&COMMON).0), (6, 6));
        assert_eq!(kind(&fifo(&Common { xattrs: 3, ..COMMON }).1), 13);
    }

    #[test]
    fn device_numbers_are_encoded_as_linux_does() {
        assert_eq!(device(1, 3), 0x103);
        assert_eq!(device(259, 70_000), 0x1111_0370 & 0x000f_ffff | 0x1110_0000);
    }
}
