//! What an engine's build laid over its base: the project's files with their dependencies, and what it changed in the system.
//! Engines write times of the moment and leave caches behind; here they are normalized and left out, so that the same build
//! gives the same bytes.

use super::layers::{Item, Items, What};
use crate::compression::sniff_reader;
use crate::flatten::path::{self, Named};
use crate::flatten::tree::{ContentId, InodeId, Node, ROOT, Tree};
use crate::flatten::{Content, Layer};
use crate::tarball::Kind;
use crate::tarball::reader::Reader;
use anyhow::{Context, Result, bail};
use project::plan::DIRECTORY;
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// What builds leave that no machine needs, and that is another each time: caches, logs, and what engines mount.
const LEFT_BEHIND: &[&str] = &[
    ".dockerenv",
    "dev",
    "etc/hostname",
    "etc/hosts",
    "etc/mtab",
    "etc/resolv.conf",
    "proc",
    "root/.cache",
    "root/.config",
    "root/.npm",
    "root/.local/share/pnpm",
    "run",
    "sys",
    "tmp",
    "usr/local/share/.cache",
    "var/cache/apt",
    "var/lib/apt/lists",
    "var/log",
    "var/tmp",
];
const WHITEOUT: &str = ".wh.";

/// What a build made.
#[derive(Debug, Default)]
pub(super) struct Above {
    /// Changes of the system.
    pub(super) system: Items,
    /// The project's dependencies.
    pub(super) dependencies: Items,
    /// Its other files.
    pub(super) code: Items,
}

/// Reads layers that lie over a base; contents go into files of `scratch`.
///
/// # Errors
/// When a layer can't be read, or a file not be written.
pub(super) fn read(layers: &[Layer], dependencies: Option<&str>, scratch: &Path) -> Result<Above> {
    let mut tree = Tree::default();
    let mut whiteouts = BTreeSet::new();
    for (number, layer) in (0..).zip(layers) {
        let Content::Blob(blob) = &layer.content else { bail!("layer {} is not there as an archive", layer.name) };
        let archive = sniff_reader(blob.reader())?.decompress(blob.reader())?;
        let mut reader = Reader::new(archive);
        let mut index = 0;
        while let Some(entry) = reader.next_entry().with_context(|| format!("layer {}", layer.name))? {
            let shown = || format!("layer {}, entry {}", layer.name, path::display(&entry.path));
            let at = ContentId { layer: number, entry: index };
            index = index.checked_add(1).context("more entries than a layer has")?;
            if entry.kind == Kind::File {
                let mut file = File::create(spilled(scratch, at)).with_context(shown)?;
                io::copy(&mut reader.content(), &mut file).with_context(shown)?;
            }
            if let Some(hidden) = hidden(&entry.path) {
                whiteouts.insert(hidden);
            }
            let shown = shown();
            tree.apply(entry, at).context(shown)?;
        }
    }
    let mut all = Items::new();
    let mut ahead = vec![(ROOT, Vec::new())];
    while let Some((id, at)) = ahead.pop() {
        for (name, child) in &tree.inode(id).children {
            let path = if at.is_empty() { name.to_vec() } else { [&at[..], b"/", &name[..]].concat() };
            if let Some(item) = item(&tree, child.inode, scratch) {
                all.insert(path.clone(), item);
            }
            ahead.push((child.inode, path));
        }
    }
    // Under the project's directory lies nothing of the base.
    for path in whiteouts.into_iter().filter(|path| !is_below(path, DIRECTORY.trim_start_matches('/'))) {
        if !all.contains_key(path.as_slice()) {
            let at = path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
            let (parent, name) = path.split_at(at);
            let whiteout = [parent, WHITEOUT.as_bytes(), name].concat();
            all.insert(whiteout, Item::new(What::Bytes(Vec::new()), false));
        }
    }
    Ok(split(all, dependencies))
}

fn spilled(scratch: &Path, at: ContentId) -> PathBuf {
    scratch.join(format!("{}-{}", at.layer, at.entry))
}

/// The path that a whiteout hides.
fn hidden(path: &[u8]) -> Option<Vec<u8>> {
    let Ok(Named::Entry(mut parents, name)) = path::split(path) else { return None };
    let name = name.strip_prefix(WHITEOUT.as_bytes()).filter(|name| !name.starts_with(WHITEOUT.as_bytes()))?;
    parents.push(name);
    Some(parents.join(&b'/'))
}

fn item(tree: &Tree, id: InodeId, scratch: &Path) -> Option<Item> {
    let inode = tree.inode(id);
    let what = match &inode.node {
        Node::Directory => What::Directory,
        Node::File { content, .. } => What::File(spilled(scratch, *content)),
        Node::Special(Kind::Symlink(target)) => What::Symlink(target.clone()),
        Node::Special(_) => return None,
    };
    let attributes = inode.attributes;
    let owner = (attributes.uid, attributes.gid);
    Some(Item { what, mode: attributes.mode, owner, xattrs: inode.xattrs.clone() })
}

