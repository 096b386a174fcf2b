//! Layers made of files of this machine. The same files give the same bytes, whoever builds, wherever and whenever.

use crate::blob::Blob;
use crate::cache::Cache;
use crate::digest::{Digest, HashingWriter};
use crate::flatten::{Content, Layer};
use crate::tarball::writer::Writer;
use crate::tarball::{Attributes, Entry, Kind, Xattrs};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// 1980-01-01, the earliest time that every tool can write: zip archives begin there.
const EPOCH: i64 = 315_532_800;
/// Seconds over which times are spread: twenty years.
const SPREAD: u64 = 20 * 365 * 24 * 60 * 60;
/// Bytes of a file that is read once, and kept in memory between its digest and its content.
const SMALL: u64 = 1 << 20;

/// What lies at a path of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    /// What it is.
    pub(super) what: What,
    /// Permission bits.
    pub(super) mode: u32,
    /// User and group.
    pub(super) owner: (u32, u32),
    /// Extended attributes.
    pub(super) xattrs: Xattrs,
}

/// What something in a layer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// A directory.
    Directory,
    /// A symbolic link to this.
    Symlink(Vec<u8>),
    /// Another name of a file whose path comes before this one.
    HardLink(Vec<u8>),
    /// The content of a file of this machine.
    File(PathBuf),
    /// These bytes.
    Bytes(Vec<u8>),
}

/// A layer's files by their paths in the machine, without the slash in front.
pub(super) type Items = BTreeMap<Vec<u8>, Item>;

/// The times that a layer's files have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Times {
    /// Made of a file's content: servers that tell versions by time and size see a new one.
    OfContent,
    /// The same for all.
    Fixed,
}

impl Item {
    /// Root's, with the mode that normalized files have.
    #[must_use]
    pub(super) fn new(what: What, executable: bool) -> Self {
        let mode = match what {
            What::Symlink(_) => 0o777,
            What::Directory => 0o755,
            What::File(_) | What::Bytes(_) | What::HardLink(_) => 0o644 | if executable { 0o111 } else { 0 },
        };
        Item { what, mode, owner: (0, 0), xattrs: Vec::new() }
    }

    /// What lies at a path of this machine; nothing of what no machine has use for: sockets, pipes and devices.
    ///
    /// # Errors
    /// When it can't be read.
    pub(super) fn of(path: &Path) -> Result<Option<Self>> {
        let shown = || format!("read {}", path.display());
        let metadata = fs::symlink_metadata(path).with_context(shown)?;
        let what = if metadata.is_dir() {
            What::Directory
        } else if metadata.is_symlink() {
            What::Symlink(fs::read_link(path).with_context(shown)?.into_os_string().into_vec())
        } else if metadata.is_file() {
            What::File(path.to_owned())
        } else {
            return Ok(None);
        };
        Ok(Some(Item::new(what, metadata.permissions().mode() & 0o111 != 0)))
    }
}

/// Everything below a directory of this machine, as it is, at `at` in the machine.
///
/// # Errors
/// When something in it can't be read.
pub(super) fn tree(directory: &Path, at: &str) -> Result<Items> {
    let mut items = Items::new();
    let mut ahead = vec![(directory.to_owned(), at.trim_matches('/').as_bytes().to_vec())];
    while let Some((directory, at)) = ahead.pop() {
        for entry in fs::read_dir(&directory).with_context(|| format!("list {}", directory.display()))? {
            let entry = entry.with_context(|| format!("list {}", directory.display()))?;
            let path = join(&at, entry.file_name().as_bytes());
            let Some(item) = Item::of(&entry.path())? else { continue };
            if item.what == What::Directory {
                ahead.push((entry.path(), path.clone()));
            }
            items.insert(path, item);
        }
    }
    if !at.trim_matches('/').is_empty() {
        items.insert(at.trim_matches('/').into(), Item::new(What::Directory, true));
    }
    Ok(items)
}

fn join(at: &[u8], name: &[u8]) -> Vec<u8> {
    if at.is_empty() { name.to_vec() } else { [at, b"/", name].concat() }
}

/// A layer of these files, in a file of the cache that goes with the program.
///
/// # Errors
/// When a file can't be read, or the cache not be written.
pub(super) fn layer(name: &str, items: &Items, times: Times, cache: &Cache) -> Result<Layer> {
    let file = cache.nameless()?;
    let mut out = HashingWriter::new(BufWriter::with_capacity(1 << 20, &file));
    write(items, times, &mut out).and_then(|()| out.flush().context("write a layer"))?;
    let diff_id = Some(out.digest());
    drop(out);
    let content = Content::Blob(Blob::file(file).context("read a layer that was written")?);
    Ok(Layer { name: name.to_owned(), content, digest: None, diff_id })
}

/// Writes files as an archive, sorted by their paths.
///
/// # Errors
/// When a file can't be read or written.
pub(super) fn write(items: &Items, times: Times, out: impl Write) -> Result<()> {
    let mut writer = Writer::new(out);
    for (path, item) in items {
        let shown = || format!("pack {}", String::from_utf8_lossy(path));
        append(&mut writer, path, item, times).with_context(shown)?;
    }
    writer.finish().and_then(|mut out| out.flush()).context("write a layer")
}

