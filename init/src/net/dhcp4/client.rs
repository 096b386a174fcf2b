//! The client's state machine (RFC 2131, figure 5), without sockets or clocks: events and the time go in, what to do
//! comes out.

use super::packet::{Lease, Mac, Reply, Request, encode};
use std::net::Ipv4Addr;
use std::time::Duration;

/// A moment, as time since some fixed start.
pub type Moment = Duration;

/// First wait for an answer. A network on the same machine or in the same data center answers in a fraction of it,
/// and a first packet that was lost because the link had just come up should not cost the boot four seconds, RFC
/// 2131's own first wait.
const FIRST_RETRY: Duration = Duration::from_millis(250);
/// Waits double up to this one (RFC 2131, section 4.1).
const LONGEST_RETRY: Duration = Duration::from_secs(64);
/// How often a request for an offered address is repeated before other offers are looked for.
const REQUEST_TRIES: u32 = 4;
/// Between renewals, at least (RFC 2131, section 4.4.5).
const SHORTEST_RENEWAL: Duration = Duration::from_secs(60);

/// What the client wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this message to everybody on the link.
    Broadcast(Vec<u8>),
    /// Send this message to one server, from the leased address.
    Unicast(Ipv4Addr, Vec<u8>),
    /// The address is ours (again): set up what the lease says.
    Configure(Lease),
    /// The address is ours no more.
    Deconfigure(Lease),
}

#[derive(Debug)]
enum State {
    /// Asking who has an address.
    Selecting,
    /// Asking for the one that was offered.
    Requesting(Lease),
    /// Holding one.
    Bound(Lease),
    /// Asking its server to keep it.
    Renewing(Lease),
    /// Asking any server to keep it.
    Rebinding(Lease),
    /// Asking whether it still fits the link, which was gone (RFC 2131, section 3.2).
    Verifying(Lease),
}

/// A client for one network card.
#[derive(Debug)]
pub struct Client {
    mac: Mac,
    xid: u32,
    state: State,
    tries: u32,
    /// Exchanges that have failed since the last that did not.
    failures: u32,
    /// When this exchange began: servers see how long a client has been waiting.
    began: Moment,
    /// When the lease was asked for, from which its times count.
    asked: Moment,
    /// When the held lease's times count from.
    leased: Moment,
    wake: Moment,
}

impl Client {
    /// A client that starts to ask at `now`; `seed` makes its transaction ids differ from those of others.
    #[must_use]
    pub fn new(mac: Mac, seed: u32, now: Moment) -> Self {
        Client {
            mac,
            xid: seed,
            state: State::Selecting,
            tries: 0,
            failures: 0,
            began: now,
            asked: now,
            leased: now,
            wake: now,
        }
    }

    /// When [`Client::on_time`] wants to be called next.
    #[must_use]
    pub fn wake(&self) -> Moment {
        self.wake
    }

    /// The transaction that replies must name.
    #[must_use]
    pub fn xid(&self) -> u32 {
        self.xid
    }

    /// The card's address, which replies must name too.
    #[must_use]
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// The lease it holds.
    #[must_use]
    pub fn lease(&self) -> Option<&Lease> {
        match &self.state {
            State::Bound(lease) | State::Renewing(lease) | State::Rebinding(lease) | State::Verifying(lease) => {
                Some(lease)
            }
            State::Selecting | State::Requesting(_) => None,
        }
    }

    /// Whether it waits for replies: only then is a socket needed.
    #[must_use]
    pub fn listens(&self) -> bool {
        !matches!(self.state, State::Bound(_))
    }

    /// Whether a server has let on that there is more to come than it holds.
    #[must_use]
    pub fn expects(&self) -> bool {
        matches!(self.state, State::Requesting(_))
    }

    /// The link has begun to carry packets: what was asked before may be lost, so a client without an address asks
    /// again at once. One that has an address asks whether it fits: it may be another link now.
    pub fn on_link_ready(&mut self, now: Moment) -> Vec<Action> {
        self.failures = 0;
        match self.lease().cloned() {
            Some(lease) => {
                self.state = State::Verifying(lease);
                self.begin(now);
            }
            None => self.start_over(now),
        }
        self.on_time(now)
    }

