//! Control groups (cgroup v2): the application in one of its own, and init in another, so that nothing that the
//! application does, a fork bomb among it, starves PID 1.

use crate::log::OrWarn;
use crate::root::Root;
use crate::{error, mounts};
use anyhow::{Context, Result};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Where init sees the hierarchy. The application sees its own group at /sys/fs/cgroup, and nothing beside it.
const HIERARCHY: &str = "/cgroup";
/// The application's group.
const APP: &str = "/cgroup/app";
/// Init's own.
const INIT: &str = "/cgroup/init";

/// The settings of init's group: on a busy processor it gets a hundred times the application's share, which has the default
/// of 100, and its memory, twice what it ever needs, is not taken back.
const INIT_SETTINGS: &[(&str, &str)] = &[("cpu.weight", "10000"), ("memory.min", "4194304")];
/// How many processes and threads are kept for init and the kernel.
const SPARE_PIDS: u64 = 100;
/// How many groups of the application are looked into: it can make any number, and PID 1 must not be at it for ever.
const MOST_GROUPS: usize = 4096;
/// A machine without memory kills process after process: the console needs to hear it once in this time.
const LATELY: Duration = Duration::from_secs(10);

/// The machine's control groups.
#[derive(Debug)]
pub struct Cgroups {
    events: File,
    known: Events,
    told: Events,
    last_kill: Option<Instant>,
    last_told: Option<Instant>,
}

/// What the kernel has counted in the application's group and all below it (memory.events).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Events {
    /// A limit of a group was met, and nothing could be taken back.
    limit: u64,
    /// Processes that were killed for want of memory: of the group's, or of the machine's.
    killed: u64,
}

impl Cgroups {
    /// Makes the application's group, with every controller that the kernel has, and shows it in the application's root.
    ///
    /// # Errors
    /// When the kernel has no cgroup v2, or the group cannot be made: the application runs without.
    pub fn contain(root: &Root) -> Result<Self> {
        fs::create_dir(APP).with_context(|| format!("make {APP}"))?;
        enable_controllers().or_warn("cgroups");
        limit_processes().or_warn("cgroups");
        mounts::show(APP, root, "sys/fs/cgroup")?;
        let events = format!("{APP}/memory.events");
        let events = File::open(&events).with_context(|| format!("open {events}"))?;
        let mut cgroups =
            Cgroups { events, known: Events::default(), told: Events::default(), last_kill: None, last_told: None };
        // The kernel tells of changes since the last reading only.
        cgroups.on_event();
        Ok(cgroups)
    }

    /// What to wait on, for POLLPRI.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    /// Looks whether the kernel has killed processes for want of memory, and tells it.
    pub fn on_event(&mut self) {
        let Some(now) = self.read().or_warn("cgroups") else { return };
        if now.killed > self.known.killed {
            self.last_kill = Some(Instant::now());
        }
        self.known = now;
        let killed = now.killed.saturating_sub(self.told.killed);
        if killed == 0 || self.last_told.is_some_and(|at| at.elapsed() < LATELY) {
            return;
        }
        self.last_told = Some(Instant::now());
        let processes = if killed == 1 { "a process".to_owned() } else { format!("{killed} processes") };
        if now.limit > self.told.limit {
            error!("out of memory: {processes} of the application met the limit of a control group and died of it");
        } else {
            let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
            let (memory, swap) = (mib(&info, "MemTotal:"), mib(&info, "SwapTotal:"));
            error!(
                "out of memory: {memory} MiB and {swap} MiB of swap are full, the kernel killed {processes} of the application"
            );
        }
        self.told = now;
    }

    /// Whether the kernel has killed a process for want of memory just now.
    #[must_use]
    pub fn has_killed_lately(&self) -> bool {
        self.last_kill.is_some_and(|at| at.elapsed() < LATELY)
    }

    fn read(&mut self) -> Result<Events> {
        let mut text = String::new();
        self.events.rewind().and_then(|()| self.events.read_to_string(&mut text)).context("read memory.events")?;
        Ok(parse(&text))
    }
}

/// How the application's process joins its group: by writing `0` into this file.
#[must_use]
pub fn entrance() -> Option<File> {
    File::options().write(true).open(format!("{APP}/cgroup.procs")).ok()
}

/// Back to the group that all start in, for children of init that do work beside the application's.
pub fn leave_init() {
    // There may be no groups.
    let _ = write(HIERARCHY, "cgroup.procs", "0");
}

