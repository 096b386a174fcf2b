//! The way down: the application asked to stop, everything else killed, everything written.

use crate::log::OrWarn;
use crate::machine::Machine;
use crate::root::Root;
use crate::{error, info, sys, warn};
use anyhow::{Context, Result};
use initramfs::image::Image;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{MountFlags, UnmountFlags, mount_remount, unmount};
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What is left of the grace after a second press of the button: somebody is in a hurry.
const HURRY: Duration = Duration::from_secs(1);
/// How long processes get to die of SIGKILL. One that hangs in the kernel is left behind.
const DEATH: Duration = Duration::from_secs(5);
/// How long a slow console gets to show the last lines.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Asks the application to stop as its image says, and kills it when its time is up.
pub fn stop(machine: &mut Machine, entrypoint: Pid, image: &Image) {
    machine.ignore_further_requests();
    let name = initramfs::signal::name(image.stop_signal.into());
    info!("power: {name} to the application, {} s to stop", image.stop_timeout);
    if let Err(error) = sys::kill(entrypoint, image.stop_signal) {
        warn!("power: send {name} to process {entrypoint}: {error}");
    }
    let asked = Instant::now();
    let mut deadline = asked + Duration::from_secs(image.stop_timeout.into());
    while machine.ended().is_none() && Instant::now() < deadline {
        // A further request comes as an error: it is in `presses` as well, and ends nothing that is not ending.
        let _ = machine.turn(Some(deadline));
        // The first one brought us here.
        if machine.presses > 1 {
            deadline = deadline.min(Instant::now() + HURRY);
        }
    }
    match machine.ended() {
        Some(status) => info!("power: the application {} after {} ms", describe(status), asked.elapsed().as_millis()),
        None => error!("the application did not stop within {} s of {name}: killing it", asked.elapsed().as_secs()),
    }
}

/// How a process ended, for a message.
#[must_use]
pub fn describe(status: WaitStatus) -> String {
    match status {
        WaitStatus::Exited(_, code) => format!("exited with status {code}"),
        WaitStatus::Signaled(_, signal, core) => {
            format!("was killed by {signal}{}", if core { " and dumped core" } else { "" })
        }
        other => format!("{other:?}"),
    }
}

/// Ends every process but init, unmounts and writes out what is mounted, and lets the console finish.
pub fn finish(machine: &mut Machine) {
    machine.ignore_further_requests();
    kill_all(machine);
    // Opened while there is a /dev: the application's is unmounted with the rest.
    let console = File::options().write(true).open("/dev/console");
    if let Some(root) = &machine.root {
        unmount_all(root).or_warn("unmount");
    }
    rustix::fs::sync();
    if let Ok(console) = console {
        drain_console(&console);
    }
}

fn kill_all(machine: &mut Machine) {
    // ESRCH: nobody is left, as usual.
    if kill(Pid::from_raw(-1), Signal::SIGKILL) == Err(Errno::ESRCH) {
        return;
    }
    let deadline = Instant::now() + DEATH;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Err(_) => return,
            Ok(WaitStatus::StillAlive) if Instant::now() >= deadline => {
                warn!("power: processes are left that SIGKILL does not end");
                return;
            }
            // Whoever ends next wakes this up. A request to end the machine is being met already.
            Ok(WaitStatus::StillAlive) => drop(machine.turn(Some(deadline))),
            Ok(_) => {}
        }
    }
}

/// Unmounts what the application mounted, the last first; what is still in use is made read-only, so that its file
/// system is whole. The image and its overlay hold nothing that outlives the machine.
fn unmount_all(root: &Root) -> Result<()> {
    // Init's own: the application may have unmounted the one in its root.
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc = rustix::fs::open("/proc", directory, Mode::empty()).context("open /proc")?;
    rustix::process::fchdir(root).context("enter the application's root")?;
    rustix::process::chroot(".").context("enter the application's root")?;
    // Opened after chroot(2): it lists what is below the root that its reader had then.
    let mounts = openat(&proc, "self/mountinfo", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let mut list = Vec::new();
    File::from(mounts.context("open the list of mounts")?).read_to_end(&mut list).context("read the list of mounts")?;
    for mount in list.split(|byte| *byte == b'\n').rev().filter_map(parse_mount) {
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

/// Waits until the console has sent what the application wrote last: the power goes with whatever it still holds.
fn drain_console(console: &File) {
    let deadline = Instant::now() + LAST_LINES;
    // The terminal tells how much is left, but no event when nothing is.
    while Instant::now() < deadline && sys::unsent_bytes(console).is_ok_and(|bytes| bytes > 0) {
        std::thread::sleep(Duration::from_millis(1));
    }
    // What is left in the chip itself, a few bytes, goes out in a time that the kernel bounds.
    let _ = rustix::termios::tcdrain(console);
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
