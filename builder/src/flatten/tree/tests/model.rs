//! The tree against a model that is too simple to be wrong: each layer is unpacked into a map of its own, and the maps
//! are laid over each other as the OCI image specification (layer.md) says. No symbolic links.

use super::*;
use std::collections::{BTreeSet, HashSet};

/// A path to what is there: a directory by its time (0 for one that was only led through), or the file's number.
type Map = BTreeMap<String, Thing>;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Thing {
    Directory(i64),
    File(u32, u32),
}

/// A layer as it is unpacked by itself.
#[derive(Default)]
struct Unpacked {
    things: Map,
    hidden: BTreeSet<String>,
    opaque: BTreeSet<String>,
}

fn is_below(path: &str, directory: &str) -> bool {
    directory.is_empty() || path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

/// What a container sees of a layer over those below it.
fn over(lower: &Map, layer: &Unpacked) -> Map {
    let is_hidden = |path: &str| {
        layer.hidden.iter().any(|hidden| path == hidden || is_below(path, hidden))
            || layer.opaque.iter().any(|opaque| is_below(path, opaque))
            || layer.things.iter().any(|(at, thing)| matches!(thing, Thing::File(..)) && is_below(path, at))
    };
    let mut seen: Map =
        lower.iter().filter(|(path, _)| !is_hidden(path)).map(|(path, thing)| (path.clone(), *thing)).collect();
    // A directory over a file hides the file, and nothing was below it.
    seen.extend(layer.things.iter().map(|(path, thing)| (path.clone(), *thing)));
    seen
}

/// Makes the directories that lead to `path`; says whether a file is in the way.
fn lead(layer: &mut Unpacked, path: &str) -> bool {
    path.match_indices('/').all(|(at, _)| {
        !matches!(layer.things.entry(path[..at].to_owned()).or_insert(Thing::Directory(0)), Thing::File(..))
    })
}

/// The merged map; `None` where an entry has no place.
fn model(layers: &[Vec<String>]) -> Option<Map> {
    let mut lower = Map::new();
    for (number, entries) in (0..).zip(layers) {
        let mut layer = Unpacked::default();
        for (index, text) in (0..).zip(entries) {
            let (kind, rest) = text.split_at(2);
            let (path, target) = rest.split_once(" -> ").unwrap_or((rest, ""));
            if !lead(&mut layer, path) {
                return None;
            }
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
            if name == ".wh..wh..opq" {
                layer.opaque.insert(parent.to_owned());
            } else if let Some(name) = name.strip_prefix(".wh.") {
                layer.hidden.insert(format!("{parent}/{name}").trim_start_matches('/').to_owned());
            } else {
                let thing = match kind {
                    "d " => Thing::Directory(i64::from(number) + 1),
                    "f " => Thing::File(number, index),
                    // What it names is there at this moment, in this layer or a lower one.
                    _ => *over(&lower, &layer).get(target).filter(|thing| matches!(thing, Thing::File(..)))?,
                };
                if matches!(thing, Thing::File(..)) {
                    layer.things.retain(|at, _| !is_below(at, path));
                }
                layer.things.insert(path.to_owned(), thing);
            }
        }
        lower = over(&lower, &layer);
    }
    Some(lower)
}

fn as_map(tree: &Tree) -> Map {
    fn below(tree: &Tree, id: InodeId, path: &str, map: &mut Map) {
        for (name, child) in &tree.inode(id).children {
            let path = format!("{path}{}", String::from_utf8_lossy(name));
            let inode = tree.inode(child.inode);
            let thing = match &inode.node {
                Node::File { content, .. } => Thing::File(content.layer, content.entry),
                _ => Thing::Directory(inode.attributes.mtime),
            };
            map.insert(path.clone(), thing);
            below(tree, child.inode, &format!("{path}/"), map);
        }
    }
    let mut map = Map::new();
    below(tree, ROOT, "", &mut map);
    map
}

/// Entries in directories of few names, so that they meet; no path twice in a layer, which Docker refuses.
fn layer() -> impl Strategy<Value = Vec<String>> {
    let directory = || prop::sample::select(vec!["", "a/", "b/", "a/b/", "a/a/", "b/c/", "a/b/c/"]);
    let name = || prop::sample::select(vec!["a", "b", "c"]);
    let path = || (directory(), name()).prop_map(|(directory, name)| format!("{directory}{name}"));
    let entry = prop_oneof![
        3 => path().prop_map(|path| format!("f {path}")),
        3 => path().prop_map(|path| format!("d {path}")),
        1 => (path(), path()).prop_map(|(path, target)| format!("h {path} -> {target}")),
        2 => (directory(), name()).prop_map(|(directory, name)| format!("f {directory}.wh.{name}")),
        1 => directory().prop_map(|directory| format!("f {directory}.wh..wh..opq")),
    ];
    prop::collection::vec(entry, 0..8).prop_map(|mut entries| {
        let mut seen = HashSet::new();
        entries.retain(|text| seen.insert(text[2..].split(" -> ").next().unwrap_or_default().to_owned()));
        entries
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn layers_merge_as_the_specification_says(layers in prop::collection::vec(layer(), 1..4)) {
        let borrowed: Vec<Vec<&str>> = layers.iter().map(|layer| layer.iter().map(String::as_str).collect()).collect();
        let borrowed: Vec<&[&str]> = borrowed.iter().map(Vec::as_slice).collect();
        let merged = merge(&borrowed).ok().map(|tree| as_map(&tree));
        prop_assert_eq!(merged, model(&layers));
    }
}
