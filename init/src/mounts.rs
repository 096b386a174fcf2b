//! The kernel's own file systems, which the boot needs first and the application expects as well.

use crate::debug;
use crate::log::OrWarn;
use crate::tmpfs::Capacity;
use anyhow::{Context, Result};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags as Flags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsmount, fsopen, mount_remount, move_mount, open_tree,
};
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use sys_mount::{Mount as Builder, MountFlags};

struct Mount {
    what: &'static str,
    at: &'static str,
    flags: MountFlags,
    data: &'static str,
    need: Need,
}

/// Whether a machine can do without a mount.
#[derive(PartialEq, Eq)]
enum Need {
    Always,
    /// Not every kernel is built with it, and only some applications use it.
    IfTheKernelHasIt,
}

const NO_SUID_EXEC_DEV: MountFlags = MountFlags::NOSUID.union(MountFlags::NOEXEC).union(MountFlags::NODEV);
const NO_SUID_EXEC: MountFlags = MountFlags::NOSUID.union(MountFlags::NOEXEC);

/// POSIX shared memory (shm_overview(7)).
const SHM: &str = "/dev/shm";

const fn mount(what: &'static str, at: &'static str, flags: MountFlags, data: &'static str, need: Need) -> Mount {
    Mount { what, at, flags, data, need }
}

/// In the order they stack. cgroup2 is init's: the application gets its part of it (`cgroup.rs`). /run is not here: an image's own /run may hold directories that its program needs.
const EARLY: &[Mount] = &[
    mount("proc", "/proc", NO_SUID_EXEC_DEV, "", Need::Always),
    mount("sysfs", "/sys", NO_SUID_EXEC_DEV, "", Need::Always),
    // Code may be mapped from /dev/zero, as in a container. Docker's size: files that are left here are memory, too.
    mount("devtmpfs", "/dev", MountFlags::NOSUID, "mode=0755,size=64m", Need::Always),
    mount("devpts", "/dev/pts", NO_SUID_EXEC, "mode=0620,gid=5,ptmxmode=0666", Need::IfTheKernelHasIt),
    mount("tmpfs", SHM, NO_SUID_EXEC_DEV, "mode=1777", Need::Always),
    mount("mqueue", "/dev/mqueue", NO_SUID_EXEC_DEV, "", Need::IfTheKernelHasIt),
    mount("hugetlbfs", "/dev/hugepages", MountFlags::NOSUID.union(MountFlags::NODEV), "", Need::IfTheKernelHasIt),
    mount("cgroup2", "/cgroup", NO_SUID_EXEC_DEV, "nsdelegate", Need::IfTheKernelHasIt),
    mount("securityfs", "/sys/kernel/security", NO_SUID_EXEC_DEV, "", Need::IfTheKernelHasIt),
    mount("bpf", "/sys/fs/bpf", NO_SUID_EXEC_DEV, "mode=0700", Need::IfTheKernelHasIt),
];

/// Links in /dev that programs take for granted and the kernel does not make.
const DEV_LINKS: &[(&str, &str)] = &[
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/core", "/proc/kcore"),
];

/// What the application's root shares with init's: each with all that is mounted below it. So it does [`PROC`], unless
/// the application has one of its own.
const SHARED: &[&str] = &["/sys", "/dev"];
/// Where /proc is, and how it is mounted.
const PROC: &str = "/proc";
const PROC_FLAGS: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NOEXEC).union(MountAttrFlags::MOUNT_ATTR_NODEV);

/// Mounts what PID 1 itself cannot work without, and what the kernel offers beyond.
///
/// # Errors
/// The first mount that failed and that no machine can do without.
pub fn early() -> Result<()> {
    for mount in EARLY {
        if let Err(error) = mount.apply() {
            if mount.need == Need::Always {
                return Err(error);
            }
            debug!("{error:#}");
        }
    }
    for (link, target) in DEV_LINKS {
        // A kernel or a fork of this program may have made it before.
        match std::os::unix::fs::symlink(target, link) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            result => {
                result.with_context(|| format!("link {link} to {target}")).or_warn("early mounts");
            }
        }
    }
    Ok(())
}

