//! Signals: ignored, sent, died of.

use nix::sys::signal::{SigHandler, Signal, kill, raise, signal};
use nix::unistd::Pid;
use std::io;
use std::str::FromStr;

/// Ignores these, and everything that is forked or executed afterwards does so too.
pub(crate) fn ignore(names: &[&str]) -> io::Result<()> {
    names.iter().try_for_each(|name| dispose(name, SigHandler::SigIgn))
}

/// Dies of a signal, whatever was done with it before.
pub(crate) fn crash(name: &str) -> io::Result<()> {
    dispose(name, SigHandler::SigDfl)?;
    raise(Signal::from_str(name)?)?;
    Err(io::Error::other(format!("{name} has not ended it")))
}

/// Sends a signal to a process.
pub(crate) fn send(process: &str, name: &str) -> io::Result<()> {
    let process = process.parse().map_err(io::Error::other)?;
    Ok(kill(Pid::from_raw(process), Signal::from_str(name)?)?)
}

fn dispose(name: &str, handler: SigHandler) -> io::Result<()> {
    let wanted = Signal::from_str(name)?;
    if matches!(wanted, Signal::SIGKILL | Signal::SIGSTOP) {
        return Ok(()); // nobody can
    }
    // SAFETY: neither ignoring a signal nor its default runs any code of ours.
    unsafe { signal(wanted, handler) }?;
    Ok(())
}
