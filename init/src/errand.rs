//! A child of init that does what may take its time and reports over a pipe, so that PID 1 itself never waits for
//! anything but events.

use crate::log::OrWarn;
use crate::{error, sys};
use anyhow::{Context, Result};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionbio, read};
use rustix::process::{PidfdFlags, pidfd_open};
use std::io::PipeWriter;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// A child on its errand. Its report is over when its end of the pipe is closed: by its death, or by execve(2).
#[derive(Debug)]
pub struct Errand {
    /// The child.
    pub pid: Pid,
    pipe: OwnedFd,
    report: Vec<u8>,
    longest: usize,
    over: bool,
    /// When to say what, if it is not over then.
    reminder: Option<(Instant, String)>,
}

impl Errand {
    /// Starts a child, whose report is at most `longest` bytes; it returns its exit status.
    ///
    /// # Errors
    /// When there can be no pipe or child.
    pub fn start(longest: usize, errand: impl FnOnce(PipeWriter) -> i32) -> Result<Self> {
        Errand::begin(longest, |writer| sys::fork(|| errand(writer)).context("fork"))
    }

    /// As [`Errand::start`], but the child is PID 1 of a PID namespace of its own.
    ///
    /// # Errors
    /// As there.
    pub fn start_as_pid1(longest: usize, errand: impl FnOnce(PipeWriter) -> i32) -> Result<Self> {
        let fork = |writer| sys::fork_as_pid1(|| errand(writer)).context("fork into a new PID namespace");
        Errand::begin(longest, fork)
    }

    fn begin(longest: usize, fork: impl FnOnce(PipeWriter) -> Result<Pid>) -> Result<Self> {
        let (reader, writer) = std::io::pipe().context("make a pipe")?;
        ioctl_fionbio(&reader, true).context("make a pipe that does not block")?;
        let pid = fork(writer)?;
        Ok(Errand { pid, pipe: reader.into(), report: Vec::new(), longest, over: false, reminder: None })
    }

    /// Has the console show a line if the child is still at it after some time.
    #[must_use]
    pub fn remind_after(self, patience: Duration, line: String) -> Self {
        Errand { reminder: Some((Instant::now() + patience, line)), ..self }
    }

    /// When [`Errand::on_time`] wants to be called.
    #[must_use]
    pub fn wake(&self) -> Option<Instant> {
        self.reminder.as_ref().map(|(due, _)| *due)
    }

    /// Does what is due.
    pub fn on_time(&mut self) {
        if let Some((_, line)) = self.reminder.take_if(|(due, _)| Instant::now() >= *due) {
            error!("{line}");
        }
    }

    /// What to wait on.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// Takes in what there is of the report; what is beyond its longest is dropped.
    pub fn on_readable(&mut self) {
        let mut buffer = [0; 4096];
        loop {
            match read(&self.pipe, &mut buffer) {
                Err(Errno::AGAIN | Errno::INTR) => return,
                Ok(0) | Err(_) => {
                    self.over = true;
                    return;
                }
                Ok(length) => {
                    let room = self.longest.saturating_sub(self.report.len());
                    self.report.extend_from_slice(buffer.get(..length.min(room)).unwrap_or_default());
                }
            }
        }
    }

    /// Whether the report is complete.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// The report, as far as it has come.
    #[must_use]
    pub fn report(&self) -> &[u8] {
        &self.report
    }

    /// The report, as far as it has come.
    #[must_use]
    pub fn into_report(self) -> Vec<u8> {
        self.report
    }
}

/// A child that does what may take for ever. Unlike an [`Errand`] it is waited for where it is started: for the
/// machine's end, where nothing else is seen to.
#[derive(Debug)]
pub struct Helper(Option<OwnedFd>);

impl Helper {
    /// Starts one. If there can be none, the work is done here: better late than not at all.
    pub fn start(what: &str, work: impl Fn() -> Result<()>) -> Self {
        let child = sys::fork(|| {
            work().or_warn(what);
            0
        });
        let child = child.context("fork").or_warn(what).and_then(|pid| rustix::process::Pid::from_raw(pid.as_raw()));
        if child.is_none() {
            work().or_warn(what);
        }
        Helper(child.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).context("watch a child").or_warn(what)))
    }

    /// Whether it is done within this time; if it is not, it goes on.
    #[must_use]
    pub fn is_done_within(&self, patience: Duration) -> bool {
        let Some(child) = &self.0 else { return true };
        let patience = Timespec::try_from(patience).unwrap_or_default();
        poll(&mut [PollFd::new(child, PollFlags::IN)], Some(&patience)).is_ok_and(|ready| ready > 0)
    }
}

/// Does something in a child process, and returns whether it is done within this time; if it is not, the child is left
/// behind.
pub fn in_child(what: &str, patience: Duration, work: impl Fn() -> Result<()>) -> bool {
    Helper::start(what, work).is_done_within(patience)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::wait::waitpid;
    use std::io::Write;

    #[test]
    fn a_report_is_heard_to_its_end_and_no_longer_than_it_may_be() {
        let errand = |mut pipe: PipeWriter| pipe.write_all(&[b'x'; 100_000]).map_or(1, |()| 0);
        let mut errand = Errand::start(10_000, errand).unwrap();
        while !errand.is_over() {
            poll(&mut [PollFd::from_borrowed_fd(errand.as_fd(), PollFlags::IN)], None).unwrap();
            errand.on_readable();
        }
        waitpid(errand.pid, None).unwrap();
        assert_eq!(errand.into_report(), [b'x'; 10_000]);
    }

    #[test]
    fn what_hangs_is_left_behind() {
        assert!(in_child("test", Duration::from_secs(5), || Ok(())));
        let start = Instant::now();
        assert!(!in_child("test", Duration::from_millis(50), || {
            std::thread::sleep(Duration::from_secs(2));
            Ok(())
        }));
        assert!(start.elapsed() < Duration::from_secs(1));
    }
}
