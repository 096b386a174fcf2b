//! The cache, by what things contain: blobs at `blobs/sha256/<digest>` in the cache directory, and beside them what is made
//! of them. A file is whole from the moment it has its name, and its users have it open, so any number of builders
//! can share a cache, and prune it, without waiting for each other.

mod derived;
mod incoming;
pub mod prune;
pub mod size;
pub mod stock;

use crate::blob::{Blob, Kept};
use crate::digest::Digest;
use anyhow::{Context, Result};
use rustix::fs::OFlags;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

pub use derived::{Draft, Kind};
pub use incoming::{Claim, Incoming, Unnamed};

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
    /// [`Cache::met_others`].
    others: Arc<AtomicBool>,
}

impl Cache {
    /// The cache in this directory, which is made where it is missing.
    ///
    /// # Errors
    /// When the directory can't be made.
    pub fn open(directory: &Path) -> Result<Self> {
        let blobs = directory.join("blobs/sha256");
        make_directory(&blobs.join("partial"))
            .with_context(|| format!("create the cache {} (NANOOS_CACHE names another directory)", blobs.display()))?;
        Ok(Cache { directory: directory.to_owned(), blobs, others: Arc::default() })
    }

    /// Where it lies.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The blob with this digest, if it is here and whole: for what is small. One that was damaged on this disk is removed,
    /// so that it is pulled again.
    ///
    /// # Errors
    /// When it is here and can't be read.
    pub fn get(&self, digest: &Digest) -> Result<Option<Blob>> {
        let Some(blob) = self.kept(digest, None)? else { return Ok(None) };
        let path = self.path(digest);
        // A slice is not verified by its reader, which would complain of what is mended here.
        let plain = blob.slice(0, blob.len());
        let found = Digest::of_reader(plain.reader()).with_context(|| format!("read {}", path.display()))?;
        if found == *digest {
            return Ok(Some(blob));
        }
        fs::remove_file(&path).with_context(|| format!("remove the damaged {}", path.display()))?;
        Ok(None)
    }

    /// The blob with this digest, if it is here, which counts as its use. Its reader verifies it. One of another length than
    /// `len` bytes, where that is known, is removed: it is what a power failure leaves.
    ///
    /// # Errors
    /// When it is here and can't be opened.
    pub fn kept(&self, digest: &Digest, len: Option<u64>) -> Result<Option<Blob>> {
        let path = self.path(digest);
        let Some(file) = self.open_file(&path).with_context(|| format!("open {}", path.display()))? else {
            return Ok(None);
        };
        touch(&file);
        let kept = Kept::new(file, *digest, path.clone()).with_context(|| format!("read {}", path.display()))?;
        let blob = Blob::Kept(Arc::new(kept));
        if len.is_some_and(|len| len != blob.len()) {
            fs::remove_file(&path).with_context(|| format!("remove the damaged {}", path.display()))?;
            return Ok(None);
        }
        Ok(Some(blob))
    }

    /// A file without a name, for what is too large for memory and needed only now. It goes with the program.
    ///
    /// # Errors
    /// When none can be created in the cache.
    pub fn nameless(&self) -> Result<File> {
        tempfile::tempfile_in(&self.blobs)
            .with_context(|| format!("create a temporary file in {}", self.blobs.display()))
    }

    /// Whether something in it was another user's, and could not be used.
    #[must_use]
    pub fn met_others(&self) -> bool {
        self.others.load(Ordering::Relaxed)
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.blobs.join(digest.hex())
    }

