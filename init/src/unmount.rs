//! The end of the file systems that the application mounted.

use crate::errand::Helper;
use crate::root::Root;
use anyhow::{Context, Result, ensure};
use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{MountFlags, UnmountFlags, mount_remount, unmount};
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long the next mount waits for the one before, which may stand on it. A disk that hangs delays the others by
/// that.
const NEXT: Duration = Duration::from_secs(1);

/// Unmounts what the application mounted, the last first, each by a child of its own; what is still in use is made
/// read-only, so that its file system is whole. The image and its overlay hold nothing that outlives the machine. It
/// may take as long as disks and servers take, but no longer than `patience`, and changes the caller's root: it is
/// for a child process.
///
/// # Errors
/// When the mounts cannot be listed, or what has not been written in time; what becomes of each is logged.
pub fn all(root: &Root, patience: Duration) -> Result<()> {
    let deadline = Instant::now() + patience;
    // Init's own: the application may have unmounted the one in its root.
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc = rustix::fs::open("/proc", directory, Mode::empty()).context("open /proc")?;
    rustix::process::fchdir(root).context("enter the application's root")?;
    rustix::process::chroot(".").context("enter the application's root")?;
    // Opened after chroot(2): it lists what is below the root that its reader had then.
    let mounts = openat(&proc, "self/mountinfo", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let mut list = Vec::new();
    File::from(mounts.context("open the list of mounts")?).read_to_end(&mut list).context("read the list of mounts")?;
    let mounts = list.split(|byte| *byte == b'\n').rev().filter_map(parse_mount);
    // Disks first: a network file system may wait for its server for ever.
    let (disks, others): (Vec<Mounted>, Vec<Mounted>) =
        mounts.filter(|mount| mount.at.as_os_str() != "/").partition(|mount| mount.has_disk);
    let mut late = Vec::new();
    for mount in disks.into_iter().chain(others) {
        let child = Helper::start("unmount", || mount.end());
        if !child.is_done_within(NEXT) {
            late.push((child, mount));
        }
    }
    late.retain(|(child, _)| !child.is_done_within(deadline.saturating_duration_since(Instant::now())));
    let late: Vec<String> = late.iter().map(|(_, mount)| mount.at.display().to_string()).collect();
    ensure!(late.is_empty(), "{} has not been written after {} s", late.join(", "), patience.as_secs());
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
struct Mounted {
    at: PathBuf,
    has_disk: bool,
}

impl Mounted {
    /// Unmounts it, or has all written.
    fn end(&self) -> Result<()> {
        let at = self.at.as_path();
        if unmount(at, UnmountFlags::empty()).is_ok() || !self.has_disk {
            return Ok(());
        }
        let Err(errno) = mount_remount(at, MountFlags::RDONLY, "") else { return Ok(()) };
        // Here, as sync(2) may wait for another disk.
        let directory = rustix::fs::open(at, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        let written = directory.and_then(rustix::fs::syncfs);
        written.with_context(|| format!("write out {}", at.display()))?;
        Err(errno).with_context(|| format!("make {} read-only, as it is in use", at.display()))
    }
}

/// A line of /proc/self/mountinfo (proc_pid_mountinfo(5)): the fifth field is where, and the one after ` - ` and the
/// type is what.
fn parse_mount(line: &[u8]) -> Option<Mounted> {
    let mut fields = line.split(|byte| *byte == b' ');
    let at = PathBuf::from(OsString::from_vec(unescape(fields.nth(4)?)));
    let source = fields.skip_while(|field| *field != b"-").nth(2)?;
    Some(Mounted { at, has_disk: source.starts_with(b"/dev/") })
}

/// Spaces, tabs, newlines and backslashes stand as octal numbers there; a name may have any other byte.
fn unescape(mut field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    while let [first, rest @ ..] = field {
        let octal = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok();
        match (first, rest.get(..3).and_then(octal)) {
            (b'\\', Some(byte)) => {
                plain.push(byte);
                field = rest.get(3..).unwrap_or_default();
            }
            _ => {
                plain.push(*first);
                field = rest;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read_as_the_kernel_lists_them() {
        let line = br"36 35 259:5 / /mnt/my\040data rw,noatime shared:1 - ext4 /dev/nvme2n1 rw";
        assert_eq!(parse_mount(line), Some(Mounted { at: "/mnt/my data".into(), has_disk: true }));
        let line = b"22 35 0:20 / /proc rw,nosuid - proc proc rw";
        assert_eq!(parse_mount(line), Some(Mounted { at: "/proc".into(), has_disk: false }));
        assert_eq!(parse_mount(b"garbage"), None);
    }
}