/// The project's files with modes and owners as all of a project's have them; the system's as they are.
fn split(all: Items, dependencies: Option<&str>) -> Above {
    let app = DIRECTORY.trim_start_matches('/');
    let dependencies = dependencies.map(|directory| format!("{app}/{directory}"));
    let mut above = Above::default();
    let mut emptied: BTreeSet<Vec<u8>> = BTreeSet::new();
    for (path, item) in all {
        if is_below(&path, app) {
            let executable = item.mode & 0o111 != 0;
            let item = Item::new(item.what, executable);
            let is_dependency = dependencies.as_ref().is_some_and(|directory| is_below(&path, directory));
            if is_dependency { &mut above.dependencies } else { &mut above.code }.insert(path, item);
        } else if LEFT_BEHIND.iter().any(|place| is_below(&path, place)) {
            emptied.extend(ancestors(&path).map(<[u8]>::to_vec));
        } else {
            above.system.insert(path, item);
        }
    }
    for directory in emptied.iter().rev() {
        let prefix = [&directory[..], b"/"].concat();
        let is_empty = above.system.range(prefix.clone()..).next().is_none_or(|(path, _)| !path.starts_with(&prefix));
        if is_empty {
            above.system.remove(directory);
        }
    }
    above
}

fn is_below(path: &[u8], directory: &str) -> bool {
    path.strip_prefix(directory.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// The directories that a path leads through.
fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter().enumerate().filter(|(_, byte)| **byte == b'/').filter_map(|(at, _)| path.get(..at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::Blob;
    use crate::local::layers::{Times, write};
    use crate::tarball::writer::Writer;
    use crate::tarball::{Attributes, Entry};

    fn layer(mtime: i64, entries: &[(&str, Kind, &str)]) -> Layer {
        let mut writer = Writer::new(Vec::new());
        for (path, kind, content) in entries {
            let attributes = Attributes { mode: 0o750, uid: 7, gid: 8, mtime };
            let (path, size) = (path.as_bytes().to_vec(), content.len() as u64);
            let entry = Entry { path, kind: kind.clone(), attributes, size, xattrs: Vec::new() };
            writer.append(&entry, content.as_bytes()).unwrap();
        }
        let blob = Blob::Memory(writer.finish().unwrap().into());
        Layer { name: "x".to_owned(), content: Content::Blob(blob), digest: None, diff_id: None }
    }

    fn built(mtime: i64) -> [Layer; 3] {
        use Kind::{Directory, File};
        [
            layer(mtime, &[("app/", Directory, ""), ("app/package.json", File, "{}")]),
            layer(
                mtime,
                &[
                    ("app/node_modules/", Directory, ""),
                    ("app/node_modules/a", File, "a"),
                    ("app/node_modules/dev", File, "dev"),
                    ("root/", Directory, ""),
                    ("root/.npm/", Directory, ""),
                    ("root/.npm/log", File, &mtime.to_string()),
                    ("etc/", Directory, ""),
                    ("etc/new", File, "new"),
                    ("etc/.wh.gone", File, ""),
                    ("etc/.wh.package", File, ""),
                    ("data/", Directory, ""),
                ],
            ),
            layer(
                mtime + 1,
                &[
                    ("app/dist/", Directory, ""),
                    ("app/dist/out", File, "out"),
                    ("app/node_modules/.wh.dev", File, ""),
                    ("etc/package", File, "again"),
                ],
            ),
        ]
    }

    #[test]
    fn a_build_is_split_into_system_dependencies_and_code() {
        let dir = tempfile::tempdir().unwrap();
        let above = read(&built(5), Some("node_modules"), dir.path()).unwrap();
        let names = |items: &Items| -> Vec<String> {
            items.keys().map(|path| String::from_utf8(path.clone()).unwrap()).collect()
        };
        assert_eq!(names(&above.system), ["data", "etc", "etc/.wh.gone", "etc/new", "etc/package"]);
        assert_eq!(names(&above.dependencies), ["app/node_modules", "app/node_modules/a"]);
        assert_eq!(names(&above.code), ["app", "app/dist", "app/dist/out", "app/package.json"]);
        let mode = |items: &Items, path: &str| (items[path.as_bytes()].mode, items[path.as_bytes()].owner);
        assert_eq!(mode(&above.system, "etc/new"), (0o750, (7, 8)));
        assert_eq!(mode(&above.dependencies, "app/node_modules/a"), (0o755, (0, 0)));
    }

    #[test]
    fn the_same_build_at_another_time_gives_the_same_layers() {
        let bytes = |mtime| {
            let dir = tempfile::tempdir().unwrap();
            let above = read(&built(mtime), Some("node_modules"), dir.path()).unwrap();
            [above.system, above.dependencies, above.code].map(|items| {
                let mut bytes = Vec::new();
                write(&items, Times::Fixed, &mut bytes).unwrap();
                bytes
            })
        };
        assert_eq!(bytes(5), bytes(1_000_000));
    }
}
