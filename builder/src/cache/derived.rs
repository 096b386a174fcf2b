//! Files that are made of something else, and can be made again.

use super::{Cache, no_room, touch};
use crate::cleanup::TempFile;
use crate::digest::Digest;
use anyhow::{Context, Result};
use std::fs::File;
use std::path::PathBuf;

/// What is kept beside blobs: files that can be made again from something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A layer as it lies in a root file system: see [`crate::pack`].
    PackedLayer,
    /// An initramfs, but for the machine's configuration.
    Initramfs,
    /// What a container engine's image is made of, so that it need not be exported again.
    Export,
    /// What a project's dependencies are made of, so that they need not be fetched again.
    Dependencies,
}

impl Kind {
    /// All of them.
    pub const ALL: &[Kind] = &[Kind::PackedLayer, Kind::Initramfs, Kind::Export, Kind::Dependencies];

    /// Its folder in the cache.
    #[must_use]
    pub fn folder(self) -> &'static str {
        match self {
            Kind::PackedLayer => "packed",
            Kind::Initramfs => "initramfs",
            Kind::Export => "exports",
            Kind::Dependencies => "dependencies",
        }
    }
}

impl Cache {
    /// The derived file with this key, if it is here, which counts as its use. It is whole, but its content is not
    /// verified. The open file stays even if somebody prunes the cache.
    ///
    /// # Errors
    /// When it is here and can't be opened.
    pub fn derived(&self, kind: Kind, key: &Digest) -> Result<Option<File>> {
        let path = self.derived_path(kind, key);
        let file = self.open_file(&path).with_context(|| format!("open {}", path.display()))?;
        Ok(file.inspect(touch))
    }

    /// A place for a derived file that is being made.
    ///
    /// # Errors
    /// When no file can be created in the cache.
    pub fn derive(&self, kind: Kind, key: &Digest) -> Result<Draft> {
        let path = self.derived_path(kind, key);
        let folder = self.directory().join(kind.folder());
        super::make_directory(&folder).map_err(|error| no_room(error, format!("create {}", folder.display())))?;
        let temp = TempFile::new_in(&folder)?;
        let file = temp.file()?;
        Ok(Draft { file, name: Some((temp, path, self.clone())) })
    }

    pub(super) fn derived_path(&self, kind: Kind, key: &Digest) -> PathBuf {
        self.directory().join(kind.folder()).join(key.hex())
    }
}

/// A derived file that is being made. It leaves nothing behind unless it is finished.
#[derive(Debug)]
pub struct Draft {
    file: File,
    /// Where it lies for now, where it will, and in which cache; `None` where it will have no name.
    name: Option<(TempFile, PathBuf, Cache)>,
}

impl Draft {
    /// A file that will not be kept.
    #[must_use]
    pub fn nameless(file: File) -> Self {
        Draft { file, name: None }
    }

    /// Where to write.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Gives it its name.
    ///
    /// # Errors
    /// When it can't be written out or renamed.
    pub fn finish(self) -> Result<File> {
        if let Some((temp, path, cache)) = self.name {
            cache.named(&path, temp.persist(&path))?;
        }
        Ok(self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::{Read, Write};
    use std::time::{Duration, SystemTime};

    #[test]
    fn a_derived_file_is_there_once_it_is_finished_and_each_use_is_noted() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let key = Digest::of(b"what it is made of");
        let draft = cache.derive(Kind::PackedLayer, &key).unwrap();
        draft.file().write_all(b"made").unwrap();
        assert!(cache.derived(Kind::PackedLayer, &key).unwrap().is_none());
        let old = SystemTime::now() - Duration::from_secs(1_000_000);
        draft.finish().unwrap().set_modified(old).unwrap();
        assert!(cache.derived(Kind::Initramfs, &key).unwrap().is_none());
        let mut content = String::new();
        let mut file = cache.derived(Kind::PackedLayer, &key).unwrap().unwrap();
        file.read_to_string(&mut content).unwrap();
        assert_eq!(content, "made");
        assert!(file.metadata().unwrap().modified().unwrap() > old + Duration::from_secs(900_000));
    }

    #[test]
    fn a_draft_that_nobody_finishes_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        drop(cache.derive(Kind::Initramfs, &Digest::of(b"")).unwrap());
        assert_eq!(fs::read_dir(dir.path().join("initramfs")).unwrap().count(), 0);
    }
}
