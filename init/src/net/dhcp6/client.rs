//! The client's state machine (RFC 8415, section 18.2), without sockets or clocks: events and the time go in, what to
//! do comes out.

use super::packet::{Lease, Reply, Request, Status, encode};
use crate::net::dhcp4::packet::Mac;
use std::time::Duration;

/// A moment, as time since some fixed start.
pub type Moment = Duration;

/// First wait for an answer, as DHCPv4's: the RFC's second is for networks larger than a data center.
const FIRST_RETRY: Duration = Duration::from_millis(250);
/// Waits for anybody's answer double up to this one, unless a server names another: an IPv4-only network is asked
/// once an hour (SOL_MAX_RT, INF_MAX_RT; RFC 8415, section 7.6).
const LONGEST_RETRY: Duration = Duration::from_secs(3600);
/// How often a question to a server that has answered before is repeated.
const TRIES: u32 = 5;
/// First and longest wait for a renewal's answer (REN_TIMEOUT, REN_MAX_RT).
const FIRST_RENEWAL: Duration = Duration::from_secs(10);
const LONGEST_RENEWAL: Duration = Duration::from_secs(600);

/// What the client wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this message to all servers on the link.
    Send(Vec<u8>),
    /// Set up what the lease says, in place of what was set up before.
    Configure(Lease),
    /// The lease's addresses are ours no more.
    Deconfigure(Lease),
}

#[derive(Debug)]
enum State {
    /// The link carries nothing yet.
    Waiting,
    /// Asking who has an address.
    Soliciting,
    /// Asking a server for what it offered.
    Requesting(Lease),
    /// Asking for everything but addresses.
    Informing,
    /// Nothing to ask for now.
    Bound,
    /// Asking whether the addresses still fit the link.
    Confirming,
    /// Asking their server to keep them.
    Renewing,
    /// Asking any server to keep them.
    Rebinding,
}

/// Where a router says that configuration comes from (RFC 4861, section 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hint {
    /// Addresses come by DHCPv6.
    pub managed: bool,
    /// Everything else does.
    pub other: bool,
}

/// A client for one network card.
#[derive(Debug)]
pub struct Client {
    mac: Mac,
    xid: u32,
    state: State,
    hint: Hint,
    held: Option<Lease>,
    tries: u32,
    /// Exchanges that have failed since the last that did not.
    failures: u32,
    longest_retry: Duration,
    /// When this exchange began: servers see how long a client has been waiting.
    began: Moment,
    /// When the last question was sent.
    asked: Moment,
    /// When the held lease's times count from.
    leased: Moment,
    wake: Moment,
}

impl Client {
    /// A client that waits for its link; `seed` makes its transaction ids differ from those of others.
    #[must_use]
    pub fn new(mac: Mac, seed: u32) -> Self {
        Client {
            mac,
            xid: seed,
            state: State::Waiting,
            hint: Hint::default(),
            held: None,
            tries: 0,
            failures: 0,
            longest_retry: LONGEST_RETRY,
            began: Moment::ZERO,
            asked: Moment::ZERO,
            leased: Moment::ZERO,
            wake: Moment::MAX,
        }
    }

    /// When [`Client::on_time`] wants to be called next; [`Moment::MAX`] is never.
    #[must_use]
    pub fn wake(&self) -> Moment {
        self.wake
    }

    /// The transaction that answers must name.
    #[must_use]
    pub fn xid(&self) -> u32 {
        self.xid
    }

    /// What it holds: addresses, or only the rest.
    #[must_use]
    pub fn lease(&self) -> Option<&Lease> {
        self.held.as_ref()
    }

    /// When the times of what it holds count from.
    #[must_use]
    pub fn leased(&self) -> Moment {
        self.leased
    }

    /// Whether it waits for answers: only then is a socket needed.
    #[must_use]
    pub fn listens(&self) -> bool {
        !matches!(self.state, State::Waiting | State::Bound)
    }

    /// Whether somebody has let on that there is more to come than it holds.
    #[must_use]
    pub fn expects(&self) -> bool {
        let hinted = self.hint.managed && !self.has_addresses() || self.hint.other && self.held.is_none();
        hinted || matches!(self.state, State::Requesting(_))
    }

    /// The link carries packets (again), and the card has its address on it.
    pub fn on_link_ready(&mut self, now: Moment) -> Vec<Action> {
        if self.has_addresses() {
            self.begin(State::Confirming, now);
        } else {
            self.failures = 0;
            self.start_over(now);
        }
        self.on_time(now)
    }

