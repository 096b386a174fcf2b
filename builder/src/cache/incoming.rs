//! Blobs on their way into the cache. What has come of one stays at `blobs/sha256/partial/<digest>` if the download
//! breaks off, and the next one goes on from there, in this process or another.

use super::{Cache, PRIVATE, no_room};
use crate::blob::{Blob, Delivery, Kept};
use crate::cleanup::TempFile;
use crate::digest::{Digest, Hasher, HashingWriter};
use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, OFlags, flock};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;

/// Who else has to do with a blob.
#[derive(Debug)]
pub enum Claim {
    /// Nobody: it is for the caller to fetch.
    Mine(Box<Incoming>),
    /// Another builder fetches it now, and has this many bytes.
    Taken(u64),
    /// Another builder fetched it meanwhile.
    Here(Blob),
}

/// A blob on its way into the cache.
#[derive(Debug)]
pub struct Incoming {
    file: Arc<File>,
    hasher: Hasher,
    len: u64,
    digest: Digest,
    path: PathBuf,
    place: Place,
    cache: Cache,
}

/// Where it lies until it is whole.
#[derive(Debug)]
enum Place {
    /// Where a later download finds it.
    Partial(PathBuf, Lock),
    /// In a file that goes if it is not finished.
    Temporary(TempFile),
}

/// The lock of a partial download. Readers may have the file open for longer.
#[derive(Debug)]
struct Lock(Arc<File>, PathBuf);

impl Drop for Lock {
    fn drop(&mut self) {
        // Nothing came, or what came was given up.
        if self.0.metadata().is_ok_and(|metadata| metadata.len() == 0) && is_at(&self.0, &self.1) {
            let _ = fs::remove_file(&self.1);
        }
        // It goes with the last open file in any case.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

impl Cache {
    /// Claims a blob that is to be fetched, with what an earlier download left of it.
    ///
    /// # Errors
    /// When no file can be made in the cache, or what is there not be read.
    pub fn claim(&self, digest: &Digest) -> Result<Claim> {
        let partial = self.partial_path(digest);
        loop {
            // What is no file goes.
            self.open_file(&partial).with_context(|| format!("open {}", partial.display()))?;
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(false).mode(PRIVATE);
            let file = match options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed()).open(&partial) {
                // Another user's, who may read what is written into it.
                Ok(file) if !self.is_own(&file) => return Ok(Claim::Mine(Box::new(self.incoming(digest)?))),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied && partial.exists() => {
                    return Ok(Claim::Mine(Box::new(self.incoming(digest)?)));
                }
                file => file.map_err(|error| no_room(error, format!("create {}", partial.display())))?,
            };
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Ok(Claim::Taken(file.metadata().map_or(0, |metadata| metadata.len())));
                }
                Err(error) => return Err(error).with_context(|| format!("lock {}", partial.display())),
            }
            // Another builder may have finished it, or removed it, between the two calls.
            if let Some(blob) = self.kept(digest, None)? {
                let _ = fs::remove_file(&partial);
                return Ok(Claim::Here(blob));
            }
            if is_at(&file, &partial) {
                let file = Arc::new(file);
                let place = Place::Partial(partial.clone(), Lock(file.clone(), partial));
                return self.resume(file, digest, place).map(|incoming| Claim::Mine(Box::new(incoming)));
            }
        }
    }

    /// A blob that is to be fetched without regard to who else does: into a file of its own.
    ///
    /// # Errors
    /// When no file can be made in the cache.
    pub fn incoming(&self, digest: &Digest) -> Result<Incoming> {
        let temp = TempFile::new_in(&self.blobs)?;
        let file = Arc::new(temp.file()?);
        self.resume(file, digest, Place::Temporary(temp))
    }

    fn resume(&self, file: Arc<File>, digest: &Digest, place: Place) -> Result<Incoming> {
        let path = self.path(digest);
        let (mut hasher, mut len) = (Hasher::default(), 0);
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match (&*file).read(&mut buffer).with_context(|| format!("read what is there of {}", path.display()))? {
                0 => break,
                read => {
                    hasher.update(&buffer[..read]);
                    len += read as u64;
                }
            }
        }
        Ok(Incoming { file, hasher, len, digest: *digest, path, place, cache: self.clone() })
    }

    pub(super) fn partial_path(&self, digest: &Digest) -> PathBuf {
        self.blobs.join("partial").join(digest.hex())
    }
}

