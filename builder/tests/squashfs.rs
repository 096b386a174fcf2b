//! Layers merged and squashed, read back by another implementation of squashfs: sqfs2tar of squashfs-tools-ng.

mod support;

use builder::cache::Cache;
use builder::digest::Digest;
use builder::flatten::{Content, Layer, merge};
use builder::pack;
use builder::progress::Progress;
use builder::squashfs::Squashfs;
use builder::tarball::reader::Reader;
use builder::tarball::{Attributes, Entry, Kind};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{MTIME, directory, entry, file, layer, tar};

type Files = BTreeMap<String, (Entry, Vec<u8>)>;

/// Packs, merges and squashes; what goes wrong is told as the user would see it.
fn try_squash(layers: &[Layer], directory: &Path, latest: Option<i64>) -> Result<PathBuf, String> {
    let cache = Cache::open(&directory.join("cache")).unwrap();
    let told = |error: anyhow::Error| format!("{error:#}");
    let mut packed = pack::pack(layers, &cache, &Progress::silent()).map_err(told)?;
    let merged = merge::merge(&mut packed).map_err(|error| told(error.into()))?;
    let squashfs = Squashfs::new(&merged.tree, &packed, latest, tempfile::tempfile().unwrap()).map_err(told)?;
    let path = directory.join("root.squashfs");
    let file = fs::File::create(&path).unwrap();
    let digest = squashfs.write(&file, |_| {}).map_err(told)?;
    assert_eq!(digest, Digest::of(&fs::read(&path).unwrap()));
    assert_eq!(squashfs.len(), path.metadata().unwrap().len());
    Ok(path)
}

fn squashed(layers: &[Layer], directory: &Path) -> PathBuf {
    try_squash(layers, directory, None).unwrap()
}

/// Every file of the squashfs that these layers make, by its path.
fn files(layers: &[Layer]) -> Files {
    let dir = tempfile::tempdir().unwrap();
    let squashed = squashed(layers, dir.path());
    let output = Command::new("sqfs2tar").args(["--no-skip", "--root-becomes", "."]).arg(&squashed).output();
    let output = output.expect("sqfs2tar is missing: apt-get install squashfs-tools-ng");
    assert!(output.status.success(), "{}", support::stderr(&output));
    let mut reader = Reader::new(&output.stdout[..]);
    let mut files = BTreeMap::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let mut content = Vec::new();
        reader.content().read_to_end(&mut content).unwrap();
        let path = String::from_utf8_lossy(&entry.path).trim_end_matches('/').to_owned();
        files.insert(path.trim_start_matches("./").to_owned(), (entry, content));
    }
    files
}

fn attributes(mode: u32, uid: u32, gid: u32, mtime: i64) -> Attributes {
    Attributes { mode, uid, gid, mtime }
}

#[test]
fn every_kind_of_file_arrives_as_it_was() {
    let capability = b"\x01\0\0\x02\x00\x04\n\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    let long = "n".repeat(250);
    let with = |mut pair: (Entry, Vec<u8>), attributes: Attributes| {
        pair.0.attributes = attributes;
        pair
    };
    let mut ping = with(file("bin/ping", b"ELF"), attributes(0o4755, 0, 5, 1));
    ping.0.xattrs = vec![
        (b"security.capability".to_vec(), capability.clone()),
        (b"user.note".to_vec(), b"a\nb=c\n\n".to_vec()),
        (b"system.posix_acl_access".to_vec(), b"dropped".to_vec()),
    ];
    let special = |path: &str, kind: Kind| (entry(path, kind, 0o660), Vec::new());
    let entries = [
        with(directory("tmp"), attributes(0o1777, 70_000, 4_000_000_000, 4_000_000_000)),
        ping,
        with(file(&format!("{long}/{long}"), b"deep"), attributes(0o600, 1, 2, 3)),
        special("null", Kind::CharDevice(1, 3)),
        special("disk", Kind::BlockDevice(259, 70_000)),
        special("pipe", Kind::Fifo),
        special("link", Kind::Symlink(b"../no\xFFwhere".to_vec())),
        file("empty", b""),
        file("old", b"x"),
    ];
    let mut entries = entries.to_vec();
    entries[8].0.attributes.mtime = -1; // squashfs has no time before 1970
    let files = files(&[layer("a", tar(&entries))]);
    let (tmp, _) = &files["tmp"];
    assert_eq!(
        (&tmp.kind, tmp.attributes),
        (&Kind::Directory, attributes(0o1777, 70_000, 4_000_000_000, 4_000_000_000))
    );
    let (ping, content) = &files["bin/ping"];
    assert_eq!((ping.attributes, &content[..]), (attributes(0o4755, 0, 5, 1), &b"ELF"[..]));
    let mut xattrs = ping.xattrs.clone();
    xattrs.sort();
    assert_eq!(
        xattrs,
        [(b"security.capability".to_vec(), capability), (b"user.note".to_vec(), b"a\nb=c\n\n".to_vec())]
    );
    assert_eq!(files[&format!("{long}/{long}")].1, b"deep");
    assert_eq!(files["null"].0.kind, Kind::CharDevice(1, 3));
    assert_eq!(files["disk"].0.kind, Kind::BlockDevice(259, 70_000));
    assert_eq!(files["pipe"].0.kind, Kind::Fifo);
    assert_eq!(files["link"].0.kind, Kind::Symlink(b"../no\xFFwhere".to_vec()));
    assert_eq!(files["old"].0.attributes.mtime, 0);
    // Nobody made bin, and the root is 0755 and root's.
    assert_eq!(files["bin"].0.attributes, attributes(0o755, 0, 0, 0));
    assert_eq!(files["."].0.attributes.mode, 0o755);
}

