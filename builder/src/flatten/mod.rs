//! Merges an image's layers into the one tree that a container of it would see.
//!
//! Only entries are merged ([`merge`]); contents stay where the layers were packed. Nothing is unpacked: a path in a layer
//! is only ever a key in the [`tree`], so it can't reach the building machine.
//!
//! What merging means is what Docker makes of the same layers. Where Docker's own storage drivers differ, or say nothing:
//!
//! - A symbolic link in the path of an entry is followed, inside the root, as a chroot would (`lib/x` with `lib ->
//!   usr/lib` of a lower layer lands in `usr/lib`). A link to nowhere, or a loop, refuses the entry.
//! - A file of a lower layer in the path of an entry is replaced by a directory, which is what an overlay shows. A file
//!   of the same layer refuses the entry.
//! - A directory that no layer has an entry for is 0755, root's, of the year 1970.
//! - The root directory is 0755 and root's whatever the layers say (Docker ignores their entry for it), so that an image
//!   made from a private temporary directory still runs as another user.
//! - Whiteouts hide what lower layers have, and nothing of their own layer, in whatever order they come (OCI image
//!   specification, layer.md).
//! - A hard link's entry gives its attributes to the file it names.

pub mod merge;
pub mod path;
pub mod tree;

use crate::blob::Blob;
use crate::digest::Digest;
use std::fs::File;
use std::sync::Arc;

/// A layer of an image: a tar archive, compressed or not.
#[derive(Debug, Clone)]
pub struct Layer {
    /// What messages call it: a digest, or a file's name.
    pub name: String,
    /// What is in it.
    pub content: Content,
    /// Digest of the archive as it is stored, where that is known and not verified yet.
    pub digest: Option<Digest>,
    /// Digest of the archive once decompressed, as the image's configuration lists it.
    pub diff_id: Option<Digest>,
}

/// A layer's content, in the form in which it is at hand.
#[derive(Debug, Clone)]
pub enum Content {
    /// The archive, perhaps still on its way: its reader waits for what has not come yet.
    Blob(Blob),
    /// What an earlier build made of it, out of the cache. The open file stays even if somebody prunes the cache.
    Packed(Arc<File>),
}

/// Why a layer can't be merged: which layer, which entry, what is wrong.
#[derive(Debug, thiserror::Error)]
#[error("layer {layer}{}", entry.as_ref().map(|entry| format!(", {entry}")).unwrap_or_default())]
pub struct LayerError {
    /// The layer's name.
    pub layer: String,
    /// The entry's name, where one is to blame.
    pub entry: Option<String>,
    /// What is wrong.
    #[source]
    pub cause: Cause,
}

/// What is wrong with a layer.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The archive can't be read.
    #[error(transparent)]
    Tar(#[from] crate::tarball::reader::TarError),
    /// An entry can't be placed in the tree.
    #[error(transparent)]
    Place(#[from] tree::PlaceError),
    /// The blob can't be read or decompressed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The layer is not what the image's configuration says.
    #[error("its content has digest {found} where the image's configuration says {expected}: the image is damaged")]
    DiffId {
        /// What the configuration lists.
        expected: Digest,
        /// What the content has.
        found: Digest,
    },
    /// The layer is not what the image's manifest says.
    #[error("it is damaged: its content has the digest {found}")]
    Digest {
        /// What the layer has.
        found: Digest,
    },
    /// More than fits into a machine.
    #[error("its files hold more than 1 TiB together: is it damaged?")]
    TooLarge,
}
