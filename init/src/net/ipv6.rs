//! IPv6 on one network card. The kernel follows router advertisements — addresses, routes, MTU, and how long they hold;
//! init reads what they say of names, and asks for more by DHCPv6.

use super::Card;
use super::dhcp4::transport::seed;
use super::dhcp6::client::{Action, Client, Hint, Moment};
use super::dhcp6::packet::{self, Lease, decode};
use super::dhcp6::transport::Transport;
use super::link::{Address6, Links};
use super::names::Told;
use super::nd::{Advice, Router};
use crate::log::OrWarn;
use crate::{error, info};
use anyhow::{Context, Result};
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// So many messages are read at once: the power button must work beside a server that never stops to talk.
const BURST: usize = 32;
/// So many addresses of a card are kept track of: the kernel makes up to sixteen by itself (ip-sysctl's max_addresses).
const MOST_ADDRESSES: usize = 16;

/// Settings of a card (the kernel's ip-sysctl), and their reasons.
const SETTINGS: &[(&str, &str)] = &[
    // An address made of the card's own, or given by a server, is nobody else's: no second's wait to find out.
    ("accept_dad", "0"),
    // Nor one before the first question to routers.
    ("router_solicitation_delay", "0"),
    // Also when the application makes a router of the machine.
    ("accept_ra", "2"),
];

/// IPv6 on one card.
#[derive(Debug)]
pub(super) struct Ipv6 {
    client: Client,
    transport: Option<Transport>,
    /// The card's address on its link, from which servers are asked.
    link_local: Option<Ipv6Addr>,
    /// Its addresses beyond that, wherever they come from.
    addresses: Vec<Ipv6Addr>,
    /// Those that DHCPv6 gave.
    configured: Vec<Ipv6Addr>,
    router: Router,
}

impl Ipv6 {
    /// Prepares a card that is not switched on yet.
    pub(super) fn new(card: &Card, now: Moment) -> Self {
        let directory = Path::new("/proc/sys/net/ipv6/conf").join(&card.name);
        if directory.exists() {
            let metric = card.metric.to_string();
            for (setting, value) in SETTINGS.iter().copied().chain([("ra_defrtr_metric", metric.as_str())]) {
                std::fs::write(directory.join(setting), value)
                    .with_context(|| format!("set {setting} to {value}"))
                    .or_warn(&card.what);
            }
        }
        Ipv6 {
            client: Client::new(card.mac, seed(card.mac, now.subsec_nanos())),
            transport: None,
            link_local: None,
            addresses: Vec::new(),
            configured: Vec::new(),
            router: Router::default(),
        }
    }

    pub(super) fn wake(&self) -> Moment {
        self.router.wake().map_or(self.client.wake(), |wake| wake.min(self.client.wake()))
    }

