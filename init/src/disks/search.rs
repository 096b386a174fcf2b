//! The search for the root: each disk's partition table is read by a child of its own, side by side, as a disk may be
//! slow, or answer nothing at all.

use super::{device_of, names, partition_number};
use crate::errand::Errand;
use crate::error;
use crate::log::OrWarn;
use anyhow::{Context, Result};
use initramfs::guid::Guid;
use nix::unistd::Pid;
use std::io::Write;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a disk may take until the console names it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest report: the number of a partition, or a sentence.
const LONGEST: usize = 4096;

/// The disks, and what is known of each.
#[derive(Debug)]
pub struct Search {
    unique: Guid,
    found: Option<PathBuf>,
    looks: Vec<Look>,
}

/// A disk that is or was looked at.
#[derive(Debug)]
struct Look {
    disk: String,
    state: State,
}

#[derive(Debug)]
enum State {
    /// `again`: the disk has changed since. `is_told`: it has been so for long.
    Reading { errand: Errand, since: Instant, again: bool, is_told: bool },
    /// What to say of it, where its name does not say all.
    Read(String),
}

impl Search {
    /// Looks for the partition with this unique GUID on the disks that are there.
    #[must_use]
    pub fn start(unique: Guid) -> Self {
        let mut search = Search { unique, found: None, looks: Vec::new() };
        search.look_at_all();
        search
    }

    /// Looks at the disks that are there.
    pub fn look_at_all(&mut self) {
        names().iter().for_each(|disk| self.look_at(disk));
    }

    /// Looks at a disk that has appeared or changed. The kernel announces one when it has read its partition table;
    /// before, opening it would wait for that.
    pub fn look_at(&mut self, disk: &str) {
        if let Some(Look { state: State::Reading { again, .. }, .. }) =
            self.looks.iter_mut().find(|look| look.disk == disk)
        {
            *again = true;
            return;
        }
        let state = match self.read(disk).with_context(|| format!("look at {disk}")).or_warn("disks") {
            Some(errand) => State::Reading { errand, since: Instant::now(), again: false, is_told: false },
            None => State::Read("cannot be looked at".to_owned()),
        };
        self.looks.retain(|look| look.disk != disk);
        self.looks.push(Look { disk: disk.to_owned(), state });
    }

    fn read(&self, disk: &str) -> Result<Errand> {
        Errand::start(LONGEST, |mut pipe| {
            let report = match partition_number(disk, self.unique) {
                Ok(Some(number)) => number.to_string(),
                Ok(None) => return 0,
                Err(error) => format!("cannot be read ({error:#})"),
            };
            pipe.write_all(report.as_bytes()).map_or(1, |()| 0)
        })
    }

    /// What to wait on.
    pub fn files(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.looks.iter().filter_map(|look| match &look.state {
            State::Reading { errand, .. } => Some(errand.as_fd()),
            State::Read(_) => None,
        })
    }

    /// The disks that have not answered yet.
    pub fn reading(&self) -> impl Iterator<Item = &str> {
        self.looks.iter().filter(|look| matches!(look.state, State::Reading { .. })).map(|look| look.disk.as_str())
    }

    /// Hears what was found.
    pub fn on_event(&mut self) {
        let mut changed = Vec::new();
        for look in &mut self.looks {
            let State::Reading { errand, again, .. } = &mut look.state else { continue };
            errand.on_readable();
            if !errand.is_over() {
                continue;
            }
            let report = String::from_utf8_lossy(errand.report()).into_owned();
            let partition = report.parse().ok();
            let device = partition.and_then(|number| device_of(&look.disk, number));
            if *again && device.is_none() {
                changed.push(look.disk.clone());
            }
            // The kernel makes no device of a partition that reaches beyond the end of its disk.
            let short = "whose partition table has it, but which is shorter than that table says";
            let said = match partition {
                Some(_) => short.to_owned(),
                None if report.is_empty() => report,
                None => format!("which {report}"),
            };
            look.state = State::Read(said);
            self.found = self.found.take().or(device);
        }
        changed.iter().for_each(|disk| self.look_at(disk));
    }

    /// When [`Search::on_time`] wants to be called next.
    #[must_use]
    pub fn wake(&self) -> Option<Instant> {
        let due = self.looks.iter().filter_map(|look| match &look.state {
            State::Reading { since, is_told: false, .. } => Some(*since + PATIENCE),
            _ => None,
        });
        due.min()
    }

    /// Names the disks whose patience is over.
    pub fn on_time(&mut self) {
        for Look { disk, state } in &mut self.looks {
            if let State::Reading { since, is_told, .. } = state
                && !*is_told
                && since.elapsed() >= PATIENCE
            {
                *is_told = true;
                error!("disks: {disk} has not answered for {} s", PATIENCE.as_secs());
            }
        }
    }

    /// The device of the partition, once it is found.
    #[must_use]
    pub fn found(&self) -> Option<PathBuf> {
        self.found.clone()
    }

    /// The disks for a message, with a remark where one should have the partition and has not.
    #[must_use]
    pub fn described(&self) -> Vec<String> {
        let describe = |disk: String| match self.looks.iter().find(|look| look.disk == disk).map(|look| &look.state) {
            Some(State::Read(said)) if said.is_empty() => disk,
            Some(State::Read(said)) => format!("{disk}, {said}"),
            // One that is not looked at is one that the kernel has not announced.
            Some(State::Reading { .. }) | None => format!("{disk}, which does not answer"),
        };
        names().into_iter().map(describe).collect()
    }

    /// The children that are still at it.
    pub fn into_children(self) -> impl Iterator<Item = Pid> {
        self.looks.into_iter().filter_map(|look| match look.state {
            State::Reading { errand, .. } => Some(errand.pid),
            State::Read(_) => None,
        })
    }
}
