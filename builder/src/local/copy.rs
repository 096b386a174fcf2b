//! Copies of a project, in which it is built: the user's own tree is never written to.

use crate::cache::stock::{BUILDS, LOCK};
use crate::cache::{Cache, no_room};
use crate::cleanup::{OnInterrupt, on_interrupt};
use crate::digest::Digest;
use anyhow::{Context, Result, bail};
use project::links::{Leads, follow};
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Where builds are, in the cache.
pub(super) const FOLDER: &str = BUILDS;
/// Directories that only hold what tools make again, or what no build reads.
const REMADE: &[&str] =
    &[".git", "node_modules", ".venv", "venv", "__pycache__", ".gradle", ".tox", ".mypy_cache", ".pytest_cache"];
/// Directories that are such beside one of these files.
const OUTPUTS: &[(&str, &[&str])] =
    &[("target", &["Cargo.toml", "pom.xml"]), ("build", &["build.gradle", "build.gradle.kts"])];

/// The copy, in its place.
const SOURCE: &str = "source";
/// Permissions of the directories: a copy may hold keys.
const PRIVATE: u32 = 0o700;

/// A place where a project is built, and what its tools leave for the next time. Another builder waits for it.
#[derive(Debug)]
pub(super) struct Place {
    directory: PathBuf,
    /// Removes the copy. It goes before the lock does: the next copy is another builder's.
    _interrupted: OnInterrupt,
    /// Locked as long as this lives.
    _lock: File,
}

impl Place {
    /// The place of the project in this directory.
    ///
    /// # Errors
    /// When it can't be made.
    pub(super) fn of(project: &Path, cache: &Cache) -> Result<Self> {
        let directory = folder(cache)?.join(Place::name(project)?);
        let shown = || format!("create {}", directory.display());
        make_private(&directory).map_err(|error| no_room(error, shown()))?;
        // An earlier builder's is open to others.
        fs::set_permissions(&directory, Permissions::from_mode(PRIVATE)).with_context(shown)?;
        let lock = File::create(directory.join(LOCK)).with_context(shown)?;
        flock(&lock, FlockOperation::LockExclusive).with_context(|| format!("lock {}", directory.display()))?;
        // Which keeps it longer.
        lock.set_modified(SystemTime::now()).with_context(shown)?;
        let source = directory.join(SOURCE);
        let interrupted = on_interrupt(move || drop(fs::remove_dir_all(source)));
        Ok(Place { directory, _interrupted: interrupted, _lock: lock })
    }

    /// What tells one project's builds from another's.
    ///
    /// # Errors
    /// When there is no such directory.
    pub(super) fn name(project: &Path) -> Result<String> {
        let project = project.canonicalize().with_context(|| format!("find {}", project.display()))?;
        let name = Digest::of(project.as_os_str().as_bytes()).hex();
        Ok(name.get(..16).unwrap_or(&name).to_owned())
    }

    /// Where the copy lies: always at the same path, so that tools know their work again.
    pub(super) fn source(&self) -> PathBuf {
        self.directory.join(SOURCE)
    }

    /// What tools keep between builds.
    pub(super) fn kept(&self) -> PathBuf {
        self.directory.join("target")
    }

    /// Fills the copy anew with these files, by their paths in the project, but for links that lead out of it.
    ///
    /// # Errors
    /// When a file can't be read or written.
    pub(super) fn fill<'a>(&self, project: &Path, paths: impl IntoIterator<Item = &'a Path>) -> Result<PathBuf> {
        let source = self.source();
        self.clear()?;
        fs::create_dir_all(&source).map_err(|error| no_room(error, format!("create {}", source.display())))?;
        for path in paths {
            // Through such a link a tool would write what it makes to another place of this machine.
            if !leads_out(project, path) {
                copy(&project.join(path), &source.join(path))?;
            }
        }
        Ok(source)
    }

    /// Removes the copy.
    pub(super) fn clear(&self) -> Result<()> {
        match fs::remove_dir_all(self.source()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("remove {}", self.source().display()))
            }
            _ => Ok(()),
        }
    }
}

/// The folder of builds, which is made where it is missing, for this user alone.
///
/// # Errors
/// When it can't be made.
pub(super) fn folder(cache: &Cache) -> Result<PathBuf> {
    let folder = cache.directory().join(FOLDER);
    let shown = || format!("create {}", folder.display());
    make_private(&folder).map_err(|error| no_room(error, shown()))?;
    let mode = fs::metadata(&folder).with_context(shown)?.permissions().mode();
    // Where others may write, the cache is shared, and stays so: each place in it is its user's own.
    if mode & 0o077 != 0 && mode & 0o022 == 0 {
        fs::set_permissions(&folder, Permissions::from_mode(PRIVATE)).with_context(shown)?;
    }
    Ok(folder)
}

fn make_private(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(PRIVATE).create(directory)
}

/// Whether this is a link out of the project, or to itself.
fn leads_out(project: &Path, path: &Path) -> bool {
    let directory = path.parent().unwrap_or(Path::new(""));
    fs::read_link(project.join(path))
        .is_ok_and(|target| !matches!(follow(project, directory, &target), Leads::Inside(_)))
}

