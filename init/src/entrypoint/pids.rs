//! Programs that insist on being PID 1: a PID namespace of their own, as in a container.

use crate::sys;
use anyhow::{Context, Result};
use initramfs::image::{Image, OnExit};
use nix::sys::signal::Signal;
use rustix::mount::{MountFlags, mount};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use std::fs::File;
use std::os::fd::AsFd;

/// Programs by these names are inits: systemd, s6-overlay, busybox and the like refuse to be anything but PID 1.
const INITS: &[&str] = &["/init", "/sbin/init"];

/// Whether an image's program is to be PID 1 of its own namespace.
#[must_use]
pub fn is_pid1(image: &Image) -> bool {
    image.pid1.unwrap_or_else(|| image.argv.first().is_some_and(|program| INITS.contains(&program.as_str())))
}

/// What reboot(2) inside a PID namespace asks for: the kernel ends the namespace's init as if by SIGHUP for a reboot, and
/// by SIGINT for a halt or power off (reboot(2)).
#[must_use]
pub fn asked(killed_by: Option<i32>) -> Option<OnExit> {
    match killed_by.map(Signal::try_from) {
        Some(Ok(Signal::SIGHUP)) => Some(OnExit::Reboot),
        Some(Ok(Signal::SIGINT)) => Some(OnExit::PowerOff),
        _ => None,
    }
}

/// Has `start` make its child PID 1 of a new namespace; later children are in init's own again.
pub(super) fn in_new_namespace<T>(start: impl FnOnce() -> Result<T>) -> Result<T> {
    let ours = File::open("/proc/self/ns/pid").context("open the PID namespace")?;
    sys::unshare(UnshareFlags::NEWPID).context("make a PID namespace")?;
    let started = start();
    move_into_link_name_space(ours.as_fd(), Some(LinkNameSpaceType::ProcessID))
        .context("return to the PID namespace")?;
    started
}

/// Shows the namespace's own processes in /proc, for its own processes only.
pub(super) fn mount_proc() -> Result<()> {
    sys::unshare(UnshareFlags::NEWNS).context("make a mount namespace")?;
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV;
    mount("proc", "/proc", "proc", flags, None).context("mount /proc for the PID namespace")
}

#[cfg(test)]
mod tests {
    use super::*;
    use initramfs::guid::ESP_TYPE;

    #[test]
    fn inits_are_known_by_their_path() {
        let mut image = Image::new(vec!["/sbin/init".to_owned()], ESP_TYPE);
        assert!(is_pid1(&image));
        image.pid1 = Some(false);
        assert!(!is_pid1(&image));
        let mut image = Image::new(vec!["/usr/bin/init".to_owned()], ESP_TYPE);
        assert!(!is_pid1(&image));
        image.pid1 = Some(true);
        assert!(is_pid1(&image));
    }

    #[test]
    fn what_the_kernel_makes_of_reboot_is_understood() {
        assert_eq!(asked(Some(1)), Some(OnExit::Reboot));
        assert_eq!(asked(Some(2)), Some(OnExit::PowerOff));
        assert_eq!(asked(Some(9)), None);
        assert_eq!(asked(Some(64)), None);
        assert_eq!(asked(None), None);
    }
}
