//! The first pass: every entry of every layer, lowest layer first, into one tree.

use super::tree::{ContentId, PlaceError, Tree};
use super::{Cause, Content, Layer, LayerError, path};
use crate::compression::sniff_reader;
use crate::digest::{Digest, HashingReader};
use crate::progress::Bar;
use crate::tarball::Entry;
use crate::tarball::reader::{Reader, TarError};
use std::collections::BTreeSet;
use std::io::{self, Read};

/// What merging gives.
#[derive(Debug, Default)]
pub struct Merged {
    /// The tree.
    pub tree: Tree,
    /// Names of extended attributes that were left out because squashfs or the machine has no use for them.
    pub dropped_xattrs: BTreeSet<String>,
}

/// Merges layers, lowest first; `bar` counts the bytes of their blobs.
///
/// # Errors
/// [`LayerError`] names the layer and the entry.
pub fn merge(layers: &[Layer], bar: &Bar) -> Result<Merged, LayerError> {
    let mut merged = Merged::default();
    for (number, layer) in (0..).zip(layers) {
        let mut walk = Walk { number, index: 0, entry: None };
        walk.merge(layer, &mut merged, bar).map_err(|cause| LayerError {
            layer: layer.name.clone(),
            entry: walk.place(&cause),
            cause,
        })?;
    }
    Ok(merged)
}

/// The plain tar of a layer.
pub(super) fn open(layer: &Layer, bar: &Bar) -> io::Result<Box<dyn Read + Send>> {
    let Content::Blob(blob) = &layer.content else { return Err(io::ErrorKind::Unsupported.into()) };
    sniff_reader(blob.reader())?.decompress(bar.reader(blob.reader()))
}

/// Where in a layer the merge has come to, for messages.
struct Walk {
    number: u32,
    index: u32,
    entry: Option<Vec<u8>>,
}

impl Walk {
    fn merge(&mut self, layer: &Layer, merged: &mut Merged, bar: &Bar) -> Result<(), Cause> {
        if let (Some(digest), Content::Blob(blob)) = (layer.digest, &layer.content) {
            let found = Digest::of_reader(blob.reader())?;
            if found != digest {
                return Err(Cause::Digest { found });
            }
        }
        let mut reader = Reader::new(HashingReader::new(open(layer, bar)?));
        while let Some(entry) = reader.next_entry()? {
            self.entry = Some(entry.path.clone());
            let entry = without_foreign_xattrs(entry, &mut merged.dropped_xattrs);
            merged.tree.apply(entry, ContentId { layer: self.number, entry: self.index })?;
            self.index = self.index.checked_add(1).ok_or(PlaceError::TooMany)?;
        }
        reader.drain()?;
        let found = reader.into_inner().finish();
        match layer.diff_id {
            Some(expected) if expected != found => Err(Cause::DiffId { expected, found }),
            _ => Ok(()),
        }
    }

    /// The entry to blame: the one at hand, or the last one before the archive became unreadable.
    fn place(&self, cause: &Cause) -> Option<String> {
        let shown = path::display(self.entry.as_deref()?);
        match cause {
            Cause::Place(_) => Some(format!("entry {shown}")),
            Cause::Tar(TarError::Truncated | TarError::Io(_)) => Some(format!("in or after entry {shown}")),
            Cause::Tar(_) => Some(format!("after entry {shown}")),
            _ => None,
        }
    }
}

/// Leaves out what squashfs can't hold (it knows user, trusted and security only), and what overlayfs would take for
/// its own bookkeeping when the machine mounts the root.
fn without_foreign_xattrs(mut entry: Entry, dropped: &mut BTreeSet<String>) -> Entry {
    entry.xattrs.retain(|(name, _)| {
        let held = std::str::from_utf8(name).is_ok_and(|name| {
            ["user.", "trusted.", "security."].iter().any(|space| name.len() > space.len() && name.starts_with(space))
                && !name.starts_with("trusted.overlay.")
        });
        if !held {
            dropped.insert(path::display(name));
        }
        held
    });
    entry
}
