//! Signals: ignored, sent, died of.

use nix::errno::Errno;
use nix::sys::signal::{SigHandler, SigSet, Signal, kill, raise, signal};
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::{ForkResult, Pid, fork};
use std::str::FromStr;
use std::{io, process};

/// Ignores these, and everything that is forked or executed afterwards does so too.
pub(crate) fn ignore(names: &[&str]) -> io::Result<()> {
    names.iter().try_for_each(|name| dispose(name, SigHandler::SigIgn))
}

/// Ends this process when SIGTERM comes, as shells tell of one that it ended.
pub(crate) fn end_by_sigterm() -> io::Result<()> {
    extern "C" fn end(signal: i32) {
        // SAFETY: _exit(2) may be called by a handler (signal-safety(7)).
        unsafe { nix::libc::_exit(128 + signal) }
    }
    // SAFETY: the handler does nothing but what a handler may.
    unsafe { signal(Signal::SIGTERM, SigHandler::Handler(end)) }?;
    Ok(())
}

/// Has a child send a signal to PID 1, which must be this process, and waits for it.
pub(crate) fn hear(name: &str) -> io::Result<()> {
    let wanted = Signal::from_str(name)?;
    let set = SigSet::from(wanted);
    set.thread_block()?;
    // SAFETY: this process has one thread.
    if let ForkResult::Child = unsafe { fork() }? {
        kill(Pid::from_raw(1), wanted)?;
        process::exit(0);
    }
    println!("hear: {} arrived", set.wait()?);
    Ok(())
}

/// Leaves an orphan, and reaps it as PID 1 has to.
pub(crate) fn adopt() -> io::Result<()> {
    const STATUS: i32 = 7;
    // SAFETY: this process has one thread.
    if let ForkResult::Child = unsafe { fork() }? {
        // SAFETY: as above.
        if let ForkResult::Child = unsafe { fork() }? {
            process::exit(STATUS);
        }
        process::exit(0);
    }
    loop {
        if let WaitStatus::Exited(orphan, STATUS) = wait()? {
            println!("adopt: orphan {orphan} ended with status {STATUS}");
            return Ok(());
        }
    }
}

/// Dies of a signal, whatever was done with it before.
pub(crate) fn crash(name: &str) -> io::Result<()> {
    dispose(name, SigHandler::SigDfl)?;
    if name == "SIGSEGV" {
        // SAFETY: nothing is mapped there. A fault ends PID 1, too; a signal that is sent does not.
        unsafe { std::ptr::without_provenance_mut::<u8>(8).write_volatile(0) };
    }
    raise(Signal::from_str(name)?)?;
    Err(io::Error::other(format!("{name} has not ended it")))
}

/// Sends a signal to a process, `self` for one: `SIGUSR2`, or a real-time one by its number.
pub(crate) fn send(process: &str, name: &str) -> io::Result<()> {
    let process = if process == "self" { process::id().to_string() } else { process.to_owned() };
    let process = process.parse().map_err(io::Error::other)?;
    match name.parse() {
        // SAFETY: kill(2) takes two numbers.
        Ok(number) => Ok(Errno::result(unsafe { nix::libc::kill(process, number) }).map(drop)?),
        Err(_) => Ok(kill(Pid::from_raw(process), Signal::from_str(name)?)?),
    }
}

/// Leaves a child behind that says so when it is asked to end.
pub(crate) fn leave_child() -> io::Result<()> {
    let asked = SigSet::from(Signal::SIGTERM);
    asked.thread_block()?;
    // SAFETY: this process has one thread.
    if let ForkResult::Child = unsafe { fork() }? {
        println!("child: {} arrived", asked.wait()?);
        process::exit(0);
    }
    Ok(())
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
