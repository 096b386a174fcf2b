//! The network: every card up, each with what DHCP and routers give it, for the machine's life.

pub mod dhcp4;
pub mod dhcp6;
pub mod domain;
mod ethtool;
mod ipv4;
mod ipv6;
pub mod link;
pub mod names;
pub mod nd;
mod netlink;
pub mod news;
mod settle;

use crate::errand::Errand;
use crate::log::OrWarn;
use crate::{error, info, warn};
use dhcp4::client::Moment;
use dhcp4::packet::Mac;
use dhcp6::client::Hint;
use ipv4::Ipv4;
use ipv6::Ipv6;
use link::Links;
use names::Told;
use news::{Listener, News};
use nix::unistd::Pid;
use std::fs;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

/// Ethernet, in /sys/class/net/*/type (ARPHRD_ETHER).
const ETHERNET: &str = "1";
/// The first card's default route gets this metric, the next one's the number after it.
const FIRST_METRIC: u32 = 100;
/// So many news are read at once: the power button must work beside an application that never stops to change links.
const BURST: usize = 256;

/// All network cards of the machine.
#[derive(Debug)]
pub struct Network {
    start: Instant,
    links: Option<Links>,
    news: Option<Listener>,
    nics: Vec<Nic>,
    /// Cards that something is set of before they are switched on.
    prepared: Vec<(Card, Errand)>,
    changed: bool,
    /// When the first card could be used.
    first: Option<Moment>,
    /// Whether the console knows how it went.
    told: bool,
}

/// One of the network's sockets.
#[derive(Debug, Clone, Copy)]
pub enum Socket {
    /// The kernel's news.
    News,
    /// The child that prepares a card, by its number.
    Preparation(usize),
    /// A card's way to DHCP servers, by the card's number.
    Dhcp4(usize),
    /// A card's way to DHCPv6 servers, by the card's number.
    Dhcp6(usize),
}

/// What is known of a card from the start.
#[derive(Debug)]
struct Card {
    name: String,
    /// How log lines about it begin.
    what: String,
    link: u32,
    mac: Mac,
    metric: u32,
    /// Its MTU before anybody asked for another.
    mtu: u32,
}

