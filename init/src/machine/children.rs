//! The children of PID 1: the one that is watched, those that report, and every orphan of the machine.

use super::Machine;
use crate::errand::Errand;
use crate::memory;
use crate::power::Asked;
use crate::root::Root;
use crate::{debug, warn};
use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::io::Errno;
use rustix::process::{WaitOptions, WaitStatus, wait};
use std::fs;
use std::time::{Duration, Instant};

/// How long orphans gather where one ends after the other: to wake up for each takes several times as long as to reap it.
/// Other signals wait as long, and nothing else does.
const GATHER: Duration = Duration::from_millis(10);

/// Where the kernel lists the children of init, which has one thread (proc_pid_task(5)).
const CHILDREN: &str = "/proc/1/task/1/children";

/// What init knows of them.
#[derive(Debug, Default)]
pub(super) struct Children {
    watched: Option<Pid>,
    watched_since: Option<Instant>,
    ended: Option<WaitStatus>,
    /// Whether init had no child when it last looked.
    alone: bool,
    /// Those that were ended and may never do so, as they wait for a device that does not answer.
    abandoned: Vec<Pid>,
    /// When orphans were reaped last, and until when signals wait because they end by the thousand.
    reaped: Option<Instant>,
    gather_until: Option<Instant>,
}

impl Children {
    /// Until when signals wait, because orphans end one after the other.
    pub(super) fn gathering(&self) -> Option<Instant> {
        self.gather_until.filter(|until| Instant::now() < *until)
    }

    /// Whether there are no children but abandoned ones.
    fn is_alone(&self) -> bool {
        let listed = || fs::read_to_string(CHILDREN).ok();
        let is_abandoned = |pid: &str| self.abandoned.iter().any(|it| pid.parse() == Ok(it.as_raw()));
        self.alone
            || !self.abandoned.is_empty() && listed().is_some_and(|pids| pids.split_whitespace().all(is_abandoned))
    }

    /// Whether a process is watched, and has not ended.
    pub(super) fn is_watched(&self) -> bool {
        self.watched.is_some()
    }
}

impl Machine {
    /// Watches a process: its end is [`Machine::ended`].
    pub fn watch(&mut self, entrypoint: Pid) {
        self.children.watched = Some(entrypoint);
        self.children.watched_since = Some(Instant::now());
        self.children.ended = None;
    }

    /// How long ago the watched process was started, if it was.
    #[must_use]
    pub fn watched_for(&self) -> Option<Duration> {
        self.children.watched_since.map(|since| since.elapsed())
    }

    /// Hears a child's report to its end, seeing to everything meanwhile. One that is not over by `deadline` is ended,
    /// and `None`.
    ///
    /// # Errors
    /// As [`Machine::turn`].
    pub fn hear(&mut self, errand: Errand, deadline: Option<Instant>) -> Result<Option<Vec<u8>>> {
        self.errand = Some(errand);
        let outcome = loop {
            if self.errand.as_ref().is_none_or(Errand::is_over) {
                break Ok(());
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break Ok(());
            }
            if let Err(asked) = self.turn(deadline) {
                break Err(asked);
            }
        };
        let errand = self.errand.take();
        errand.iter().filter(|errand| !errand.is_over()).for_each(|errand| self.abandon(errand.pid));
        outcome.map(|()| errand.filter(Errand::is_over).map(Errand::into_report))
    }

    /// Hears a child's report to its end even if somebody ends the machine meanwhile: the request waits, for `grace` at
    /// most, and the next turn has it.
    ///
    /// # Errors
    /// As [`Machine::turn`], when the child takes longer than that; it is ended then.
    pub fn hear_out(&mut self, errand: Errand, grace: Duration) -> Result<Vec<u8>> {
        self.errand = Some(errand);
        let mut asked = None;
        let mut deadline = None;
        while self.errand.as_ref().is_some_and(|errand| !errand.is_over()) {
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break;
            }
            if let Err(error) = self.turn(deadline) {
                asked = Some(error.downcast::<Asked>()?);
                deadline.get_or_insert_with(|| Instant::now() + grace);
            }
        }
        let errand = self.errand.take().context("there is no child to hear")?;
        match asked {
            Some(asked) if !errand.is_over() => {
                self.abandon(errand.pid);
                Err(asked.into())
            }
            _ => {
                self.asked = self.asked.take().or(asked);
                Ok(errand.into_report())
            }
        }
    }

    /// Ends a child whose report is not wanted any more. Its end is not waited for.
    pub fn abandon(&mut self, child: Pid) {
        // It may have ended by itself. Nobody else has its number before it is reaped, which happens here only.
        let _ = kill(child, Signal::SIGKILL);
        self.children.abandoned.push(child);
    }

    /// Ends init's own children: those that look for disks, load modules, prepare cards and swap, ask for time servers.
    /// None is started any more.
    pub fn abandon_all(&mut self) {
        self.end_search();
        let mut children: Vec<Pid> = self.drivers.end().collect();
        children.extend(self.network.end_preparations());
        children.extend(self.swap.stop());
        children.extend(self.clock.stop());
        children.into_iter().for_each(|child| self.abandon(child));
    }

    /// How the watched process ended, if it has.
    #[must_use]
    pub fn ended(&self) -> Option<WaitStatus> {
        self.children.ended
    }

    /// Waits until init has no children left but abandoned ones, or until `deadline`, and returns whether it has none.
    ///
    /// # Errors
    /// As [`Machine::turn`].
    pub fn wait_until_alone(&mut self, deadline: Instant) -> Result<bool> {
        self.reap();
        let alone = self.wait_until(deadline, |machine| machine.children.is_alone().then_some(()))?;
        Ok(alone.is_some())
    }

    /// Takes note of every process that has ended: the application's, and orphans that became ours.
    ///
    /// Orphans come by the thousand: they are counted, not listed.
    pub(super) fn reap(&mut self) {
        let mut orphans = 0_u64;
        self.children.alone = false;
        loop {
            // By rustix: nix takes the end by a real-time signal for an error, and does not say whose it was.
            let ended = wait(WaitOptions::NOHANG);
            if let Ok(Some((pid, _))) = ended {
                // Its number may be another process's next.
                self.children.abandoned.retain(|it| it.as_raw() != pid.as_raw_nonzero().get());
            }
            match ended {
                Ok(None) => break,
                Ok(Some((pid, status)))
                    if self.children.watched.is_some_and(|it| it.as_raw() == pid.as_raw_nonzero().get()) =>
                {
                    self.children.ended = Some(status);
                    self.children.watched = None;
                }
                Ok(Some((pid, status))) if self.swap.on_end(Pid::from_raw(pid.as_raw_nonzero().get()), status) => {
                    memory::prefer_an_end_to_thrashing(true);
                    self.root.iter().for_each(Root::grow);
                }
                Ok(Some(_)) => orphans += 1,
                Err(Errno::CHILD) => {
                    self.children.alone = true;
                    break;
                }
                Err(errno) => {
                    warn!("reap: {errno}");
                    break;
                }
            }
        }
        if orphans > 0 {
            debug!("reaped {orphans} orphans");
            let now = Instant::now();
            let is_storm = self.children.reaped.is_some_and(|last| now - last < GATHER);
            self.children.gather_until = is_storm.then(|| now + GATHER);
            self.children.reaped = Some(now);
        }
    }
}
