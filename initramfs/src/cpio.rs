//! The cpio writer: the "newc" format that the kernel unpacks into its first root file system
//! (Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! Every number that could differ between two builds (inode, owner, time) is fixed, so the same files
//! give the same bytes.

use std::collections::BTreeSet;
use std::io::{self, Write};

/// Mode bits of stat(2) that say what an entry is.
const S_IFDIR: u32 = 0o040_000;
const S_IFCHR: u32 = 0o020_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;

/// Writes a cpio archive, entry by entry, in the order of the calls.
#[derive(Debug)]
pub struct Archive<W> {
    out: W,
    inode: u32,
    directories: BTreeSet<String>,
}

impl<W: Write> Archive<W> {
    /// An empty archive that goes to `out`.
    pub fn new(out: W) -> Self {
        Archive { out, inode: 0, directories: BTreeSet::new() }
    }

    /// Adds a regular file with its mode's permission bits, and whatever directories lead to it.
    ///
    /// # Errors
    /// What the writer answers; `InvalidInput` for a file of 4 GiB or more, which the format cannot hold.
    pub fn file(&mut self, path: &str, permissions: u32, content: &[u8]) -> io::Result<()> {
        self.parents(path)?;
        self.entry(path, S_IFREG | (permissions & 0o7777), (0, 0), content)
    }

    /// Adds an empty directory (0755), and whatever directories lead to it.
    ///
    /// # Errors
    /// What the writer answers.
    pub fn directory(&mut self, path: &str) -> io::Result<()> {
        self.parents(path)?;
        self.one_directory(path)
    }

    /// Adds a symbolic link, and whatever directories lead to it.
    ///
    /// # Errors
    /// What the writer answers.
    pub fn symlink(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.parents(path)?;
        self.entry(path, S_IFLNK | 0o777, (0, 0), target.as_bytes())
    }

    /// Adds a character device.
    ///
    /// # Errors
    /// What the writer answers.
    pub fn character_device(&mut self, path: &str, permissions: u32, (major, minor): (u32, u32)) -> io::Result<()> {
        self.parents(path)?;
        self.entry(path, S_IFCHR | (permissions & 0o7777), (major, minor), &[])
    }

    /// Ends the archive and gives the writer back.
    ///
    /// # Errors
    /// What the writer answers.
    pub fn finish(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        Ok(self.out)
    }

    /// The kernel makes no missing parents: each directory needs an entry before what it holds.
    fn parents(&mut self, path: &str) -> io::Result<()> {
        let path = path.trim_start_matches('/');
        for (at, _) in path.match_indices('/') {
            if let Some(parent) = path.get(..at) {
                self.one_directory(parent)?;
            }
        }
        Ok(())
    }

    fn one_directory(&mut self, path: &str) -> io::Result<()> {
        if self.directories.insert(path.trim_start_matches('/').to_owned()) {
            self.entry(path, S_IFDIR | 0o755, (0, 0), &[])?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) -> io::Result<()> {
        let name = path.trim_start_matches('/');
        let size = u32::try_from(content.len())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("{path}: cpio holds no file of 4 GiB")))?;
        let name_size = u32::try_from(name.len() + 1)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a path of 4 GiB"))?;
        self.inode += 1;
        let links = if mode & S_IFDIR != 0 { 2 } else { 1 };
        let fields = [
            self.inode, mode, 0, 0, links, 0, // owner and time: root, the epoch
            size, 0, 0, device.0, device.1, name_size, 0,
        ];
        let mut header = String::from("070701");
        for field in fields {
            header.push_str(&format!("{field:08x}"));
        }
        self.out.write_all(header.as_bytes())?;
        self.out.write_all(name.as_bytes())?;
        self.out.write_all(&[0])?;
        self.pad(header.len() + name.len() + 1)?;
        self.out.write_all(content)?;
        self.pad(content.len())
    }

    /// Header with name, and content, each end on a multiple of four bytes.
    fn pad(&mut self, written: usize) -> io::Result<()> {
        let padding = written.next_multiple_of(4) - written;
        self.out.write_all(&[0; 3][..padding])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn sample() -> Vec<u8> {
        let mut archive = Archive::new(Vec::new());
        archive.file("/init", 0o755, b"#!").unwrap();
        archive.file("/etc/nanoos/image.json", 0o644, b"{}\n").unwrap();
        archive.file("/etc/nanoos/other", 0o600, b"").unwrap();
        archive.character_device("/dev/console", 0o600, (5, 1)).unwrap();
        archive.directory("/proc").unwrap();
        archive.finish().unwrap()
    }

    #[test]
    fn cpio_itself_reads_what_we_write() {
        let mut cpio = Command::new("cpio")
            .args(["--list", "--verbose", "--numeric-uid-gid", "--quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("cpio is missing: apt-get install cpio");
        cpio.stdin.take().unwrap().write_all(&sample()).unwrap();
        let listing = String::from_utf8(cpio.wait_with_output().unwrap().stdout).unwrap();
        let seen: Vec<(&str, &str)> = listing
            .lines()
            .map(|line| (line.split_whitespace().next().unwrap(), line.split_whitespace().last().unwrap()))
            .collect();
        assert_eq!(
            seen,
            [
                ("-rwxr-xr-x", "init"),
                ("drwxr-xr-x", "etc"),
                ("drwxr-xr-x", "etc/nanoos"),
                ("-rw-r--r--", "etc/nanoos/image.json"),
                ("-rw-------", "etc/nanoos/other"),
                ("drwxr-xr-x", "dev"),
                ("crw-------", "dev/console"),
                ("drwxr-xr-x", "proc"),
            ]
        );
    }

    #[test]
    fn the_same_files_give_the_same_bytes() {
        assert_eq!(sample(), sample());
    }
}
