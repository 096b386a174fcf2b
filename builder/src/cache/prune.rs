//! Keeps the cache within its bounds: what was not used for longest goes first.
//!
//! Another builder may use the same cache at the same time. It has open what it reads, and an open file stays when its name
//! goes; what it is downloading is locked; and what it is making is young. So nothing here can break a build: at worst, the
//! next one does something again.

use super::Cache;
use super::size::Size;
use super::stock::{Item, LOCK, State};
use anyhow::Result;
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::time::{Duration, SystemTime};

/// Files used so recently stay although the cache is too large: the next build of the same image is likely.
const YOUNG: Duration = Duration::from_secs(60 * 60);

/// What to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// The oldest, until no more than this is left. Nothing left means everything, young or not.
    Beyond(Size),
    /// Everything that no builder is making at the moment.
    All,
}

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Number of files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes that are left.
    pub left: u64,
}

impl Cache {
    /// Removes files, those first that were not used for longest. Kernels are never touched.
    ///
    /// # Errors
    /// When the cache can't be read. What can't be removed is left, as in a cache that belongs to another user.
    pub fn prune(&self, extent: Extent) -> Result<Pruned> {
        let now = SystemTime::now();
        let mut items = self.items()?;
        items.sort_by(|one, other| (one.used, &one.path).cmp(&(other.used, &other.path)));
        let (limit, spare_young) = match extent {
            Extent::Beyond(Size(0)) | Extent::All => (0, false),
            Extent::Beyond(Size(limit)) => (limit, true),
        };
        let mut pruned = Pruned { left: items.iter().map(|item| item.size).sum(), ..Pruned::default() };
        for item in &items {
            let young = now.duration_since(item.used).is_ok_and(|age| age < YOUNG) || item.used > now;
            let stale = item.state == State::Temporary && !young;
            let removable = match item.state {
                State::Temporary => stale,
                State::Whole | State::Partial => !(spare_young && young),
            };
            // What a killed builder left is of no use to anybody, however small the cache.
            if removable && (stale || extent == Extent::All || pruned.left > limit) && remove(item) {
                pruned.files += 1;
                pruned.bytes += item.size;
                pruned.left -= item.size;
            }
        }
        Ok(pruned)
    }
}