/// Moves init to its own group, once the application runs, and away from the kernel's choice of whom to kill.
pub fn protect_init() {
    let group = || -> Result<()> {
        fs::create_dir(INIT).with_context(|| format!("make {INIT}"))?;
        for (file, value) in INIT_SETTINGS {
            write(INIT, file, value).or_warn("cgroups");
        }
        write(INIT, "cgroup.procs", "0")
    };
    if fs::exists(APP).unwrap_or_default() {
        group().or_warn("cgroups");
        // Once more: the application's settings are in force now, kernel.pid_max among them.
        limit_processes().or_warn("cgroups");
    }
    // The kernel spares PID 1 itself, but not the children that it sends to unmount.
    fs::write("/proc/self/oom_score_adj", "-1000").context("write /proc/self/oom_score_adj").or_warn("memory");
}

/// The processes of the application, in whatever groups it has made, in the order of their numbers: as a rule those first
/// that have started others. Empty where there are no groups.
#[must_use]
pub fn processes() -> Vec<Pid> {
    let mut found = BTreeSet::new();
    let mut ahead = vec![PathBuf::from(APP)];
    for _ in 0..MOST_GROUPS {
        let Some(group) = ahead.pop() else { break };
        // A group may be gone again, and of one of threads (EOPNOTSUPP) the processes are listed above it.
        let listed = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
        found.extend(listed.lines().filter_map(|pid| pid.parse::<i32>().ok()).filter(|pid| *pid > 0));
        let entries = fs::read_dir(group).into_iter().flatten().flatten();
        ahead.extend(
            entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()),
        );
    }
    found.into_iter().map(Pid::from_raw).collect()
}

/// Whether any process of the application is left.
#[must_use]
pub fn is_populated() -> bool {
    fs::read_to_string(format!("{APP}/cgroup.events")).is_ok_and(|text| text.lines().any(|line| line == "populated 1"))
}

/// Kills every process of the application, those among them that are just being made.
pub fn kill_all() {
    // ENOENT: there is no such group, or the kernel is older than 5.14. Signals follow anyway.
    let _ = fs::write(format!("{APP}/cgroup.kill"), "1");
}

/// Gives the groups all that the kernel can control.
fn enable_controllers() -> Result<()> {
    let path = format!("{HIERARCHY}/cgroup.controllers");
    let controllers = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let all: Vec<String> = controllers.split_whitespace().map(|name| format!("+{name}")).collect();
    write(HIERARCHY, "cgroup.subtree_control", &all.join(" "))
}

/// A little less than the kernel gives to all: what a fork bomb leaves is for init.
fn limit_processes() -> Result<()> {
    let limit = |name: &str| -> Result<u64> {
        let path = format!("/proc/sys/kernel/{name}");
        let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        text.trim_end().parse().with_context(|| format!("read {path}"))
    };
    let most = limit("pid_max")?.min(limit("threads-max")?).saturating_sub(SPARE_PIDS);
    write(APP, "pids.max", &most.to_string())
}

fn write(group: &str, file: &str, value: &str) -> Result<()> {
    fs::write(format!("{group}/{file}"), value).with_context(|| format!("write {value} to {group}/{file}"))
}

/// Lines of a name and a number (Documentation/admin-guide/cgroup-v2.rst).
fn parse(text: &str) -> Events {
    let count = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).unwrap_or_default()
    };
    Events { limit: count("oom"), killed: count("oom_kill") }
}

/// A line of /proc/meminfo, `MemTotal:  245760 kB`, in MiB.
fn mib(meminfo: &str, name: &str) -> u64 {
    let value = meminfo.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
    value.and_then(|value| value.parse::<u64>().ok()).unwrap_or_default() / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_as_the_kernel_writes_them() {
        let text = "low 0\nhigh 0\nmax 14\noom 2\noom_kill 3\noom_group_kill 0\n";
        assert_eq!(parse(text), Events { limit: 2, killed: 3 });
        assert_eq!(parse("oom_kill x\n"), Events::default());
    }

    #[test]
    fn memory_is_told_in_mib() {
        let text = "MemTotal:         245760 kB\nMemFree:           1 kB\nSwapTotal:             0 kB\n";
        assert_eq!((mib(text, "MemTotal:"), mib(text, "SwapTotal:"), mib(text, "Nope:")), (240, 0, 0));
    }
}
