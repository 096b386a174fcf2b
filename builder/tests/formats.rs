//! Every format of the disk, read back by tools that know it: QEMU's, GNU tar, gzip, sgdisk.

mod support;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use support::{builder, kernel, names, simple_layout, stderr, succeed};

const MIB: u64 = 1 << 20;

/// A directory with an image `image` and a kernel `kernel`.
fn workshop() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    simple_layout(&dir.path().join("image"));
    kernel(&dir.path().join("kernel"));
    dir
}

fn build(dir: &Path, more: &[&str]) {
    succeed(builder(dir, &[&["oci:image", "--kernel", "kernel"], more].concat()));
}

/// What a tool of a Debian package says in `dir`; it must succeed.
#[track_caller]
fn tool(dir: &Path, package: &str, words: &[&str]) -> String {
    let mut command = Command::new(words[0]);
    // sgdisk is an administrator's tool.
    command.args(&words[1..]).current_dir(dir).env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
    let output = command.output();
    let output = output.unwrap_or_else(|_| panic!("{} is missing: apt-get install {package}", words[0]));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{words:?}: {said}{}", stderr(&output));
    said
}

/// The raw disk that a file of a format holds, which must be what it was made from: a disk of this size whose partition
/// table has its copy at the end, and whose partitions are those of `raw`.
#[track_caller]
fn holds_the_disk(dir: &Path, unpacked: &str, multiple: u64) {
    let len = |name: &str| dir.join(name).metadata().unwrap().len();
    assert_eq!(len(unpacked), len("disk.img").next_multiple_of(multiple));
    let verdict = tool(dir, "gdisk", &["sgdisk", "--verify", unpacked]);
    assert!(verdict.contains("No problems found"), "{verdict}");
    // Behind the first table and before its copy.
    let (start, end) = (MIB / 2, len("disk.img") - MIB / 2);
    let partitions = |name: &str| {
        let mut bytes = vec![0; (end - start) as usize];
        File::open(dir.join(name)).unwrap().read_exact_at(&mut bytes, start).unwrap();
        bytes
    };
    assert!(partitions(unpacked) == partitions("disk.img"), "{unpacked} holds other partitions");
}

/// What qemu-img makes of a file is the disk.
fn qemu_reads(file: &str, format: &str, multiple: u64, checked: bool) {
    let dir = workshop();
    let dir = dir.path();
    build(dir, &["-o", "disk.img"]);
    build(dir, &["-o", file]);
    let info = tool(dir, "qemu-utils", &["qemu-img", "info", "-f", format, file]);
    assert!(info.contains(&format!("file format: {format}\n")), "{info}");
    if checked {
        tool(dir, "qemu-utils", &["qemu-img", "check", "-f", format, file]);
    }
    tool(dir, "qemu-utils", &["qemu-img", "convert", "-f", format, "-O", "raw", file, "back"]);
    tool(dir, "qemu-utils", &["qemu-img", "compare", "-f", format, "-F", "raw", file, "back"]);
    holds_the_disk(dir, "back", multiple);
    assert_eq!(dir.join(file).metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn qemu_reads_qcow2() {
    qemu_reads("x.qcow2", "qcow2", MIB / 2, true);
}

#[test]
fn qemu_reads_vmdk() {
    qemu_reads("x.vmdk", "vmdk", MIB, true);
}

#[test]
fn qemu_reads_vhd() {
    // qemu-img knows no check of it.
    qemu_reads("x.vhd", "vpc", MIB, false);
}

#[test]
fn a_vhd_is_whole_mebibytes_and_a_footer() {
    let dir = workshop();
    build(dir.path(), &["-o", "x.vhd"]);
    let bytes = fs::read(dir.path().join("x.vhd")).unwrap();
    assert_eq!(bytes.len() as u64 % MIB, 512);
    let footer = &bytes[bytes.len() - 512..];
    assert!(footer.starts_with(b"conectix"));
    assert_eq!(footer[48..56], (bytes.len() as u64 - 512).to_be_bytes());
    // The ones' complement of the sum of all bytes but the checksum's own.
    let sum: u32 = footer.iter().enumerate().filter(|(at, _)| !(64..68).contains(at)).map(|(_, b)| u32::from(*b)).sum();
    assert_eq!(footer[64..68], (!sum).to_be_bytes());
}

#[test]
fn a_streamed_vmdk_is_what_its_descriptor_says() {
    let dir = workshop();
    build(dir.path(), &["-o", "x.vmdk"]);
    let info = tool(dir.path(), "qemu-utils", &["qemu-img", "info", "x.vmdk"]);
    assert!(info.contains("create type: streamOptimized"), "{info}");
    assert!(info.contains("compressed: true"), "{info}");
}

#[test]
fn tar_and_gzip_read_the_archive_of_one_sparse_disk() {
    let dir = workshop();
    let dir = dir.path();
    build(dir, &["-o", "disk.img"]);
    build(dir, &["-o", "x.tar.gz"]);
    tool(dir, "gzip", &["gzip", "--test", "x.tar.gz"]);
    assert_eq!(tool(dir, "tar", &["tar", "-tf", "x.tar.gz"]), "disk.raw\n");
    tool(dir, "tar", &["tar", "-xzf", "x.tar.gz"]);
    holds_the_disk(dir, "disk.raw", 1 << 30);
    assert!(dir.join("disk.raw").metadata().unwrap().blocks() * 512 < 16 * MIB, "it is not unpacked as a sparse file");
    assert!(dir.join("x.tar.gz").metadata().unwrap().len() < 16 * MIB);
}

#[test]
fn the_same_disk_gives_the_same_file_in_every_format_whatever_the_processors() {
    let dir = workshop();
    let dir = dir.path();
    for format in ["raw", "qcow2", "vmdk", "vhd", "tar.gz"] {
        build(dir, &["--format", format]);
        let (one, other) = (format!("image.{format}"), format!("other.{format}"));
        let again = builder(dir, &["oci:image", "--kernel", "kernel", "-o", &other]);
        let mut pinned = Command::new("taskset");
        pinned.args(["--cpu-list", "0"]).arg(again.get_program()).args(again.get_args()).current_dir(dir);
        pinned.envs(again.get_envs().filter_map(|(name, value)| Some((name, value?))));
        succeed(pinned);
        let read = |name: &str| fs::read(dir.join(name)).unwrap();
        assert!(read(&one) == read(&other), "two builds of {format} differ");
        fs::remove_file(dir.join(one)).unwrap();
        fs::remove_file(dir.join(other)).unwrap();
    }
    assert_eq!(names(dir), ["cache", "image", "kernel"]);
}

#[test]
fn a_format_that_is_none_is_refused_with_those_that_are() {
    let dir = tempfile::tempdir().unwrap();
    let output = builder(dir.path(), &["oci:x", "--format", "vdi"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let words = stderr(&output);
    assert!(words.contains("invalid value 'vdi'") && words.contains("raw, qcow2, vmdk, vhd, tar.gz"), "{words}");
}
