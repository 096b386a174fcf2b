//! The disk as others see it: sgdisk checks and lists the table.

use super::*;
use crate::platform::ARCHES;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

fn disk(root: &[u8]) -> (tempfile::NamedTempFile, u64) {
    disk_of_multiple(root, 1)
}

fn disk_of_multiple(root: &[u8], multiple: u64) -> (tempfile::NamedTempFile, u64) {
    let files = Files { program: ("BOOTX64.EFI", b"the program"), provenance: b"{}" };
    let layout = Layout::new(11, 2, root.len() as u64, multiple);
    let out = tempfile::NamedTempFile::new().unwrap();
    out.as_file().set_len(layout.len).unwrap();
    SparseWriter::new(out.as_file(), layout.root_start).write_all(root).unwrap();
    write(out.as_file(), &layout, &ARCHES[0], &files, &Digest::of(root)).unwrap();
    (out, layout.len)
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
    assert!(esp.contains("First sector: 64 "), "{esp}");
    let root = sgdisk(&disk, "--info=2");
    assert!(root.contains("4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"), "{root}");
    let identity = root_guid(&Digest::of(&[7; 700_000])).to_string().to_uppercase();
    assert!(root.contains(&identity) && root.contains("'root'"), "{root}");
}

#[test]
fn the_root_begins_on_a_block_and_partitions_hold_what_they_should() {
    let content = [7; 700_000];
    let (disk, len) = disk(&content);
    let mut bytes = Vec::new();
    disk.reopen().unwrap().read_to_end(&mut bytes).unwrap();
    let table = GPT::read_from(&mut std::io::Cursor::new(&bytes), SECTOR).unwrap();
    let start = *table.get_partition_byte_range(2).unwrap().start() as usize;
    assert_eq!(start as u64 % BLOCK, 0);
    assert_eq!(*table.get_partition_byte_range(1).unwrap().end() as usize + 1, start);
    assert!(bytes[start..start + content.len()] == content);
    assert_eq!(len % BLOCK, 0);
    // 4.5 MB of which most is empty.
    assert!(disk.path().metadata().unwrap().blocks() * 512 < 1 << 20, "the file is not sparse");
}

#[test]
fn a_format_may_ask_for_a_longer_disk_and_the_backup_stays_at_its_end() {
    let (disk, len) = disk_of_multiple(&[7; 700_000], 1 << 30);
    assert_eq!((len, disk.path().metadata().unwrap().len()), (1 << 30, 1 << 30));
    let verdict = sgdisk(&disk, "--verify");
    assert!(verdict.contains("No problems found"), "{verdict}");
}

#[test]
fn what_is_zero_is_not_written() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(1 << 20).unwrap();
    let mut bytes = vec![0; 300_001];
    (bytes[0], bytes[200_000], bytes[300_000]) = (1, 2, 3);
    let mut writer = SparseWriter::new(&file, 4096);
    writer.write_all(&bytes[..100_000]).unwrap();
    writer.write_all(&bytes[100_000..]).unwrap();
    let mut found = vec![0; bytes.len()];
    file.read_exact_at(&mut found, 4096).unwrap();
    assert!(found == bytes);
    // Each of the three lies in one page or on two.
    assert!(file.metadata().unwrap().blocks() * 512 <= 6 * 4096);
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
