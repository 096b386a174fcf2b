//! What is in /dev.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// What comes and goes with what the machine does, or with who looks.
const PASSED_OVER: &[&str] = &[
    "/dev/pts",
    "/dev/shm",
    "/dev/mqueue",
    "/dev/hugepages",
    "/dev/fd",
    "/dev/bus",
    "/dev/char",
    "/dev/block",
    "/dev/disk",
];

pub(super) fn print() -> io::Result<()> {
    for directory in
        ["/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/hugepages", "/tmp", "/run", "/sys/fs/cgroup", "/sys/fs/bpf"]
    {
        match fs::metadata(directory) {
            Ok(it) => println!("directory {directory}: {:o} {}:{}", it.mode() & 0o7777, it.uid(), it.gid()),
            Err(error) => println!("directory {directory}: {error}"),
        }
    }
    below(Path::new("/dev"))
}

fn below(directory: &Path) -> io::Result<()> {
    let mut entries = fs::read_dir(directory)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        let path = entry.path();
        let it = entry.path().symlink_metadata()?;
        let kind = it.file_type();
        let name = path.display();
        if kind.is_symlink() {
            println!("device {name}: link to {}", fs::read_link(&path)?.display());
        } else if PASSED_OVER.iter().any(|passed| path.starts_with(passed)) {
            continue;
        } else if kind.is_dir() {
            below(&path)?;
        } else {
            let letter = if kind.is_char_device() {
                'c'
            } else if kind.is_block_device() {
                'b'
            } else {
                '-'
            };
            let (major, minor) = (libc::major(it.rdev()), libc::minor(it.rdev()));
            println!("device {name}: {letter} {major}:{minor} {:o} {}:{}", it.mode() & 0o7777, it.uid(), it.gid());
        }
    }
    Ok(())
}
