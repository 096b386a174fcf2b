//! The end of module loading: once the machine runs, what it needs is loaded, and nobody shall bring in more.

use crate::info;
use crate::log::OrWarn;
use crate::sys;
use anyhow::{Context, Result};
use nix::unistd::Pid;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Where the kernel keeps the name of the program that loads modules; empty, it asks nobody.
const MODPROBE: &str = "/proc/sys/kernel/modprobe";
/// Whether modules may be loaded; it goes to 1 and never back.
const MODULES_DISABLED: &str = "/proc/sys/kernel/modules_disabled";

/// How long after the last module, or the last device that a driver took, the kernel is locked against further modules.
const REST: Duration = Duration::from_secs(1);
/// When it is locked after the launch at the latest, whatever appears meanwhile.
const LONGEST_UNREST: Duration = Duration::from_secs(30);

/// Whether modules may be loaded, and for how long.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lock {
    /// They may, for now or for the machine's life.
    #[default]
    Open,
    /// They may until loading has come to rest.
    Closing {
        /// When, if nothing more happens.
        at: Instant,
        /// When in any case.
        at_last: Instant,
    },
    /// The kernel takes none any more, or will not in a moment: a child sees to it.
    Locked(Pid),
    /// The machine ends, and loads nothing for that.
    MachineEnds,
}

impl Lock {
    /// Locks the kernel as soon as loading has come to rest: a driver that is loaded may bring devices that need
    /// others.
    pub(super) fn close_at_rest(&mut self) {
        let now = Instant::now();
        *self = Lock::Closing { at: now + REST, at_last: now + LONGEST_UNREST };
    }

    /// Something has been loaded, or a driver has taken a device: more may follow.
    pub(super) fn postpone(&mut self) {
        if let Lock::Closing { at, .. } = self {
            *at = Instant::now() + REST;
        }
    }

    /// When the kernel is to be locked, by whether loading is at rest now.
    pub(super) fn due(self, is_at_rest: bool) -> Option<Instant> {
        match self {
            Lock::Closing { at, at_last } if is_at_rest => Some(at.min(at_last)),
            Lock::Closing { at_last, .. } => Some(at_last),
            _ => None,
        }
    }

    /// Locks the kernel if it is time. A child does it: to free the modules' files takes a while.
    pub(super) fn lock_if_due(&mut self, is_at_rest: bool, modules: &Path) {
        if self.due(is_at_rest).is_some_and(|due| Instant::now() >= due) {
            let child = sys::fork(|| {
                lock(modules);
                0
            });
            *self =
                child.context("lock the kernel against modules").or_warn("drivers").map_or(Lock::Open, Lock::Locked);
        }
    }

    /// Whether modules may still be loaded.
    pub(super) fn is_open(self) -> bool {
        matches!(self, Lock::Open | Lock::Closing { .. })
    }
}

/// Has the kernel load nothing more, and frees the modules' files. Nothing of it is fatal: the machine runs already.
fn lock(modules: &Path) {
    // A kernel without modules has neither file.
    for (file, value) in [(MODULES_DISABLED, "1\n"), (MODPROBE, "\n")] {
        if Path::new(file).exists() {
            fs::write(file, value).with_context(|| format!("write to {file}")).or_warn("drivers");
        }
    }
    let freed = remove_modules(&modules.join("kernel")).or_warn("drivers").unwrap_or_default();
    info!("drivers: no more modules from here on, {} KiB of them freed", freed >> 10);
}

/// Removes what is in a directory of the initramfs, whose files are memory, and says how many bytes that were. The
/// indexes, beside it, stay: they tell which module a later device would have wanted.
fn remove_modules(directory: &Path) -> Result<u64> {
    let mut freed = 0;
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        entries => entries.with_context(|| format!("list {}", directory.display()))?,
    };
    for entry in entries.flatten() {
        let path = entry.path();
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => freed += remove_modules(&path)?,
            Ok(metadata) => {
                fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
                freed += metadata.len();
            }
            Err(_) => {}
        }
    }
    Ok(freed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_waits_for_rest_but_not_for_ever() {
        let mut lock = Lock::Open;
        assert_eq!((lock.due(true), lock.due(false)), (None, None));
        lock.close_at_rest();
        let Lock::Closing { at, at_last } = lock else { panic!("{lock:?}") };
        assert_eq!((lock.due(true), lock.due(false)), (Some(at), Some(at_last)));
        assert_eq!(at_last - at, LONGEST_UNREST - REST);
        let late = Lock::Closing { at: at_last + REST, at_last };
        assert_eq!(late.due(true), Some(at_last));
        std::thread::sleep(Duration::from_millis(1));
        lock.postpone();
        assert!(lock.due(true).is_some_and(|later| later > at) && lock.is_open());
    }

    #[test]
    fn nothing_opens_a_lock_again() {
        for mut lock in [Lock::Locked(Pid::from_raw(1)), Lock::MachineEnds] {
            lock.postpone();
            assert!(!lock.is_open() && lock.due(true).is_none());
        }
    }
}
