//! Where writes go: memory and swap, as much of them as the machine can spare.

use crate::info;
use crate::tmpfs::Capacity;
use anyhow::{Context, Result, bail};
use rustix::fs::{CWD, FileType, Mode, OFlags, RawMode, ResolveFlags, mkdirat, openat2};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags, mount_remount, move_mount, open_tree};
use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use sys_mount::{Mount, MountFlags as Flags};

/// The file system in memory that holds what the application writes.
pub const WRITES: &str = "/overlay";

/// Files that init writes for the application, and goes on to write when leases change: in /etc.
pub const NAMES: &[&str] = &["hostname", "hosts", "resolv.conf"];

/// Directories that init mounts the kernel's file systems on.
const MOUNT_POINTS: &[&str] = &["/proc", "/sys", "/dev"];

/// Directories that take writes even if the root does not.
pub const WRITABLE: &[&str] = &["/tmp", "/run"];

/// Mounts the file system for writes.
///
/// # Errors
/// What mkdir(2) or mount(2) answer.
pub fn mount(configured_mib: Option<u32>) -> Result<()> {
    let options = format!("mode=0755,{}", limits(configured_mib));
    super::mount("tmpfs", Path::new("tmpfs"), WRITES, Flags::NODEV, &options)
}

/// Lets it grow with the swap.
///
/// # Errors
/// What mount(2) answers.
pub fn grow(configured_mib: Option<u32>) -> Result<()> {
    let options = CString::new(limits(configured_mib))?;
    mount_remount(WRITES, MountFlags::NODEV, options.as_c_str()).context("let the space for writes grow")
}

/// Its limits as mount(2) takes them.
fn limits(configured_mib: Option<u32>) -> String {
    let Capacity { bytes, inodes } = Capacity::of_machine().with_mib(configured_mib);
    info!("root: {} MiB in {inodes} files may be written", bytes >> 20);
    format!("size={bytes},nr_inodes={inodes}")
}

/// Makes, beside the squashed image, what a root that takes no writes must have and this one has not: mount points
/// and the files in /etc. Gives whether anything was missing.
///
/// # Errors
/// What cannot be made.
pub fn complete(lower: &OwnedFd, skeleton: &str, directories: &[&str]) -> Result<bool> {
    fs::create_dir_all(skeleton).with_context(|| format!("make directory {skeleton}"))?;
    super::copy_attributes_of(lower, skeleton).context("give it the attributes of the image's root")?;
    let skeleton = rustix::fs::open(skeleton, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut missing = false;
    for path in MOUNT_POINTS.iter().chain(WRITABLE).chain(directories) {
        missing |=
            add(lower, &skeleton, Path::new(path), FileType::Directory).with_context(|| format!("make {path}"))?;
    }
    for name in NAMES {
        let path = Path::new("/etc").join(name);
        let add = add(lower, &skeleton, &path, FileType::RegularFile);
        missing |= add.with_context(|| format!("make {}", path.display()))?;
    }
    Ok(missing)
}

/// Makes one thing in the skeleton, with the directories above it as the image has them.
fn add(lower: &OwnedFd, skeleton: &OwnedFd, path: &Path, kind: FileType) -> Result<bool> {
    let path = resolved(lower, path);
    if path.as_os_str().is_empty() || kind_in(lower, &path, ResolveFlags::NO_SYMLINKS) == Some(kind) {
        return Ok(false);
    }
    let mut above = Path::new(".").to_path_buf();
    let names: Vec<_> = path.components().collect();
    for (index, name) in names.iter().enumerate() {
        above.push(name);
        let is_last = index + 1 == names.len();
        match kind_in(lower, &above, ResolveFlags::NO_SYMLINKS) {
            None | Some(FileType::Directory) => {}
            // The file that is to be there covers it.
            Some(_) if is_last && kind == FileType::RegularFile => {}
            Some(_) => bail!("{} of the image is not a directory", above.display()),
        }
        if is_last && kind == FileType::RegularFile {
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::openat(skeleton, &above, flags, Mode::from_raw_mode(0o644))?;
            return Ok(true);
        }
        match mkdirat(skeleton, &above, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        if let Ok(theirs) = open_path(lower, &above, ResolveFlags::NO_SYMLINKS) {
            super::copy_attributes_to(&theirs, skeleton, &above)?;
        } else if is_last && path == Path::new("tmp") {
            rustix::fs::chmodat(skeleton, &above, Mode::from_raw_mode(0o1777), rustix::fs::AtFlags::empty())?;
        }
    }
    Ok(true)
}

/// A path from the image's root on, as far as there are directories by way of those that its symbolic links lead to: a
/// directory in place of such a link would hide all that is behind it.
fn resolved(lower: &OwnedFd, path: &Path) -> PathBuf {
    let name = |file: &OwnedFd| fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok();
    let directory = |path: &Path| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = openat2(lower, path, flags, Mode::empty(), ResolveFlags::IN_ROOT).ok()?;
        name(&directory)?.strip_prefix(name(lower)?).ok().map(Path::to_path_buf)
    };
    let mut at = PathBuf::new();
    for part in path.components().filter(|part| matches!(part, Component::Normal(_))) {
        at.push(part);
        at = directory(&at).unwrap_or(at);
    }
    at
}

fn open_path(root: &OwnedFd, path: &Path, resolve: ResolveFlags) -> rustix::io::Result<OwnedFd> {
    let path = path.strip_prefix("/").unwrap_or(path);
    openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve | ResolveFlags::IN_ROOT)
}