    /// The link is gone, or the card's address on it: nothing can be asked. What is held stays.
    pub fn on_link_lost(&mut self) {
        self.state = State::Waiting;
        self.wake = Moment::MAX;
        if let Some(lease) = self.held.as_ref().filter(|lease| !lease.addresses.is_empty()) {
            // Its end comes all the same.
            self.wake = self.leased.saturating_add(lease.time());
        }
    }

    /// A router says where configuration comes from.
    pub fn on_hint(&mut self, hint: Hint, now: Moment) -> Vec<Action> {
        if std::mem::replace(&mut self.hint, hint) == hint || self.has_addresses() {
            return Vec::new();
        }
        if matches!(self.state, State::Soliciting | State::Informing | State::Bound) {
            // A question that is on its way to the right people needs no other; routers that change their mind with
            // every message are followed no faster than this.
            let stateless = self.is_stateless();
            let fits = matches!((&self.state, stateless), (State::Informing, true) | (State::Soliciting, false));
            if !fits || self.tries > 1 {
                let asked = self.asked;
                self.start_over(now);
                self.wake = now.max(asked + FIRST_RETRY);
            }
        }
        self.on_time(now)
    }

    /// Time has come to `now`.
    pub fn on_time(&mut self, now: Moment) -> Vec<Action> {
        if now < self.wake {
            return Vec::new();
        }
        let held = self.held.clone().unwrap_or_default();
        let rebind = self.leased.saturating_add(held.rebind_after);
        let end = self.leased.saturating_add(held.time());
        match &self.state {
            State::Waiting => self.lose(now),
            State::Soliciting => self.ask(Request::Solicit, now),
            State::Requesting(_) | State::Informing if self.tries >= TRIES => {
                self.give_up(now);
                Vec::new()
            }
            State::Requesting(offer) => {
                let offer = offer.clone();
                self.ask(Request::Request(&offer), now)
            }
            State::Informing => self.ask(Request::Inform, now),
            State::Confirming if self.tries >= TRIES => self.stay(now),
            State::Confirming => self.ask(Request::Confirm(&held), now),
            State::Bound if !self.has_addresses() => {
                self.start_over(now);
                self.on_time(now)
            }
            State::Bound => {
                self.begin(State::Renewing, now);
                self.on_time(now)
            }
            State::Renewing if now >= rebind => {
                self.begin(State::Rebinding, now);
                self.on_time(now)
            }
            State::Rebinding if now >= end => self.lose(now),
            State::Renewing => self.keep(Request::Renew(&held), rebind, now),
            State::Rebinding => self.keep(Request::Rebind(&held), end, now),
        }
    }

    /// An answer to this client's transaction came.
    pub fn on_reply(&mut self, reply: Reply, now: Moment) -> Vec<Action> {
        let gives = !reply.lease.addresses.is_empty() && reply.status == Status::Success;
        if let Some(longest) = reply.longest_retry {
            self.longest_retry = longest;
        }
        match (&self.state, reply.is_offer) {
            // The first offer is as good as any other, and nobody waits for more.
            (State::Soliciting, true) if gives => {
                self.begin(State::Requesting(reply.lease), now);
                self.on_time(now)
            }
            // A server without addresses still has the rest.
            (State::Soliciting, true) if self.held.is_none() => {
                self.begin(State::Informing, now);
                self.on_time(now)
            }
            (State::Soliciting, false) if gives && reply.is_rapid => self.bind(reply.lease),
            (State::Requesting(offer), false) if reply.lease.server == offer.server => {
                if gives {
                    return self.bind(reply.lease);
                }
                let lost = self.drop_addresses();
                self.give_up(now);
                lost
            }
            (State::Informing, false) if reply.status == Status::Success => {
                let actions = self.bind(Lease { addresses: Vec::new(), ..reply.lease });
                if !self.is_stateless() {
                    // A server that has run out of addresses may have one later.
                    self.wake = self.wake.min(now + self.longest_retry);
                }
                actions
            }
            (State::Confirming, false) if reply.status == Status::NotOnLink => self.lose(now),
            (State::Confirming, false) => self.stay(now),
            (State::Renewing | State::Rebinding, false) if gives => self.bind(reply.lease),
            // The server has forgotten us: it may give the same addresses anew.
            (State::Renewing | State::Rebinding, false) if reply.status == Status::NoBinding => {
                let again = Lease { server: reply.lease.server, ..self.held.clone().unwrap_or_default() };
                self.begin(State::Requesting(again), now);
                self.on_time(now)
            }
            (State::Renewing | State::Rebinding, false) if reply.withdrawn || reply.status == Status::NotOnLink => {
                self.lose(now)
            }
            _ => Vec::new(),
        }
    }