#[test]
fn attributes_that_the_machines_overlay_would_obey_are_left_out() {
    let with = |mut pair: (Entry, Vec<u8>), names: &[&str]| {
        pair.0.xattrs = names.iter().map(|name| (name.as_bytes().to_vec(), b"/etc/shadow".to_vec())).collect();
        pair
    };
    let names = ["trusted.overlay.metacopy", "trusted.overlay.redirect", "trusted.overlay.overlay.opaque", "trusted.x"];
    let entries = [with(directory("d"), &["trusted.overlay.opaque"]), with(file("d/f", b"own"), &names)];
    let files = files(&[layer("a", tar(&entries))]);
    assert_eq!(files["d"].0.xattrs, []);
    assert_eq!(files["d/f"].0.xattrs, [(b"trusted.x".to_vec(), b"/etc/shadow".to_vec())]);
    assert_eq!(files["d/f"].1, b"own");
}

#[test]
fn names_that_are_no_text_arrive_byte_for_byte() {
    let mut odd = file("x", b"odd");
    odd.0.path = b"d/\xFF\xFE\n =".to_vec();
    let dir = tempfile::tempdir().unwrap();
    let squashed = squashed(&[layer("a", tar(&[odd]))], dir.path());
    let output = Command::new("sqfs2tar").arg(&squashed).output().unwrap();
    let mut reader = Reader::new(&output.stdout[..]);
    let mut paths = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        paths.push(entry.path);
    }
    assert!(paths.contains(&b"d/\xFF\xFE\n =".to_vec()), "{paths:?}");
}

#[test]
fn hard_links_keep_their_identity_across_layers() {
    let link = |path: &str, target: &str| (entry(path, Kind::HardLink(target.into()), 0o644), Vec::new());
    let lower = tar(&[file("a", b"shared"), link("b", "a"), file("c", b"other")]);
    let upper = tar(&[link("d/e", "b"), (entry(".wh.a", Kind::File, 0), Vec::new()), link("0", "c")]);
    let dir = tempfile::tempdir().unwrap();
    let squashed = squashed(&[layer("lower", lower), layer("upper", upper)], dir.path());
    let inode = |path: &str| {
        let output = Command::new("rdsquashfs").args(["--stat", path]).arg(&squashed).output();
        let output = output.expect("rdsquashfs is missing: apt-get install squashfs-tools-ng");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = |key: &str| text.lines().find(|line| line.starts_with(key)).map(str::to_owned);
        (output.status.success(), line("Inode number"), line("Hard link count").or_else(|| line("Link count")))
    };
    assert!(!inode("/a").0);
    assert_eq!(inode("/b"), inode("/d/e"));
    assert_eq!(inode("/0"), inode("/c"));
    assert_ne!(inode("/0").1, inode("/b").1);
}