fn kind_in(root: &OwnedFd, path: &Path, resolve: ResolveFlags) -> Option<FileType> {
    let file = open_path(root, path, resolve).ok()?;
    let mode: RawMode = rustix::fs::fstat(&file).ok()?.st_mode;
    Some(FileType::from_raw_mode(mode))
}

/// Lets a directory of the root take writes: a directory of the file system for writes over it, or, where the image
/// has something in it, an overlay that goes on to show that.
///
/// # Errors
/// The step that failed.
pub fn make_writable(root: &OwnedFd, path: &str, number: usize) -> Result<()> {
    let attempt = || -> Result<()> {
        let inside = openat2(
            root,
            path.trim_start_matches('/'),
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::IN_ROOT,
        )
        .context("open it")?;
        let upper = format!("{WRITES}/{number}/upper");
        let work = format!("{WRITES}/{number}/work");
        for directory in [&upper, &work] {
            fs::create_dir_all(directory).with_context(|| format!("make directory {directory}"))?;
        }
        super::copy_attributes_of(&inside, &upper)?;
        let tree = if is_empty(&inside)? {
            let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
            open_tree(CWD, upper.as_str(), clone).context("clone its mount")?
        } else {
            let at = format!("{WRITES}/{number}/joined");
            // The path inside the image may have any characters; the overlay's options may not.
            let lower = format!("/proc/self/fd/{}", inside.as_raw_fd());
            super::mount_overlay(&lower, &upper, &work, &at)?;
            let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
            let tree = open_tree(CWD, at.as_str(), clone).context("clone its mount")?;
            rustix::mount::unmount(at.as_str(), rustix::mount::UnmountFlags::DETACH).context("move its mount")?;
            tree
        };
        attach(&tree, &inside).context("mount it")
    };
    attempt().with_context(|| format!("let {path} of the image take writes"))
}

/// Whether a directory has nothing in it.
///
/// # Errors
/// When it cannot be listed.
pub fn is_empty(directory: &OwnedFd) -> Result<bool> {
    let entries = rustix::fs::Dir::read_from(directory).context("list it")?;
    Ok(!entries.flatten().any(|entry| entry.file_name() != c"." && entry.file_name() != c".."))
}

/// Puts a file of the file system for writes in place of one of the root's, so that it can be rewritten.
///
/// # Errors
/// The step that failed.
pub fn bind_file(root: &OwnedFd, path: &str, name: &str) -> Result<()> {
    let attempt = || -> Result<()> {
        let source = format!("{WRITES}/{name}");
        File::create(&source).with_context(|| format!("make {source}"))?;
        let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(CWD, source.as_str(), clone).context("clone its mount")?;
        // Only the file itself may be no symbolic link.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT).context("open it")?;
        attach(&tree, &target).context("mount it")
    };
    attempt().with_context(|| format!("let {path} of the image be rewritten"))
}

fn attach(tree: impl AsFd, target: impl AsFd) -> rustix::io::Result<()> {
    let here = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, "", target, "", here)
}

/// Joins what is missing with the squashed image, for reading only.
///
/// # Errors
/// What mount(2) answers.
pub fn join_read_only(skeleton: &str, lower: &str, at: &str) -> Result<()> {
    fs::create_dir_all(at).with_context(|| format!("make directory {at}"))?;
    Mount::builder()
        .fstype("overlay")
        .flags(Flags::RDONLY)
        .data(&format!("lowerdir={skeleton}:{lower}"))
        .mount("overlay", at)
        .map(|_| ())
        .with_context(|| format!("mount overlay on {at}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn open(path: &Path) -> OwnedFd {
        rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
    }

    /// An image's root, and a directory for its skeleton.
    fn image(name: &str) -> (PathBuf, PathBuf) {
        let directory = std::env::temp_dir().join(format!("nanoos-writes-{}-{name}", std::process::id()));
        let (lower, skeleton) = (directory.join("lower"), directory.join("skeleton"));
        for path in ["proc", "sys", "dev", "tmp", "run", "usr/etc", "var"] {
            fs::create_dir_all(lower.join(path)).unwrap();
        }
        for name in NAMES {
            fs::write(lower.join("usr/etc").join(name), "").unwrap();
        }
        symlink("/usr/etc", lower.join("etc")).unwrap();
        symlink("../run", lower.join("var/run")).unwrap();
        (lower, skeleton)
    }

    #[test]
    fn a_root_that_has_everything_needs_no_skeleton() {
        let (lower, skeleton) = image("whole");
        assert!(!complete(&open(&lower), skeleton.to_str().unwrap(), &["/", "/var/run"]).unwrap());
        fs::remove_dir_all(lower.parent().unwrap()).unwrap();
    }

    #[test]
    fn what_is_missing_behind_a_symbolic_link_does_not_hide_the_link() {
        let (lower, skeleton) = image("links");
        fs::remove_file(lower.join("usr/etc/hosts")).unwrap();
        assert!(complete(&open(&lower), skeleton.to_str().unwrap(), &["/var/run/app"]).unwrap());
        assert!(skeleton.join("run/app").is_dir() && skeleton.join("usr/etc/hosts").is_file());
        assert!(!skeleton.join("var/run").exists() && !skeleton.join("etc").exists());
        fs::remove_dir_all(lower.parent().unwrap()).unwrap();
    }
}
