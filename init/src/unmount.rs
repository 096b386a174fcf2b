//! The end of the file systems that the application mounted.

use crate::log::OrWarn;
use crate::root::Root;
use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{MountFlags, UnmountFlags, mount_remount, unmount};
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// Unmounts what the application mounted, the last first; what is still in use is made read-only, so that its file
/// system is whole. The image and its overlay hold nothing that outlives the machine. It may take as long as disks
/// and servers take, and changes the caller's root: it is for a child process.
///
/// # Errors
/// When the mounts cannot be listed; what becomes of each is logged.
pub fn all(root: &Root) -> Result<()> {
    // Init's own: the application may have unmounted the one in its root.
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc = rustix::fs::open("/proc", directory, Mode::empty()).context("open /proc")?;
    rustix::process::fchdir(root).context("enter the application's root")?;
    rustix::process::chroot(".").context("enter the application's root")?;
    // Opened after chroot(2): it lists what is below the root that its reader had then.
    let mounts = openat(&proc, "self/mountinfo", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let mut list = Vec::new();
    File::from(mounts.context("open the list of mounts")?).read_to_end(&mut list).context("read the list of mounts")?;
    let mounts: Vec<Mounted> = list.split(|byte| *byte == b'\n').rev().filter_map(parse_mount).collect();
    // Disks first: a network file system may wait for its server for ever.
    let (disks, others): (Vec<&Mounted>, Vec<&Mounted>) = mounts.iter().partition(|mount| mount.has_disk);
    for mount in disks.into_iter().chain(others) {
        if mount.at.as_os_str() == "/" || unmount(mount.at.as_path(), UnmountFlags::empty()).is_ok() {
            continue;
        }
        if mount.has_disk {
            let result = mount_remount(mount.at.as_path(), MountFlags::RDONLY, "");
            result
                .with_context(|| format!("make {} read-only, as it is in use", mount.at.display()))
                .or_warn("unmount");
        }
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
struct Mounted {
    at: PathBuf,
    has_disk: bool,
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
