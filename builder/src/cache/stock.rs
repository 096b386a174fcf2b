//! What the cache holds: each file with its kind, size and last use.

use super::{Cache, Kind};
use anyhow::{Context, Result};
use serde::Serialize;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What kernel/build.sh and the tests keep in the same directory. It is shown and never pruned: a kernel takes long to
/// build, and is not this program's to remove.
const GUESTS: &[&str] = &["kernel", "test-images"];
/// The folder of the directories in which projects are built.
pub const BUILDS: &str = "builds";
/// A file of such a directory that is locked while somebody builds there.
pub const LOCK: &str = "lock";

/// A file, or a directory with all that is in it, that may be removed.
#[derive(Debug, Clone)]
pub struct Item {
    /// Where it lies.
    pub path: PathBuf,
    /// The name of its kind, such as `blobs`.
    pub kind: &'static str,
    /// Its bytes.
    pub size: u64,
    /// When it was used last.
    pub used: SystemTime,
    /// What it is to those who prune.
    pub state: State,
}

/// How far a file of the cache is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Whole.
    Whole,
    /// Left by a download that broke off, or growing.
    Partial,
    /// Being made, or left by a builder that was killed.
    Temporary,
}

/// All files of one kind together, as `builder cache ls` shows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// `blobs`, `packed`, …
    pub kind: String,
    /// Number of files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When one of them was used last, in seconds since 1970.
    pub used: Option<u64>,
    /// Whether the cache's limit counts them.
    pub bounded: bool,
}

impl Cache {
    /// Every file that may be removed, in no order. What goes while it is looked at is left out.
    ///
    /// # Errors
    /// When a directory of the cache can't be read.
    pub fn items(&self) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        let whole = |path: &Path| {
            let temporary = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            if temporary { State::Temporary } else { State::Whole }
        };
        list(&self.blobs, "blobs", whole, &mut items)?;
        list(&self.blobs.join("partial"), "partial downloads", |_| State::Partial, &mut items)?;
        for kind in Kind::ALL {
            list(&self.directory.join(kind.folder()), kind.folder(), whole, &mut items)?;
        }
        // What tools leave of a project's builds is of use as a whole.
        each(&self.directory.join(BUILDS), &mut |path, metadata| {
            let (mut size, lock) = (0, path.join(LOCK));
            walk(&path, &mut |metadata| size += metadata.len())?;
            let used = lock.metadata().ok().as_ref().unwrap_or(metadata).modified().unwrap_or(SystemTime::UNIX_EPOCH);
            items.push(Item { state: whole(&path), size, path, kind: BUILDS, used });
            Ok(())
        })?;
        Ok(items)
    }

    /// What there is of each kind, kernels and test images included.
    ///
    /// # Errors
    /// When a directory of the cache can't be read.
    pub fn summary(&self) -> Result<Vec<Summary>> {
        let mut summary: Vec<Summary> = Vec::new();
        let mut add = |kind: &str, size, used: SystemTime, bounded| {
            let at = summary.iter().position(|known| known.kind == kind).unwrap_or_else(|| {
                summary.push(Summary { kind: kind.to_owned(), files: 0, bytes: 0, used: None, bounded });
                summary.len() - 1
            });
            let known = &mut summary[at];
            known.files += 1;
            known.bytes += size;
            known.used = known.used.max(used.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| since.as_secs()));
        };
        for item in self.items()? {
            add(item.kind, item.size, item.used, true);
        }
        for guest in GUESTS {
            walk(&self.directory.join(guest), &mut |metadata| {
                add(guest, metadata.len(), metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), false);
            })?;
        }
        Ok(summary)
    }
}

fn list(folder: &Path, kind: &'static str, state: impl Fn(&Path) -> State, items: &mut Vec<Item>) -> Result<()> {
    each(folder, &mut |path, metadata| {
        if metadata.is_file() {
            let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            items.push(Item { state: state(&path), size: metadata.len(), path, kind, used });
        }
        Ok(())
    })
}

/// Everything below a directory. Links are counted, not followed.
fn walk(folder: &Path, found: &mut dyn FnMut(&Metadata)) -> Result<()> {
    each(folder, &mut |path, metadata| {
        if metadata.is_dir() {
            return walk(&path, found);
        }
        found(metadata);
        Ok(())
    })
}

fn each(folder: &Path, found: &mut dyn FnMut(PathBuf, &Metadata) -> Result<()>) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("list {}", folder.display())),
    };
    for entry in entries {
        let entry = entry.with_context(|| format!("list {}", folder.display()))?;
        // Another builder may have renamed or removed it in this moment.
        if let Ok(metadata) = entry.metadata() {
            found(entry.path(), &metadata)?;
        }
    }
    Ok(())
}