    /// Opens a file of the cache, if it is there and [`Cache::is_own`]. What else may be in its place (a directory, a pipe
    /// that nobody writes to, a link) is no work of ours: it is removed.
    fn open_file(&self, path: &Path) -> io::Result<Option<File>> {
        let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW).bits().cast_signed();
        match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_file() => match File::options().read(true).custom_flags(flags).open(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    self.others.store(true, Ordering::Relaxed);
                    Ok(None)
                }
                opened => opened.map(|file| Some(file).filter(|file| self.is_own(file))),
            },
            Ok(metadata) => {
                if metadata.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.map(|()| None)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether a file is this user's. Another's, in a cache that is shared, is as good as absent even where it can be read:
    /// what is derived is not verified, and its owner may change it at any time.
    fn is_own(&self, file: &File) -> bool {
        let own = file.metadata().is_ok_and(|metadata| metadata.uid() == rustix::process::geteuid().as_raw());
        self.others.fetch_or(!own, Ordering::Relaxed);
        own
    }

    /// What came of giving a file its name. In a shared cache the name may be taken by another user's file, which this
    /// one may neither read nor replace: it is used without a name then, and made again the next time.
    fn named(&self, path: &Path, renamed: Result<()>) -> Result<()> {
        let kind = renamed.as_ref().err().and_then(|error| Some(error.downcast_ref::<io::Error>()?.kind()));
        if kind == Some(io::ErrorKind::PermissionDenied) && path.symlink_metadata().is_ok() {
            self.others.store(true, Ordering::Relaxed);
            return Ok(());
        }
        renamed
    }
}

/// Permissions of the files of the cache: a layer may be a private repository's.
const PRIVATE: u32 = 0o600;

/// Makes a directory with those above it, for this user alone. One that is there keeps its permissions: a cache may be shared.
fn make_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

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
    fn a_blob_that_rots_in_the_cache_is_removed_and_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let digest = Digest::of(b"content");
        cache.unnamed().unwrap().take(&b"content"[..]).unwrap();
        fs::write(cache.path(&digest), b"contend").unwrap();
        assert!(cache.get(&digest).unwrap().is_none());
        assert!(!cache.path(&digest).exists());
        // A length that can't be right needs no reading.
        fs::write(cache.path(&digest), b"").unwrap();
        assert!(cache.kept(&digest, Some(7)).unwrap().is_none());
        assert!(!cache.path(&digest).exists());
    }

    #[test]
    fn what_another_user_has_in_a_shared_cache_is_as_good_as_absent() {
        // As root, as other tests here: it makes what another user may not read, in directories as /tmp is.
        let dir = tempfile::tempdir().unwrap();
        for folder in ["", "blobs", "blobs/sha256", "blobs/sha256/partial", "packed"] {
            let folder = dir.path().join(folder);
            fs::create_dir_all(&folder).unwrap();
            fs::set_permissions(folder, fs::Permissions::from_mode(0o1777)).unwrap();
        }
        let (digest, key) = (Digest::of(b"content"), Digest::of(b"key"));
        let fill = |cache: &Cache| {
            cache.derive(Kind::PackedLayer, &key).unwrap().finish().unwrap();
            cache.unnamed().unwrap().take(&b"content"[..]).unwrap().1.read_all(100).unwrap()
        };
        let mine = Cache::open(dir.path()).unwrap();
        fill(&mine);
        let files = [mine.path(&digest), mine.partial_path(&digest), mine.derived_path(Kind::PackedLayer, &key)];
        fs::write(&files[1], "con").unwrap();
        let seen = || files.each_ref().map(|file| (fs::metadata(file).unwrap().ino(), fs::read(file).unwrap()));
        let before = seen();
        // Where it may be read, and where it may even be written.
        for mode in [0o600, 0o644, 0o666] {
            files.iter().for_each(|file| fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap());
            let met = std::thread::scope(|scope| {
                let other = scope.spawn(|| {
                    let user = rustix::fs::Uid::from_raw(4242);
                    // Of this thread alone.
                    rustix::thread::set_thread_res_uid(user, user, user).unwrap();
                    let cache = Cache::open(dir.path()).unwrap();
                    assert!(cache.get(&digest).unwrap().is_none());
                    assert!(cache.derived(Kind::PackedLayer, &key).unwrap().is_none());
                    let Claim::Mine(mut incoming) = cache.claim(&digest).unwrap() else { panic!("it is nobody's") };
                    incoming.write(b"content").unwrap();
                    assert_eq!(incoming.finish().unwrap().read_all(100).unwrap(), b"content");
                    assert_eq!(fill(&cache), b"content");
                    cache.met_others()
                });
                other.join().unwrap()
            });
            assert_eq!((met, mine.met_others(), seen()), (true, false, before.clone()), "{mode:o}");
        }
        let left = mine.items().unwrap();
        assert_eq!(left.len(), files.len(), "{left:?}");
    }
}
