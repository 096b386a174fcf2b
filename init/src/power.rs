//! Power: the ACPI button, the signals that ask PID 1 to end the machine, and the end itself.

use crate::errand::in_child;
use crate::log::OrWarn;
use crate::sys::firmware;
use crate::{error, info};
use anyhow::Context;
use initramfs::image::OnExit;
use nix::sys::signal::Signal;
use rustix::system::RebootCommand;
use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

/// Linux's code of the power key (linux/input-event-codes.h).
const KEY_POWER: u16 = 116;
/// The type of a key's event, and the value of its press.
const EV_KEY: u16 = 1;
const PRESSED: i32 = 1;
/// A 64-bit kernel's `struct input_event`: two 64-bit words of time, type, code, value.
const EVENT_SIZE: usize = 24;

/// Somebody asked for the end of the machine. It travels as an error: whatever the boot is doing, it ends there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked(pub OnExit);

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            OnExit::PowerOff => "asked to power off",
            OnExit::Reboot => "asked to reboot",
        })
    }
}

impl std::error::Error for Asked {}

/// What signals ask of the machine's PID 1, by their numbers. The application's processes reach it with `--pid1=no`
/// only: otherwise PID 1 is their own. The kernel sends SIGINT for ctrl-alt-del, busybox's `halt`, `poweroff` and
/// `reboot` the next three (init/init.c), and a UPS daemon's SIGPWR means that the power is about to go. The real-time
/// ones are systemd's (systemd(1), SIGNALS), counted from the C library's SIGRTMIN, 34: halt, power off, reboot and
/// kexec, and the same without delay.
pub const SIGNALS: &[(i32, OnExit)] = &[
    (Signal::SIGINT as i32, OnExit::Reboot),
    (Signal::SIGUSR1 as i32, OnExit::PowerOff),
    (Signal::SIGUSR2 as i32, OnExit::PowerOff),
    (Signal::SIGTERM as i32, OnExit::Reboot),
    (Signal::SIGPWR as i32, OnExit::PowerOff),
    (34 + 3, OnExit::PowerOff),
    (34 + 4, OnExit::PowerOff),
    (34 + 5, OnExit::Reboot),
    (34 + 6, OnExit::Reboot),
    (34 + 13, OnExit::PowerOff),
    (34 + 14, OnExit::PowerOff),
    (34 + 15, OnExit::Reboot),
    (34 + 16, OnExit::Reboot),
];

/// What a process of a PID namespace asked for by reboot(2): the kernel ends the namespace's PID 1 as if by SIGHUP for
/// a reboot, and by SIGINT for a halt or power off. Nothing else ends a PID 1 by these two.
#[must_use]
pub fn asked_by_reboot(killed_by: Option<i32>) -> Option<Asked> {
    match killed_by.map(Signal::try_from) {
        Some(Ok(Signal::SIGHUP)) => Some(Asked(OnExit::Reboot)),
        Some(Ok(Signal::SIGINT)) => Some(Asked(OnExit::PowerOff)),
        _ => None,
    }
}

/// Has ctrl-alt-del sent to init as a signal, instead of rebooting at once.
pub fn take_ctrl_alt_del() {
    rustix::system::reboot(RebootCommand::CadOff).context("take ctrl-alt-del").or_warn("power");
}

/// The machine's power buttons.
#[derive(Debug, Default)]
pub struct Buttons(Vec<Button>);

#[derive(Debug)]
struct Button {
    name: String,
    events: File,
}

impl Buttons {
    /// Takes in the buttons that are there now.
    pub fn adopt_present(&mut self) {
        for entry in fs::read_dir("/sys/class/input").into_iter().flatten().flatten() {
            if let Ok(name) = entry.file_name().into_string() {
                self.adopt(&name);
            }
        }
    }

    /// Takes in an input device, `event0` for example, if it has a power key.
    pub fn adopt(&mut self, name: &str) {
        let known = self.0.iter().any(|button| button.name == name);
        if known || !name.starts_with("event") || !has_power_key(name) {
            return;
        }
        let device = Path::new("/dev/input").join(name);
        let open = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&device);
        if let Some(events) = open.with_context(|| format!("open {}", device.display())).or_warn("power button") {
            info!("power: button at {}", device.display());
            self.0.push(Button { name: name.to_owned(), events });
        }
    }

    /// What to wait on, each with the number of its button.
    pub fn files(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>)> {
        self.0.iter().enumerate().map(|(button, it)| (button, it.events.as_fd()))
    }

    /// How often a button was pressed since it was last read. One that cannot be read any more is forgotten.
    pub fn presses(&mut self, button: usize) -> usize {
        let Some(it) = self.0.get_mut(button) else { return 0 };
        let mut buffer = [0; EVENT_SIZE * 64];
        match it.events.read(&mut buffer) {
            Ok(length) if length > 0 => count_presses(buffer.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => 0,
            _ => {
                self.0.remove(button);
                0
            }
        }
    }
}

