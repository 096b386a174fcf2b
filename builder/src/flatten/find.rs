//! Looks a path up in a merged tree, as a program in the machine would find it.

use super::path;
use super::tree::{InodeId, Node, ROOT, Tree};
use crate::tarball::Kind;

/// Symbolic links that are followed (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// The file at a path, through symbolic links.
#[must_use]
pub fn find(tree: &Tree, wanted: &[u8]) -> Option<InodeId> {
    let mut ahead: Vec<Vec<u8>> = path::components(wanted).rev().map(<[u8]>::to_vec).collect();
    let mut behind = vec![ROOT];
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        if name == b".." {
            // Above the root is the root.
            if behind.len() > 1 {
                behind.pop();
            }
            continue;
        }
        let here = tree.inode(*behind.last()?);
        let child = here.children.get(&name[..])?.inode;
        match &tree.inode(child).node {
            Node::Special(Kind::Symlink(target)) => {
                links += 1;
                if links > MAX_LINKS {
                    return None;
                }
                if target.starts_with(b"/") {
                    behind.truncate(1);
                }
                ahead.extend(path::components(target).rev().map(<[u8]>::to_vec));
            }
            _ => behind.push(child),
        }
    }
    behind.last().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flatten::tree::ContentId;
    use crate::tarball::{Attributes, Entry};

    #[test]
    fn a_path_is_followed_through_links_and_never_out_of_the_root() {
        let mut tree = Tree::default();
        let link = |target: &str| Kind::Symlink(target.into());
        let entries = [
            ("usr/bin/dash", Kind::File),
            ("bin", link("usr/bin")),
            ("usr/bin/sh", link("dash")),
            ("a/up", link("../../../../usr/bin/sh")),
            ("abs", link("/bin/sh")),
            ("loop", link("loop")),
            ("gone", link("nowhere")),
        ];
        for (index, (path, kind)) in (0..).zip(entries) {
            let attributes = Attributes::default();
            let entry = Entry { path: path.into(), kind, attributes, size: 0, xattrs: Vec::new() };
            tree.apply(entry, ContentId { layer: 0, entry: index }).unwrap();
        }
        let dash = find(&tree, b"/usr/bin/dash");
        assert!(dash.is_some());
        for path in ["/bin/sh", "/a/up", "abs", "/bin/../bin/sh"] {
            assert_eq!(find(&tree, path.as_bytes()), dash, "{path}");
        }
        for path in ["/loop", "/gone", "/usr/bin/dash/x", "/bin/bash"] {
            assert_eq!(find(&tree, path.as_bytes()), None, "{path}");
        }
    }
}
