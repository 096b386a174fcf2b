//! The clock: set as soon as the network can be asked for the time, then steered for the machine's life.
//!
//! Whom it asks, in this order: a clock device of the hypervisor's; on EC2, Amazon's server; the servers that DHCP names
//! (option 42); the public pool. Servers are asked in rounds, all at once, and the majority is believed.

pub mod discipline;
pub mod leap;
pub mod packet;
pub mod pool;
pub mod ptp;
pub mod select;
pub mod server;

use crate::log::OrWarn;
use crate::net::Network;
use crate::platform::is_ec2;
use crate::root::Root;
use crate::sys::clock::{discipline_clock, step_clock};
use crate::{debug, info, sys};
use anyhow::Context;
use discipline::{Clocks, Discipline, Opinion, Sample, Steering, Verdict};
use nix::unistd::Pid;
use pool::Lookup;
use ptp::Ptp;
use rustix::time::{ClockId, Timespec, clock_gettime};
use select::majority;
use server::Server;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// Amazon's time server on EC2, on every machine's own host; the second in networks without IPv4.
const EC2: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(169, 254, 169, 123)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x123))];
/// How long answers are waited for. No way on Earth is longer; and half of it, which an answer may be off by, is no more than
/// steering can mend.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between rounds that nobody answers: from the shortest to the longest poll interval.
const RETRY: Duration = Duration::from_secs(16);
const MOST_RETRIES: u32 = 6;
/// After so many of them other servers of the pool are looked for.
const FAILURES: u32 = 3;
/// How many servers that refused for good are remembered, so that a lookup does not bring them back.
const MOST_DENIED: usize = 16;

/// The machine's clock, and whom it follows.
#[derive(Debug)]
pub struct Clock {
    discipline: Discipline,
    is_ec2: bool,
    has_address: bool,
    may_look_up: bool,
    device: Option<Ptp>,
    /// The servers that the platform or the network names.
    named: Vec<IpAddr>,
    servers: Vec<Server>,
    denied: Vec<IpAddr>,
    lookup: Option<Lookup>,
    /// Who was believed last.
    chosen: Option<IpAddr>,
    failures: u32,
    /// Whether this round brought an answer that cannot be believed.
    refused: bool,
    /// While answers are awaited: how long.
    round_ends: Option<Instant>,
    /// When the next round begins.
    next: Option<Instant>,
    /// The machine is ending.
    stopped: bool,
}

/// What the clock waits on.
#[derive(Debug, Clone, Copy)]
pub enum Socket {
    /// A server, by its number.
    Server(usize),
    /// The lookup of the pool's servers.
    Lookup,
}

impl Clock {
    /// A clock that follows nobody yet.
    #[must_use]
    pub fn open() -> Self {
        Clock {
            discipline: Discipline::default(),
            is_ec2: is_ec2(),
            has_address: false,
            may_look_up: false,
            device: None,
            named: Vec::new(),
            servers: Vec::new(),
            denied: Vec::new(),
            lookup: None,
            chosen: None,
            failures: 0,
            refused: false,
            round_ends: None,
            next: Some(Instant::now()),
            stopped: false,
        }
    }

    /// The sockets to wait on.
    pub fn sockets(&self) -> impl Iterator<Item = (Socket, BorrowedFd<'_>)> {
        let servers = self.servers.iter().enumerate();
        let servers = servers.filter_map(|(number, server)| Some((Socket::Server(number), server.socket()?)));
        servers.chain(self.lookup.iter().map(|lookup| (Socket::Lookup, lookup.socket())))
    }

    /// When [`Clock::on_time`] wants to be called next.
    #[must_use]
    pub fn wake(&self) -> Option<Instant> {
        let lookup = self.lookup.as_ref().map(|lookup| lookup.deadline);
        self.round_ends.or(lookup).or(self.next)
    }

    /// Asks nobody any more: the machine ends, and shall not wait for a name server. Gives the child of a
    /// lookup that is under way.
    pub fn stop(&mut self) -> Option<Pid> {
        self.stopped = true;
        self.lookup.take().map(|lookup| lookup.child)
    }

    /// Something arrived on a socket.
    pub fn on_socket(&mut self, socket: Socket) {
        match socket {
            Socket::Server(number) => {
                self.refused |= self.servers.get_mut(number).is_some_and(Server::on_socket);
            }
            Socket::Lookup => {
                if let Some(found) = self.lookup.as_mut().and_then(Lookup::receive) {
                    self.lookup = None;
                    self.take_servers(&found);
                    self.on_lookup();
                }
            }
        }
    }

