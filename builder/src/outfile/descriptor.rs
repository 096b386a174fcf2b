//! What is open already: `-`, `/dev/stdout`, `/dev/fd/N`.

use super::Identity;
use anyhow::{Context, Result, ensure};
use rustix::fs::OFlags;
use std::fs::{self, File};
use std::os::fd::{BorrowedFd, RawFd};

/// The descriptors that Rust's runtime opens where they are closed: standard input, output and error.
const STANDARD: RawFd = 3;

/// A descriptor of this process once more. Both share the place in the file, as in a shell's `{ …; } 3>file`.
///
/// # Errors
/// When it is not open for writing.
pub(super) fn descriptor(number: RawFd) -> Result<File> {
    let flags = open_flags(number).with_context(|| format!("look at descriptor {number}"))?;
    ensure!(flags & OFlags::RWMODE != OFlags::RDONLY, "it is open for reading only");
    // SAFETY: it is open, as /proc has just told, and what the user names is not closed by this program meanwhile.
    let again = unsafe { BorrowedFd::borrow_raw(number) }.try_clone_to_owned().map(File::from);
    let file = again.with_context(|| format!("duplicate descriptor {number}"))?;
    // Rust's runtime opens /dev/null for both ways in place of a standard descriptor that is closed.
    let metadata = file.metadata().with_context(|| format!("look at descriptor {number}"))?;
    let closed =
        number < STANDARD && flags & OFlags::RWMODE == OFlags::RDWR && Identity::of(&metadata) == Identity::Null;
    ensure!(!closed, "it is closed: name a file, or send it into a pipe");
    Ok(file)
}

/// How a descriptor was opened (proc_pid_fdinfo(5)).
fn open_flags(number: RawFd) -> Result<OFlags> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{number}"))?;
    let flags =
        text.lines().find_map(|line| line.strip_prefix("flags:")).map(|flags| u32::from_str_radix(flags.trim(), 8));
    Ok(OFlags::from_bits_retain(flags.context("it has no flags")??))
}
