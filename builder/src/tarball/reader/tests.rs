//! Archives that GNU tar wrote, and archives that nobody should have written.

use super::*;
use crate::tarball::writer::Writer;
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

type Read1 = (Entry, Vec<u8>);

fn read(archive: &[u8]) -> Result<Vec<Read1>, TarError> {
    let mut reader = Reader::new(archive);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut content = Vec::new();
        reader.content().read_to_end(&mut content)?;
        entries.push((entry, content));
    }
    Ok(entries)
}

/// What `tar --create` with these options makes of a directory.
fn gnu_tar(directory: &Path, options: &[&str]) -> Vec<u8> {
    let output = Command::new("tar")
        .args(["--create", "--sort=name", "--directory"])
        .arg(directory)
        .args(options)
        .arg(".")
        .output()
        .expect("tar is missing: apt-get install tar");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn find<'a>(entries: &'a [Read1], path: &str) -> &'a Read1 {
    entries.iter().find(|(entry, _)| entry.path == path.as_bytes()).unwrap_or_else(|| panic!("no {path}"))
}

#[test]
fn every_format_of_gnu_tar_tells_the_same_tree() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("d")).unwrap();
    fs::write(at("d/file"), "content").unwrap();
    fs::set_permissions(at("d/file"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::hard_link(at("d/file"), at("d/link")).unwrap();
    std::os::unix::fs::symlink("../d/file", at("d/symlink")).unwrap();
    let long = format!("d/{}", "n".repeat(200));
    for format in ["v7", "oldgnu", "gnu", "ustar", "pax"] {
        // Names of more than 99 bytes without a slash to split at are beyond these two.
        let has_long = !matches!(format, "v7" | "ustar");
        if has_long {
            fs::write(at(&long), "long").unwrap();
            std::os::unix::fs::symlink("t".repeat(300), at("d/to-long")).unwrap();
        }
        let archive = gnu_tar(dir.path(), &[&format!("--format={format}"), "--owner=:1234", "--group=:99999"]);
        let entries = read(&archive).unwrap();
        let (file, content) = find(&entries, "./d/file");
        assert_eq!((&file.kind, &content[..], file.size), (&Kind::File, &b"content"[..], 7), "{format}");
        let metadata = fs::metadata(at("d/file")).unwrap();
        let expected = Attributes { mode: 0o4751, uid: 1234, gid: 99999, mtime: metadata.mtime() };
        assert_eq!(file.attributes, expected, "{format}");
        assert_eq!(find(&entries, "./d/link").0.kind, Kind::HardLink(b"./d/file".to_vec()));
        assert_eq!(find(&entries, "./d/symlink").0.kind, Kind::Symlink(b"../d/file".to_vec()));
        assert_eq!(find(&entries, "./d/").0.kind, Kind::Directory);
        if has_long {
            assert_eq!(find(&entries, &format!("./{long}")).1, b"long");
            assert_eq!(find(&entries, "./d/to-long").0.kind, Kind::Symlink(vec![b't'; 300]));
            fs::remove_file(at(&long)).unwrap();
            fs::remove_file(at("d/to-long")).unwrap();
        }
    }
}

#[test]
fn sparse_files_of_every_format_are_read_with_their_holes() {
    const SIZE: usize = 3 << 20;
    let dir = tempfile::tempdir().unwrap();
    let mut expected = vec![0; SIZE];
    let long = "s".repeat(150);
    for name in ["sparse", &long] {
        let file = fs::File::create(dir.path().join(name)).unwrap();
        file.set_len(SIZE as u64).unwrap();
        // More runs than the old format has room for in one header, and in its first extension.
        for run in 0..40usize {
            let offset = run * 64 * 1024 + 4096;
            file.write_all_at(&[run as u8 + 1; 5000], offset as u64).unwrap();
            expected[offset..offset + 5000].fill(run as u8 + 1);
        }
        file.sync_all().unwrap();
    }
    fs::write(dir.path().join("z-after"), "after").unwrap();
    for options in [
        &["--format=gnu"][..],
        &["--format=pax", "--sparse-version=0.0"],
        &["--format=pax", "--sparse-version=0.1"],
        &["--format=pax", "--sparse-version=1.0"],
    ] {
        let archive = gnu_tar(dir.path(), &[options, &["--sparse", "--hole-detection=raw"]].concat());
        assert!(archive.len() < SIZE, "tar found no holes");
        let entries = read(&archive).unwrap();
        for name in ["./sparse", &format!("./{long}")] {
            let (entry, content) = find(&entries, name);
            assert_eq!(entry.size, SIZE as u64, "{options:?}");
            assert!(*content == expected, "{options:?}: {name} has other bytes");
        }
        assert_eq!(find(&entries, "./z-after").1, b"after", "{options:?}");
    }
}

/// A file with attributes, a name that is no text, and an owner of many digits, written by us and read by GNU tar and by us.
#[test]
fn what_we_write_gnu_tar_and_we_ourselves_read() {
    let attributes = Attributes { mode: 0o1755, uid: 4_000_000_000, gid: 3_000_000, mtime: -5 };
    let entry = |path: &[u8], kind: Kind, content: &[u8]| Entry {
        path: path.to_vec(),
        kind,
        attributes,
        size: content.len() as u64,
        xattrs: Vec::new(),
    };
    let mut with_xattrs = entry(b"cap", Kind::File, b"x");
    with_xattrs.xattrs = vec![(b"security.capability".to_vec(), b"\x01\0\0\x02\n\x0a=\n\0".to_vec())];
    let long = [b"d/".as_slice(), &[0xFF; 220]].concat();
    let entries = [
        (entry(b"d", Kind::Directory, b""), &b""[..]),
        (entry(&long, Kind::File, b"long"), b"long"),
        (entry(b"hard", Kind::HardLink(long.clone()), b""), b""),
        (entry(b"soft", Kind::Symlink(vec![b'x'; 400]), b""), b""),
        (entry(b"null", Kind::CharDevice(1, 3), b""), b""),
        (entry(b"disk", Kind::BlockDevice(259, 70_000), b""), b""),
        (entry(b"pipe", Kind::Fifo, b""), b""),
        (with_xattrs, b"x"),
    ];
    let mut writer = Writer::new(Vec::new());
    for (entry, content) in &entries {
        writer.append(entry, *content).unwrap();
    }
    let archive = writer.finish().unwrap();
    let back = read(&archive).unwrap();
    for ((written, content), (read, read_content)) in entries.iter().zip(&back) {
        assert_eq!((written, *content), (read, &read_content[..]));
    }
    let mut file = tempfile::NamedTempFile::new().unwrap();
    io::Write::write_all(&mut file, &archive).unwrap();
    let output = Command::new("tar")
        .args(["--list", "--verbose", "--numeric-owner", "--quoting-style=escape", "--file"])
        .arg(file.path())
        .output()
        .expect("tar is missing: apt-get install tar");
    let listing = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(listing.contains("crwxr-xr-t 4000000000/3000000 1,3"), "{listing}");
    assert!(listing.contains("brwxr-xr-t 4000000000/3000000 259,70000"), "{listing}");
}

#[test]
fn a_file_that_ends_early_is_an_error_wherever_it_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), vec![7; 1000]).unwrap();
    let archive = gnu_tar(dir.path(), &["--format=pax"]);
    let whole = read(&archive).unwrap();
    for cut in 1..archive.len() {
        match read(&archive[..cut]) {
            Err(TarError::Truncated | TarError::Io(_)) => {}
            Err(other) => panic!("cut at {cut}: {other}"),
            // Where an entry ends, an archive may, its padding or not: those before it are whole.
            Ok(entries) => {
                assert!(cut % BLOCK == 0 || entries.len() == whole.len(), "cut at {cut}");
                assert!(entries[..] == whole[..entries.len()], "cut at {cut}");
            }
        }
    }
}

