//! Layers by hand: each test is a few entries and what a container of them would see.

use super::*;
use proptest::prelude::*;

mod cost;
mod model;

/// An entry in a few words: `d path`, `f path`, `l path -> target` (symbolic), `h path -> target` (hard).
fn entry(text: &str, mtime: i64) -> Entry {
    let (kind, rest) = text.split_at(2);
    let (path, target) = rest.split_once(" -> ").unwrap_or((rest, ""));
    let target = target.as_bytes().to_vec();
    let kind = match kind {
        "d " => Kind::Directory,
        "f " => Kind::File,
        "l " => Kind::Symlink(target),
        "h " => Kind::HardLink(target),
        _ => panic!("{text}"),
    };
    let attributes = Attributes { mode: 0o700, uid: 5, gid: 5, mtime };
    Entry { path: path.as_bytes().to_vec(), kind, attributes, size: 0, xattrs: Vec::new() }
}

fn merge(layers: &[&[&str]]) -> Result<Tree, PlaceError> {
    let mut tree = Tree::default();
    for (layer, entries) in (0..).zip(layers) {
        for (index, text) in (0..).zip(*entries) {
            tree.apply(entry(text, i64::from(layer) + 1), ContentId { layer, entry: index })?;
        }
    }
    Ok(tree)
}

/// The tree as lines: `d` made by an entry, `D` implied, files with the layer and index of their content.
fn lines(tree: &Tree) -> Vec<String> {
    fn below(tree: &Tree, id: InodeId, path: &str, lines: &mut Vec<String>) {
        for (name, child) in &tree.inode(id).children {
            let path = format!("{path}{}", String::from_utf8_lossy(name));
            let inode = tree.inode(child.inode);
            match &inode.node {
                Node::Directory => {
                    lines.push(format!("{} {path}", if inode.attributes == IMPLIED { 'D' } else { 'd' }));
                    below(tree, child.inode, &format!("{path}/"), lines);
                }
                Node::File { content, .. } => lines.push(format!("f {path} {}.{}", content.layer, content.entry)),
                Node::Special(Kind::Symlink(target)) => {
                    lines.push(format!("l {path} -> {}", String::from_utf8_lossy(target)));
                }
                Node::Special(kind) => lines.push(format!("{kind:?} {path}")),
            }
        }
    }
    let mut found = Vec::new();
    below(tree, ROOT, "", &mut found);
    found
}

#[track_caller]
fn check(layers: &[&[&str]], expected: &[&str]) {
    assert_eq!(lines(&merge(layers).unwrap()), expected);
}

#[track_caller]
fn refused(layers: &[&[&str]], expected: &PlaceError) {
    assert_eq!(merge(layers).err().as_ref(), Some(expected));
}

#[test]
fn a_later_entry_replaces_an_earlier_one() {
    check(&[&["f a", "f a"]], &["f a 0.1"]);
    check(&[&["f a"], &["f a"]], &["f a 1.0"]);
    check(&[&["f a"], &["l a -> b"]], &["l a -> b"]);
    check(&[&["d a", "f a/x"], &["f a"]], &["f a 1.0"]);
    check(&[&["f a"], &["d a", "f a/x"]], &["d a", "f a/x 1.1"]);
    check(&[&["d a", "f a/x"], &["f a"], &["d a"]], &["d a"]);
    check(&[&["d a", "f a/x"], &["l a -> b"]], &["l a -> b"]);
}

#[test]
fn a_directory_over_a_directory_keeps_what_is_in_it_and_takes_the_new_attributes() {
    let tree = merge(&[&["d a", "f a/x"], &["d a"]]).unwrap();
    assert_eq!(lines(&tree), ["d a", "f a/x 0.1"]);
    let a = tree.child(ROOT, b"a").unwrap();
    assert_eq!(tree.inode(a).attributes.mtime, 2);
}

#[test]
fn directories_that_nobody_made_are_implied() {
    check(&[&["f a/b/x"]], &["D a", "D a/b", "f a/b/x 0.0"]);
    check(&[&["f a/b/x", "d a"]], &["d a", "D a/b", "f a/b/x 0.0"]);
    check(&[&["d ./", "f ./x", "f /y", "f .//z/."]], &["f x 0.1", "f y 0.2", "f z 0.3"]);
}

#[test]
fn whiteouts_hide_what_lower_layers_have_and_nothing_of_their_own() {
    check(&[&["f a", "f b"], &["f .wh.a"]], &["f b 0.1"]);
    check(&[&["d a", "f a/x"], &["f .wh.a"]], &[]);
    check(&[&["d a", "f a/x"], &["d a", "f a/.wh.x"]], &["d a"]);
    check(&[&["f a"], &["f a", "f .wh.a"]], &["f a 1.0"]);
    check(&[&["f a"], &["f .wh.a", "f a"]], &["f a 1.1"]);
    // What is not there can't be hidden, but the way to it is made.
    check(&[&["f a"], &["f .wh.b", "f x/.wh.y"]], &["f a 0.0", "D x"]);
}