fn has_power_key(name: &str) -> bool {
    let keys = Path::new("/sys/class/input").join(name).join("device/capabilities/key");
    fs::read_to_string(keys).is_ok_and(|bits| bit(&bits, KEY_POWER.into()))
}

/// Whether a bit is set in sysfs's form of a bitmap: words of 64 bits in hexadecimal, the highest first.
fn bit(bitmap: &str, number: usize) -> bool {
    let word = bitmap.split_whitespace().rev().nth(number / 64);
    word.and_then(|word| u64::from_str_radix(word, 16).ok()).is_some_and(|word| word >> (number % 64) & 1 == 1)
}

fn count_presses(events: &[u8]) -> usize {
    let is_press = |event: &&[u8]| {
        event.get(16..18) == Some(&EV_KEY.to_ne_bytes()[..])
            && event.get(18..20) == Some(&KEY_POWER.to_ne_bytes()[..])
            && event.get(20..24) == Some(&PRESSED.to_ne_bytes()[..])
    };
    events.chunks_exact(EVENT_SIZE).filter(is_press).count()
}

/// How long the kernel gets to end the machine. It shuts every device down before, which takes a second or two, and
/// waits without end for one that is still being probed (`wait_for_device_probe` in its device_shutdown) or that owes
/// it an answer (`nvme_wait_freeze_timeout`, for as long as `nvme_core.io_timeout` says).
const KERNEL: Duration = Duration::from_secs(10);
/// How long the firmware gets.
const FIRMWARE: Duration = Duration::from_secs(5);

/// Ends the machine, also beside a device that hangs. Everything worth keeping must be written before.
pub fn end(how: OnExit) -> ! {
    let (command, what) = match how {
        OnExit::PowerOff => (RebootCommand::PowerOff, "powered off"),
        OnExit::Reboot => (RebootCommand::Restart, "rebooted"),
    };
    if !in_child("power", KERNEL, || rustix::system::reboot(command).context("end the machine")) {
        let seconds = KERNEL.as_secs();
        error!("power: the kernel has not {what} the machine in {seconds} s, a device hangs: asking the firmware");
    }
    in_child("power", FIRMWARE, || firmware::reset(how));
    if how == OnExit::Reboot {
        // At once, without a look at any device (Documentation/admin-guide/sysrq.rst).
        fs::write("/proc/sysrq-trigger", "b\n").context("reboot by sysrq").or_warn("power");
    }
    error!("power: neither the kernel nor the firmware has {what} the machine: it stands still");
    // PID 1 must not end: that would be a kernel panic.
    loop {
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: u16, code: u16, value: i32) -> Vec<u8> {
        [&[0; 16][..], &kind.to_ne_bytes(), &code.to_ne_bytes(), &value.to_ne_bytes()].concat()
    }

    #[test]
    fn what_the_kernel_makes_of_reboot_is_understood() {
        assert_eq!(asked_by_reboot(Some(1)), Some(Asked(OnExit::Reboot)));
        assert_eq!(asked_by_reboot(Some(2)), Some(Asked(OnExit::PowerOff)));
        for other in [Some(9), Some(64), None] {
            assert_eq!(asked_by_reboot(other), None);
        }
    }

    #[test]
    fn one_press_is_one_press_and_its_release_is_none() {
        let events = [event(1, 116, 1), event(0, 0, 0), event(1, 116, 0), event(0, 0, 0), event(1, 30, 1)].concat();
        assert_eq!(count_presses(&events), 1);
        assert_eq!(count_presses(&events[..23]), 0);
    }

    #[test]
    fn the_power_key_is_found_in_the_bitmap_of_an_acpi_button() {
        assert!(bit("10000000000000 0\n", 116));
        // A PC keyboard has one too; a mouse has not.
        assert!(bit("402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe\n", 116));
        assert!(!bit("70000 0 0 0 0\n", 116));
        assert!(!bit("", 116));
    }
}
