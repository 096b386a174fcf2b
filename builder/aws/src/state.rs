//! What is kept on this machine between two runs: the contents of what was published, to compare with, and which blocks of
//! snapshots that are not complete yet have been taken. Without it, all is sent once more, and nothing else is lost.

use crate::contents::{Contents, is_of_whole_volume};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// Files that were not changed for so long are removed: a pending snapshot has been given up by EBS by then, and contents are read
/// again from a snapshot that is needed.
const KEPT: Duration = Duration::from_secs(90 * 24 * 3600);

/// The directory.
#[derive(Debug, Clone)]
pub struct State(PathBuf);

impl State {
    /// Opens it, and removes what is of no use any more.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn open(directory: &Path) -> Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .with_context(|| format!("make {}", directory.display()))?;
        let old = SystemTime::now() - KEPT;
        for entry in fs::read_dir(directory).with_context(|| format!("read {}", directory.display()))?.flatten() {
            let changed = entry.metadata().and_then(|metadata| metadata.modified());
            if changed.is_ok_and(|changed| changed < old) {
                // Another run may do the same at this moment.
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(State(directory.to_owned()))
    }

    /// Keeps contents, to be found by their identity.
    ///
    /// # Errors
    /// When they can't be written.
    pub(crate) fn keep(&self, contents: &Contents) -> Result<()> {
        let path = self.contents_path(&contents.id());
        let mut file = tempfile_in(&self.0)?;
        file.write_all(contents.to_text().as_bytes()).with_context(|| format!("write {}", path.display()))?;
        file.persist(&path).with_context(|| format!("write {}", path.display()))?;
        Ok(())
    }

    /// Contents that were kept, if they are what their identity says.
    pub(crate) fn contents(&self, id: &str) -> Option<Contents> {
        // It comes from a tag.
        if !is_of_whole_volume(id) {
            return None;
        }
        let contents = Contents::parse(&String::from_utf8(read(&self.contents_path(id)).ok()?).ok()?).ok()?;
        (contents.id() == id).then_some(contents)
    }

    fn contents_path(&self, id: &str) -> PathBuf {
        self.0.join(format!("{id}.blocks"))
    }

    /// The journal of a pending snapshot.
    ///
    /// # Errors
    /// When it can't be read or written.
    pub(crate) fn journal(&self, snapshot: &str) -> Result<Journal> {
        // An id that AWS told, but it becomes a path.
        let name: String = snapshot.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        Journal::open(self.0.join(format!("{name}.sent")))
    }
}

/// Bytes of a file of builder's at most: the blocks of a disk of 2 TiB.
const LARGEST: u64 = 1 << 28;

/// Reads a plain file; of others it would never come to an end.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let kind = fs::symlink_metadata(path)?;
    if !kind.is_file() || kind.len() > LARGEST {
        return Err(std::io::Error::other("it is no file of builder's"));
    }
    fs::read(path)
}

fn tempfile_in(directory: &Path) -> Result<tempfile::NamedTempFile> {
    let file = tempfile::Builder::new().prefix(".nanoos-").tempfile_in(directory);
    file.with_context(|| format!("create a temporary file in {}", directory.display()))
}

/// Which blocks of a pending snapshot EBS has taken. It is only ever appended to, after the fact: what is missing in it is sent again,
/// and what is damaged counts for nothing.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    path: PathBuf,
    /// `None` where it can't be kept.
    file: Option<Mutex<File>>,
    earlier: BTreeSet<u32>,
}

/// An entry: the block's index, and the same with all bits turned, which nothing half-written is by chance.
const ENTRY: usize = 8;

impl Journal {
    fn open(path: PathBuf) -> Result<Self> {
        let shown = path.display().to_string();
        let bytes = match read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).with_context(|| format!("read {shown}")),
        };
        let earlier = bytes.chunks_exact(ENTRY).filter_map(entry).collect();
        let file = File::options()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("open {shown}"))?;
        // The rest of an entry would shift all that follow.
        file.set_len((bytes.len() / ENTRY * ENTRY) as u64).with_context(|| format!("write {shown}"))?;
        Ok(Journal { path, file: Some(Mutex::new(file)), earlier })
    }

    /// Those that an earlier run has sent.
    pub(crate) fn earlier(&self) -> &BTreeSet<u32> {
        &self.earlier
    }

    /// One more was taken. That this can't be noted is no reason to stop: the next run, if there is one, sends it again.
    pub(crate) fn add(&self, index: u32) {
        let Some(file) = &self.file else { return };
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = file.write_all(&[index.to_le_bytes(), (!index).to_le_bytes()].concat());
    }

    /// The snapshot is complete, or gone.
    pub(crate) fn remove(&self) {
        // It may never have been written, and is removed after some months anyway.
        let _ = fs::remove_file(&self.path);
    }
}

fn entry(bytes: &[u8]) -> Option<u32> {
    let (index, check) = bytes.split_first_chunk::<4>()?;
    let index = u32::from_le_bytes(*index);
    (check == (!index).to_le_bytes()).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contents::BlockDigest;

    #[test]
    fn contents_are_found_by_their_identity_and_only_if_they_have_it() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(&dir.path().join("aws")).unwrap();
        let contents = Contents::new(vec![(0, BlockDigest::of(b"a")), (7, BlockDigest::of(b"b"))]).unwrap();
        state.keep(&contents).unwrap();
        assert_eq!(state.contents(&contents.id()), Some(contents.clone()));
        let path = state.contents_path(&contents.id());
        fs::write(&path, fs::read_to_string(&path).unwrap().replace("\n7 ", "\n8 ")).unwrap();
        assert_eq!(state.contents(&contents.id()), None);
        assert_eq!(state.contents("../../etc/passwd"), None);
    }

    #[test]
    fn a_journal_that_was_cut_off_or_damaged_tells_what_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        let journal = state.journal("snap-1/../x").unwrap();
        for index in [5, 1, 70_000] {
            journal.add(index);
        }
        drop(journal);
        let path = dir.path().join("snap-1x.sent");
        let mut bytes = fs::read(&path).unwrap();
        bytes[9] ^= 1;
        bytes.extend([1, 2, 3]);
        fs::write(&path, bytes).unwrap();
        let journal = state.journal("snap-1x").unwrap();
        assert_eq!(journal.earlier().iter().copied().collect::<Vec<_>>(), [5, 70_000]);
        journal.add(9);
        drop(journal);
        let journal = state.journal("snap-1x").unwrap();
        assert_eq!(journal.earlier().iter().copied().collect::<Vec<_>>(), [5, 9, 70_000]);
        journal.remove();
        assert!(!path.exists());
    }
}