    /// Does what is due. The pool is looked up in `root`, once there is one and the application no longer waits for us.
    pub fn on_time(&mut self, network: &Network, root: Option<&Root>) {
        let now = Instant::now();
        self.follow(network, root.is_some(), now);
        if self.lookup.as_ref().is_some_and(|lookup| now >= lookup.deadline) {
            self.lookup = None;
            self.on_lookup();
        }
        if self.round_ends.is_some_and(|end| now >= end || self.is_decided()) {
            self.end_round(now);
        }
        let waits = self.round_ends.is_some() || self.lookup.is_some();
        if !waits && self.next.is_some_and(|next| now >= next) {
            self.begin_round(now, root);
        }
    }

    /// Begins anew when the network has come, or names other servers.
    fn follow(&mut self, network: &Network, may_look_up: bool, now: Instant) {
        let has_address = network.has_ipv4() || network.has_ipv6();
        let named = if self.is_ec2 { EC2.to_vec() } else { network.ntp_servers() };
        let news = (has_address && !self.has_address) || (may_look_up && !self.may_look_up) || named != self.named;
        self.has_address = has_address;
        self.may_look_up = may_look_up;
        if named != self.named {
            self.take_servers(&named);
            self.named = named;
            self.round_ends = None;
        }
        // A device does not care.
        if news && self.device.is_none() {
            self.failures = 0;
            self.next = Some(now);
        }
    }

    fn take_servers(&mut self, addresses: &[IpAddr]) {
        let wanted = addresses.iter().filter(|address| !self.denied.contains(address));
        self.servers = wanted.take(pool::SERVERS).map(|address| Server::new(*address)).collect();
    }

    fn on_lookup(&mut self) {
        let now = Instant::now();
        if self.servers.is_empty() {
            self.fail(now, "no server of the pool is found");
        } else {
            debug!("clock: the pool names {}", list(self.servers.iter().map(|server| server.address)));
            self.next = Some(now);
        }
    }

    fn begin_round(&mut self, now: Instant, root: Option<&Root>) {
        self.next = None;
        if self.read_device(now) || !self.has_address {
            return;
        }
        if self.servers.is_empty() {
            if let (true, Some(root)) = (self.named.is_empty(), root) {
                if self.stopped {
                    return;
                }
                self.lookup = Lookup::start(root).or_warn("clock");
                if self.lookup.is_none() {
                    self.fail(now, "the pool cannot be looked up");
                }
            }
            return;
        }
        self.refused = false;
        let interval = self.discipline.interval();
        self.servers.iter_mut().for_each(|server| server.ask(now, interval));
        if self.servers.iter().any(|server| server.socket().is_some()) {
            self.round_ends = Some(now + PATIENCE);
        } else if let Some(rested) = self.servers.iter().filter_map(Server::rests_until).min().filter(|it| *it > now) {
            self.next = Some(rested);
        } else {
            self.fail(now, "no server can be asked");
        }
    }

    /// Whether a device told the time.
    fn read_device(&mut self, now: Instant) -> bool {
        if self.device.is_none() {
            self.device = Ptp::find();
        }
        let Some(device) = &self.device else { return false };
        let who = format!("/dev/{}", device.name);
        match device.read() {
            Ok(sample) => {
                self.settle(sample, Opinion::Certain, &who, now);
                true
            }
            Err(error) => {
                debug!("clock: {error:#}");
                self.device = None;
                false
            }
        }
    }

    /// Whether no further answer can matter.
    fn is_decided(&self) -> bool {
        let awaited = self.servers.iter().filter(|server| server.socket().is_some()).count();
        let answers: Vec<Sample> = self.servers.iter().filter_map(|server| server.answer).collect();
        // Amazon's two are the same clock.
        let enough = self.is_ec2 && !answers.is_empty();
        awaited == 0 || enough || majority(&answers, None).is_some_and(|it| it.agreeing * 2 > awaited + answers.len())
    }

