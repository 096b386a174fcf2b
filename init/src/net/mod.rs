//! The network: every card up, each with what DHCP gives it, for the machine's life.

pub mod dhcp4;
pub mod domain;
pub mod link;
pub mod names;

use crate::log::OrWarn;
use crate::{info, warn};
use anyhow::{Context, Result};
use dhcp4::client::{Action, Client, Moment};
use dhcp4::packet::{Lease, Mac, decode};
use dhcp4::transport::{Transport, seed};
use link::{Address, LinkNews, Links};
use std::fs;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// Ethernet, in /sys/class/net/*/type (ARPHRD_ETHER).
const ETHERNET: &str = "1";
/// The first card's default route gets this metric, the next one's the number after it.
const FIRST_METRIC: u32 = 100;
/// How long the other cards are waited for once one has its address: a second card is answered as fast as the
/// first, unless it is connected to nothing.
const STRAGGLERS: Duration = Duration::from_secs(1);
/// How long the application waits for a first address, and then starts without.
const PATIENCE: Duration = Duration::from_secs(15);

/// All network cards of the machine.
#[derive(Debug)]
pub struct Network {
    start: Instant,
    links: Option<Links>,
    news: Option<LinkNews>,
    cards: Vec<Card>,
    changed: bool,
    first_lease: Option<Moment>,
}

/// One of the network's sockets.
#[derive(Debug, Clone, Copy)]
pub enum Socket {
    /// The kernel's news of links.
    News,
    /// A card's way to DHCP servers, by the card's number.
    Card(usize),
}

#[derive(Debug)]
struct Card {
    name: String,
    link: u32,
    /// Whether the kernel has said that it carries packets.
    ready: bool,
    metric: u32,
    client: Client,
    transport: Option<Transport>,
}

impl Network {
    /// A machine's network without cards yet, but with itself. A kernel without networking is told and survived.
    #[must_use]
    pub fn open() -> Self {
        let mut links = Links::open().or_warn("network");
        if let Some(links) = &mut links {
            // The loopback link is the first one that the kernel makes.
            links.up(1).or_warn("network: lo");
        }
        let news = LinkNews::listen().or_warn("network");
        Network { start: Instant::now(), links, news, cards: Vec::new(), changed: true, first_lease: None }
    }

    /// Takes in the cards that are there now.
    pub fn adopt_present(&mut self) {
        let mut names: Vec<String> = fs::read_dir("/sys/class/net")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        for name in names {
            self.adopt(&name);
        }
    }

    /// Takes in a card, and asks for its address at once. A link that is no card, or that the application made
    /// out of others, is left alone.
    pub fn adopt(&mut self, name: &str) {
        let Some((link, mac)) = hardware(name) else { return };
        // By its index: the application may have given it another name.
        if self.cards.iter().any(|card| card.link == link) {
            return;
        }
        let Some(links) = &mut self.links else { return };
        if links.up(link).or_warn(&format!("network: {name}")).is_none() {
            return;
        }
        let now = self.start.elapsed();
        let client = Client::new(mac, seed(mac, now.subsec_nanos()), now);
        let metric = FIRST_METRIC.saturating_add(u32::try_from(self.cards.len()).unwrap_or(0));
        self.cards.push(Card { name: name.to_owned(), link, ready: false, metric, client, transport: None });
        info!("network: {name} is up");
        self.serve(self.cards.len() - 1, now);
    }

    /// Forgets a card that is gone, with its lease.
    pub fn forget(&mut self, link: u32) {
        let before = self.cards.len();
        self.cards.retain(|card| card.link != link);
        self.changed |= self.cards.len() != before;
    }

    /// The sockets to wait on.
    pub fn sockets(&self) -> impl Iterator<Item = (Socket, BorrowedFd<'_>)> {
        let news = self.news.iter().map(|news| (Socket::News, news.as_fd()));
        let cards = self.cards.iter().enumerate();
        news.chain(cards.filter_map(|(card, it)| Some((Socket::Card(card), it.transport.as_ref()?.as_fd()))))
    }

    /// When [`Network::on_time`] wants to be called next.
    #[must_use]
    pub fn wake(&self) -> Option<Instant> {
        self.cards.iter().map(|card| self.start + card.client.wake()).min()
    }

    /// Does what is due.
    pub fn on_time(&mut self) {
        let now = self.start.elapsed();
        for card in 0..self.cards.len() {
            self.serve(card, now);
        }
    }

    /// Something arrived on a socket.
    pub fn on_socket(&mut self, socket: Socket) {
        let now = self.start.elapsed();
        match socket {
            Socket::News => self.on_news(now),
            Socket::Card(card) => self.on_card(card, now),
        }
    }

    fn on_news(&mut self, now: Moment) {
        while let Some(link) = self.news.as_ref().and_then(LinkNews::next_ready) {
            let Some(card) = self.cards.iter().position(|card| card.link == link) else { continue };
            // The kernel tells of every change of a link, not only of this one.
            let Some(it) = self.cards.get_mut(card).filter(|it| !it.ready) else { continue };
            it.ready = true;
            let actions = it.client.on_link_ready(now);
            self.act(card, actions, now);
        }
    }

    fn on_card(&mut self, card: usize, now: Moment) {
        loop {
            let Some(it) = self.cards.get_mut(card) else { return };
            let Some(message) = it.transport.as_ref().and_then(Transport::receive) else { return };
            if let Some(reply) = decode(&message, it.client.mac(), it.client.xid()) {
                let actions = it.client.on_reply(reply, now);
                self.act(card, actions, now);
            }
        }
    }