#[derive(Debug)]
struct Nic {
    card: Card,
    /// Whether the kernel has said that it carries packets.
    ready: bool,
    ipv4: Ipv4,
    ipv6: Ipv6,
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
        let news = Listener::open().or_warn("network");
        let start = Instant::now();
        Network { start, links, news, nics: Vec::new(), prepared: Vec::new(), changed: true, first: None, told: false }
    }

    /// Takes in the cards that are there now, in the order in which the kernel found them.
    pub fn adopt_present(&mut self) {
        let entries = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut cards: Vec<(u32, String)> = names.filter_map(|name| Some((hardware(&name)?.link, name))).collect();
        cards.sort();
        for (_, name) in cards {
            self.adopt(&name);
        }
    }

    /// Takes in a card, and asks for its address at once. A link that is no card, or that the application made
    /// out of others, is left alone.
    pub fn adopt(&mut self, name: &str) {
        let Some(mut card) = hardware(name) else { return };
        // By its index: the application may have given it another name.
        if self.cards().any(|known| known.link == card.link) {
            return;
        }
        let is_free = |metric: &u32| self.cards().all(|known| known.metric != *metric);
        card.metric = (FIRST_METRIC..).find(is_free).unwrap_or(FIRST_METRIC);
        match ethtool::prepare(name) {
            Some(errand) => self.prepared.push((card, errand)),
            None => self.switch_on(card),
        }
    }

    /// All that were taken in, whether they are switched on already or not.
    fn cards(&self) -> impl Iterator<Item = &Card> {
        self.nics.iter().map(|nic| &nic.card).chain(self.prepared.iter().map(|(card, _)| card))
    }

    fn switch_on(&mut self, card: Card) {
        let Some(links) = &mut self.links else { return };
        let now = self.start.elapsed();
        let ipv6 = Ipv6::new(&card, now);
        if links.up(card.link).or_warn(&card.what).is_none() {
            return;
        }
        info!("{} is up", card.what);
        self.nics.push(Nic { ipv4: Ipv4::new(&card, now), ipv6, card, ready: false });
        // One that was prepared for longer may be an earlier one.
        self.nics.sort_by_key(|nic| nic.card.metric);
        self.on_time();
    }

    /// Forgets a card that is gone, with its lease.
    pub fn forget(&mut self, link: u32) {
        let before = self.cards().count();
        self.nics.retain(|nic| nic.card.link != link);
        self.prepared.retain(|(card, _)| card.link != link);
        if self.cards().count() != before {
            info!("network: link {link} is gone");
            self.changed = true;
        }
    }

    /// The machine ends. Gives the children that prepare cards.
    pub fn end_preparations(&mut self) -> impl Iterator<Item = Pid> {
        std::mem::take(&mut self.prepared).into_iter().map(|(_, errand)| errand.pid)
    }

    /// The sockets to wait on.
    pub fn sockets(&self) -> impl Iterator<Item = (Socket, BorrowedFd<'_>)> {
        let news = self.news.iter().map(|news| (Socket::News, news.as_fd()));
        let prepared = self.prepared.iter().enumerate();
        let prepared = prepared.map(|(number, (_, errand))| (Socket::Preparation(number), errand.as_fd()));
        let ipv4 = self.nics.iter().enumerate();
        let ipv4 = ipv4.filter_map(|(number, nic)| Some((Socket::Dhcp4(number), nic.ipv4.socket()?)));
        let ipv6 = self.nics.iter().enumerate();
        let ipv6 = ipv6.filter_map(|(number, nic)| Some((Socket::Dhcp6(number), nic.ipv6.socket()?)));
        news.chain(prepared).chain(ipv4).chain(ipv6)
    }

    /// When [`Network::on_time`] wants to be called next.
    #[must_use]
    pub fn wake(&self) -> Option<Instant> {
        let report = (!self.told).then_some(settle::PATIENCE);
        let nics = self.nics.iter().flat_map(|nic| [nic.ipv4.wake(), nic.ipv6.wake()]);
        let nics = nics.chain(report).min().and_then(|moment| self.start.checked_add(moment));
        self.prepared.iter().filter_map(|(_, errand)| errand.wake()).chain(nics).min()
    }

    /// Does what is due.
    pub fn on_time(&mut self) {
        let now = self.start.elapsed();
        self.prepared.iter_mut().for_each(|(_, errand)| errand.on_time());
        for number in 0..self.nics.len() {
            self.with(number, |Nic { card, ipv4, ipv6, .. }, links| {
                let changed = ipv4.on_time(card, links, now);
                ipv6.on_time(card, links, now) || changed
            });
        }
        if !self.told && now >= settle::PATIENCE {
            self.tell();
        }
    }

    /// Something arrived on a socket.
    pub fn on_socket(&mut self, socket: Socket) {
        let now = self.start.elapsed();
        match socket {
            Socket::News => self.on_news(now),
            Socket::Preparation(number) => self.on_prepared(number),
            Socket::Dhcp4(number) => {
                self.with(number, |Nic { card, ipv4, .. }, links| ipv4.on_socket(card, links, now));
            }
            Socket::Dhcp6(number) => {
                self.with(number, |Nic { card, ipv6, .. }, links| ipv6.on_socket(card, links, now));
            }
        }
    }

    fn on_prepared(&mut self, number: usize) {
        let Some((_, errand)) = self.prepared.get_mut(number) else { return };
        errand.on_readable();
        if errand.is_over() {
            let (card, _) = self.prepared.remove(number);
            self.switch_on(card);
        }
    }

    fn on_news(&mut self, now: Moment) {
        for _ in 0..BURST {
            let Some(news) = self.news.as_ref().and_then(Listener::receive) else { return };
            for news in news {
                match news {
                    News::Lost => self.nics.iter_mut().for_each(|nic| nic.ipv6.forget_addresses()),
                    News::Link { link, .. }
                    | News::Address { link, .. }
                    | News::Router { link, .. }
                    | News::Advice { link, .. } => {
                        // Most links of a machine that runs containers are none of ours.
                        let number = self.nics.iter().position(|nic| nic.card.link == link);
                        number
                            .into_iter()
                            .for_each(|number| self.with(number, |nic, links| nic.on_news(news.clone(), links, now)));
                    }
                }
            }
        }
    }

    /// Lets a card do something that may change it.
    fn with(&mut self, number: usize, act: impl FnOnce(&mut Nic, &mut Links) -> bool) {
        let (Some(nic), Some(links)) = (self.nics.get_mut(number), &mut self.links) else { return };
        self.changed |= act(nic, links);
        if self.first.is_none() && nic.is_usable() {
            self.first = Some(self.start.elapsed());
        }
    }

    /// Whether there is a network card, also one that is still prepared.
    #[must_use]
    pub fn has_card(&self) -> bool {
        !self.nics.is_empty() || !self.prepared.is_empty()
    }

    /// Until when an application that needs the network should wait; `None` when there is nothing to wait for.
    #[must_use]
    pub fn settles_by(&self) -> Option<Instant> {
        let prepared = self.prepared.iter().map(|_| settle::State::default());
        let states: Vec<settle::State> = self.nics.iter().map(Nic::state).chain(prepared).collect();
        settle::until(&states, self.first).map(|until| self.start + until)
    }

    /// Whether the machine has an IPv6 address that is good for more than a link.
    #[must_use]
    pub fn has_ipv6(&self) -> bool {
        self.nics.iter().any(|nic| nic.ipv6.is_usable())
    }

    /// Whether the machine has an IPv4 address.
    #[must_use]
    pub fn has_ipv4(&self) -> bool {
        self.nics.iter().any(|nic| nic.ipv4.lease().is_some())
    }

    /// What leases and routers tell of names, the first card's first.
    #[must_use]
    pub fn names(&self) -> Vec<Told> {
        self.nics.iter().flat_map(|nic| nic.ipv4.told().into_iter().chain([nic.ipv6.told(&nic.card)])).collect()
    }

    /// The time servers that the network tells, the preferred one first.
    #[must_use]
    pub fn ntp_servers(&self) -> Vec<IpAddr> {
        self.nics.iter().flat_map(|nic| nic.ipv4.ntp().chain(nic.ipv6.ntp())).collect()
    }

    /// Whether addresses or names came or went since this was last asked.
    pub fn take_change(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Tells the console, once, what the application starts without.
    pub fn tell(&mut self) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        let without = self.nics.iter().filter(|nic| !nic.is_usable()).map(|nic| &nic.card);
        let without: Vec<&str> =
            without.chain(self.prepared.iter().map(|(card, _)| card)).map(|card| card.name.as_str()).collect();
        let names = without.join(", ");
        match (self.cards().count(), without.len()) {
            (0, _) => error!("network: no network card was found: the application runs without a network"),
            (_, 0) => {}
            (all, without) if all == without => {
                error!("network: neither a DHCP server nor a router answered on {names}: trying on");
            }
            _ => warn!("network: neither a DHCP server nor a router answered on {names}: trying on"),
        }
    }
}

