//! The disk as others see it: sgdisk checks and lists the table.

use super::*;
use crate::platform::ARCHES;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

fn disk(root: &[u8]) -> (tempfile::NamedTempFile, u64) {
    sized_disk(root, BLOCK)
}

fn sized_disk(root: &[u8], size_multiple: u64) -> (tempfile::NamedTempFile, u64) {
    let mut root_file = tempfile::tempfile().unwrap();
    root_file.write_all(root).unwrap();
    let out = tempfile::NamedTempFile::new().unwrap();
    let parts = Parts {
        arch: &ARCHES[0],
        uki: b"the program",
        root: &root_file,
        root_len: root.len() as u64,
        root_digest: Digest::of(root),
        size_multiple,
    };
    let len = write(out.as_file(), &parts).unwrap();
    (out, len)
}

fn sgdisk(disk: &tempfile::NamedTempFile, option: &str) -> String {
    let path = if std::path::Path::new("/usr/sbin/sgdisk").exists() { "/usr/sbin/sgdisk" } else { "sgdisk" };
    let output = Command::new(path).arg(option).arg(disk.path()).output();
    let output = output.expect("sgdisk is missing: apt-get install gdisk");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn sgdisk_finds_two_partitions_and_no_problem() {
    let (disk, len) = disk(&[7; 700_000]);
    assert_eq!(disk.path().metadata().unwrap().len(), len);
    let verdict = sgdisk(&disk, "--verify");
    assert!(verdict.contains("No problems found"), "{verdict}");
    let esp = sgdisk(&disk, "--info=1");
    assert!(esp.contains("C12A7328-F81F-11D2-BA4B-00A0C93EC93B"), "{esp}");
    assert!(esp.contains("First sector: 1024 "), "{esp}");
    let root = sgdisk(&disk, "--info=2");
    assert!(root.contains("4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"), "{root}");
    let identity = root_guid(&Digest::of(&[7; 700_000])).to_string().to_uppercase();
    assert!(root.contains(&identity) && root.contains("'root'"), "{root}");
}

#[test]
fn the_table_s_copy_is_at_the_end_of_a_disk_of_the_size_that_a_format_wants() {
    let (disk, len) = sized_disk(&[7; 700_000], 1 << 30);
    assert_eq!((disk.path().metadata().unwrap().len(), len), (1 << 30, 1 << 30));
    let verdict = sgdisk(&disk, "--verify");
    assert!(verdict.contains("No problems found"), "{verdict}");
    assert!(disk.path().metadata().unwrap().blocks() * 512 < 1 << 20, "the file is not sparse");
}

#[test]
fn partitions_begin_and_end_on_blocks_and_hold_what_they_should() {
    let content = [7; 700_000];
    let (disk, len) = disk(&content);
    let mut bytes = Vec::new();
    disk.reopen().unwrap().read_to_end(&mut bytes).unwrap();
    let table = GPT::read_from(&mut std::io::Cursor::new(&bytes), SECTOR).unwrap();
    for number in [1, 2] {
        let range = table.get_partition_byte_range(number).unwrap();
        assert_eq!((range.start() % BLOCK, (range.end() + 1) % BLOCK), (0, 0), "partition {number}");
    }
    let start = *table.get_partition_byte_range(2).unwrap().start() as usize;
    assert!(bytes[start..start + content.len()] == content);
    assert_eq!(len % BLOCK, 0);
    // 4.5 MB of which most is empty.
    assert!(disk.path().metadata().unwrap().blocks() * 512 < 1 << 20, "the file is not sparse");
}

#[test]
fn the_same_parts_give_the_same_disk_and_others_give_others() {
    let bytes = |root: &[u8]| {
        let mut bytes = Vec::new();
        disk(root).0.reopen().unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    };
    assert!(bytes(b"a") == bytes(b"a"));
    assert!(bytes(b"a")[512..604] != bytes(b"b")[512..604], "two disks have one identity");
}
