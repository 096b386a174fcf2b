//! The merged tree: what a container's root looks like after a number of layers.

use super::path::{self, Named, PathError};
use crate::tarball::pax::MAX_XATTR_LIST;
use crate::tarball::{Attributes, Entry, Kind, Xattrs};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Symbolic links that are followed in one path: the kernel's own limit (path_resolution(7)).
const MAX_LINKS: usize = 40;
/// Directories inside each other: more fit into no path that Linux can open (PATH_MAX is 4096 bytes).
const MAX_DEPTH: usize = 2048;

/// Files and directories of all layers together. The largest images have under a million; each costs about 200 bytes.
const MAX_INODES: usize = 16 << 20;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// AUFS's own bookkeeping, which Docker skips too.
const AUFS: &[u8] = b".wh..wh.";

/// Attributes of a directory that a layer leads through without an entry for it.
const IMPLIED: Attributes = Attributes { mode: 0o755, uid: 0, gid: 0, mtime: 0 };

/// Names an inode of one [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InodeId(u32);

impl InodeId {
    /// A number below [`Tree::len`], for tables with something for each inode.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The root directory.
pub const ROOT: InodeId = InodeId(0);

/// Where a file's content lies: which layer, and which entry of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContentId {
    /// Index of the layer, 0 for the lowest.
    pub layer: u32,
    /// Index of the entry in its layer.
    pub entry: u32,
}

/// A file, whatever its names are.
#[derive(Debug)]
pub struct Inode {
    /// Owner, permissions, time.
    pub attributes: Attributes,
    /// Extended attributes.
    pub xattrs: Xattrs,
    /// What it is.
    pub node: Node,
    /// The names in a directory; empty in whatever is none.
    pub children: BTreeMap<Box<[u8]>, Child>,
    /// The layer that last hid what lower ones have in here, so that no layer does it twice.
    hidden_by: Option<u32>,
}

/// What an inode is.
#[derive(Debug)]
pub enum Node {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Bytes.
        size: u64,
        /// Where they lie.
        content: ContentId,
    },
    /// What has no content: a link, a device or a pipe.
    Special(Kind),
}

/// A name in a directory.
#[derive(Debug, Clone, Copy)]
pub struct Child {
    /// The file it names.
    pub inode: InodeId,
    /// The layer that put it here, or changed it last.
    layer: u32,
}

/// Why an entry has no place in the tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// Its path is no path of an image.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Something on the way is not a directory.
    #[error("{0} on its way is not a directory")]
    NotADirectory(String),
    /// A symbolic link on the way leads nowhere.
    #[error("the symbolic link {0} on its way leads to nothing")]
    Dangling(String),
    /// A symbolic link on the way has more `..` than directories above it.
    #[error("the symbolic link {0} on its way leads out of the root")]
    Leaves(String),
    /// Symbolic links that lead to each other.
    #[error("more than 40 symbolic links on its way")]
    Loop,
    /// Too many directories inside each other.
    #[error("more than 2048 directories inside each other")]
    Deep,
    /// More files than any machine needs.
    #[error("the image has more than 16 million files")]
    TooMany,
    /// A hard link to a name that is not there.
    #[error("the hard link's target {0} does not exist")]
    NoTarget(String),
    /// A hard link to a directory.
    #[error("the hard link's target {0} is a directory")]
    DirectoryTarget(String),
    /// More attributes than Linux lists.
    #[error("its extended attributes have names of more than 64 KiB together")]
    ManyXattrs,
    /// A whiteout of nothing that can be named.
    #[error("a whiteout without a name")]
    BadWhiteout,
    /// A name that only whiteouts have, in the middle of a path.
    #[error("a directory of its path has a whiteout's name")]
    ReservedName,
}

/// The merged tree. Inodes that lost their last name stay in memory, but nobody meets them.
#[derive(Debug)]
pub struct Tree {
    inodes: Vec<Inode>,
}

impl Default for Tree {
    fn default() -> Self {
        Tree { inodes: vec![inode(IMPLIED, Vec::new(), Node::Directory)] }
    }
}

fn inode(attributes: Attributes, xattrs: Xattrs, node: Node) -> Inode {
    Inode { attributes, xattrs, node, children: BTreeMap::new(), hidden_by: None }
}

impl Tree {
    /// The inode with this name.
    #[must_use]
    pub fn inode(&self, id: InodeId) -> &Inode {
        &self.inodes[id.0 as usize] // ids come from this tree, which never forgets an inode
    }