#[test]
fn an_archive_ends_as_docker_lets_it_end() {
    let entry = header(|_| ())[..BLOCK].to_vec();
    let zeros = [0; BLOCK];
    let ends: &[&[u8]] = &[&[], &zeros, &[0; 2 * BLOCK], &[&[0; 2 * BLOCK][..], b"garbage"].concat()];
    for end in ends {
        assert_eq!(read(&[&entry, *end].concat()).unwrap().len(), 1, "{} bytes", end.len());
    }
    // Of several archives behind each other, the first counts.
    assert_eq!(read(&[&entry, &[0; 2 * BLOCK][..], &entry].concat()).unwrap().len(), 1);
    assert_eq!(
        read(&[&entry, &zeros[..], &entry].concat()).unwrap_err().to_string(),
        "what follows one block of zeros is not another, with which an archive ends"
    );
    assert_eq!(read(&[]).unwrap().len(), 0);
}

/// An archive of one header, with a field changed.
fn header(change: impl FnOnce(&mut Header)) -> Vec<u8> {
    let mut header = Header::new_ustar();
    header.set_entry_type(tar::EntryType::Regular);
    header.as_mut_bytes()[0] = b'f';
    header.set_size(0);
    change(&mut header);
    header.set_cksum();
    let mut archive = header.as_bytes().to_vec();
    archive.resize(3 * BLOCK, 0);
    archive
}

