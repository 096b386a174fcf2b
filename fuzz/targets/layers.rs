//! Malformed layers: what decompresses them, reads them as tars, and merges them into a tree.
//!
//! The first byte says how the rest is cut into one, two or three layers, and whether headers get right checksums,
//! which lets damage through to what is behind that check.
#![no_main]

use builder::blob::Blob;
use builder::flatten::merge::merge;
use builder::flatten::tree::{InodeId, Node, ROOT, Tree};
use builder::flatten::{Content, Layer};
use builder::pack::blocks::Pool;
use builder::pack::{Packed, pack_into};
use builder::progress::Bar;
use builder::tarball::BLOCK;
use builder::tarball::reader::Reader;
use libfuzzer_sys::fuzz_target;
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::io::{self, Read};
use std::sync::{Arc, OnceLock};

/// Content beyond this is not read: a sparse file may claim any length.
const MAX_READ: u64 = 1 << 20;
/// What the tree promises: directories inside each other, and bytes of a name.
const MAX_DEPTH: usize = 2048;
const MAX_NAME: usize = 255;

fuzz_target!(|input: &[u8]| {
    let Some((first, rest)) = input.split_first() else { return };
    let count = usize::from(first % 3) + 1;
    let mut layers: Vec<Vec<u8>> =
        rest.chunks((rest.len() / count).next_multiple_of(BLOCK).max(BLOCK)).map(Vec::from).collect();
    if first & 0x80 == 0 {
        layers.iter_mut().for_each(|layer| mend(layer));
    }
    for layer in &layers {
        read(layer);
    }
    let blob = |bytes: &Vec<u8>| Layer {
        name: "fuzzed".to_owned(),
        content: Content::Blob(Blob::Memory(bytes.clone().into())),
        digest: None,
        diff_id: None,
    };
    let layers: Vec<Layer> = layers.iter().map(blob).collect();
    let packed: Result<Vec<Packed>, _> = layers.iter().map(pack).collect();
    let Ok(mut packed) = packed else { return };
    match merge(&mut packed) {
        Ok(merged) => check(&merged.tree, layers.len()),
        Err(error) => assert!(!error.to_string().is_empty(), "an error without words"),
    }
});

/// Packs a layer as a build does it, into memory.
fn pack(layer: &Layer) -> Result<Packed, ()> {
    static POOL: OnceLock<Pool> = OnceLock::new();
    let pool = POOL.get_or_init(|| Pool::start().expect("threads"));
    let file = File::from(memfd_create("packed", MemfdFlags::CLOEXEC).expect("memory"));
    match pack_into(layer, &file, pool, &Bar::hidden()) {
        Ok(index) => Ok(Packed { name: layer.name.clone(), diff_id: None, file: Arc::new(file), index }),
        Err(error) => {
            assert!(!error.to_string().is_empty(), "an error without words");
            Err(())
        }
    }
}

/// Every entry's content is as long as it says, or an error.
fn read(layer: &[u8]) {
    let mut reader = Reader::new(layer);
    while let Ok(Some(entry)) = reader.next_entry() {
        assert!(!entry.path.is_empty() && !entry.path.contains(&0), "a path that is none");
        let wanted = entry.size.min(MAX_READ);
        if let Ok(read) = io::copy(&mut reader.content().take(MAX_READ), &mut io::sink()) {
            assert_eq!(read, wanted, "content of another length than its entry tells");
        }
    }
}

/// Nothing is in the tree that a file system could not have, or that leads out of it.
fn check(tree: &Tree, layers: usize) {
    let mut ahead: Vec<(InodeId, usize)> = vec![(ROOT, 0)];
    while let Some((id, depth)) = ahead.pop() {
        assert!(depth <= MAX_DEPTH, "directories {depth} deep");
        let inode = tree.inode(id);
        assert!(inode.attributes.mode <= 0o7777, "a mode with more than permissions");
        if let Node::File { content, .. } = &inode.node {
            assert!((content.layer as usize) < layers, "content of a layer that is not there");
        }
        for (name, child) in &inode.children {
            assert!(!name.is_empty() && name.len() <= MAX_NAME, "a name of {} bytes", name.len());
            assert!(!name.contains(&b'/') && !name.contains(&0), "a name that is a path");
            assert!(!matches!(&name[..], b"." | b".."), "a name that leads elsewhere");
            assert!(!name.starts_with(b".wh."), "a whiteout's name");
            ahead.push((child.inode, depth + 1));
        }
    }
}

/// Gives every header the checksum that it should have, header after header as a reader would meet them.
fn mend(layer: &mut [u8]) {
    let mut at = 0;
    while let Some(block) = layer.get_mut(at..at + BLOCK) {
        at += BLOCK;
        if block.iter().all(|byte| *byte == 0) {
            continue;
        }
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        // Sizes that are no octal number are errors, or those of huge files: nothing follows them.
        let digits = block[124..135].iter().take_while(|byte| byte.is_ascii_digit());
        let size = digits.fold(0usize, |size, digit| size * 8 + usize::from(digit - b'0'));
        at = at.saturating_add(size.next_multiple_of(BLOCK));
    }
}
