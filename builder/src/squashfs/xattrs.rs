//! Extended attributes: each distinct set is written once, and inodes name it by its number (squashfs 4.0,
//! fs/squashfs/squashfs_fs.h, `squashfs_xattr_entry`, `squashfs_xattr_id`).

use super::inode::NONE;
use super::metadata::{self, Stream};
use crate::tarball::Xattrs;
use anyhow::{Context, Result};
use std::collections::HashMap;

/// The name spaces that squashfs knows, by their number.
const SPACES: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];

/// Whether squashfs can hold an attribute of this name.
#[must_use]
pub fn holds(name: &[u8]) -> bool {
    space(name).is_some()
}

/// The number of a name's space, and the rest of the name.
fn space(name: &[u8]) -> Option<(u16, &[u8])> {
    (0..)
        .zip(SPACES)
        .find_map(|(number, space)| Some((number, name.strip_prefix(space).filter(|rest| !rest.is_empty())?)))
}

/// The sets of a file system.
pub(super) struct Sets<'a> {
    values: Stream,
    /// A record for each set.
    ids: Vec<u8>,
    known: HashMap<&'a Xattrs, u32>,
}

impl<'a> Sets<'a> {
    pub(super) fn new() -> Result<Self> {
        Ok(Sets { values: Stream::new()?, ids: Vec::new(), known: HashMap::new() })
    }

    /// The number of a set, [`NONE`] for the empty one.
    pub(super) fn number(&mut self, set: &'a Xattrs) -> Result<u32> {
        if set.is_empty() {
            return Ok(NONE);
        }
        if let Some(number) = self.known.get(set) {
            return Ok(*number);
        }
        let position = self.values.position();
        let mut bytes = Vec::new();
        let mut count = 0u32;
        for (name, value) in set {
            let Some((space, name)) = space(name) else { continue };
            bytes.extend_from_slice(&space.to_le_bytes());
            let length = u16::try_from(name.len()).context("an attribute's name of more than 64 KiB")?;
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(name);
            let length = u32::try_from(value.len()).context("an attribute of more than 4 GiB")?;
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(value);
            count += 1;
        }
        self.values.write(&bytes)?;
        self.ids.extend_from_slice(&position.reference().to_le_bytes());
        for number in [count, u32::try_from(bytes.len()).context("attributes of more than 4 GiB")?] {
            self.ids.extend_from_slice(&number.to_le_bytes());
        }
        let number = u32::try_from(self.known.len()).context("more than 2^32 sets of attributes")?;
        self.known.insert(set, number);
        Ok(number)
    }

    /// The table as it will lie at `start`, and where in it the superblock has to point; nothing where there are none.
    pub(super) fn finish(self, start: u64) -> Result<Option<(Vec<u8>, u64)>> {
        if self.known.is_empty() {
            return Ok(None);
        }
        let count = self.known.len() as u32; // checked in `number`
        let mut bytes = self.values.finish()?;
        let table = metadata::table(&self.ids, start + bytes.len() as u64)?;
        let (ids, list) = table.bytes.split_at(table.list as usize);
        bytes.extend_from_slice(ids);
        let header = start + bytes.len() as u64;
        bytes.extend_from_slice(&start.to_le_bytes());
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(&0u32.to_le_bytes());
        bytes.extend_from_slice(list);
        Ok(Some((bytes, header)))
    }
}
