//! Blobs of the cache: whoever reads one to its end learns whether the disk kept it well.

use crate::digest::{Digest, Hasher};
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// A file of the cache that ought to have a digest.
#[derive(Debug)]
pub struct Kept {
    file: Arc<File>,
    len: u64,
    digest: Digest,
    path: PathBuf,
}

impl Kept {
    /// The open file that lies at `path`.
    ///
    /// # Errors
    /// When its size can't be told.
    pub fn new(file: File, digest: Digest, path: PathBuf) -> io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Kept { file: Arc::new(file), len, digest, path })
    }

    /// What its content ought to have.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn file(&self) -> &Arc<File> {
        &self.file
    }
}

/// Verifies a file of the cache while it is read.
#[derive(Debug)]
pub(super) struct Check {
    kept: Arc<Kept>,
    hasher: Option<Hasher>,
}

impl Check {
    pub(super) fn new(kept: &Arc<Kept>) -> Self {
        Check { kept: kept.clone(), hasher: Some(Hasher::default()) }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
    }

    /// Called at the end. A file that rotted is removed, so that the next build fetches it again.
    pub(super) fn verify(&mut self) -> io::Result<()> {
        // Once is enough: a reader may ask for the end again and again.
        let Some(hasher) = self.hasher.take() else { return Ok(()) };
        let found = hasher.finish();
        if found == self.kept.digest {
            return Ok(());
        }
        // If it can't be removed, the next build says the same again.
        let _ = std::fs::remove_file(&self.kept.path);
        let message = format!(
            "the cache's {} is damaged, its content has the digest {found}; it was removed: build again",
            self.kept.path.display()
        );
        Err(io::Error::new(io::ErrorKind::InvalidData, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::Blob;

    #[test]
    fn what_rotted_in_the_cache_is_told_at_the_end_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blob");
        std::fs::write(&path, "content").unwrap();
        let kept = |content: &[u8]| {
            let kept = Kept::new(File::open(&path).unwrap(), Digest::of(content), path.clone()).unwrap();
            Blob::Kept(Arc::new(kept))
        };
        assert_eq!(kept(b"content").read_all(100).unwrap(), b"content");
        assert!(path.exists());
        let refusal = kept(b"other").read_all(100).unwrap_err().to_string();
        assert!(refusal.starts_with(&format!("the cache's {} is damaged", path.display())), "{refusal}");
        assert!(refusal.ends_with("it was removed: build again"), "{refusal}");
        assert!(!path.exists());
    }
}