#[test]
fn a_directory_that_was_whited_out_comes_back_empty() {
    let lower: &[&str] = &["d a", "d a/b", "f a/b/old"];
    for upper in [&["f .wh.a", "d a", "f a/new"][..], &["d a", "f a/new", "f .wh.a"]] {
        assert_eq!(lines(&merge(&[lower, upper]).unwrap()).len(), 2, "{upper:?}");
    }
    // One that only leads to something new is not the old one either, whichever comes first.
    for upper in [&["f .wh.a", "f a/b/new"][..], &["f a/b/new", "f .wh.a"]] {
        let lines = lines(&merge(&[lower, upper]).unwrap());
        assert_eq!(lines[..2], ["D a", "D a/b"], "{upper:?}");
        assert_eq!(lines.len(), 3, "{upper:?}");
    }
    check(&[lower, &["f .wh.a"], &["d a"]], &["d a"]);
}

#[test]
fn an_opaque_directory_shows_nothing_of_lower_layers() {
    let lower: &[&str] = &["d a", "f a/x", "d a/b", "f a/b/y"];
    check(&[lower, &["d a", "f a/.wh..wh..opq", "f a/z"]], &["d a", "f a/z 1.2"]);
    check(
        &[lower, &["d a", "f a/z", "d a/b", "f a/b/w", "f a/.wh..wh..opq"]],
        &["d a", "d a/b", "f a/b/w 1.3", "f a/z 1.1"],
    );
    check(&[lower, &["f .wh..wh..opq"]], &[]);
    check(&[lower, &["f q/.wh..wh..opq"]], &["d a", "d a/b", "f a/b/y 0.3", "f a/x 0.1", "D q"]);
}

#[test]
fn whiteouts_of_nothing_and_aufs_bookkeeping() {
    for name in ["f .wh.", "f .wh..", "f .wh...", "f a/.wh.."] {
        refused(&[&["f x"], &[name]], &PlaceError::BadWhiteout);
    }
    check(&[&["f x"], &["d .wh..wh.plnk", "f .wh..wh.plnk/1.2", "f .wh..wh.aufs"]], &["f x 0.0"]);
    refused(&[&["f .wh.a/b"]], &PlaceError::ReservedName);
}

#[test]
fn hard_links_are_the_file_they_name_in_any_layer() {
    let tree = merge(&[&["f a", "h b -> a"], &["h c -> ./b", "f .wh.a"]]).unwrap();
    assert_eq!(lines(&tree), ["f b 0.0", "f c 0.0"]);
    assert_eq!(tree.child(ROOT, b"b"), tree.child(ROOT, b"c"));
    // Writing a name anew leaves the others as they were.
    check(&[&["f a", "h b -> a"], &["f a"]], &["f a 1.0", "f b 0.0"]);
    // A link to a symbolic link is that link and not what it leads to.
    check(&[&["l a -> x", "h b -> a"]], &["l a -> x", "l b -> x"]);
    check(&[&["f a", "h a -> a"]], &["f a 0.0"]);
}

#[test]
fn hard_links_to_nothing_are_refused() {
    refused(&[&["h b -> a"]], &PlaceError::NoTarget("a".to_owned()));
    refused(&[&["f a"], &["f .wh.a", "h b -> a"]], &PlaceError::NoTarget("a".to_owned()));
    refused(&[&["h b -> a/b/c"]], &PlaceError::NoTarget("a/b/c".to_owned()));
    refused(&[&["d a", "h b -> a"]], &PlaceError::DirectoryTarget("a".to_owned()));
    refused(&[&["h b -> ."]], &PlaceError::DirectoryTarget(".".to_owned()));
    refused(&[&["h b -> ../a"]], &PlaceError::Path(PathError::Leaves));
}

#[test]
fn symbolic_links_of_the_same_layer_are_followed_inside_the_root() {
    let usr: &[&str] = &["d usr", "d usr/lib", "l lib -> usr/lib"];
    check(&[&[usr, &["f lib/x"]].concat()], &["l lib -> usr/lib", "d usr", "d usr/lib", "f usr/lib/x 0.3"]);
    check(
        &[&[usr, &["f lib/x", "f lib/.wh.x", "h y -> lib/x"]].concat()],
        &["l lib -> usr/lib", "d usr", "d usr/lib", "f usr/lib/x 0.3", "f y 0.3"],
    );
    check(&[&["d a", "l a/up -> ../b/../b", "d b", "f a/up/x"]], &["d a", "l a/up -> ../b/../b", "d b", "f b/x 0.3"]);
    check(&[&["d a", "l abs -> /a", "d abs/new"]], &["d a", "d a/new", "l abs -> /a"]);
    // An entry for the directory itself is not on the way to it: it replaces the link.
    check(&[usr, &["d lib", "f lib/x"]], &["d lib", "f lib/x 1.1", "d usr", "d usr/lib"]);
}

