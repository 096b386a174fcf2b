//! What merging costs: nothing in it may be quadratic. Limits are generous, for busy machines and slow builds.

use super::*;
use std::time::{Duration, Instant};

/// Time that any of these may take. Each takes below two seconds on an idle machine, and hours if it were quadratic.
const PATIENCE: Duration = Duration::from_secs(60);

/// Applies layers of entries, and says how long it took.
fn apply(what: &str, layers: impl IntoIterator<Item: IntoIterator<Item = Entry>>) -> Tree {
    let start = Instant::now();
    let (mut tree, mut count) = (Tree::default(), 0);
    for (layer, entries) in (0..).zip(layers) {
        for (index, entry) in (0..).zip(entries) {
            tree.apply(entry, ContentId { layer, entry: index }).unwrap();
            count += 1;
        }
    }
    println!("{what}: {count} entries in {:?}", start.elapsed());
    assert!(start.elapsed() < PATIENCE, "{what}: {:?}", start.elapsed());
    tree
}

#[test]
fn a_million_files_in_directories_and_in_one() {
    let spread =
        (0..1_000_000).map(|number| entry(&format!("f d{}/e{}/f{number}", number / 1000, number / 100 % 10), 1));
    assert_eq!(apply("in 10,000 directories", [spread]).len(), 1_011_001);
    let flat = (0..1_000_000).map(|number| entry(&format!("f d/{number}"), 1));
    assert_eq!(apply("in one directory", [flat]).len(), 1_000_002);
}

#[test]
fn seventy_thousand_links_with_attributes_of_a_file_with_thousands() {
    let attribute = |number: usize| (format!("user.{number:05}").into_bytes(), vec![b'v'; 8]);
    let file = Entry { xattrs: (0..5_000).map(attribute).collect(), ..entry("f a", 1) };
    let links = (0..70_000).map(|number| {
        let xattrs = vec![attribute(number % 5_000)];
        Entry { xattrs, ..entry(&format!("h l{number} -> a"), 1) }
    });
    apply("links", [std::iter::once(file).chain(links)]);
}

#[test]
fn whiteouts_of_what_the_same_layer_has_again_and_again() {
    let files = || (0..50_000).map(|number| entry(&format!("f a/b/{number}"), 1));
    let whiteouts = (0..50_000).flat_map(|_| [entry("f .wh.a", 1), entry("f a/b/.wh..wh..opq", 1)]);
    let tree = apply("whiteouts", [files().collect::<Vec<_>>(), files().chain(whiteouts).collect()]);
    assert_eq!(lines(&tree).len(), 50_002);
}

#[test]
fn opaque_directories_in_each_of_127_layers() {
    let layer = |_| {
        let files = (0..5_000).map(|number| entry(&format!("f a/{}/{number}", number % 50), 1));
        let opaque = (0..50).map(|number| entry(&format!("f a/{number}/.wh..wh..opq"), 1));
        files.chain(opaque).chain([entry("f a/.wh..wh..opq", 1)]).collect::<Vec<_>>()
    };
    assert_eq!(lines(&apply("opaque", (0..127).map(layer))).len(), 5_051);
}

#[test]
fn deep_directories() {
    let deep = "d/".repeat(1_900);
    let entries = (0..2_000).map(|number| entry(&format!("f {deep}{number}"), 1));
    apply("deep", [entries.collect::<Vec<_>>(), vec![entry("f .wh.d", 1)]]);
}
