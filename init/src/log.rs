//! Log lines: to the kernel's ring buffer, which stamps them with the time and shows them on the console.
//!
//! On a quiet machine the kernel shows only errors there, so [`error!`](crate::error) is for what the person at
//! the console must see: that the application did not start, or how it ended.

use std::fmt::{Arguments, Write as _};
use std::fs::File;
use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// How much a line matters: the kernel's own levels (syslog(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Something the machine was asked to do cannot be done. Shown on every console.
    Error = 3,
    /// Something is missing, and the machine goes on without it.
    Warning = 4,
    /// A step of the boot. Shown with `-d`.
    Info = 6,
}

/// The kernel takes records of up to 1,024 bytes with its own prefix (PRINTKRB_RECORD_MAX) and refuses longer ones.
const LONGEST_LINE: usize = 960;

static KMSG: OnceLock<File> = OnceLock::new();
static DEBUG: AtomicBool = AtomicBool::new(false);

/// Opens the ring buffer; lines logged before go to standard error, which the kernel tied to the console.
pub fn open() {
    // Without this the kernel keeps ten lines of a burst and drops the rest. It may be locked by the command line: fine.
    let _ = std::fs::write("/proc/sys/kernel/printk_devkmsg", "on\n");
    if let Ok(kmsg) = File::options().write(true).open("/dev/kmsg") {
        let _ = KMSG.set(kmsg);
    }
}

/// Keeps or drops the lines of [`debug!`](crate::debug).
pub fn set_debug(on: bool) {
    DEBUG.store(on, Ordering::Relaxed);
}

/// Whether details are wanted.
#[must_use]
pub fn is_debug() -> bool {
    DEBUG.load(Ordering::Relaxed)
}

/// Writes one line; the macros [`error!`](crate::error), [`warn!`](crate::warn), [`info!`](crate::info) and
/// [`debug!`](crate::debug) are what code calls.
pub fn write(level: Level, message: Arguments<'_>) {
    let line = record(level, message);
    // Nobody is left to tell when the log itself cannot be written.
    let _ = match KMSG.get() {
        Some(mut kmsg) => kmsg.write_all(line.as_bytes()),
        None => std::io::stderr().write_all(line.as_bytes()),
    };
}

/// One record of /dev/kmsg. Messages quote what came from outside: a control character in it must not
/// reach the terminal that shows the console.
fn record(level: Level, message: Arguments<'_>) -> String {
    let mut line = format!("<{}>nanoos: ", level as u8);
    let text = message.to_string();
    for character in text.chars() {
        if line.len() > LONGEST_LINE {
            line.push_str(" …");
            break;
        }
        if character.is_control() {
            let _ = write!(line, "{}", character.escape_default());
        } else {
            line.push(character);
        }
    }
    line.push('\n');
    line
}

/// Logs at [`Level::Error`].
#[macro_export]
macro_rules! error { ($($text:tt)*) => { $crate::log::write($crate::log::Level::Error, format_args!($($text)*)) } }

/// Logs at [`Level::Warning`].
#[macro_export]
macro_rules! warn { ($($text:tt)*) => { $crate::log::write($crate::log::Level::Warning, format_args!($($text)*)) } }

/// Logs at [`Level::Info`].
#[macro_export]
macro_rules! info { ($($text:tt)*) => { $crate::log::write($crate::log::Level::Info, format_args!($($text)*)) } }

/// Logs details at [`Level::Info`], with `-d` only: the kernel shows no level below that one on the console.
#[macro_export]
macro_rules! debug { ($($text:tt)*) => { if $crate::log::is_debug() { $crate::info!($($text)*) } } }

/// Makes the severity of a step visible on its line: `?` is fatal, `.or_warn("swap")` is not.
pub trait OrWarn<T> {
    /// The value; or a warning that names `what` with the error's whole chain, and `None`.
    fn or_warn(self, what: &str) -> Option<T>;
}

impl<T, E: Into<anyhow::Error>> OrWarn<T> for Result<T, E> {
    fn or_warn(self, what: &str) -> Option<T> {
        self.map_err(|error| warn!("{what}: {:#}", error.into())).ok()
    }
}

/// Runs a step and logs how long it took.
pub fn timed<T>(step: &str, run: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = run();
    let micros = start.elapsed().as_micros();
    info!("{step}: {}.{} ms", micros / 1000, micros / 100 % 10);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_cannot_steer_the_terminal() {
        assert_eq!(record(Level::Info, format_args!("host \x1b[2J\nx")), "<6>nanoos: host \\u{1b}[2J\\nx\n");
    }

    #[test]
    fn a_line_longer_than_the_kernel_takes_is_cut_and_says_so() {
        let line = record(Level::Error, format_args!("{}", "ä".repeat(2000)));
        assert!(line.len() < 1024 && line.ends_with(" …\n"), "{}", line.len());
    }
}
