//! The child between fork and exec: one step after the other, each with its own error.

use super::user::Credentials;
use crate::root::Root;
use crate::sys;
use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use rustix::process::{chdir, chroot, fchdir, setsid};
use rustix::thread::{Gid, Uid, set_thread_gid, set_thread_groups, set_thread_uid};
use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::OwnedFd;

/// All that a child needs to become the application.
pub(super) struct Launch<'a> {
    pub(super) root: &'a Root,
    pub(super) console: OwnedFd,
    pub(super) cwd: &'a str,
    pub(super) candidates: Vec<CString>,
    pub(super) argv: Vec<CString>,
    pub(super) envp: Vec<CString>,
    pub(super) credentials: Credentials,
}

impl Launch<'_> {
    /// Becomes the application, or says why not.
    pub(super) fn run(&self) -> Result<Infallible> {
        setsid().context("start a session")?;
        let null = File::open("/dev/null").context("open /dev/null")?;
        rustix::stdio::dup2_stdin(&null).context("take /dev/null as standard input")?;
        rustix::stdio::dup2_stdout(&self.console).context("take the console as standard output")?;
        rustix::stdio::dup2_stderr(&self.console).context("take the console as standard error")?;

        fchdir(self.root).context("enter the image's root")?;
        chroot(".").context("enter the image's root")?;
        std::fs::create_dir_all(self.cwd).with_context(|| format!("make working directory {}", self.cwd))?;
        chdir(self.cwd).with_context(|| format!("enter working directory {}", self.cwd))?;

        // The groups first: without root there is no right to set them.
        let Credentials { uid, gid, groups, .. } = &self.credentials;
        let groups: Vec<Gid> = groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
        set_thread_groups(&groups).context("set the supplementary groups")?;
        set_thread_gid(Gid::from_raw(*gid)).with_context(|| format!("become group {gid}"))?;
        set_thread_uid(Uid::from_raw(*uid)).with_context(|| format!("become user {uid}"))?;

        sys::default_disposition(Signal::SIGPIPE).context("restore SIGPIPE")?;
        SigSet::all().thread_unblock().context("unblock signals")?;
        self.exec()
    }

    /// Tries one path after the other, as execvp(3) does: a directory without the program, or where it may not be run,
    /// is passed over.
    fn exec(&self) -> Result<Infallible> {
        let mut denied = false;
        for path in &self.candidates {
            let Err(errno) = nix::unistd::execve(path, &self.argv, &self.envp);
            match errno {
                Errno::ENOENT if exists(path) => {
                    bail!("{} is there, but the interpreter or loader that it names is not", path.to_string_lossy())
                }
                Errno::ENOENT | Errno::ENOTDIR => {}
                Errno::EACCES => denied = true,
                Errno::ENOEXEC => bail!(
                    "{} is no program that this machine runs: a script without #!, or built for another architecture",
                    path.to_string_lossy()
                ),
                errno => bail!("run {}: {}", path.to_string_lossy(), errno.desc()),
            }
        }
        if denied {
            bail!("permission denied: it is not executable, or not for this user");
        }
        match self.candidates.as_slice() {
            [_] => bail!("no such file in the image"),
            _ => bail!("not found in any directory of PATH in the image"),
        }
    }
}

fn exists(path: &CStr) -> bool {
    rustix::fs::access(path, rustix::fs::Access::EXISTS).is_ok()
}