fn is_at(file: &File, path: &std::path::Path) -> bool {
    let same = |here: &fs::Metadata, there: &fs::Metadata| (here.dev(), here.ino()) == (there.dev(), there.ino());
    matches!((file.metadata(), fs::metadata(path)), (Ok(here), Ok(there)) if same(&here, &there))
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

    /// The digest of what has come so far.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.hasher.clone().finish()
    }

    /// Tells readers what has come.
    pub fn tell(&self, delivery: &Delivery) {
        delivery.came(&self.file, self.len);
    }

    /// Takes in the next bytes.
    ///
    /// # Errors
    /// When they can't be written, as when the disk is full.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all_at(bytes, self.len);
        written.map_err(|error| no_room(error, format!("write {}", self.path.display())))?;
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Gives up all that has come and was read already: the next download begins anew, and readers keep what they have.
    ///
    /// # Errors
    /// When the file can't be removed.
    pub fn abandon(&self) -> Result<()> {
        match &self.place {
            Place::Partial(partial, _) => {
                fs::remove_file(partial).with_context(|| format!("remove {}", partial.display()))
            }
            Place::Temporary(_) => Ok(()),
        }
    }

    /// Gives up all that has come, and begins anew: not for what has readers.
    ///
    /// # Errors
    /// When the file can't be cut.
    pub fn restart(&mut self) -> Result<()> {
        self.file.set_len(0).with_context(|| format!("empty the partial {}", self.path.display()))?;
        (self.hasher, self.len) = (Hasher::default(), 0);
        Ok(())
    }

    /// Verifies what has come and gives it its name. It is not waited for the disk: who reads it later verifies it again.
    ///
    /// # Errors
    /// When the content's digest is another than was asked for; then nothing is kept of it.
    pub fn finish(self) -> Result<Blob> {
        let found = self.hasher.finish();
        if found != self.digest {
            if let Place::Partial(partial, _) = &self.place {
                let _ = fs::remove_file(partial);
            }
            bail!("the content's digest is {found}, not {}: what was sent is damaged", self.digest);
        }
        match self.place {
            Place::Partial(partial, _lock) => {
                let renamed = fs::rename(&partial, &self.path);
                if renamed.is_err() {
                    let _ = fs::remove_file(&partial);
                }
                let shown = || format!("rename a download to {}", self.path.display());
                self.cache.named(&self.path, renamed.with_context(shown))?;
            }
            Place::Temporary(temp) => self.cache.named(&self.path, temp.rename(&self.path))?,
        }
        Ok(Blob::File { file: self.file, offset: 0, len: self.len })
    }
}

/// A blob whose digest shows only once all of it has come.
#[derive(Debug)]
pub struct Unnamed {
    temp: TempFile,
    file: File,
    cache: Cache,
}

impl Cache {
    /// A place for a blob whose digest is not known yet.
    ///
    /// # Errors
    /// When no file can be made in the cache.
    pub fn unnamed(&self) -> Result<Unnamed> {
        let temp = TempFile::new_in(&self.blobs)?;
        let file = temp.file()?;
        Ok(Unnamed { temp, file, cache: self.clone() })
    }
}

impl Unnamed {
    /// Takes in everything that `reader` gives, and names it by its digest. An equal blob that is here already stays.
    ///
    /// # Errors
    /// When it can't be read or written.
    pub fn take(mut self, mut reader: impl Read) -> Result<(Digest, Blob)> {
        let (mut hasher, mut buffer) = (Hasher::default(), vec![0; 256 * 1024]);
        loop {
            match reader.read(&mut buffer)? {
                0 => break,
                read => {
                    hasher.update(&buffer[..read]);
                    io::Write::write_all(&mut self.file, &buffer[..read])
                        .map_err(|error| no_room(error, format!("write into {}", self.cache.blobs.display())))?;
                }
            }
        }
        self.name(hasher.finish())
    }

