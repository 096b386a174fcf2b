//! Every entry of every layer, lowest layer first, into one tree.

use super::tree::{ContentId, PlaceError, Tree};
use super::{Cause, LayerError, path};
use crate::pack::Packed;
use crate::squashfs;
use crate::tarball::Entry;
use std::collections::BTreeSet;

/// What merging gives.
#[derive(Debug, Default)]
pub struct Merged {
    /// The tree.
    pub tree: Tree,
    /// Names of extended attributes that were left out because squashfs or the machine has no use for them.
    pub dropped_xattrs: BTreeSet<String>,
}

/// Merges layers, lowest first. Their entries become the tree's.
///
/// # Errors
/// [`LayerError`] names the layer and the entry.
pub fn merge(layers: &mut [Packed]) -> Result<Merged, LayerError> {
    let mut merged = Merged::default();
    for (number, layer) in (0..).zip(layers) {
        for (index, entry) in std::mem::take(&mut layer.index.entries).into_iter().enumerate() {
            let path = entry.path.clone();
            let entry = without_foreign_xattrs(entry, &mut merged.dropped_xattrs);
            let placed = u32::try_from(index).map_err(|_| PlaceError::TooMany);
            let placed = placed.and_then(|index| merged.tree.apply(entry, ContentId { layer: number, entry: index }));
            placed.map_err(|error| LayerError {
                layer: layer.name.clone(),
                entry: Some(format!("entry {}", path::display(&path))),
                cause: Cause::Place(error),
            })?;
        }
    }
    Ok(merged)
}

/// Leaves out what squashfs can't hold (it knows user, trusted and security only), and what overlayfs would take for
/// its own bookkeeping when the machine mounts the root: a layer could have a file show the content of another one.
fn without_foreign_xattrs(mut entry: Entry, dropped: &mut BTreeSet<String>) -> Entry {
    entry.xattrs.retain(|(name, _)| {
        let held = squashfs::holds_xattr(name) && !name.starts_with(b"trusted.overlay.");
        if !held {
            dropped.insert(path::display(name));
        }
        held
    });
    entry
}
