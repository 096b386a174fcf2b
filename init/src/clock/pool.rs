//! Servers of the public pool, for a network that names none.
//!
//! A name is looked up as the application would, with its root's /etc/resolv.conf, by the C library, which may take its
//! time: in a child process, whose answer comes through a pipe.

use crate::log::OrWarn;
use crate::root::Root;
use crate::sys;
use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use std::net::{IpAddr, Ipv6Addr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// The pool's names; the second one is its only one with IPv6 addresses, and the first is asked where that fails.
const NAMES: [&str; 2] = ["2.pool.ntp.org", "pool.ntp.org"];
/// How many servers are taken: with four, one may lie.
pub const SERVERS: usize = 4;
/// The C library gives up on its own after two tries of five seconds with each of up to three resolvers.
const PATIENCE: Duration = Duration::from_secs(60);
/// An IPv6 address, or an IPv4 address as one.
const RECORD: usize = 16;

/// A lookup under way.
#[derive(Debug)]
pub struct Lookup {
    pipe: OwnedFd,
    /// Who looks.
    pub child: Pid,
    /// Until when the child may take.
    pub deadline: Instant,
    bytes: Vec<u8>,
    finished: bool,
}

impl Lookup {
    /// Starts one.
    ///
    /// # Errors
    /// When the machine is out of processes or files.
    pub fn start(root: &Root) -> Result<Self> {
        let (pipe, answer) = pipe_with(PipeFlags::CLOEXEC).context("make a pipe")?;
        rustix::fs::fcntl_setfl(&pipe, OFlags::NONBLOCK).context("make the pipe's end non-blocking")?;
        let child = sys::fork(|| i32::from(look_up(root, &answer).or_warn("clock").is_none()))
            .context("start a process to look up time servers")?;
        Ok(Lookup { pipe, child, deadline: Instant::now() + PATIENCE, bytes: Vec::new(), finished: false })
    }

    /// What to wait on.
    #[must_use]
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// The servers, once the child has told them all or ended.
    pub fn receive(&mut self) -> Option<Vec<IpAddr>> {
        let mut buffer = [0; SERVERS * RECORD];
        loop {
            match rustix::io::read(&self.pipe, &mut buffer[..]) {
                Ok(0) => self.finished = true,
                Ok(length) => self.bytes.extend(buffer.get(..length).unwrap_or_default()),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return None,
                Err(_) => {}
            }
            if self.finished || self.bytes.len() >= SERVERS * RECORD {
                return Some(decode(&self.bytes));
            }
        }
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        // As long as its end of the pipe is open the child is there, so that its number is nobody else's.
        if !self.finished {
            let _ = kill(self.child, Signal::SIGKILL);
        }
    }
}

/// Runs in the child.
fn look_up(root: &Root, answer: &OwnedFd) -> Result<()> {
    rustix::process::fchdir(root).context("enter the application's root")?;
    rustix::process::chroot(".").context("enter the application's root")?;
    let [first, second] = NAMES.map(|name| move || (name, 0).to_socket_addrs());
    let found = first().or_else(|_| second()).with_context(|| format!("look up {} and {}", NAMES[0], NAMES[1]))?;
    let servers: Vec<IpAddr> = found.map(|it| it.ip()).collect();
    rustix::io::write(answer, &encode(&servers)).context("tell the time servers")?;
    Ok(())
}

fn encode(servers: &[IpAddr]) -> Vec<u8> {
    let records = servers.iter().take(SERVERS).map(|address| match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    });
    records.flatten().collect()
}

fn decode(bytes: &[u8]) -> Vec<IpAddr> {
    let (records, _) = bytes.as_chunks::<RECORD>();
    records.iter().take(SERVERS).map(|record| Ipv6Addr::from(*record).to_canonical()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_kinds_go_through_the_pipe() {
        let servers: Vec<IpAddr> = ["192.0.2.1", "2001:db8::1", "192.0.2.3", "192.0.2.4", "192.0.2.5"]
            .iter()
            .map(|address| address.parse().unwrap())
            .collect();
        assert_eq!(decode(&encode(&servers)), servers[..SERVERS]);
        assert_eq!(decode(&encode(&servers)[..17]), servers[..1]);
        assert_eq!(decode(b""), Vec::<IpAddr>::new());
    }
}