/// Lets /dev/shm have more files, now that there is swap, unless the application has set its limit.
///
/// # Errors
/// What mount(2) answers.
pub fn grow() -> Result<()> {
    let attempt = || -> Result<()> {
        let inodes = Capacity::of_machine().inodes;
        // 0: without a limit.
        if (1..inodes).contains(&rustix::fs::statfs(SHM)?.f_files) {
            let flags = Flags::NOSUID | Flags::NOEXEC | Flags::NODEV;
            mount_remount(SHM, flags, CString::new(format!("nr_inodes={inodes}"))?.as_c_str())?;
        }
        Ok(())
    };
    attempt().with_context(|| format!("let {SHM} have more files"))
}

impl Mount {
    fn apply(&self) -> Result<()> {
        let Mount { what, at, .. } = self;
        // In sysfs the kernel makes the mount points itself; elsewhere they may be new.
        if !at.starts_with("/sys/") {
            std::fs::create_dir_all(at).with_context(|| format!("make directory {at}"))?;
        }
        // As large as half of the memory, which is the kernel's default; but that has too few inodes.
        let inodes = || format!("{},nr_inodes={}", self.data, Capacity::of_machine().inodes);
        let data = if *what == "tmpfs" { inodes() } else { self.data.to_owned() };
        Builder::builder()
            .fstype(*what)
            .flags(self.flags)
            .data(&data)
            .mount(what, at)
            .map(|_| ())
            .with_context(|| format!("mount {what} on {at}"))
    }
}

/// Shows the kernel's file systems inside the application's root as well; /proc only if `proc`.
///
/// # Errors
/// When the image has something at one of these paths that is not a directory: no Linux program works so.
pub fn share_with(root: &OwnedFd, proc: bool) -> Result<()> {
    for path in SHARED.iter().chain([&PROC].into_iter().filter(|_| proc)) {
        let shared = make_mount_point(root, path).and_then(|()| show(path, root, inside(path)));
        shared.with_context(|| format!("mount {path} in the image's root"))?;
    }
    Ok(())
}

/// Mounts a /proc in the application's root that shows the PID namespace of the caller.
///
/// # Errors
/// As [`share_with`].
pub fn own_proc(root: impl AsFd) -> Result<()> {
    let attempt = || -> Result<()> {
        make_mount_point(&root, PROC)?;
        let target = open_mount_point(&root, inside(PROC))?;
        let proc = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC).context("open the file system")?;
        fsconfig_create(&proc).context("make the file system")?;
        let proc = fsmount(&proc, FsMountFlags::FSMOUNT_CLOEXEC, PROC_FLAGS).context("mount the file system")?;
        attach(proc, target).context("attach it")
    };
    attempt().with_context(|| format!("mount {PROC} of the PID namespace in the image's root"))
}

fn inside(path: &str) -> &str {
    path.trim_start_matches('/')
}

fn make_mount_point(root: impl AsFd, path: &str) -> Result<()> {
    match rustix::fs::mkdirat(root, inside(path), Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno).context("make the directory"),
    }
}

/// An image may have a symbolic link there that leads anywhere: none is followed.
fn open_mount_point(root: impl AsFd, inside: &str) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat2(root, inside, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
        .context("the image has something there that is not a directory")
}

/// Shows a directory of init's, with all that is mounted below it, in a directory of the application's root.
///
/// # Errors
/// When there is no such directory.
pub fn show(path: &str, root: impl AsFd, inside: &str) -> Result<()> {
    let target = open_mount_point(root, inside)?;
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(CWD, path, clone).with_context(|| format!("clone the mounts below {path}"))?;
    attach(&tree, &target).context("attach them")
}

/// Attaches a detached mount to the directory that `target` is open on.
fn attach(tree: impl AsFd, target: impl AsFd) -> rustix::io::Result<()> {
    let here = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, "", target, "", here)
}