#[test]
fn what_lower_layers_have_on_the_way_is_replaced_as_an_overlay_shows_it() {
    let usr: &[&str] = &["d usr", "f usr/a", "l lib -> usr"];
    check(&[usr, &["f lib/x"]], &["D lib", "f lib/x 1.0", "d usr", "f usr/a 0.1"]);
    check(&[usr, &["f lib/.wh.a"]], &["D lib", "d usr", "f usr/a 0.1"]);
    check(&[&["f a"], &["f a/x"]], &["D a", "f a/x 1.0"]);
    // A directory keeps what is in it, but not its attributes.
    check(&[&["d a", "f a/x"], &["f a/y"]], &["D a", "f a/x 0.1", "f a/y 1.0"]);
    check(&[&["d a", "f a/x"], &["d a", "f a/y"]], &["d a", "f a/x 0.1", "f a/y 1.1"]);
    check(&[&["d a", "f a/x"], &["f a/y", "d a"]], &["d a", "f a/x 0.1", "f a/y 1.0"]);
}

#[test]
fn ways_that_lead_nowhere_are_refused() {
    refused(&[&["l lib -> nowhere", "f lib/x"]], &PlaceError::Dangling("lib".to_owned()));
    refused(&[&["l a -> b", "l b -> a", "f a/x"]], &PlaceError::Loop);
    refused(&[&["f a", "f a/x"]], &PlaceError::NotADirectory("a".to_owned()));
    refused(&[&["l a -> f", "f f", "f a/x"]], &PlaceError::NotADirectory("f".to_owned()));
}

#[test]
fn what_leaves_the_root_is_refused() {
    refused(&[&["f ../x"]], &PlaceError::Path(PathError::Leaves));
    refused(&[&["f a/../../x"]], &PlaceError::Path(PathError::Leaves));
    refused(&[&["d a", "l a/up -> ../../b", "d b", "f a/up/x"]], &PlaceError::Leaves("up".to_owned()));
    // What stays inside is what it says.
    check(&[&["f a/../x"]], &["f x 0.0"]);
}

#[test]
fn the_attributes_of_many_links_stay_few() {
    let mut tree = Tree::default();
    let at = ContentId { layer: 0, entry: 0 };
    let long = |number: usize| vec![(format!("user.{number:0>249}").into_bytes(), Vec::new())];
    tree.apply(entry("f a", 1), at).unwrap();
    let mut link = |number| tree.apply(Entry { xattrs: long(number), ..entry("h b -> a", 1) }, at);
    for number in (0..256).rev() {
        link(number).unwrap(); // 255 bytes with the NUL: 65,280 of 65,536
    }
    link(7).unwrap();
    link(256).unwrap();
    assert_eq!(link(257), Err(PlaceError::ManyXattrs));
    let a = tree.child(ROOT, b"a").unwrap();
    assert!(tree.inode(a).xattrs.is_sorted());
}

#[test]
fn directories_are_bounded_in_depth() {
    let mut tree = Tree::default();
    let deep = "d/".repeat(2000);
    let at = ContentId { layer: 0, entry: 0 };
    tree.apply(entry(&format!("d {deep}"), 0), at).unwrap();
    tree.apply(entry(&format!("l short -> {deep}"), 0), at).unwrap();
    assert_eq!(tree.apply(entry(&format!("d short/{}", "e/".repeat(60)), 0), at), Err(PlaceError::Deep));
}

/// Paths and targets of few names, so that entries meet each other.
fn any_entry() -> impl Strategy<Value = String> {
    let path =
        prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "..", ".", ".wh.a", ".wh..wh..opq", ""]), 1..5)
            .prop_map(|names| names.join("/"));
    (prop::sample::select(vec!["d ", "f ", "l ", "h "]), path.clone(), path)
        .prop_map(|(kind, path, target)| format!("{kind}{path} -> {target}"))
}

proptest! {
    #[test]
    fn no_layers_make_it_panic_or_lose_the_root(layers in prop::collection::vec(prop::collection::vec(any_entry(), 0..12), 1..4)) {
        let mut tree = Tree::default();
        for (layer, entries) in (0..).zip(&layers) {
            for (index, text) in (0..).zip(entries) {
                let _ = tree.apply(entry(text, 1), ContentId { layer, entry: index });
            }
        }
        prop_assert!(tree.is_directory(ROOT));
        for line in lines(&tree) {
            prop_assert!(!line.contains(".wh.") || line.starts_with("l "), "{}", line);
        }
    }
}