#[test]
fn layers_of_gnu_tar_compressed_every_way_become_one_tree() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("in/d")).unwrap();
    fs::write(at("in/d/keep"), "keep").unwrap();
    fs::write(at("in/d/gone"), "gone").unwrap();
    let sparse = fs::File::create(at("in/sparse")).unwrap();
    sparse.set_len(1 << 20).unwrap();
    sparse.write_all_at(b"end", (1 << 20) - 3).unwrap();
    let lower = gnu_tar(&at("in"), "--sparse");
    fs::remove_dir_all(at("in")).unwrap();
    fs::create_dir_all(at("in/d")).unwrap();
    fs::write(at("in/d/.wh.gone"), "").unwrap();
    fs::write(at("in/d/new"), vec![9; 300_000]).unwrap();
    let upper = gnu_tar(&at("in"), "--no-xattrs");
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, bytes).unwrap();
        encoder.finish().unwrap()
    };
    let (start, end) = upper.split_at(upper.len() / 2);
    let layers =
        |lower: Vec<u8>, upper: Vec<u8>| [lower, upper].map(|bytes| Layer { diff_id: None, ..layer("a layer", bytes) });
    let expected = files(&layers(lower.clone(), upper.clone()));
    let paths: Vec<&str> = expected.keys().map(String::as_str).collect();
    assert_eq!(paths, [".", "d", "d/keep", "d/new", "sparse"]);
    assert_eq!(&expected["sparse"].1[(1 << 20) - 4..], b"\0end");
    // gzip of two members, and zstd.
    let compressed = layers(zstd::encode_all(&lower[..], 3).unwrap(), [gzip(start), gzip(end)].concat());
    assert!(files(&compressed) == expected);
}

fn gnu_tar(directory: &Path, option: &str) -> Vec<u8> {
    let mut command = Command::new("tar");
    command.args(["--create", "--sort=name", "--hole-detection=raw", option, "--directory"]).arg(directory).arg(".");
    support::succeed(command).stdout
}

#[test]
fn a_change_in_the_top_layer_leaves_the_lower_layers_data_where_they_are() {
    let dir = tempfile::tempdir().unwrap();
    // Incompressible, so that the data are as large as they look.
    let lower: Vec<_> = (0..40).map(|number| file(&format!("usr/{number}"), &noise(number, 100_000))).collect();
    let bytes = |top: &[u8]| {
        let layers = [layer("lower", tar(&lower)), layer("top", tar(&[file("app", top)]))];
        fs::read(squashed(&layers, dir.path())).unwrap()
    };
    let (one, other) = (bytes(b"version 1"), bytes(&noise(99, 200_000)));
    let first_difference = (4096..).find(|at| one[*at] != other[*at]).unwrap();
    assert!(first_difference > 3_900_000, "they differ from byte {first_difference} on");
}

#[test]
fn damage_is_told_by_layer_and_entry() {
    let told = |layers: &[Layer]| {
        let dir = tempfile::tempdir().unwrap();
        try_squash(layers, dir.path(), None).unwrap_err()
    };
    let whole = tar(&[file("a", b"1"), file("b", &[2; 3000])]);
    let cut = Layer { diff_id: None, ..layer("sha256:1234", whole[..2000].to_vec()) };
    assert_eq!(told(&[cut]), "layer sha256:1234, in or after entry b: the archive is truncated");
    let compressed = zstd::encode_all(&whole[..], 3).unwrap();
    let cut = Layer { diff_id: None, ..layer("x", compressed[..compressed.len() - 9].to_vec()) };
    assert!(told(&[cut]).starts_with("layer x"));
    let escaping = layer("x", tar(&[file("ok", b""), file("../etc/passwd", b"")]));
    assert_eq!(told(&[escaping]), "layer x, entry ../etc/passwd: its \"..\" lead out of the root");
    let mut changed = layer("x", whole.clone());
    changed.diff_id = Some(builder::digest::Digest::of(b""));
    assert!(told(&[changed]).contains("layer x: its content has digest sha256:"));
    let foreign = Layer { diff_id: None, ..layer("x", b"\xfd7zXZ\0 and more".to_vec()) };
    assert_eq!(told(&[foreign]), "layer x: compressed with xz, which image layers can't be: use gzip, zstd or none");
    let nothing = Layer { diff_id: None, ..layer("x", vec![b'n'; 2000]) };
    assert_eq!(told(&[nothing]), "layer x: what follows is not a tar header (its checksum is wrong)");
    let link = (entry("l", Kind::HardLink(b"gone".to_vec()), 0o644), Vec::new());
    assert_eq!(told(&[layer("x", tar(&[link]))]), "layer x, entry l: the hard link's target gone does not exist");
}

