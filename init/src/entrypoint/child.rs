//! The child between fork and exec: one step after the other, each with its own error.

use super::diagnosis;
use super::limits;
use super::user::Credentials;
use crate::console::Ends;
use crate::root::Root;
use crate::{mounts, sys, sysctl};
use anyhow::{Context, Result, bail};
use initramfs::image::Image;
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::process::{chdir, chroot, fchdir, setsid};
use rustix::thread::{Gid, Uid, UnshareFlags, set_no_new_privs, set_thread_gid, set_thread_groups, set_thread_uid};
use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{Read, Write};

/// All that a child needs to become the application.
pub(super) struct Launch<'a> {
    pub(super) root: &'a Root,
    pub(super) ends: Ends,
    /// The entrance to its control group, where there is one.
    pub(super) group: Option<File>,
    pub(super) candidates: Vec<CString>,
    pub(super) argv: Vec<CString>,
    pub(super) envp: Vec<CString>,
    pub(super) credentials: Credentials,
    pub(super) image: &'a Image,
}

impl Launch<'_> {
    /// Becomes the application, or says why not.
    pub(super) fn run(&self) -> Result<Infallible> {
        setsid().context("start a session")?;
        let null = File::open("/dev/null").context("open /dev/null")?;
        rustix::stdio::dup2_stdin(&null).context("take /dev/null as standard input")?;
        rustix::stdio::dup2_stdout(&self.ends.output).context("take the pipe to the console as standard output")?;
        rustix::stdio::dup2_stderr(&self.ends.error).context("take the pipe to the console as standard error")?;

        if let Some(mut group) = self.group.as_ref() {
            group.write_all(b"0").context("join the application's control group")?;
            sys::unshare(UnshareFlags::NEWCGROUP).context("make its control group the root of all it sees")?;
        }
        sysctl::apply(self.image);
        limits::set(&self.image.limits)?;
        // Whatever init has made of its own.
        std::fs::write("/proc/self/oom_score_adj", "0").context("be killed as any other when memory is full")?;

        if self.image.pid1 {
            mounts::own_proc(self.root)?;
        }
        fchdir(self.root).context("enter the image's root")?;
        chroot(".").context("enter the image's root")?;
        // Root's, as Docker makes it: an image that wants it for its user has it already.
        let cwd = &self.image.cwd;
        std::fs::create_dir_all(cwd).with_context(|| format!("make working directory {cwd}"))?;
        chdir(cwd.as_str()).with_context(|| format!("enter working directory {cwd}"))?;

        // The groups first: without root there is no right to set them.
        let Credentials { uid, gid, groups, .. } = &self.credentials;
        let groups: Vec<Gid> = groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
        set_thread_groups(&groups).context("set the supplementary groups")?;
        set_thread_gid(Gid::from_raw(*gid)).with_context(|| format!("become group {gid}"))?;
        set_thread_uid(Uid::from_raw(*uid)).with_context(|| format!("become user {uid}"))?;

        if self.image.no_new_privileges {
            set_no_new_privs(true).context("set no_new_privs")?;
        }
        sys::default_disposition(Signal::SIGPIPE).context("restore SIGPIPE")?;
        SigSet::all().thread_unblock().context("unblock signals")?;
        self.exec()
    }

    /// Tries one path after the other, as execvp(3) does: a directory without the program, or where it may not be run,
    /// is passed over.
    fn exec(&self) -> Result<Infallible> {
        let mut denied = None;
        for path in &self.candidates {
            let Err(errno) = nix::unistd::execve(path, &self.argv, &self.envp);
            match errno {
                Errno::ENOENT if exists(path) => bail!("{}", lacks(path)),
                Errno::ENOENT | Errno::ENOTDIR => {}
                Errno::EACCES => denied = denied.or(Some(path)),
                Errno::ENOEXEC => bail!("{}", not_a_program(path)),
                errno => bail!("run {}: {}", path.to_string_lossy(), errno.desc()),
            }
        }
        match (denied, self.candidates.as_slice()) {
            (Some(path), _) if is_directory(path) => bail!("{} is a directory", path.to_string_lossy()),
            (Some(path), _) => {
                bail!("permission denied: {} is not executable, or not for this user", path.to_string_lossy())
            }
            (None, [_]) => bail!("no such file in the image"),
            (None, _) => bail!("not found in any directory of PATH in the image"),
        }
    }
}

fn exists(path: &CStr) -> bool {
    rustix::fs::access(path, rustix::fs::Access::EXISTS).is_ok()
}

fn is_directory(path: &CStr) -> bool {
    rustix::fs::stat(path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// What a program that is there lacks, so that the kernel finds "no such file".
fn lacks(path: &CStr) -> String {
    let name = path.to_string_lossy();
    let head = head(path).unwrap_or_default();
    match (diagnosis::interpreter(&head), diagnosis::loader(&head)) {
        (Some(interpreter), _) => format!("{name} is a script for {interpreter}, which the image does not have"),
        (None, Some(loader)) => format!("{name} is linked for the loader {loader}, which the image does not have"),
        (None, None) => format!("{name} is there, but the interpreter or loader that it names is not"),
    }
}

fn not_a_program(path: &CStr) -> String {
    match head(path) {
        Ok(head) => format!("{} is {}", path.to_string_lossy(), diagnosis::not_a_program(&head)),
        Err(_) => format!("{} is no program that this machine runs", path.to_string_lossy()),
    }
}

/// The first bytes of a program; one that may be run may still not be read.
fn head(path: &CStr) -> Result<Vec<u8>> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut head = Vec::new();
    File::from(file).take(diagnosis::HEAD as u64).read_to_end(&mut head)?;
    Ok(head)
}
