//! What a file tree holds, from a tar or from a directory, in a form that can be compared.

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// Every name but the root's own, without slashes around it.
pub(crate) type Tree = BTreeMap<Vec<u8>, Node>;
pub(crate) type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) what: What,
    pub(crate) mode: u32,
    pub(crate) owner: (u64, u64),
    /// Seconds since 1970.
    pub(crate) mtime: i64,
    pub(crate) xattrs: Xattrs,
    /// The first name of the same file, in order: names that share a file share it.
    pub(crate) first: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum What {
    Directory,
    File { size: u64, sha256: [u8; 32] },
    Symlink(Vec<u8>),
    Char(u64, u64),
    Block(u64, u64),
    Fifo,
    Socket,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Directory => write!(f, "directory")?,
            What::File { size, sha256 } => {
                write!(f, "file of {size} bytes {:02x}{:02x}{:02x}", sha256[0], sha256[1], sha256[2])?;
            }
            What::Symlink(target) => write!(f, "link to {}", target.escape_ascii())?,
            What::Char(major, minor) => write!(f, "char device {major}:{minor}")?,
            What::Block(major, minor) => write!(f, "block device {major}:{minor}")?,
            What::Fifo => write!(f, "fifo")?,
            What::Socket => write!(f, "socket")?,
        }
        write!(f, " {:o} {:?} {} same as {}", self.mode, self.owner, self.mtime, self.first.escape_ascii())?;
        self.xattrs.iter().try_for_each(|(name, value)| write!(f, " {}={}", name.escape_ascii(), value.escape_ascii()))
    }
}

/// What a tar holds that docker export or sqfs2tar wrote: ustar, GNU's long names, PAX records. Not by the builder's own
/// reader, so that the two check each other.
pub(crate) fn of_tar(tar: impl Read) -> Result<Tree> {
    let mut tree = Tree::new();
    let (mut records, mut long_name, mut long_link) = (Xattrs::new(), None, None);
    let mut archive = tar::Archive::new(tar);
    for entry in archive.entries().context("read a tar")?.raw(true) {
        let mut entry = entry.context("read a tar")?;
        let header = entry.header().clone();
        let kind = header.entry_type();
        let mut data = || -> Result<Vec<u8>> {
            let mut data = Vec::new();
            entry.read_to_end(&mut data).context("read an extended header")?;
            Ok(data)
        };
        if kind.is_pax_local_extensions() {
            records = pax_records(&data()?)?;
            continue;
        } else if kind.is_gnu_longname() {
            long_name = Some(data()?);
            continue;
        } else if kind.is_gnu_longlink() {
            long_link = Some(data()?);
            continue;
        }
        let mut records = std::mem::take(&mut records);
        let name =
            records.remove(&b"path"[..]).or(long_name.take()).unwrap_or_else(|| header.path_bytes().into_owned());
        let name = clean(&name);
        let link = records.remove(&b"linkpath"[..]).or(long_link.take());
        let link = link.unwrap_or_else(|| header.link_name_bytes().unwrap_or_default().into_owned());
        let link = link.strip_suffix(b"\0").unwrap_or(&link).to_vec();
        let number = |key: &[u8], field: io::Result<u64>| -> Result<u64> {
            match records.get(key) {
                Some(text) => Ok(std::str::from_utf8(text)?.parse()?),
                None => Ok(field?),
            }
        };
        let mtime = match records.get(&b"mtime"[..]) {
            Some(text) => std::str::from_utf8(text)?.parse::<f64>()?.floor() as i64,
            None => header.mtime()?.cast_signed(),
        };
        let owner = (number(b"uid", header.uid())?, number(b"gid", header.gid())?);
        let device = || -> Result<(u64, u64)> {
            Ok((header.device_major()?.unwrap_or(0).into(), header.device_minor()?.unwrap_or(0).into()))
        };
        let what = match kind.as_byte() {
            b'1' => {
                let target = tree.get(&clean(&link)).with_context(|| format!("a link to {}", link.escape_ascii()))?;
                let node = target.clone();
                tree.insert(name, node);
                continue;
            }
            b'2' => What::Symlink(link),
            b'3' => device().map(|(major, minor)| What::Char(major, minor))?,
            b'4' => device().map(|(major, minor)| What::Block(major, minor))?,
            b'5' => What::Directory,
            b'6' => What::Fifo,
            0 | b'0' => hash(&mut entry)?,
            other => bail!("{}: an entry of type {}", name.escape_ascii(), char::from(other)),
        };
        let xattrs = records.into_iter();
        let xattrs = xattrs.filter_map(|(key, value)| Some((key.strip_prefix(b"SCHILY.xattr.")?.to_vec(), value)));
        let node =
            Node { what, mode: header.mode()? & 0o7777, owner, mtime, xattrs: xattrs.collect(), first: name.clone() };
        if !name.is_empty() {
            tree.insert(name, node);
        }
    }
    Ok(with_first_names(tree))
}