impl Nic {
    fn is_usable(&self) -> bool {
        self.ipv4.lease().is_some() || self.ipv6.is_usable()
    }

    fn state(&self) -> settle::State {
        settle::State {
            ipv4: self.ipv4.lease().is_some(),
            ipv6: self.ipv6.is_usable(),
            expects: self.ipv4.expects() || self.ipv6.expects(),
        }
    }

    /// Returns whether something changed that others want to know.
    fn on_news(&mut self, news: News, links: &mut Links, now: Moment) -> bool {
        let Nic { card, ready, ipv4, ipv6 } = self;
        match news {
            // The kernel tells of every change of a link, not only of this one.
            News::Link { ready: is_ready, .. } if *ready != is_ready => {
                *ready = is_ready;
                if is_ready {
                    info!("{} carries packets", card.what);
                } else {
                    warn!("{} carries no packets any more", card.what);
                }
                let changed = is_ready && ipv4.on_link_ready(card, links, now);
                ipv6.on_link(is_ready, card, links, now) || changed
            }
            News::Address { address, usable, .. } => ipv6.on_address(address, usable, card, links, now),
            News::Router { managed, other, .. } => ipv6.on_hint(Hint { managed, other }, card, links, now),
            News::Advice { advice, .. } => ipv6.on_advice(advice, now),
            News::Link { .. } | News::Lost => false,
        }
    }
}

/// What sysfs says of a link, if it is a network card: Ethernet, with a device behind it.
fn hardware(name: &str) -> Option<Card> {
    let directory = std::path::Path::new("/sys/class/net").join(name);
    let read = |file: &str| fs::read_to_string(directory.join(file)).ok().map(|text| text.trim().to_owned());
    let is_card = read("type")? == ETHERNET && directory.join("device").exists();
    let card = Card {
        name: name.to_owned(),
        what: format!("network: {name}"),
        link: read("ifindex")?.parse().ok()?,
        mac: parse_mac(&read("address")?)?,
        metric: FIRST_METRIC,
        mtu: read("mtu")?.parse().ok()?,
    };
    is_card.then_some(card)
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