#[test]
fn headers_that_make_no_sense_are_refused_by_what_is_wrong() {
    let refused = |change: fn(&mut Header)| read(&header(change)).unwrap_err().to_string();
    assert_eq!(
        read(b"this is not a tar archive".repeat(30).as_slice()).unwrap_err().to_string(),
        "what follows is not a tar header (its checksum is wrong)"
    );
    assert_eq!(refused(|header| header.as_mut_bytes()[156] = b'V'), "entries of type 'V' are not known");
    assert_eq!(
        refused(|header| header.as_mut_bytes()[0] = 0),
        "the path or the link's target has a NUL byte or is empty"
    );
    assert_eq!(
        refused(|header| header.as_mut_bytes()[108] = b'9'),
        "the header's uid is not a number that makes sense"
    );
    // The owner that chown(2) takes for "as it is": root.
    assert_eq!(read(&header(|header| header.set_uid(u64::from(u32::MAX)))).unwrap()[0].0.attributes.uid, 0);
    assert_eq!(refused(|header| header.set_uid(1 << 40)), "the header's uid is not a number that makes sense");
    assert_eq!(
        refused(|header| {
            header.set_entry_type(tar::EntryType::Char);
            header.set_device_major(1 << 12).unwrap();
        }),
        "the header's device number is not a number that makes sense"
    );
    assert_eq!(
        refused(|header| {
            header.set_entry_type(tar::EntryType::XHeader);
            header.set_size(1 << 30);
        }),
        "the extended header is longer than 1 MiB"
    );
}

#[test]
fn fields_without_a_number_are_zero_and_v7_directories_end_in_a_slash() {
    let archive = header(|header| {
        let bytes = header.as_mut_bytes();
        bytes[..2].copy_from_slice(b"d/");
        bytes[100..156].fill(0);
        bytes[156] = 0;
        bytes[257..].fill(0);
    });
    let (entry, _) = &read(&archive).unwrap()[0];
    assert_eq!((&entry.kind, entry.attributes), (&Kind::Directory, Attributes::default()));
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), BLOCK), 0..6)) {
        let _ = read(&blocks.concat());
    }

    /// Real archives with a few bytes changed get further into the reader than noise does.
    #[test]
    fn no_damage_to_an_archive_makes_the_reader_panic(damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8), mend: bool) {
        let mut archive = DAMAGED.with(Clone::clone);
        for (at, byte) in damage {
            let at = at.index(archive.len());
            archive[at] = byte;
        }
        if mend {
            mend_sums(&mut archive);
        }
        let _ = read(&archive);
    }
}

thread_local! {
    /// Sparse files in three formats, long names, attributes: every path through the reader.
    static DAMAGED: Vec<u8> = {
        let dir = tempfile::tempdir().unwrap();
        let file = fs::File::create(dir.path().join("sparse")).unwrap();
        file.set_len(400_000).unwrap();
        for run in 0..6 {
            file.write_all_at(b"data", run * 65536 + 4096).unwrap();
        }
        fs::write(dir.path().join("l".repeat(180)), "x").unwrap();
        let mut archives = Vec::new();
        for options in [&["--format=gnu"][..], &["--format=pax", "--sparse-version=0.0"], &["--format=pax", "--sparse-version=1.0"]] {
            let archive = gnu_tar(dir.path(), &[options, &["--sparse", "--hole-detection=raw", "--blocking-factor=1"]].concat());
            archives.extend_from_slice(&archive[..archive.len() - 2 * BLOCK]);
        }
        archives
    };
}

/// Gives every block that may be a header the sum that it should have, so that damage is met behind the sum's check.
fn mend_sums(archive: &mut [u8]) {
    for block in archive.chunks_exact_mut(BLOCK).filter(|block| block[257..262] == *b"ustar") {
        let mut header = Header::new_old();
        header.as_mut_bytes().copy_from_slice(block);
        header.set_cksum();
        block.copy_from_slice(header.as_bytes());
    }
}