    fn end_round(&mut self, now: Instant) {
        self.round_ends = None;
        self.servers.iter_mut().for_each(Server::give_up);
        self.drop_denied();
        let (who, answers): (Vec<IpAddr>, Vec<Sample>) =
            self.servers.iter().filter_map(|server| Some((server.address, server.answer?))).unzip();
        let favourite = who.iter().position(|address| Some(*address) == self.chosen);
        match majority(&answers, favourite) {
            Some(choice) => {
                let (Some(address), Some(sample)) = (who.get(choice.index), answers.get(choice.index)) else { return };
                self.failures = 0;
                self.chosen = Some(*address);
                let certain = self.is_ec2 || choice.agreeing > 1;
                let opinion = if certain { Opinion::Certain } else { Opinion::Single };
                self.settle(*sample, opinion, &address.to_string(), now);
            }
            None if answers.is_empty() => {
                if self.refused {
                    self.discipline.on_refusal();
                }
                self.servers.iter_mut().for_each(Server::forgive);
                self.fail(now, "no server gives a believable answer");
            }
            None => {
                debug!("clock: {} contradict each other", list(who.into_iter()));
                self.next = Some(now + RETRY);
            }
        }
    }

    fn drop_denied(&mut self) {
        let denied = self.servers.extract_if(.., |server| server.denied).map(|server| server.address);
        self.denied.extend(denied);
        let surplus = self.denied.len().saturating_sub(MOST_DENIED);
        self.denied.drain(..surplus);
    }

    fn fail(&mut self, now: Instant, why: &str) {
        let wait = RETRY.saturating_mul(1 << self.failures.min(MOST_RETRIES));
        debug!("clock: {why}; trying again in {} s", wait.as_secs());
        self.failures = self.failures.saturating_add(1);
        self.next = Some(now + wait);
        if self.failures >= FAILURES && self.named.is_empty() {
            self.servers.clear();
        }
    }

    /// Does with a sample what the discipline says.
    fn settle(&mut self, sample: Sample, opinion: Opinion, who: &str, now: Instant) {
        let clocks = read_clocks();
        let first = !self.discipline.is_set();
        let verdict = self.discipline.on_sample(sample, clocks, opinion);
        let interval = self.discipline.interval();
        self.next = Some(now + interval);
        let steering = match verdict {
            Verdict::Step(by, steering) => {
                if step_clock(by).context("set the clock").or_warn("clock").is_none() {
                    return;
                }
                info!("clock: set by {} s, as {who} says", Seconds(by));
                steering
            }
            Verdict::Steer(steering) if first => {
                info!("clock: follows {who}, off by {} s", Seconds(steering.offset));
                steering
            }
            Verdict::Steer(steering) => steering,
            Verdict::Doubt(by) => {
                debug!(
                    "clock: {who} says {} s: not believed yet, asked again in {} s",
                    Seconds(by),
                    interval.as_secs()
                );
                return;
            }
            Verdict::Outlier(by) => {
                debug!("clock: {who} is {} s aside of what it said before: not believed yet", Seconds(by));
                return;
            }
        };
        let Steering { offset, frequency, error } = steering;
        debug!(
            "clock: {who}: off by {} s, round trip {} s, frequency {} ppm, next in {} s",
            Seconds(offset),
            Seconds(sample.delay),
            Seconds(frequency.saturating_mul(1_000_000_000) >> 16),
            interval.as_secs()
        );
        let discipline = sys::clock::Discipline {
            offset,
            frequency,
            max_error: sample.distance.saturating_add(sample.delay / 2).saturating_add(error) / 1000,
            likely_error: error / 1000,
            leap: leap::today(sample.leap, clocks.real),
        };
        discipline_clock(&discipline).context("steer the clock").or_warn("clock");
    }
}

/// A number of ns, shown in s with six digits; billionths of anything else as well.
struct Seconds(i64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.unsigned_abs() / 1000;
        let sign = if self.0 < 0 { '-' } else { '+' };
        write!(f, "{sign}{}.{:06}", micros / 1_000_000, micros % 1_000_000)
    }
}

fn list(addresses: impl Iterator<Item = IpAddr>) -> String {
    addresses.map(|address| address.to_string()).collect::<Vec<_>>().join(", ")
}

/// CLOCK_MONOTONIC_RAW, ns: no steering changes its pace.
fn raw() -> i64 {
    nanos(clock_gettime(ClockId::MonotonicRaw))
}

fn read_clocks() -> Clocks {
    let before = raw();
    let real = nanos(clock_gettime(ClockId::Realtime));
    Clocks { raw: before + (raw() - before) / 2, real }
}

fn nanos(time: Timespec) -> i64 {
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_seconds() {
        assert_eq!(format!("{}", Seconds(-1_500_000_999)), "-1.500000");
        assert_eq!(format!("{}", Seconds(42_000)), "+0.000042");
        assert_eq!(format!("{}", Seconds(i64::MIN)), "-9223372036.854775");
    }
}