proptest! {
    /// Noise behind the magic of each compression, and noise where a tar should be.
    #[test]
    fn no_bytes_make_the_merge_panic(start in prop::sample::select(vec![&b""[..], b"\x1f\x8b\x08\0", b"\x28\xb5\x2f\xfd", b"BZh"]), noise: Vec<u8>) {
        let bytes = [start, &noise[..]].concat();
        let dir = tempfile::tempdir().unwrap();
        let _ = try_squash(&[Layer { diff_id: None, ..layer("noise", bytes) }], dir.path(), None);
    }

    /// Layers that were whole, with a few bytes changed: through reader, merge and plan.
    #[test]
    fn no_damage_to_layers_makes_the_merge_panic(damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6)) {
        let link = (entry("l", Kind::HardLink(b"a".to_vec()), 0o644), Vec::new());
        let mut bytes = tar(&[directory("d"), file("a", b"content"), link, file("d/.wh.x", b""), file(&"n".repeat(200), b"long")]);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let layers = [layer("whole", tar(&[file("d/x", b"x")])), Layer { diff_id: None, ..layer("damaged", bytes) }];
        let dir = tempfile::tempdir().unwrap();
        let _ = try_squash(&layers, dir.path(), None);
    }
}

#[test]
fn times_are_cut_to_the_source_date_and_to_what_squashfs_holds() {
    let mut late = file("late", b"");
    late.0.attributes.mtime = 1 << 40;
    let layers = [layer("a", tar(&[file("a", b""), late]))];
    // The superblock tells the latest time (squashfs_fs.h, mkfs_time).
    let newest = |latest: Option<i64>| {
        let dir = tempfile::tempdir().unwrap();
        let bytes = fs::read(try_squash(&layers, dir.path(), latest).unwrap()).unwrap();
        i64::from(u32::from_le_bytes(bytes[8..12].try_into().unwrap()))
    };
    assert_eq!(newest(None), i64::from(u32::MAX));
    assert_eq!(newest(Some(MTIME + 5)), MTIME + 5);
}

/// Bytes that do not compress.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn what_upper_layers_replace_or_delete_is_not_on_the_disk_and_moves_nothing() {
    let names: Vec<String> = (0..200).map(|number| format!("etc/{number}")).collect();
    let small: Vec<_> = (0..).zip(&names).map(|(number, name)| file(name, &noise(number, 3000))).collect();
    let large: Vec<_> = (1000..1010).map(|number| file(&format!("usr/{number}"), &noise(number, 300_000))).collect();
    let lower = tar(&[small.clone(), large.clone()].concat());
    let gone = [file("etc/.wh.7", b""), file("usr/.wh.1003", b""), file("etc/9", b"new")];
    let dir = tempfile::tempdir().unwrap();
    let bytes = |layers: &[Layer]| fs::read(squashed(layers, dir.path())).unwrap();
    let before = bytes(&[layer("lower", lower.clone())]);
    let after = bytes(&[layer("lower", lower), layer("upper", tar(&gone))]);
    for (index, secret) in [(7, &small[7].1), (9, &small[9].1)] {
        assert!(contains(&before, &secret[1000..1100]) && !contains(&after, &secret[1000..1100]), "etc/{index}");
    }
    assert!(!contains(&after, &large[3].1[200_000..200_100]));
    // Everything else lies where it lay, but for what shares a block with the dead.
    for (_, content) in small[50..].iter().chain(&large[4..]) {
        let at = before.windows(100).position(|window| window == &content[1000..1100]).unwrap();
        assert!(after[at..at + 100] == content[1000..1100]);
    }
    let found = files(&[layer("lower", tar(&small)), layer("upper", tar(&gone))]);
    assert!(!found.contains_key("etc/7") && found["etc/9"].1 == b"new" && found["etc/10"].1 == small[10].1);
}

