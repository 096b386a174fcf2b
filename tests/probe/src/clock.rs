//! The machine's clock, and how the kernel steers it.

use nix::libc;
use std::io;

/// Seconds since 1970, and what adjtimex(2) tells, as `NAME VALUE` on a line each.
pub(crate) fn tell() -> io::Result<String> {
    // SAFETY: the structure is numbers only, for which zero is a value; zero modes only read.
    let mut kernel: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes to the one structure that lives through the call.
    if unsafe { libc::adjtimex(&raw mut kernel) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let now = std::time::UNIX_EPOCH.elapsed().map_err(io::Error::other)?;
    let libc::timex { offset, freq, status, maxerror, .. } = kernel;
    let seconds = now.as_secs_f64();
    Ok(format!("time {seconds:.6}\noffset {offset}\nfrequency {freq}\nstatus {status}\nmaxerror {maxerror}\n"))
}
