//! System calls, and trying something in a child.

use std::ffi::CString;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// Tries something in a child of its own: what it changes of itself, or dies of, is gone with it.
pub(super) fn in_child(attempt: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    // SAFETY: the probe has one thread.
    let child = check(unsafe { libc::fork() })?;
    if child == 0 {
        let errno = attempt().map_or_else(|error| error.raw_os_error().unwrap_or(255), |()| 0);
        // SAFETY: ends this process, without its parent's buffers.
        unsafe { libc::_exit(errno) }
    }
    match wait(child)? {
        Ended::Exited(0) => Ok(()),
        Ended::Exited(255) => Err(io::Error::other("not as expected")),
        Ended::Exited(errno) => Err(io::Error::from_raw_os_error(errno)),
        Ended::Killed(signal) => Err(io::Error::other(format!("killed by signal {signal}"))),
    }
}

pub(super) enum Ended {
    Exited(i32),
    Killed(i32),
}

pub(super) fn wait(child: i32) -> io::Result<Ended> {
    let mut status = 0;
    // SAFETY: `status` is an int that lives through the call.
    check(unsafe { libc::waitpid(child, &raw mut status, 0) })?;
    let exited = libc::WIFEXITED(status);
    Ok(if exited { Ended::Exited(libc::WEXITSTATUS(status)) } else { Ended::Killed(libc::WTERMSIG(status)) })
}

pub(crate) fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A system call by its number. Arguments that are addresses must be of what it reads or writes.
pub(super) fn call(number: libc::c_long, arguments: [usize; 5]) -> io::Result<i64> {
    let [a, b, c, d, e] = arguments;
    // SAFETY: callers pass numbers, and addresses of values that live through the call.
    let result = unsafe { libc::syscall(number, a, b, c, d, e) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// As [`call`], for one that opens something.
pub(super) fn open(number: libc::c_long, arguments: [usize; 5]) -> io::Result<OwnedFd> {
    let fd = i32::try_from(call(number, arguments)?).map_err(io::Error::other)?;
    // SAFETY: the kernel has just opened it for nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(super) fn socket(family: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    open(libc::SYS_socket, [family as usize, kind as usize, protocol as usize, 0, 0])
}

pub(super) fn mount(what: &str, kind: &str, at: &str, flags: libc::c_ulong, data: &str) -> io::Result<()> {
    let text = |text: &str| CString::new(text).map_err(io::Error::other);
    let (what, kind, at, data) = (text(what)?, text(kind)?, text(at)?, text(data)?);
    // SAFETY: four strings that live through the call.
    check(unsafe { libc::mount(what.as_ptr(), at.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast()) })?;
    Ok(())
}

pub(crate) fn set_xattr(path: &str, name: &str, value: &[u8]) -> io::Result<()> {
    let (path, name) = (CString::new(path)?, CString::new(name)?);
    // SAFETY: two strings and a buffer with its length, which live through the call.
    check(unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) })?;
    Ok(())
}