    /// Until when an application that needs the network should wait; `None` when there is nothing to wait for.
    #[must_use]
    pub fn settles_by(&self) -> Option<Instant> {
        let waiting = self.cards.iter().any(|card| card.client.lease().is_none());
        let patience = self.first_lease.map_or(PATIENCE, |lease| (lease + STRAGGLERS).min(PATIENCE));
        waiting.then(|| self.start + patience)
    }

    /// The leases of all cards.
    #[must_use]
    pub fn leases(&self) -> Vec<&Lease> {
        self.cards.iter().filter_map(|card| card.client.lease()).collect()
    }

    /// The time servers that the network tells, the preferred one first.
    #[must_use]
    pub fn ntp_servers(&self) -> Vec<IpAddr> {
        self.leases().into_iter().flat_map(|lease| &lease.ntp).copied().map(IpAddr::from).collect()
    }

    /// Whether leases came or went since this was last asked.
    pub fn take_change(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// What the console should know of the network when the application starts without one.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        if self.cards.is_empty() {
            return Some("no network card was found: the application runs without a network".to_owned());
        }
        let without: Vec<&str> =
            self.cards.iter().filter(|card| card.client.lease().is_none()).map(|card| card.name.as_str()).collect();
        (!without.is_empty()).then(|| format!("no DHCP server answered on {}: trying on", without.join(", ")))
    }

    fn serve(&mut self, card: usize, now: Moment) {
        let Some(it) = self.cards.get_mut(card) else { return };
        let actions = it.client.on_time(now);
        self.act(card, actions, now);
    }

    fn act(&mut self, card: usize, actions: Vec<Action>, now: Moment) {
        for action in actions {
            let (Some(it), Some(links)) = (self.cards.get_mut(card), &mut self.links) else { return };
            match action {
                Action::Broadcast(message) => {
                    it.broadcast(&message).or_warn(&format!("network: {}", it.name));
                }
                Action::Unicast(server, message) => {
                    it.unicast(server, &message).or_warn(&format!("network: {}", it.name));
                }
                Action::Configure(lease) => {
                    it.configure(links, &lease);
                    self.first_lease.get_or_insert(now);
                    self.changed = true;
                }
                Action::Deconfigure(lease) => {
                    warn!("network: {} lost its address {}", it.name, lease.address);
                    links.remove_address(it.address(&lease)).or_warn(&format!("network: {}", it.name));
                    self.changed = true;
                }
            }
        }
        if let Some(it) = self.cards.get_mut(card)
            && !it.client.listens()
        {
            it.transport = None;
        }
    }
}

impl Card {
    fn address(&self, lease: &Lease) -> Address {
        Address { link: self.link, address: lease.address, prefix: lease.prefix }
    }

    fn broadcast(&mut self, message: &[u8]) -> Result<()> {
        if !matches!(self.transport, Some(Transport::Link(..))) {
            self.transport = Some(Transport::on_link(self.link)?);
        }
        self.send(message)
    }

    fn unicast(&mut self, server: std::net::Ipv4Addr, message: &[u8]) -> Result<()> {
        let ours = self.client.lease().map(|lease| lease.address).context("no lease to renew")?;
        if !matches!(self.transport, Some(Transport::Udp(_))) {
            self.transport = Some(Transport::to_server(ours, server)?);
        }
        self.send(message)
    }

    fn send(&self, message: &[u8]) -> Result<()> {
        self.transport.as_ref().map_or(Ok(()), |transport| transport.send(message))
    }

    /// Sets up what a lease says; what the kernel refuses of it is told, and the rest still holds.
    fn configure(&self, links: &mut Links, lease: &Lease) {
        let Lease { address, prefix, routes, mtu, time, .. } = lease;
        let what = format!("network: {}", self.name);
        if let Some(mtu) = mtu {
            links.set_mtu(self.link, *mtu).or_warn(&what);
        }
        links.add_address(self.address(lease)).or_warn(&what);
        for router in routes.iter().filter(|route| route.prefix == 0).filter_map(|route| route.router) {
            links.set_default_route(self.address(lease), router, self.metric).or_warn(&what);
        }
        let router = routes.iter().find(|route| route.prefix == 0).and_then(|route| route.router);
        let router = router.map_or_else(|| "no router".to_owned(), |router| format!("router {router}"));
        info!("{what} has {address}/{prefix} for {} s, {router}", time.as_secs());
    }
}

/// The index and address of a link, if it is a network card: Ethernet, with a device behind it.
fn hardware(name: &str) -> Option<(u32, Mac)> {
    let directory = std::path::Path::new("/sys/class/net").join(name);
    let read = |file: &str| fs::read_to_string(directory.join(file)).ok().map(|text| text.trim().to_owned());
    let is_card = read("type")? == ETHERNET && directory.join("device").exists();
    let (index, mac) = (read("ifindex")?.parse().ok()?, parse_mac(&read("address")?)?);
    is_card.then_some((index, mac))
}

fn parse_mac(text: &str) -> Option<Mac> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then_some(Mac(mac))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses_are_read_as_sysfs_writes_them() {
        assert_eq!(parse_mac("52:54:00:12:34:56"), Some(Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56])));
        assert_eq!(parse_mac("52:54:00:12:34"), None);
        assert_eq!(parse_mac("52:54:00:12:34:56:78"), None);
        assert_eq!(parse_mac(""), None);
    }
}
