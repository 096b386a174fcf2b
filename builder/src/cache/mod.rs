//! The cache of blobs, by what they contain: `blobs/sha256/<digest>` in the cache directory. A file there is whole and
//! verified from the moment it has its name, so any number of builders can share it without locks.

mod derived;
pub mod size;

use crate::blob::Blob;
use crate::cleanup::TempFile;
use crate::digest::{Digest, Hasher};
use anyhow::{Context, Result, ensure};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub use derived::{Draft, Kind};

/// The cache directory: `NANOOS_CACHE`, else `nanoos` in `XDG_CACHE_HOME`, else in `~/.cache`.
///
/// # Errors
/// When none of these is set.
pub fn directory() -> Result<PathBuf> {
    locate(|name| std::env::var_os(name).filter(|value| !value.is_empty()))
}

fn locate(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    variable("NANOOS_CACHE")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(variable("XDG_CACHE_HOME")?).join("nanoos")))
        .or_else(|| Some(PathBuf::from(variable("HOME")?).join(".cache/nanoos")))
        .context("no place for the cache: set NANOOS_CACHE to a directory (HOME is not set)")
}

/// A cache of blobs, and of what is made of them.
#[derive(Debug, Clone)]
pub struct Cache {
    directory: PathBuf,
    blobs: PathBuf,
}

impl Cache {
    /// The cache in this directory, which is made where it is missing.
    ///
    /// # Errors
    /// When the directory can't be made.
    pub fn open(directory: &Path) -> Result<Self> {
        let blobs = directory.join("blobs/sha256");
        fs::create_dir_all(&blobs)
            .with_context(|| format!("create the cache {} (NANOOS_CACHE names another directory)", blobs.display()))?;
        Ok(Cache { directory: directory.to_owned(), blobs })
    }

    /// Where it lies.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether there seems to be a blob with this digest.
    #[must_use]
    pub fn has(&self, digest: &Digest) -> bool {
        self.path(digest).exists()
    }

    /// The blob with this digest, if it is here and whole. One that was damaged on this disk is removed, so that it is
    /// pulled again.
    ///
    /// # Errors
    /// When it is here and can't be read.
    pub fn get(&self, digest: &Digest) -> Result<Option<Blob>> {
        let path = self.path(digest);
        match Blob::open(&path) {
            Ok(blob) => {
                let found = Digest::of_reader(blob.reader()).with_context(|| format!("read {}", path.display()))?;
                if found == *digest {
                    return Ok(Some(blob));
                }
                fs::remove_file(&path).with_context(|| format!("remove the damaged {}", path.display()))?;
                Ok(None)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("open {}", path.display())),
        }
    }

    /// A place for a blob that is on its way.
    ///
    /// # Errors
    /// When no file can be created in the cache.
    pub fn incoming(&self, digest: &Digest) -> Result<Incoming> {
        let temp = TempFile::new_in(&self.blobs)?;
        let file = temp.reopen()?;
        Ok(Incoming { temp, file, hasher: Hasher::default(), len: 0, digest: *digest, path: self.path(digest) })
    }

    /// A file without a name, for what is too large for memory and needed only now. It goes with the program.
    ///
    /// # Errors
    /// When none can be created in the cache.
    pub fn nameless(&self) -> Result<File> {
        tempfile::tempfile_in(&self.blobs)
            .with_context(|| format!("create a temporary file in {}", self.blobs.display()))
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.blobs.join(digest.hex())
    }
}

/// Notes that a file was used now, which keeps it longer. In a cache that another user shares it can't be noted, and the
/// file may go sooner than it should, which costs time only.
fn touch(file: &File) {
    let _ = file.set_modified(SystemTime::now());
}

/// Why something can't be written into the cache, with the way out where there is no room.
#[must_use]
pub fn no_room(error: io::Error, what: String) -> anyhow::Error {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    let full = matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge);
    let error = anyhow::Error::new(error).context(what);
    if !full {
        return error;
    }
    anyhow::anyhow!(
        "{error:#}: make room with builder cache prune, or let NANOOS_CACHE name a directory where there is more"
    )
}

/// A blob on its way into the cache. It leaves nothing behind unless it is finished.
#[derive(Debug)]
pub struct Incoming {
    temp: TempFile,
    file: File,
    hasher: Hasher,
    len: u64,
    digest: Digest,
    path: PathBuf,
}

impl Incoming {
    /// Bytes that have come so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing has come yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes in the next bytes.
    ///
    /// # Errors
    /// When they can't be written, as when the disk is full.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).with_context(|| format!("write {}", self.path.display()))?;
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Verifies what has come and gives it its name.
    ///
    /// # Errors
    /// When the content's digest is another than was asked for.
    pub fn finish(self) -> Result<Blob> {
        let found = self.hasher.finish();
        ensure!(found == self.digest, "the content's digest is {found}, not {}: what was sent is damaged", self.digest);
        // Readable for others: a cache may be shared, and what is public in a registry is no secret here.
        self.temp.persist(&self.path, 0o644)?;
        Blob::file(self.file).with_context(|| format!("read {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_is_found_as_documented() {
        let locate = |set: &[(&str, &str)]| {
            let set = set.to_vec();
            locate(|name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value)))
        };
        let all = [("NANOOS_CACHE", "/n"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(locate(&all).unwrap(), Path::new("/n"));
        assert_eq!(locate(&all[1..]).unwrap(), Path::new("/x/nanoos"));
        assert_eq!(locate(&all[2..]).unwrap(), Path::new("/h/.cache/nanoos"));
        assert!(locate(&[]).unwrap_err().to_string().contains("set NANOOS_CACHE"));
    }

    #[test]
    fn a_blob_is_there_once_it_is_verified_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let digest = Digest::of(b"content");
        let mut incoming = cache.incoming(&digest).unwrap();
        incoming.write(b"con").unwrap();
        assert!(cache.get(&digest).unwrap().is_none());
        incoming.write(b"tent").unwrap();
        assert_eq!(incoming.finish().unwrap().read_all(100).unwrap(), b"content");
        assert_eq!(cache.get(&digest).unwrap().unwrap().read_all(100).unwrap(), b"content");
    }

    #[test]
    fn a_blob_that_rots_in_the_cache_is_removed_and_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let digest = Digest::of(b"content");
        let mut incoming = cache.incoming(&digest).unwrap();
        incoming.write(b"content").unwrap();
        incoming.finish().unwrap();
        fs::write(cache.path(&digest), b"contend").unwrap();
        assert!(cache.get(&digest).unwrap().is_none());
        assert!(!cache.has(&digest));
    }

    #[test]
    fn a_damaged_blob_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let digest = Digest::of(b"content");
        let mut incoming = cache.incoming(&digest).unwrap();
        incoming.write(b"comment").unwrap();
        let refusal = format!("{:#}", incoming.finish().unwrap_err());
        assert_eq!(
            refusal,
            format!("the content's digest is {}, not {digest}: what was sent is damaged", Digest::of(b"comment"))
        );
        assert_eq!(fs::read_dir(dir.path().join("blobs/sha256")).unwrap().count(), 0);
    }
}
