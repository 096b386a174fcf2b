//! Merges an image's layers into the one tree that a container of it would see.
//!
//! Only entries are merged ([`merge`]); contents stay where the layers were packed. Nothing is unpacked: a path in a layer
//! is only ever a key in the [`tree`], so it can't reach the building machine.
//!
//! What merging means is what `docker create` and `docker export` make of the same layers: tests/exactness compares the
//! two name by name. Docker unpacks each layer into a directory of its own and shows them as an overlay, so:
//!
//! - A symbolic link in the path of an entry is followed, inside the root, if the same layer has it. What a lower layer
//!   has there, be it a link or a file, is replaced by a directory. A link to nowhere, a loop, and a file of the same
//!   layer refuse the entry.
//! - A directory that a layer leads through without an entry for it is 0755, root's, without extended attributes and of
//!   the year 1970 (Docker: of now), even where a lower layer says otherwise. Whiteouts lead through directories, too.
//! - The root directory is 0755 and root's whatever the layers say (Docker ignores their entry for it), so that an image
//!   made from a private temporary directory still runs as another user.
//! - A hard link's entry gives its attributes to the file it names.
//! - `..` in a path is taken by its text, before any link is looked at: `a/../b` is `b`.
//!
//! Where Docker's own storage drivers differ, where they refuse, and where a machine is no container:
//!
//! - What leaves the root is refused: a path with too many `..`, and a symbolic link on the way with too many. Docker
//!   unpacks in a chroot, where `..` of the root is the root.
//! - Whiteouts hide what lower layers have, and nothing of their own layer, in whatever order they come (OCI image
//!   specification, layer.md). overlay2 can't unpack a whiteout behind the file that it names, and shows the lower content
//!   of a directory made anew behind one; fuse-overlayfs hides the new file with the old. A whiteout without a name
//!   (`.wh.`, `.wh..`), and a directory with a whiteout's name, are refused.
//! - A hard link to a file of a lower layer is that file, a name twice in a layer is what it is last, and a link of the same
//!   layer may lead to a directory of a lower one: Docker refuses all three.
//! - squashfs knows the times from 1970 to 2106; others become the nearest of these. So does Docker with those before 1970
//!   (but for symbolic links), but from 2262 on it takes 1970.
//! - What docker create adds is not there: `/.dockerenv`, empty `/etc/hosts`, `/etc/hostname`, `/etc/resolv.conf` and
//!   `/dev/console`, the link `/etc/mtab`. Init makes its own at the boot.

pub mod find;
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
    /// More than fits into memory.
    #[error("the layer's names and attributes take more than 512 MiB up to here: is it damaged?")]
    TooMuchTold,
}
