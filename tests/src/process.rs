//! Processes that never outlive the test that started them, and tools that are named when they are missing.

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long a process may take to clean up after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// Seconds that a tool may run. The longest, mmdebstrap, takes twenty where the mirror is near.
const PATIENCE: u32 = 15 * 60;

/// timeout(1) ends with this status when the time is over, and with 128 + SIGKILL when that took SIGKILL.
const TIMED_OUT: &[i32] = &[124, 137];

/// Pause between two looks at a process: std has no wait with a deadline.
const POLL: Duration = Duration::from_millis(20);

/// A command whose process gets SIGTERM when the thread that starts it ends, however it ends: even a test run that
/// is killed leaves nothing behind. Start it by [`Group::spawn`].
#[must_use]
pub fn guarded(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "--"]).arg(program);
    command
}

/// A variable in the environment of every process of a [`Group`], by which it is found even in a group or session of
/// its own.
const MARK: &str = "NANOOS_TEST_GROUP";

/// A process and all that come from it: stopped, killed if need be, and waited for on drop.
#[derive(Debug)]
pub struct Group {
    child: Child,
    status: Option<ExitStatus>,
    mark: String,
}

impl Group {
    /// Starts a command that [`guarded`] made.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mark = format!("{}.{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        command.env(MARK, &mark).process_group(0);
        let child = command.spawn().context("start setpriv (Debian package util-linux)")?;
        Ok(Group { child, status: None, mark: format!("{MARK}={mark}") })
    }

    /// The process's id, which is its group's too.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The exit status if the process has ended.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub fn status(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = self.child.try_wait().context("wait for a process")?;
        }
        Ok(self.status)
    }

    /// Waits for the end until a deadline; `None` when it passes.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub fn wait_until(&mut self, deadline: Instant) -> Result<Option<ExitStatus>> {
        loop {
            let status = self.status()?;
            if status.is_some() || Instant::now() >= deadline {
                return Ok(status);
            }
            thread::sleep(POLL);
        }
    }

    /// Sends a signal to the process and everything in its group.
    pub fn signal(&self, signal: Signal) {
        if let Ok(id) = i32::try_from(self.child.id()) {
            // Nobody left to get it: what the caller wanted anyway.
            let _ = killpg(Pid::from_raw(id), signal);
        }
    }
}

impl Group {
    /// The processes that come from this one and still run, itself included: id and command line.
    #[must_use]
    pub fn survivors(&self) -> Vec<(i32, String)> {
        let ids = fs::read_dir("/proc").into_iter().flatten().flatten();
        let ids = ids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        ids.filter(|id| self.is_marked(*id)).map(|id| (id, command_line(id))).collect()
    }

    fn is_marked(&self, id: i32) -> bool {
        // Empty for a process that has ended and waits to be reaped; unreadable for one that is gone or not ours.
        let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|entry| entry == self.mark.as_bytes())
    }
}

fn command_line(id: i32) -> String {
    let words = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&words).trim_end_matches('\0').replace('\0', " ")
}

impl Drop for Group {
    fn drop(&mut self) {
        if matches!(self.status(), Ok(None)) {
            self.signal(Signal::SIGTERM);
            let _ = self.wait_until(Instant::now() + GRACE);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        // What the process left behind. It cannot be waited for, but nothing escapes SIGKILL; and what it started in
        // the meantime bears the mark as well.
        let deadline = Instant::now() + GRACE;
        while let survivors @ [_, ..] = &self.survivors()[..]
            && Instant::now() < deadline
        {
            for (id, _) in survivors {
                let _ = kill(Pid::from_raw(*id), Signal::SIGKILL);
            }
            thread::sleep(POLL);
        }
    }
}

/// A command for [`run`]: a tool that runs to its end by itself, within [`PATIENCE`], and not beyond the calling
/// thread's.
///
/// # Errors
/// The Debian package when the tool is missing.
pub fn tool(program: impl AsRef<Path>, package: &str) -> Result<Command> {
    let program = program.as_ref();
    // A path with a slash is taken as it is, by join as by execvp(3).
    let folders = env::var_os("PATH").unwrap_or_default();
    if !env::split_paths(&folders).any(|folder| folder.join(program).exists()) && !program.exists() {
        bail!("{} is missing: apt-get install {package}", program.display());
    }
    let mut command = guarded("timeout");
    command.arg("--kill-after=10").arg(PATIENCE.to_string()).arg(program);
    Ok(command)
}

/// Runs what [`tool`] made to its end and gives what it wrote to stdout.
///
/// # Errors
/// What it wrote to stderr when it fails; that it took too long.
pub fn run(command: &mut Command) -> Result<Vec<u8>> {
    let Output { status, stdout, stderr } = command.output().context("start setpriv (Debian package util-linux)")?;
    if !status.success() {
        let wrapper = 6; // setpriv --pdeathsig TERM -- timeout --kill-after=10 SECONDS
        let words = command.get_args().skip(wrapper).map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ");
        if status.code().is_some_and(|code| TIMED_OUT.contains(&code)) {
            bail!("{words}: still running after {PATIENCE} s");
        }
        bail!("{words}: {status}\n{}", String::from_utf8_lossy(&stderr).trim_end());
    }
    Ok(stdout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Stdio;

    fn is_running(id: i32) -> bool {
        // A zombie that its new parent has not reaped yet has ended, too.
        fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
    }

    #[test]
    fn drop_ends_even_processes_that_ignore_sigterm_or_run_in_a_session_of_their_own() {
        let script = "trap '' TERM; setsid sleep 1000 & sleep 1000 & echo $$ $!; wait; wait";
        let mut command = guarded("sh");
        let mut group = Group::spawn(command.args(["-c", script]).stdout(Stdio::piped())).unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(group.child.stdout.take().unwrap()), &mut line)
            .unwrap();
        let mut ids: Vec<i32> = line.split_whitespace().map(|id| id.parse().unwrap()).collect();
        let deadline = Instant::now() + Duration::from_secs(30);
        // A process has no environment to be marked by at the moment that it becomes another program.
        while ids.len() < 3 && Instant::now() < deadline {
            ids.extend(group.survivors().iter().map(|(id, _)| *id));
            ids.sort_unstable();
            ids.dedup();
        }
        assert!(ids.len() >= 3 && ids.iter().all(|id| is_running(*id)), "{ids:?}");
        drop(group);
        assert!(!ids.iter().any(|id| is_running(*id)), "{ids:?}");
    }

    #[test]
    fn a_process_ends_with_the_thread_that_started_it() {
        let start = || {
            let group = Group::spawn(guarded("sleep").arg("1000")).unwrap();
            let name = format!("/proc/{}/comm", group.id());
            while fs::read_to_string(&name).unwrap() != "sleep\n" {
                thread::sleep(POLL); // setpriv is still at work
            }
            std::mem::ManuallyDrop::new(group)
        };
        let mut group = thread::spawn(start).join().unwrap();
        let status = group.wait_until(Instant::now() + Duration::from_secs(30)).unwrap();
        assert!(status.is_some(), "sleep still runs");
    }

    #[test]
    fn a_missing_tool_is_named_with_its_package() {
        let error = tool("no-such-tool", "no-package").unwrap_err();
        assert_eq!(error.to_string(), "no-such-tool is missing: apt-get install no-package");
    }

    #[test]
    fn a_failing_tool_shows_what_it_said() {
        let error = run(tool("sh", "dash").unwrap().args(["-c", "echo because >&2; exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "sh -c echo because >&2; exit 3: exit status: 3\nbecause");
    }
}