/// Removes a file unless a builder is writing to it.
fn remove(item: &Item) -> bool {
    if item.state == State::Partial {
        let locked = File::open(&item.path).is_ok_and(|file| {
            flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() || fs::remove_file(&item.path).is_err()
        });
        return !locked && !item.path.exists();
    }
    if item.path.is_dir() {
        let lock = File::open(item.path.join(LOCK));
        // Without one, it is a temporary directory that nobody uses any more.
        let used = lock.as_ref().is_ok_and(|lock| flock(lock, FlockOperation::NonBlockingLockExclusive).is_err());
        return !used && fs::remove_dir_all(&item.path).is_ok();
    }
    fs::remove_file(&item.path).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{Claim, Kind};
    use crate::digest::Digest;
    use std::io::Write;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn cache() -> (tempfile::TempDir, Cache) {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        (dir, cache)
    }

    /// A blob of 1000 bytes that was used so many days ago.
    fn blob(cache: &Cache, byte: u8, days: u32) -> Digest {
        let (digest, _) = cache.unnamed().unwrap().take(&[byte; 1000][..]).unwrap();
        let used = SystemTime::now() - DAY * days;
        File::open(cache.path(&digest)).unwrap().set_modified(used).unwrap();
        digest
    }

    fn has(cache: &Cache, digest: &Digest) -> bool {
        cache.path(digest).exists()
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first_and_no_more_than_must() {
        let (_dir, cache) = cache();
        let (old, older, young) = (blob(&cache, 1, 1), blob(&cache, 2, 2), blob(&cache, 3, 0));
        let untouched = cache.prune(Extent::Beyond(Size(3000))).unwrap();
        assert_eq!(untouched, Pruned { files: 0, bytes: 0, left: 3000 });
        let pruned = cache.prune(Extent::Beyond(Size(2999))).unwrap();
        assert_eq!(pruned, Pruned { files: 1, bytes: 1000, left: 2000 });
        assert!(has(&cache, &old) && !has(&cache, &older) && has(&cache, &young));
        // A use makes it young, and what is young stays although there is too much.
        cache.kept(&old, None).unwrap();
        assert_eq!(cache.prune(Extent::Beyond(Size(1))).unwrap().files, 0);
        assert_eq!(cache.prune(Extent::Beyond(Size(0))).unwrap(), Pruned { files: 2, bytes: 2000, left: 0 });
    }

    #[test]
    fn what_builders_use_now_is_not_broken() {
        let (dir, cache) = cache();
        let digest = blob(&cache, 1, 1);
        let in_use = cache.kept(&digest, None).unwrap().unwrap();
        let Claim::Mine(mut incoming) = cache.claim(&Digest::of(b"content")).unwrap() else { panic!() };
        incoming.write(b"con").unwrap();
        let draft = cache.derive(Kind::PackedLayer, &digest).unwrap();
        draft.file().write_all(b"packed").unwrap();
        fs::create_dir(dir.path().join("kernel")).unwrap();
        fs::write(dir.path().join("kernel/vmlinuz"), "kernel").unwrap();

        assert_eq!(cache.prune(Extent::All).unwrap().files, 1);

        assert_eq!(in_use.read_all(1000).unwrap(), [1; 1000]);
        incoming.write(b"tent").unwrap();
        incoming.finish().unwrap();
        draft.finish().unwrap();
        assert!(cache.derived(Kind::PackedLayer, &digest).unwrap().is_some());
        assert!(dir.path().join("kernel/vmlinuz").exists());
        let kinds: Vec<(String, u64, bool)> =
            cache.summary().unwrap().into_iter().map(|kind| (kind.kind, kind.bytes, kind.bounded)).collect();
        assert_eq!(kinds, [("blobs".into(), 7, true), ("packed".into(), 6, true), ("kernel".into(), 6, false)]);
    }

    #[test]
    fn what_a_killed_builder_left_goes_once_it_is_old() {
        let (dir, cache) = cache();
        let left = dir.path().join("blobs/sha256/.nanoos-killed");
        fs::write(&left, "half").unwrap();
        assert_eq!(cache.prune(Extent::Beyond(Size(1000))).unwrap().files, 0);
        File::open(&left).unwrap().set_modified(SystemTime::now() - DAY).unwrap();
        assert_eq!(cache.prune(Extent::Beyond(Size(1000))).unwrap().files, 1);
        assert!(!left.exists());
        // A partial download is kept for the next run, and goes as everything else does.
        let Claim::Mine(mut incoming) = cache.claim(&Digest::of(b"content")).unwrap() else { panic!() };
        incoming.write(b"con").unwrap();
        drop(incoming);
        assert_eq!(cache.prune(Extent::Beyond(Size(1000))).unwrap().left, 3);
        assert_eq!(cache.prune(Extent::All).unwrap(), Pruned { files: 1, bytes: 3, left: 0 });
    }

    #[test]
    fn what_builds_of_a_project_left_goes_as_a_whole_unless_somebody_builds() {
        let (_dir, cache) = cache();
        let build = |name: &str| {
            let directory = cache.directory().join("builds").join(name);
            fs::create_dir_all(directory.join("target/release")).unwrap();
            fs::write(directory.join("target/release/app"), [0; 100]).unwrap();
            let lock = File::create(directory.join(LOCK)).unwrap();
            lock.set_modified(SystemTime::now() - DAY).unwrap();
            lock
        };
        drop(build("idle"));
        let busy = build("busy");
        flock(&busy, FlockOperation::LockExclusive).unwrap();
        assert_eq!(cache.items().unwrap().iter().map(|item| item.size).sum::<u64>(), 200);
        cache.prune(Extent::Beyond(Size(1))).unwrap();
        let builds = cache.directory().join("builds");
        assert!(!builds.join("idle").exists() && builds.join("busy/target/release/app").exists());
    }
}