    pub(super) fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.transport.as_ref().map(AsFd::as_fd)
    }

    /// Whether it has an address that is good for more than its link.
    pub(super) fn is_usable(&self) -> bool {
        !self.addresses.is_empty()
    }

    /// Whether a router or a server has let on that there is more to come.
    pub(super) fn expects(&self) -> bool {
        self.client.expects()
    }

    /// What the lease and the routers tell of names.
    pub(super) fn told(&self, card: &Card) -> Told {
        let lease = self.client.lease();
        let leased = lease.into_iter().flat_map(|lease| &lease.dns).copied();
        let search = lease.into_iter().flat_map(|lease| &lease.search).cloned();
        let server = |server: Ipv6Addr| {
            let scope = if server.is_unicast_link_local() { format!("%{}", card.name) } else { String::new() };
            format!("{server}{scope}")
        };
        Told {
            hostname: None,
            domain: None,
            address: self.configured.first().or(self.addresses.first()).copied().map(IpAddr::from),
            servers: leased.chain(self.router.servers()).map(server).collect(),
            search: search.chain(self.router.search().map(str::to_owned)).collect(),
        }
    }

    /// The time servers of the lease.
    pub(super) fn ntp(&self) -> impl Iterator<Item = IpAddr> {
        self.client.lease().into_iter().flat_map(|lease| &lease.ntp).copied().map(IpAddr::from)
    }

    // Each of the following returns whether an address or a name has come, gone or changed.

    pub(super) fn on_time(&mut self, card: &Card, links: &mut Links, now: Moment) -> bool {
        let expired = self.router.expire(now);
        let actions = self.client.on_time(now);
        self.act(card, links, actions, now) || expired
    }

    pub(super) fn on_socket(&mut self, card: &Card, links: &mut Links, now: Moment) -> bool {
        let mut changed = false;
        for _ in 0..BURST {
            let Some(message) = self.transport.as_ref().and_then(Transport::receive) else { break };
            if let Some(reply) = decode(&message, card.mac, self.client.xid()) {
                let actions = self.client.on_reply(reply, now);
                changed |= self.act(card, links, actions, now);
            }
        }
        changed
    }

    pub(super) fn on_link(&mut self, ready: bool, card: &Card, links: &mut Links, now: Moment) -> bool {
        if ready && self.link_local.is_some() {
            let actions = self.client.on_link_ready(now);
            return self.act(card, links, actions, now);
        }
        self.lose_link();
        false
    }

    /// The kernel tells of an address: its own making, ours, or the application's.
    pub(super) fn on_address(
        &mut self,
        address: Ipv6Addr,
        usable: bool,
        card: &Card,
        links: &mut Links,
        now: Moment,
    ) -> bool {
        if address.is_unicast_link_local() {
            return self.on_link_local(address, usable, card, links, now);
        }
        let before = self.addresses.len();
        if !usable {
            self.addresses.retain(|known| *known != address);
        } else if !self.addresses.contains(&address) && before < MOST_ADDRESSES {
            info!("{} has {address}", card.what);
            self.addresses.push(address);
        }
        self.addresses.len() != before
    }

    fn on_link_local(&mut self, address: Ipv6Addr, usable: bool, card: &Card, links: &mut Links, now: Moment) -> bool {
        match self.link_local {
            None if usable => {
                self.link_local = Some(address);
                self.on_link(true, card, links, now)
            }
            Some(held) if held == address && !usable => {
                self.link_local = None;
                self.lose_link();
                false
            }
            _ => false,
        }
    }

    fn lose_link(&mut self) {
        self.client.on_link_lost();
        self.transport = None;
    }

    /// All addresses are told anew.
    pub(super) fn forget_addresses(&mut self) {
        self.addresses.clear();
    }

    pub(super) fn on_hint(&mut self, hint: Hint, card: &Card, links: &mut Links, now: Moment) -> bool {
        let actions = self.client.on_hint(hint, now);
        self.act(card, links, actions, now)
    }

    pub(super) fn on_advice(&mut self, advice: Vec<Advice>, now: Moment) -> bool {
        let mut changed = false;
        for advice in advice {
            changed |= self.router.learn(advice, now);
        }
        changed
    }

    fn act(&mut self, card: &Card, links: &mut Links, actions: Vec<Action>, now: Moment) -> bool {
        let mut changed = false;
        for action in actions {
            match action {
                Action::Send(message) => {
                    self.send(card, &message).or_warn(&card.what);
                }
                Action::Configure(lease) => {
                    self.configure(&lease, card, links, now);
                    changed = true;
                }
                Action::Deconfigure(_) => {
                    error!("{} lost its IPv6 address: asking for another", card.what);
                    self.remove(|_| true, card, links);
                    changed = true;
                }
            }
        }
        if !self.client.listens() {
            self.transport = None;
        }
        changed
    }

    fn send(&mut self, card: &Card, message: &[u8]) -> Result<()> {
        let from = self.link_local.context("the link has no address of its own")?;
        let transport = match self.transport.take() {
            Some(transport) => transport,
            None => Transport::open(card.link, from)?,
        };
        self.transport.insert(transport).send(message)
    }

    /// Sets up what a lease says in place of what the one before said.
    fn configure(&mut self, lease: &Lease, card: &Card, links: &mut Links, now: Moment) {
        // The times count from when the lease was asked for.
        let age = u32::try_from(now.saturating_sub(self.client.leased()).as_secs()).unwrap_or(u32::MAX);
        let left = |time: u32| if time == u32::MAX { time } else { time.saturating_sub(age) };
        self.remove(|held| lease.addresses.iter().all(|kept| kept.address != held), card, links);
        self.configured.clear();
        for packet::Address { address, preferred, valid } in &lease.addresses {
            let (preferred, valid) = (left(*preferred), left(*valid));
            // The kernel takes no address for no time; this one is about to be given up.
            if valid > 0 {
                let address = Address6 { link: card.link, address: *address, preferred, valid };
                links.add_address6(address).or_warn(&card.what);
                self.configured.push(address.address);
            }
        }
        let addresses: Vec<String> = self.configured.iter().map(Ipv6Addr::to_string).collect();
        let addresses = if addresses.is_empty() { "no address".to_owned() } else { addresses.join(", ") };
        info!("{} has {addresses} by DHCPv6, asks again in {} s", card.what, lease.renew_after.as_secs());
    }

    fn remove(&mut self, which: impl Fn(Ipv6Addr) -> bool, card: &Card, links: &mut Links) {
        for address in self.configured.iter().filter(|address| which(**address)) {
            links.remove_address6(card.link, *address).or_warn(&card.what);
        }
        self.configured.retain(|address| !which(*address));
    }
}