/// Copies a file, a link or a directory without what is in it; parents are made where they are missing.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let failed = |error| no_room(error, format!("copy {} to {}", from.display(), to.display()));
    let metadata = fs::symlink_metadata(from).with_context(|| format!("read {}", from.display()))?;
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    if metadata.is_dir() {
        return fs::create_dir_all(to).map_err(failed);
    }
    if metadata.is_symlink() {
        return fs::read_link(from).and_then(|target| symlink(target, to)).map_err(failed);
    }
    if !metadata.is_file() {
        bail!("{} is neither a file nor a directory", from.display());
    }
    // With its permissions, and its time, by which tools tell what has changed.
    fs::copy(from, to).map_err(failed)?;
    let written = File::options().append(true).open(to).or_else(|_| File::open(to));
    let time = metadata.modified();
    time.and_then(|time| written?.set_modified(time)).map_err(failed)
}

/// What a build of this machine may read of a project, by paths in it: everything but secrets and what is made again.
///
/// # Errors
/// When a directory can't be read.
pub(super) fn sources(project: &Path) -> Result<Vec<PathBuf>> {
    let (mut sources, mut ahead) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(directory) = ahead.pop() {
        let shown = || format!("list {}", project.join(&directory).display());
        for entry in fs::read_dir(project.join(&directory)).with_context(shown)? {
            let entry = entry.with_context(shown)?;
            let kind = entry.file_type().with_context(shown)?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let beside = |file: &&str| project.join(&directory).join(file).exists();
            let output = OUTPUTS.iter().any(|(output, files)| *output == name && files.iter().any(&beside));
            let path = directory.join(entry.file_name());
            if kind.is_dir() && !output && !REMADE.contains(&&*name) {
                ahead.push(path.clone());
                sources.push(path);
            } else if kind.is_symlink() || (kind.is_file() && !name.starts_with(".env")) {
                sources.push(path);
            }
        }
    }
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_copy_has_the_files_as_they_are_and_nothing_of_before() {
        let (project, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let cache = Cache::open(cache.path()).unwrap();
        let at = |path: &str| project.path().join(path);
        for directory in ["src/deep", "target/debug", "docs/target", "node_modules/x", ".git", "empty"] {
            fs::create_dir_all(at(directory)).unwrap();
        }
        for file in
            ["Cargo.toml", "src/deep/a.rs", "target/debug/a", "docs/target/b", "node_modules/x/c", ".env", ".env.test"]
        {
            fs::write(at(file), file).unwrap();
        }
        fs::set_permissions(at("src/deep/a.rs"), fs::Permissions::from_mode(0o500)).unwrap();
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        File::open(at("src/deep/a.rs")).unwrap().set_modified(old).unwrap();
        symlink("src/deep", at("link")).unwrap();
        let mut sources = sources(project.path()).unwrap();
        sources.sort();
        let expected =
            ["Cargo.toml", "docs", "docs/target", "docs/target/b", "empty", "link", "src", "src/deep", "src/deep/a.rs"];
        assert_eq!(sources, expected.map(PathBuf::from));

        let place = Place::of(project.path(), &cache).unwrap();
        fs::create_dir_all(place.source()).unwrap();
        fs::write(place.source().join("stale"), "").unwrap();
        let copy = place.fill(project.path(), sources.iter().map(PathBuf::as_path)).unwrap();
        assert!(!copy.join("stale").exists() && copy.join("empty").is_dir());
        assert_eq!(fs::read_link(copy.join("link")).unwrap(), Path::new("src/deep"));
        let metadata = fs::metadata(copy.join("src/deep/a.rs")).unwrap();
        assert_eq!((metadata.modified().unwrap(), metadata.permissions().mode() & 0o777), (old, 0o500));
        place.clear().unwrap();
        assert!(!copy.exists());
    }

    #[test]
    fn no_link_of_a_copy_leads_out_of_it() {
        let (dir, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (project, outside) = (dir.path().join("project"), dir.path().join("outside"));
        fs::create_dir_all(project.join("a")).unwrap();
        fs::create_dir(&outside).unwrap();
        let absolute = project.join("a");
        let links = [
            ("bin", outside.as_path()),
            ("own", absolute.as_path()),
            ("a/up", Path::new("../../outside")),
            ("by", Path::new("a/up")),
            ("loop", Path::new("loop")),
            ("a/root", Path::new("..")),
            ("none", Path::new("a/none")),
        ];
        for (name, target) in links {
            symlink(target, project.join(name)).unwrap();
        }
        let place = Place::of(&project, &Cache::open(cache.path()).unwrap()).unwrap();
        let sources = sources(&project).unwrap();
        let copy = place.fill(&project, sources.iter().map(PathBuf::as_path)).unwrap();
        let copied = links.map(|(name, _)| name).into_iter().filter(|name| copy.join(name).is_symlink());
        assert_eq!(copied.collect::<Vec<_>>(), ["a/root", "none"]);
    }

    #[test]
    fn places_are_this_users_alone() {
        let (project, directory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let cache = Cache::open(directory.path()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let set = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        let builds = directory.path().join(FOLDER);
        let place = Place::of(project.path(), &cache).unwrap().directory.clone();
        assert_eq!((mode(&builds), mode(&place)), (0o700, 0o700));
        for (before, after) in [(0o755, 0o700), (0o777, 0o777)] {
            set(&builds, before);
            set(&place, before);
            Place::of(project.path(), &cache).unwrap();
            assert_eq!((mode(&builds), mode(&place)), (after, 0o700));
        }
    }
}