    /// Takes in everything that `write` writes, as [`Unnamed::take`] does.
    ///
    /// # Errors
    /// What `write` answers; when it can't be written.
    pub fn take_written(self, write: impl FnOnce(&mut dyn io::Write) -> Result<()>) -> Result<(Digest, Blob)> {
        let mut out = HashingWriter::new(io::BufWriter::with_capacity(1 << 20, &self.file));
        write(&mut out)?;
        let flushed = io::Write::flush(&mut out);
        flushed.map_err(|error| no_room(error, format!("write into {}", self.cache.blobs.display())))?;
        let digest = out.digest();
        drop(out);
        self.name(digest)
    }

    fn name(self, digest: Digest) -> Result<(Digest, Blob)> {
        let path = self.cache.path(&digest);
        self.cache.named(&path, self.temp.rename(&path))?;
        let kept = Kept::new(self.file, digest, path).context("read what was written")?;
        Ok((digest, Blob::Kept(Arc::new(kept))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> (tempfile::TempDir, Cache) {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        (dir, cache)
    }

    fn mine(cache: &Cache, digest: &Digest) -> Incoming {
        match cache.claim(digest).unwrap() {
            Claim::Mine(incoming) => *incoming,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_blob_is_there_once_it_is_verified_and_not_before() {
        let (_dir, cache) = cache();
        let digest = Digest::of(b"content");
        let mut incoming = mine(&cache, &digest);
        incoming.write(b"con").unwrap();
        assert!(cache.get(&digest).unwrap().is_none());
        incoming.write(b"tent").unwrap();
        assert_eq!(incoming.finish().unwrap().read_all(100).unwrap(), b"content");
        assert_eq!(cache.get(&digest).unwrap().unwrap().read_all(100).unwrap(), b"content");
        assert!(matches!(cache.claim(&digest).unwrap(), Claim::Here(_)));
        assert_eq!(fs::read_dir(cache.blobs.join("partial")).unwrap().count(), 0);
    }

    #[test]
    fn a_download_that_broke_off_goes_on_where_it_stopped() {
        let (_dir, cache) = cache();
        let digest = Digest::of(b"content");
        mine(&cache, &digest).write(b"con").unwrap();
        let mut incoming = mine(&cache, &digest);
        assert_eq!(incoming.len(), 3);
        incoming.write(b"tent").unwrap();
        assert_eq!(incoming.finish().unwrap().read_all(100).unwrap(), b"content");
    }

    #[test]
    fn two_do_not_write_to_one_file() {
        let (_dir, cache) = cache();
        let digest = Digest::of(b"content");
        let mut first = mine(&cache, &digest);
        first.write(b"con").unwrap();
        assert!(matches!(cache.claim(&digest).unwrap(), Claim::Taken(3)));
        // A builder that does not wait has a file of its own, and both may end.
        let mut second = cache.incoming(&digest).unwrap();
        second.write(b"content").unwrap();
        second.finish().unwrap();
        first.write(b"tent").unwrap();
        assert_eq!(first.finish().unwrap().read_all(100).unwrap(), b"content");
    }

    #[test]
    fn a_damaged_blob_leaves_nothing_behind() {
        let (_dir, cache) = cache();
        let digest = Digest::of(b"content");
        let mut incoming = mine(&cache, &digest);
        incoming.write(b"comment").unwrap();
        let refusal = format!("{:#}", incoming.finish().unwrap_err());
        assert_eq!(
            refusal,
            format!("the content's digest is {}, not {digest}: what was sent is damaged", Digest::of(b"comment"))
        );
        assert_eq!(fs::read_dir(cache.blobs.join("partial")).unwrap().count(), 0);
        assert_eq!(mine(&cache, &digest).len(), 0);
    }

    #[test]
    fn a_blob_gets_its_name_from_its_content() {
        let (_dir, cache) = cache();
        let (digest, blob) = cache.unnamed().unwrap().take(&b"content"[..]).unwrap();
        assert_eq!(digest, Digest::of(b"content"));
        assert_eq!(blob.read_all(100).unwrap(), b"content");
        assert_eq!(cache.get(&digest).unwrap().unwrap().read_all(100).unwrap(), b"content");
    }
}