/// `LENGTH KEY=VALUE\n`, as long as there is one.
pub(crate) fn pax_records(mut data: &[u8]) -> Result<Xattrs> {
    let mut records = Xattrs::new();
    while let Some(space) = data.iter().position(|byte| *byte == b' ') {
        let length: usize = std::str::from_utf8(&data[..space])?.parse()?;
        let record = data.get(space + 1..length - 1).context("a record is cut short")?;
        let equals = record.iter().position(|byte| *byte == b'=').context("a record without =")?;
        records.insert(record[..equals].to_vec(), record[equals + 1..].to_vec());
        data = &data[length..];
    }
    Ok(records)
}

/// In a tar, the names of one file carry the name that came first in it: here they get the first of all.
fn with_first_names(mut tree: Tree) -> Tree {
    let mut firsts: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for (name, node) in &tree {
        firsts.entry(node.first.clone()).or_insert_with(|| name.clone()); // names come in order
    }
    for node in tree.values_mut() {
        node.first = firsts[&node.first].clone();
    }
    tree
}

/// A name without what means nothing, and with `..` taken by their text alone.
fn clean(name: &[u8]) -> Vec<u8> {
    let name = name.strip_suffix(b"\0").unwrap_or(name);
    let mut names: Vec<&[u8]> = Vec::new();
    for name in name.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b".")) {
        if name == b".." {
            names.pop();
        } else {
            names.push(name);
        }
    }
    names.join(&b'/')
}

fn hash(content: &mut impl Read) -> Result<What> {
    let mut hasher = Hasher(Sha256::new());
    let size = io::copy(&mut io::BufReader::with_capacity(1 << 20, content), &mut hasher).context("read a content")?;
    Ok(What::File { size, sha256: hasher.0.finalize().into() })
}

struct Hasher(Sha256);

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a directory holds, by the kernel's own word.
pub(crate) fn of_directory(root: &Path) -> Result<Tree> {
    let mut tree = Tree::new();
    let mut files: BTreeMap<u64, What> = BTreeMap::new();
    let mut ahead = vec![root.to_owned()];
    while let Some(directory) = ahead.pop() {
        for entry in fs::read_dir(&directory).with_context(|| format!("read {}", directory.display()))? {
            let path = entry?.path();
            let metadata = path.symlink_metadata()?;
            let (kind, device) = (metadata.file_type(), metadata.rdev());
            let device = || (u64::from(rustix::fs::major(device)), u64::from(rustix::fs::minor(device)));
            let what = if kind.is_dir() {
                ahead.push(path.clone());
                What::Directory
            } else if kind.is_symlink() {
                What::Symlink(fs::read_link(&path)?.into_os_string().into_vec())
            } else if kind.is_char_device() {
                What::Char(device().0, device().1)
            } else if kind.is_block_device() {
                What::Block(device().0, device().1)
            } else if kind.is_fifo() {
                What::Fifo
            } else if kind.is_socket() {
                What::Socket
            } else if let Some(known) = files.get(&metadata.ino()) {
                known.clone()
            } else {
                let what = hash(&mut File::open(&path)?)?;
                files.insert(metadata.ino(), what.clone());
                what
            };
            let name = path.strip_prefix(root)?.as_os_str().as_bytes().to_vec();
            // The number of the file, for now.
            let first = metadata.ino().to_be_bytes().to_vec();
            let owner = (metadata.uid().into(), metadata.gid().into());
            let (mode, mtime) = (metadata.mode() & 0o7777, metadata.mtime());
            tree.insert(name, Node { what, mode, owner, mtime, xattrs: xattrs(&path)?, first });
        }
    }
    Ok(with_first_names(tree))
}

fn xattrs(path: &Path) -> Result<Xattrs> {
    let mut names = vec![0; 64 << 10]; // XATTR_LIST_MAX, and XATTR_SIZE_MAX
    let length = rustix::fs::llistxattr(path, &mut names).with_context(|| format!("{}", path.display()))?;
    let mut xattrs = Xattrs::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 64 << 10];
        let length = rustix::fs::lgetxattr(path, name, &mut value).with_context(|| format!("{}", path.display()))?;
        xattrs.insert(name.to_vec(), value[..length].to_vec());
    }
    Ok(xattrs)
}