#[test]
fn a_layer_that_is_mostly_dead_leaves_no_large_hole() {
    let large: Vec<_> = (0..10).map(|number| file(&format!("usr/{number}"), &noise(number, 300_000))).collect();
    let lower = layer("lower", tar(&large));
    let gone: Vec<_> = (0..8).map(|number| file(&format!("usr/.wh.{number}"), b"")).collect();
    let dir = tempfile::tempdir().unwrap();
    let len = fs::metadata(squashed(&[lower, layer("upper", tar(&gone))], dir.path())).unwrap().len();
    assert!((600_000..700_000).contains(&len), "{len} bytes");
}

#[test]
fn holes_of_sparse_files_take_no_room_and_read_as_zeros() {
    let mut content = vec![0; 5 << 20];
    content[3 << 20] = 7;
    let dir = tempfile::tempdir().unwrap();
    let layers = [layer("a", tar(&[file("sparse", &content), file("zeros", &[0; 1000]), file("empty", b"")]))];
    assert!(fs::metadata(squashed(&layers, dir.path())).unwrap().len() <= 8192);
    let found = files(&layers);
    assert!(found["sparse"].1 == content && found["zeros"].1 == [0; 1000] && found["empty"].1.is_empty());
}

#[test]
fn unsquashfs_and_rdsquashfs_agree_about_directories_of_any_size() {
    // One without a file, one beyond the 256 entries of a header, and one whose listing needs an index.
    let many: Vec<_> = (0..5000).map(|number| file(&format!("many/file-with-a-long-name-{number:06}"), b"x")).collect();
    let few: Vec<_> = (0..300).map(|number| file(&format!("few/{number}"), b"")).collect();
    let dir = tempfile::tempdir().unwrap();
    let path = squashed(&[layer("a", tar(&[many, few, vec![directory("none")]].concat()))], dir.path());
    let lines = |command: &mut Command| {
        let output = command
            .output()
            .expect("unsquashfs or sqfs2tar is missing: apt-get install squashfs-tools squashfs-tools-ng");
        assert!(output.status.success(), "{}", support::stderr(&output));
        output.stdout
    };
    let listing = lines(Command::new("unsquashfs").arg("-l").arg(&path));
    let listing = String::from_utf8_lossy(&listing);
    assert_eq!(listing.lines().filter(|line| line.contains("/many/")).count(), 5000);
    assert_eq!(listing.lines().filter(|line| line.contains("/few/")).count(), 300);
    let tar = lines(Command::new("sqfs2tar").arg(&path));
    let mut reader = Reader::new(&tar[..]);
    let mut count = 0;
    while let Some(entry) = reader.next_entry().unwrap() {
        count += usize::from(entry.kind == Kind::File);
    }
    assert_eq!(count, 5300);
}

#[test]
fn an_image_without_any_content_is_a_file_system_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = squashed(&[layer("a", tar(&[directory("only")]))], dir.path());
    let output = Command::new("unsquashfs").arg("-s").arg(&path).output();
    let output = output.expect("unsquashfs is missing: apt-get install squashfs-tools");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("Number of inodes 2"), "{text}");
    assert!(files(&[layer("a", tar(&[directory("only")]))]).contains_key("only"));
}

#[test]
fn layers_are_packed_once_and_what_is_damaged_in_the_cache_is_packed_anew() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(&dir.path().join("cache")).unwrap();
    let layer = layer("a", tar(&[file("a", &noise(1, 200_000)), file("b", b"small")]));
    let diff_id = layer.diff_id.unwrap();
    assert!(pack::cached(&cache, &diff_id).unwrap().is_none());
    let first = squashed(std::slice::from_ref(&layer), dir.path());
    let first = fs::read(first).unwrap();
    let kept = pack::cached(&cache, &diff_id).unwrap().expect("it is in the cache now");
    let again = Layer { content: Content::Packed(kept), ..layer.clone() };
    assert!(fs::read(squashed(&[again], dir.path())).unwrap() == first);
    let folder = dir.path().join("cache/packed");
    let entry = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&entry).unwrap();
    bytes[1000] ^= 1;
    fs::write(&entry, bytes).unwrap();
    assert!(pack::cached(&cache, &diff_id).unwrap().is_none());
    assert!(fs::read(squashed(&[layer], dir.path())).unwrap() == first);
    assert!(pack::cached(&cache, &diff_id).unwrap().is_some());
}