    /// How many inodes it has, those that nobody meets any more among them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inodes.len()
    }

    /// Never: it has its root.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// All inodes that have a name, and the root; those with several names as often.
    pub fn reachable(&self) -> impl Iterator<Item = (InodeId, &Inode)> {
        let mut ahead = vec![ROOT];
        std::iter::from_fn(move || {
            let id = ahead.pop()?;
            let inode = self.inode(id);
            ahead.extend(inode.children.values().map(|child| child.inode));
            Some((id, inode))
        })
    }

    /// Applies one entry of a layer: `at` says which. Layers must come in order, lowest first.
    ///
    /// # Errors
    /// [`PlaceError`] when the entry can't be where it says.
    pub fn apply(&mut self, entry: Entry, at: ContentId) -> Result<(), PlaceError> {
        let (parents, name) = match path::split(&entry.path)? {
            Named::Root => return Ok(()),
            Named::Entry(parents, name) => (parents, name),
        };
        if parents.iter().any(|parent| parent.starts_with(AUFS)) || (name.starts_with(AUFS) && name != OPAQUE) {
            return Ok(());
        }
        if parents.iter().any(|parent| parent.starts_with(WHITEOUT)) {
            return Err(PlaceError::ReservedName);
        }
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            return self.white_out(&parents, name, hidden, at.layer);
        }
        let parent = self.walk(&parents, Missing::Create(at.layer))?;
        self.put(parent, name, entry.attributes, entry.xattrs, entry.kind, entry.size, at)
    }

    #[allow(clippy::too_many_arguments)] // the parts of one entry, taken apart because its path is borrowed
    fn put(
        &mut self,
        parent: InodeId,
        name: &[u8],
        attributes: Attributes,
        xattrs: Xattrs,
        kind: Kind,
        size: u64,
        at: ContentId,
    ) -> Result<(), PlaceError> {
        let existing = self.child(parent, name);
        let inode = match kind {
            Kind::Directory => match existing {
                Some(id) if self.is_directory(id) => {
                    let inode = &mut self.inodes[id.0 as usize];
                    (inode.attributes, inode.xattrs) = (attributes, xattrs);
                    id
                }
                _ => self.add(inode(attributes, xattrs, Node::Directory))?,
            },
            Kind::HardLink(target) => self.link(&target, attributes, xattrs)?,
            Kind::File => self.add(inode(attributes, xattrs, Node::File { size, content: at }))?,
            special => self.add(inode(attributes, xattrs, Node::Special(special)))?,
        };
        self.children_mut(parent).insert(name.into(), Child { inode, layer: at.layer });
        Ok(())
    }

    /// The file that a hard link names, with the link's own attributes.
    fn link(&mut self, target: &[u8], attributes: Attributes, xattrs: Xattrs) -> Result<InodeId, PlaceError> {
        let shown = || path::display(target);
        let Named::Entry(parents, name) = path::split(target)? else {
            return Err(PlaceError::DirectoryTarget(shown()));
        };
        let parent = match self.walk(&parents, Missing::Refuse) {
            Err(PlaceError::Dangling(_) | PlaceError::NotADirectory(_)) => return Err(PlaceError::NoTarget(shown())),
            walked => walked?,
        };
        let id = self.child(parent, name).ok_or_else(|| PlaceError::NoTarget(shown()))?;
        if self.is_directory(id) {
            return Err(PlaceError::DirectoryTarget(shown()));
        }
        let inode = &mut self.inodes[id.0 as usize];
        inode.attributes = attributes;
        for (name, value) in xattrs {
            match inode.xattrs.binary_search_by(|(known, _)| known.cmp(&name)) {
                Ok(at) => inode.xattrs[at].1 = value,
                Err(at) => inode.xattrs.insert(at, (name, value)),
            }
        }
        if xattr_list_len(&inode.xattrs) > MAX_XATTR_LIST { Err(PlaceError::ManyXattrs) } else { Ok(id) }
    }

    fn white_out(&mut self, parents: &[&[u8]], name: &[u8], hidden: &[u8], layer: u32) -> Result<(), PlaceError> {
        if name != OPAQUE && matches!(hidden, b"" | b"." | b"..") {
            return Err(PlaceError::BadWhiteout);
        }
        // A directory that isn't there is made, as by Docker, whose drivers put the whiteout itself into it.
        let parent = self.walk(parents, Missing::Create(layer))?;
        if name == OPAQUE {
            self.hide_lower(parent, layer);
        } else if let Some(child) = self.children(parent).get(hidden).copied()
            && !self.survives(child, layer)
        {
            self.children_mut(parent).remove(hidden);
        }
        Ok(())
    }

    /// Removes from a directory what layers below `layer` have put there.
    fn hide_lower(&mut self, directory: InodeId, layer: u32) {
        if self.inodes[directory.0 as usize].hidden_by.replace(layer) == Some(layer) {
            return; // what came since then is of this very layer
        }
        let mut children = std::mem::take(self.children_mut(directory));
        children.retain(|_, child| self.survives(*child, layer));
        *self.children_mut(directory) = children;
    }

    /// Whether `child` is of `layer`; if so, what lower layers have in it is hidden.
    fn survives(&mut self, child: Child, layer: u32) -> bool {
        let survives = child.layer == layer;
        if survives && self.is_directory(child.inode) {
            self.hide_lower(child.inode, layer);
        }
        survives
    }

    /// Goes down from the root along `names`, following symbolic links without ever leaving the root.
    fn walk(&mut self, names: &[&[u8]], missing: Missing) -> Result<InodeId, PlaceError> {
        // A stack of names still to go, and the directories gone through, for the `..` of links' targets.
        let mut ahead: Vec<(Cow<'_, [u8]>, bool)> = names.iter().rev().map(|name| ((*name).into(), false)).collect();
        let mut behind = vec![ROOT];
        let (mut links, mut last_link) = (0, String::new());
        while let Some((name, of_link)) = ahead.pop() {
            let here = behind.last().copied().unwrap_or(ROOT);
            if *name == *b".." {
                if behind.len() == 1 {
                    return Err(PlaceError::Leaves(last_link));
                }
                behind.pop();
                continue;
            }
            let shown = || path::display(&name);
            let child = self.children(here).get(&*name).copied();
            let next = match (child, missing) {
                (None, Missing::Create(layer)) if !of_link => self.imply(here, &name, layer)?,
                (None, _) => return Err(PlaceError::Dangling(if of_link { last_link } else { shown() })),
                // An overlay shows the directory that the upper layer needs, and none of what is below it: neither
                // what a lower layer's link leads to, nor the attributes of a lower layer's directory.
                (Some(child), Missing::Create(layer)) if child.layer < layer && self.is_directory(child.inode) => {
                    self.lead_through(here, &name, child, layer, of_link)
                }
                (Some(child), Missing::Create(layer)) if child.layer < layer && !of_link => {
                    self.imply(here, &name, layer)?
                }
                (Some(child), _) => match &self.inode(child.inode).node {
                    Node::Directory => child.inode,
                    Node::Special(Kind::Symlink(target)) => {
                        links += 1;
                        if links > MAX_LINKS {
                            return Err(PlaceError::Loop);
                        }
                        last_link = shown();
                        if target.starts_with(b"/") {
                            behind.truncate(1);
                        }
                        ahead.extend(path::components(target).rev().map(|name| (name.to_vec().into(), true)));
                        continue;
                    }
                    _ => return Err(PlaceError::NotADirectory(shown())),
                },
            };
            behind.push(next);
            if behind.len() > MAX_DEPTH {
                return Err(PlaceError::Deep);
            }
        }
        Ok(behind.last().copied().unwrap_or(ROOT))
    }

    /// A directory of a lower layer that an entry of `layer` leads through becomes one of `layer`.
    fn lead_through(&mut self, parent: InodeId, name: &[u8], child: Child, layer: u32, of_link: bool) -> InodeId {
        if !of_link {
            let inode = &mut self.inodes[child.inode.0 as usize];
            (inode.attributes, inode.xattrs) = (IMPLIED, Vec::new());
        }
        if let Some(child) = self.children_mut(parent).get_mut(name) {
            child.layer = layer;
        }
        child.inode
    }

    fn imply(&mut self, parent: InodeId, name: &[u8], layer: u32) -> Result<InodeId, PlaceError> {
        let inode = self.add(inode(IMPLIED, Vec::new(), Node::Directory))?;
        self.children_mut(parent).insert(name.into(), Child { inode, layer });
        Ok(inode)
    }

    fn add(&mut self, inode: Inode) -> Result<InodeId, PlaceError> {
        if self.inodes.len() >= MAX_INODES {
            return Err(PlaceError::TooMany);
        }
        self.inodes.push(inode);
        Ok(InodeId((self.inodes.len() - 1) as u32)) // below MAX_INODES
    }

    fn child(&self, directory: InodeId, name: &[u8]) -> Option<InodeId> {
        self.children(directory).get(name).map(|child| child.inode)
    }

    fn is_directory(&self, id: InodeId) -> bool {
        matches!(self.inode(id).node, Node::Directory)
    }

    fn children(&self, id: InodeId) -> &BTreeMap<Box<[u8]>, Child> {
        &self.inode(id).children
    }

    fn children_mut(&mut self, id: InodeId) -> &mut BTreeMap<Box<[u8]>, Child> {
        &mut self.inodes[id.0 as usize].children
    }
}

/// Length of the list of names that listxattr(2) gives: each with a NUL.
fn xattr_list_len(xattrs: &Xattrs) -> usize {
    xattrs.iter().map(|(name, _)| name.len() + 1).sum()
}

/// What to do about a directory that a path leads through and that isn't there.
#[derive(Clone, Copy)]
enum Missing {
    /// Make it, for an entry of this layer.
    Create(u32),
    /// Say so.
    Refuse,
}

#[cfg(test)]
mod tests;