    /// Time has come to `now`.
    pub fn on_time(&mut self, now: Moment) -> Vec<Action> {
        if now < self.wake {
            return Vec::new();
        }
        match &self.state {
            State::Selecting => {
                let message = self.message(Request::Discover, now);
                vec![Action::Broadcast(message)]
            }
            State::Requesting(_) if self.tries >= REQUEST_TRIES => {
                self.give_up(now);
                Vec::new()
            }
            State::Requesting(offer) => {
                let request = Request::Take { address: offer.address, server: offer.server };
                vec![Action::Broadcast(self.message(request, now))]
            }
            State::Bound(lease) => {
                self.state = State::Renewing(lease.clone());
                self.begin(now);
                self.on_time(now)
            }
            State::Renewing(lease) if now >= self.leased + lease.rebind_after => {
                self.state = State::Rebinding(lease.clone());
                self.begin(now);
                self.on_time(now)
            }
            State::Rebinding(lease) if now >= self.leased + lease.time => {
                let lost = Action::Deconfigure(lease.clone());
                self.start_over(now);
                std::iter::once(lost).chain(self.on_time(now)).collect()
            }
            // Nobody says that it does not fit: it is kept for its time (RFC 2131, section 4.4.2).
            State::Verifying(lease) if self.tries >= REQUEST_TRIES => {
                self.wake = (self.leased + lease.renew_after).max(now);
                self.state = State::Bound(lease.clone());
                self.on_time(now)
            }
            State::Verifying(lease) => {
                let request = Request::Verify(lease.address);
                vec![Action::Broadcast(self.message(request, now))]
            }
            State::Renewing(lease) => {
                let (server, address, until) = (lease.server, lease.address, self.leased + lease.rebind_after);
                let message = self.keep(address, until, now);
                vec![Action::Unicast(server, message)]
            }
            State::Rebinding(lease) => {
                let (address, until) = (lease.address, self.leased + lease.time);
                vec![Action::Broadcast(self.keep(address, until, now))]
            }
        }
    }

    /// A reply to this client's transaction came.
    pub fn on_reply(&mut self, reply: Reply, now: Moment) -> Vec<Action> {
        match (&self.state, reply) {
            // The first offer is as good as any other, and nobody waits for more.
            (State::Selecting, Reply::Offer(offer)) => {
                self.state = State::Requesting(offer);
                self.tries = 0;
                self.wake = now;
                self.on_time(now)
            }
            (State::Requesting(offer), Reply::Ack(lease)) if lease.server == offer.server => {
                self.bind(lease, None, now)
            }
            (State::Renewing(held) | State::Rebinding(held) | State::Verifying(held), Reply::Ack(lease)) => {
                let held = held.clone();
                self.bind(lease, Some(held), now)
            }
            (State::Requesting(offer), Reply::Nak { server }) if server.is_none_or(|server| server == offer.server) => {
                self.give_up(now);
                Vec::new()
            }
            (State::Renewing(held) | State::Rebinding(held) | State::Verifying(held), Reply::Nak { .. }) => {
                let lost = Action::Deconfigure(held.clone());
                self.start_over(now);
                std::iter::once(lost).chain(self.on_time(now)).collect()
            }
            _ => Vec::new(),
        }
    }

    fn bind(&mut self, lease: Lease, held: Option<Lease>, now: Moment) -> Vec<Action> {
        // From when it was asked for: the server may count from any moment after that (RFC 2131, section 4.4.1).
        self.leased = self.asked;
        self.failures = 0;
        self.wake = (self.leased + lease.renew_after).max(now);
        self.state = State::Bound(lease.clone());
        let moved = held.filter(|held| held.address != lease.address || held.prefix != lease.prefix);
        moved.map(Action::Deconfigure).into_iter().chain([Action::Configure(lease)]).collect()
    }

    /// Nothing came of this exchange: the next one begins after a wait that grows from one failure to the next, so that
    /// a server that offers and refuses is not asked without end.
    fn give_up(&mut self, now: Moment) {
        self.start_over(now);
        self.wake = now + backoff(self.failures);
        self.failures = self.failures.saturating_add(1);
    }

    fn start_over(&mut self, now: Moment) {
        self.state = State::Selecting;
        self.begin(now);
    }

    fn begin(&mut self, now: Moment) {
        // Any number that replies to the last exchange do not carry.
        self.xid = self.xid.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.tries = 0;
        self.began = now;
        self.wake = now;
    }

    /// A message of this try, with the next one set for when its answer is overdue.
    fn message(&mut self, request: Request, now: Moment) -> Vec<u8> {
        self.wake = now + backoff(self.tries);
        self.tries += 1;
        self.asked = now;
        encode(request, self.mac, self.xid, now.saturating_sub(self.began))
    }

    /// A message to keep an address: again after half of the time that is left, but not more than once a minute.
    fn keep(&mut self, address: Ipv4Addr, until: Moment, now: Moment) -> Vec<u8> {
        let message = self.message(Request::Keep(address), now);
        let half = (until.saturating_sub(now) / 2).max(SHORTEST_RENEWAL);
        self.wake = (now + half).min(until);
        message
    }
}

fn backoff(tries: u32) -> Duration {
    FIRST_RETRY.saturating_mul(1 << tries.min(16)).min(LONGEST_RETRY)
}

#[cfg(test)]
mod tests;