    fn has_addresses(&self) -> bool {
        self.held.as_ref().is_some_and(|lease| !lease.addresses.is_empty())
    }

    /// Whether routers say that there are no addresses to be had, but the rest is.
    fn is_stateless(&self) -> bool {
        self.hint.other && !self.hint.managed
    }

    fn bind(&mut self, lease: Lease) -> Vec<Action> {
        self.leased = self.asked;
        self.failures = 0;
        self.wake = self.leased.saturating_add(lease.renew_after);
        self.state = State::Bound;
        self.held = Some(lease.clone());
        vec![Action::Configure(lease)]
    }

    /// What is held still holds: it is set up again, as it may have gone with the link.
    fn stay(&mut self, now: Moment) -> Vec<Action> {
        let Some(lease) = self.held.clone() else { return self.lose(now) };
        self.wake = self.leased.saturating_add(lease.renew_after).max(now);
        self.state = State::Bound;
        std::iter::once(Action::Configure(lease)).chain(self.on_time(now)).collect()
    }

    /// The addresses are gone; others are asked for, if the link is there.
    fn lose(&mut self, now: Moment) -> Vec<Action> {
        let mut actions = self.drop_addresses();
        if matches!(self.state, State::Waiting) {
            self.wake = Moment::MAX;
        } else {
            self.start_over(now);
            actions.extend(self.on_time(now));
        }
        actions
    }

    fn drop_addresses(&mut self) -> Vec<Action> {
        let lost = self.has_addresses().then(|| self.held.take()).flatten();
        lost.map(Action::Deconfigure).into_iter().collect()
    }

    /// Nothing came of this exchange: the next one begins after a wait that grows from one failure to the next, so that
    /// a server that offers and refuses is not asked without end.
    fn give_up(&mut self, now: Moment) {
        self.failures = self.failures.saturating_add(1);
        // What a server that has forgotten us would not give again still holds for its time.
        if self.has_addresses() {
            self.begin(State::Rebinding, now);
        } else {
            self.start_over(now);
        }
        self.wake = now + backoff(FIRST_RETRY, self.failures, self.longest_retry);
    }

    fn start_over(&mut self, now: Moment) {
        let state = if self.is_stateless() { State::Informing } else { State::Soliciting };
        self.begin(state, now);
    }

    fn begin(&mut self, state: State, now: Moment) {
        self.state = state;
        // Any number that replies to the last exchange do not carry.
        self.xid = self.xid.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.tries = 0;
        self.began = now;
        self.wake = now;
    }

    /// A message of this try, with the next one set for when its answer is overdue.
    fn ask(&mut self, request: Request<'_>, now: Moment) -> Vec<Action> {
        let message = encode(request, self.mac, self.xid, now.saturating_sub(self.began));
        self.wake = now + self.jittered(backoff(FIRST_RETRY, self.tries, self.longest_retry));
        self.tries += 1;
        self.asked = now;
        vec![Action::Send(message)]
    }

    /// A message to keep the addresses, and the next one not after `until`.
    fn keep(&mut self, request: Request<'_>, until: Moment, now: Moment) -> Vec<Action> {
        let tries = self.tries;
        let actions = self.ask(request, now);
        self.wake = (now + self.jittered(backoff(FIRST_RENEWAL, tries, LONGEST_RENEWAL))).min(until);
        actions
    }

    /// Up to a tenth more, so that machines that were started together do not ask together for ever (RAND of RFC
    /// 8415, section 15).
    fn jittered(&self, wait: Duration) -> Duration {
        let fraction = (self.xid.rotate_left(8) ^ self.tries.wrapping_mul(0x9E37_79B9)) >> 24;
        wait + wait * fraction / 2560
    }
}

fn backoff(first: Duration, tries: u32, longest: Duration) -> Duration {
    first.saturating_mul(1 << tries.min(16)).min(longest)
}

#[cfg(test)]
mod tests;