fn append(writer: &mut Writer<impl Write>, path: &[u8], item: &Item, times: Times) -> Result<()> {
    let mut entry = Entry {
        path: path.to_vec(),
        kind: Kind::File,
        attributes: Attributes { mode: item.mode, uid: item.owner.0, gid: item.owner.1, mtime: EPOCH },
        size: 0,
        xattrs: item.xattrs.clone(),
    };
    let mut small = Vec::new();
    match &item.what {
        What::Directory => {
            entry.kind = Kind::Directory;
            entry.path.push(b'/');
        }
        What::Symlink(target) => entry.kind = Kind::Symlink(target.clone()),
        What::HardLink(target) => entry.kind = Kind::HardLink(target.clone()),
        What::Bytes(bytes) => return append_bytes(writer, entry, bytes, times),
        What::File(file) => {
            let open = || File::open(file).with_context(|| format!("open {}", file.display()));
            let mut content = open()?;
            Read::take(&mut content, SMALL + 1).read_to_end(&mut small).context("read it")?;
            if small.len() as u64 <= SMALL {
                return append_bytes(writer, entry, &small, times);
            }
            entry.size = content.metadata().context("read it")?.len();
            if times == Times::OfContent {
                entry.attributes.mtime = time(&Digest::of_reader(open()?).context("read it")?);
            }
            return match writer.append(&entry, open()?) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => bail!("it changed while it was read"),
                appended => appended.map_err(Into::into),
            };
        }
    }
    writer.append(&entry, io::empty()).map_err(Into::into)
}

fn append_bytes(writer: &mut Writer<impl Write>, mut entry: Entry, bytes: &[u8], times: Times) -> Result<()> {
    entry.size = bytes.len() as u64;
    if times == Times::OfContent {
        entry.attributes.mtime = time(&Digest::of(bytes));
    }
    writer.append(&entry, bytes).map_err(Into::into)
}

/// A file's time: the same content, the same time; another content, another.
fn time(content: &Digest) -> i64 {
    let start = content.bytes().iter().take(8).fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte));
    EPOCH + (start % SPREAD).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tarball::reader::Reader;
    use std::os::unix::fs::symlink;
    use std::time::{Duration, SystemTime};

    fn archive(directory: &Path, times: Times) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(&tree(directory, "/app").unwrap(), times, &mut bytes).unwrap();
        bytes
    }

    fn example(directory: &Path) {
        fs::create_dir_all(directory.join("b/empty")).unwrap();
        fs::write(directory.join("b/run"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(directory.join("b/run"), fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(directory.join("a.txt"), "text").unwrap();
        fs::set_permissions(directory.join("a.txt"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(directory.join("large"), vec![7; SMALL as usize + 1]).unwrap();
        symlink("b/run", directory.join("link")).unwrap();
    }

    #[test]
    fn a_layer_is_a_function_of_its_files_names_and_contents() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        example(one.path());
        example(other.path());
        let old = SystemTime::now() - Duration::from_secs(100_000);
        File::open(other.path().join("large")).unwrap().set_modified(old).unwrap();
        fs::set_permissions(other.path().join("a.txt"), fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(archive(one.path(), Times::OfContent), archive(other.path(), Times::OfContent));
        let bytes = archive(one.path(), Times::OfContent);
        let mut reader = Reader::new(&bytes[..]);
        let mut seen = Vec::new();
        while let Some(entry) = reader.next_entry().unwrap() {
            let Attributes { mode, uid, gid, mtime } = entry.attributes;
            assert_eq!((uid, gid), (0, 0));
            assert!((EPOCH..EPOCH + SPREAD.cast_signed()).contains(&mtime));
            assert_eq!(mtime == EPOCH, entry.kind != Kind::File);
            seen.push((String::from_utf8(entry.path).unwrap(), mode, entry.size));
        }
        let expected = [
            ("app/", 0o755, 0),
            ("app/a.txt", 0o644, 4),
            ("app/b/", 0o755, 0),
            ("app/b/empty/", 0o755, 0),
            ("app/b/run", 0o755, 10),
            ("app/large", 0o644, SMALL + 1),
            ("app/link", 0o777, 0),
        ];
        assert_eq!(seen, expected.map(|(path, mode, size)| (path.to_owned(), mode, size)));
    }

    #[test]
    fn a_files_time_is_anothers_where_its_content_is_another() {
        let dir = tempfile::tempdir().unwrap();
        example(dir.path());
        let (before, fixed) = (archive(dir.path(), Times::OfContent), archive(dir.path(), Times::Fixed));
        fs::write(dir.path().join("a.txt"), "tex2").unwrap();
        let times = |bytes: &[u8]| {
            let mut reader = Reader::new(bytes);
            let mut times = BTreeMap::new();
            while let Some(entry) = reader.next_entry().unwrap() {
                times.insert(entry.path, entry.attributes.mtime);
            }
            times
        };
        let (before, after) = (times(&before), times(&archive(dir.path(), Times::OfContent)));
        let changed: Vec<_> =
            before.iter().filter(|(path, time)| after[*path] != **time).map(|(path, _)| path).collect();
        assert_eq!(changed, [b"app/a.txt"]);
        assert!(times(&fixed).values().all(|time| *time == EPOCH));
    }

    #[test]
    fn a_layer_has_the_digest_of_its_archive() {
        let (dir, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        example(dir.path());
        let cache = Cache::open(cache.path()).unwrap();
        let layer = layer("code", &tree(dir.path(), "/app").unwrap(), Times::Fixed, &cache).unwrap();
        let Content::Blob(blob) = layer.content else { panic!() };
        assert_eq!(layer.diff_id, Some(Digest::of(&blob.read_all(1 << 30).unwrap())));
    }
}
