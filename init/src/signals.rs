//! Signals to PID 1, read from a file like everything else that init waits for.

use crate::{power, sys};
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};

/// SIGCHLD: a child has ended (signal(7)).
pub const CHILD: i32 = 17;
/// Size of the kernel's `struct signalfd_siginfo` (linux/signalfd.h).
const SIZE: usize = 128;

/// Where signals arrive.
#[derive(Debug)]
pub struct Signals(File);

/// A signal that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Its number.
    pub number: i32,
    /// The process that sent it; 0 is the kernel.
    pub sender: u32,
}

impl Signals {
    /// Starts to listen for children's ends, and for all that asks for the machine's ([`power::SIGNALS`]).
    ///
    /// # Errors
    /// What the system calls answer.
    pub fn listen() -> Result<Self> {
        let numbers = power::SIGNALS.iter().map(|(number, _)| *number);
        let file = sys::signal_file(numbers.chain([CHILD])).context("listen for signals")?;
        Ok(Signals(file.into()))
    }

    /// The next signal that waits; equal ones from before have become one.
    ///
    /// # Errors
    /// What read(2) answers.
    pub fn receive(&mut self) -> Result<Option<Received>> {
        let mut info = [0; SIZE];
        match self.0.read(&mut info) {
            Ok(_) => Ok(parse(&info)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error).context("read signals"),
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The first field is the number, the fourth, after errno and code, the sender.
fn parse(info: &[u8]) -> Option<Received> {
    let word = |index: usize| info.get(index * 4..)?.first_chunk::<4>().map(|bytes| u32::from_ne_bytes(*bytes));
    Some(Received { number: word(0)?.cast_signed(), sender: word(3)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_arrives_with_its_sender() {
        let mut signals = Signals::listen().unwrap();
        assert_eq!(signals.receive().unwrap(), None);
        // To this thread, which alone blocks it.
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGUSR1).unwrap();
        let received = std::iter::from_fn(|| signals.receive().unwrap()).find(|it| it.number != CHILD);
        assert_eq!(received, Some(Received { number: 10, sender: std::process::id() }));
    }
}
