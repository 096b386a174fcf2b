//! IPv4 on one network card: what DHCP gives is set up, kept, and taken down again.

use super::Card;
use super::dhcp4::client::{Action, Client, Moment};
use super::dhcp4::packet::{Lease, decode};
use super::dhcp4::transport::{Transport, seed};
use super::link::{Address, Links, Route};
use super::names::Told;
use crate::log::OrWarn;
use crate::{error, info};
use anyhow::{Context, Result};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, BorrowedFd};

/// So many messages are read at once: the power button must work beside a server that never stops to talk.
const BURST: usize = 32;

/// IPv4 on one card.
#[derive(Debug)]
pub(super) struct Ipv4 {
    client: Client,
    transport: Option<Transport>,
    /// What of the lease is set up besides its address.
    routes: Vec<Route>,
    mtu: Option<u16>,
}

impl Ipv4 {
    pub(super) fn new(card: &Card, now: Moment) -> Self {
        let client = Client::new(card.mac, seed(card.mac, now.subsec_nanos()), now);
        Ipv4 { client, transport: None, routes: Vec::new(), mtu: None }
    }

    pub(super) fn wake(&self) -> Moment {
        self.client.wake()
    }

    pub(super) fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.transport.as_ref().map(AsFd::as_fd)
    }

    pub(super) fn lease(&self) -> Option<&Lease> {
        self.client.lease()
    }

    /// Whether a server has let on that an address is to come.
    pub(super) fn expects(&self) -> bool {
        self.client.expects()
    }

    /// What the lease tells of names.
    pub(super) fn told(&self) -> Option<Told> {
        let lease = self.lease()?;
        let domain = lease.domain.iter().filter(|_| lease.search.is_empty());
        Some(Told {
            hostname: lease.hostname.clone(),
            domain: lease.domain.clone(),
            address: Some(lease.address.into()),
            servers: lease.dns.iter().map(Ipv4Addr::to_string).collect(),
            search: domain.chain(&lease.search).cloned().collect(),
        })
    }

    /// The time servers of the lease.
    pub(super) fn ntp(&self) -> impl Iterator<Item = IpAddr> {
        self.lease().into_iter().flat_map(|lease| &lease.ntp).copied().map(IpAddr::from)
    }

    // Each of the following returns whether the lease has come, gone or changed.

    pub(super) fn on_time(&mut self, card: &Card, links: &mut Links, now: Moment) -> bool {
        let actions = self.client.on_time(now);
        self.act(card, links, actions)
    }

    pub(super) fn on_link_ready(&mut self, card: &Card, links: &mut Links, now: Moment) -> bool {
        let actions = self.client.on_link_ready(now);
        self.act(card, links, actions)
    }

    pub(super) fn on_socket(&mut self, card: &Card, links: &mut Links, now: Moment) -> bool {
        let mut changed = false;
        for _ in 0..BURST {
            let Some(message) = self.transport.as_ref().and_then(Transport::receive) else { break };
            if let Some(reply) = decode(&message, card.mac, self.client.xid()) {
                let actions = self.client.on_reply(reply, now);
                changed |= self.act(card, links, actions);
            }
        }
        changed
    }

    fn act(&mut self, card: &Card, links: &mut Links, actions: Vec<Action>) -> bool {
        let is_moving = actions.iter().any(|action| matches!(action, Action::Configure(_)));
        let mut changed = false;
        for action in actions {
            match action {
                Action::Broadcast(message) => {
                    self.broadcast(card, &message).or_warn(&card.what);
                }
                Action::Unicast(server, message) => {
                    self.unicast(server, &message).or_warn(&card.what);
                }
                Action::Configure(lease) => {
                    self.configure(card, links, &lease);
                    changed = true;
                }
                Action::Deconfigure(lease) => {
                    self.deconfigure(card, links, &lease, is_moving);
                    changed = true;
                }
            }
        }
        if !self.client.listens() {
            self.transport = None;
        }
        changed
    }

    fn broadcast(&mut self, card: &Card, message: &[u8]) -> Result<()> {
        if !matches!(self.transport, Some(Transport::Link(..))) {
            self.transport = Some(Transport::on_link(card.link)?);
        }
        self.send(message)
    }

    fn unicast(&mut self, server: Ipv4Addr, message: &[u8]) -> Result<()> {
        let ours = self.client.lease().map(|lease| lease.address).context("no lease to renew")?;
        if !matches!(self.transport, Some(Transport::Udp(_))) {
            self.transport = Some(Transport::to_server(ours, server)?);
        }
        self.send(message)
    }

    fn send(&self, message: &[u8]) -> Result<()> {
        self.transport.as_ref().map_or(Ok(()), |transport| transport.send(message))
    }

    /// Sets up what a lease says in place of what the one before said; what the kernel refuses of it is told, and the
    /// rest still holds.
    fn configure(&mut self, card: &Card, links: &mut Links, lease: &Lease) {
        if lease.mtu != self.mtu {
            links.set_mtu(card.link, lease.mtu.map_or(card.mtu, u32::from)).or_warn(&card.what);
            self.mtu = lease.mtu;
        }
        links.add_address(address(card, lease)).or_warn(&card.what);
        let routes = routes(card, lease);
        for route in &routes {
            links.add_route(*route).or_warn(&card.what);
        }
        // Afterwards: a new router to the same network has taken the place of the old one already.
        for route in self.routes.iter().filter(|route| !routes.contains(route)) {
            links.remove_route(*route).or_warn(&card.what);
        }
        self.routes = routes;

        let Lease { address, prefix, time, .. } = lease;
        let router = lease.routes.iter().find(|route| route.prefix == 0).and_then(|route| route.router);
        let router = router.map_or_else(|| "no router".to_owned(), |router| format!("router {router}"));
        info!("{} has {address}/{prefix} for {} s, {router}", card.what, time.as_secs());
    }

    fn deconfigure(&mut self, card: &Card, links: &mut Links, lease: &Lease, is_moving: bool) {
        if is_moving {
            info!("{} gives up its address {}", card.what, lease.address);
        } else {
            error!("{} lost its address {}: asking for another", card.what, lease.address);
        }
        // Routes go with the address that they start from.
        links.remove_address(self::address(card, lease)).or_warn(&card.what);
        self.routes.clear();
    }
}

fn address(card: &Card, lease: &Lease) -> Address {
    Address { link: card.link, address: lease.address, prefix: lease.prefix }
}

fn routes(card: &Card, lease: &Lease) -> Vec<Route> {
    let (link, metric, source) = (card.link, card.metric, lease.address);
    let route = |route: &super::dhcp4::packet::Route| {
        let super::dhcp4::packet::Route { network, prefix, router } = *route;
        Route { link, network, prefix, router, source, metric }
    };
    lease.routes.iter().map(route).collect()
}
