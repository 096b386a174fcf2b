//! Network links, their addresses and routes: requests to the kernel over netlink (rtnetlink(7)).
//!
//! Messages are packed by `netlink-packet-route`; the kernel's answer to each is a single number, read here. The crate's
//! decoding, and `rtnetlink` with it, would triple the size of init for answers that nobody asks for.

use anyhow::{Context, Result, bail};
use netlink_packet_core::Emitable;
use netlink_packet_route::AddressFamily as Family;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Message types of rtnetlink(7).
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_NEWROUTE: u16 = 24;
/// netlink(7): an answer that carries an error number, 0 for success.
const NLMSG_ERROR: u16 = 2;
/// netlink(7): this is a request, answer it, make the object if it is new, replace it if it is there.
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_CREATE: u16 = 0x400;
/// Length, type, flags, sequence number, port.
const HEADER: usize = 16;
/// The kernel's main routing table (RT_TABLE_MAIN).
const MAIN_TABLE: u8 = 254;

/// The multicast group of changes to links (RTMGRP_LINK).
const LINK_GROUP: u32 = 1;
/// The link can carry packets (IFF_LOWER_UP, netdevice(7)).
const LOWER_UP: u32 = 1 << 16;

/// A way to the kernel's network configuration.
#[derive(Debug)]
pub struct Links {
    socket: OwnedFd,
    sequence: u32,
}

/// An address on a link, with its network's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The link's index.
    pub link: u32,
    /// The address itself.
    pub address: Ipv4Addr,
    /// Length of the network's prefix.
    pub prefix: u8,
}

impl Links {
    /// Opens the socket.
    ///
    /// # Errors
    /// When a kernel has no networking.
    pub fn open() -> Result<Self> {
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)
            .context("open a netlink socket")?;
        bind(&socket, &SocketAddrNetlink::new(0, 0)).context("bind the netlink socket")?;
        Ok(Links { socket, sequence: 0 })
    }

    /// Switches a link on.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn up(&mut self, link: u32) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = link;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.request(RTM_NEWLINK, 0, &message).context("switch the link on")
    }

    /// Sets a link's MTU, bytes.
    ///
    /// # Errors
    /// What the kernel answers, when the card cannot do it for example.
    pub fn set_mtu(&mut self, link: u32, mtu: u16) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = link;
        message.attributes.push(LinkAttribute::Mtu(mtu.into()));
        self.request(RTM_NEWLINK, 0, &message).with_context(|| format!("set the MTU to {mtu}"))
    }

    /// Gives a link an address; one that is there already stays.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn add_address(&mut self, address: Address) -> Result<()> {
        self.request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &message_of(address))
            .with_context(|| format!("add address {}/{}", address.address, address.prefix))
    }

    /// Takes an address from a link, and with it the routes that need it.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn remove_address(&mut self, address: Address) -> Result<()> {
        self.request(RTM_DELADDR, 0, &message_of(address))
            .with_context(|| format!("remove address {}/{}", address.address, address.prefix))
    }

    /// Sets the way to everywhere else through a link. The one of the lowest metric is taken.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn set_default_route(&mut self, address: Address, router: Ipv4Addr, metric: u32) -> Result<()> {
        let mut message = RouteMessage::default();
        message.header.address_family = Family::Inet;
        message.header.table = MAIN_TABLE;
        message.header.protocol = RouteProtocol::Dhcp;
        message.header.scope = RouteScope::Universe;
        message.header.kind = RouteType::Unicast;
        // Some clouds give a /32 and a router outside of it: it is on the link all the same.
        message.header.flags = netlink_packet_route::route::RouteFlags::Onlink;
        message.attributes = vec![
            RouteAttribute::Gateway(RouteAddress::Inet(router)),
            RouteAttribute::Oif(address.link),
            RouteAttribute::PrefSource(RouteAddress::Inet(address.address)),
            RouteAttribute::Priority(metric),
        ];
        self.request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &message)
            .with_context(|| format!("set the default route to {router}"))
    }

    fn request(&mut self, kind: u16, flags: u16, body: &impl Emitable) -> Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut payload = vec![0; body.buffer_len()];
        body.emit(&mut payload);
        let message = frame(kind, NLM_F_REQUEST | NLM_F_ACK | flags, self.sequence, &payload);
        sendto(&self.socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0)).context("ask the kernel")?;
        let mut answer = [0; 4096];
        loop {
            let (length, _) = recv(&self.socket, &mut answer[..], RecvFlags::empty()).context("hear the kernel")?;
            match answer.get(..length).and_then(parse_ack) {
                // The answer to an earlier request that was given up.
                Some((sequence, _)) if sequence != self.sequence => {}
                Some((_, 0)) => return Ok(()),
                Some((_, errno)) => return Err(Errno::from_raw_os_error(errno).into()),
                None => bail!("the kernel answered something else than yes or no"),
            }
        }
    }
}

/// The kernel's news of links.
///
/// A card that was just switched on may need a moment until it carries packets, and what is sent before is lost.
#[derive(Debug)]
pub struct LinkNews(OwnedFd);

impl LinkNews {
    /// Listens from now on.
    ///
    /// # Errors
    /// When a kernel has no networking.
    pub fn listen() -> Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None).context("open a netlink socket")?;
        bind(&socket, &SocketAddrNetlink::new(0, LINK_GROUP)).context("listen to changes of links")?;
        Ok(LinkNews(socket))
    }

    /// The next link that is said to carry packets, if any news wait.
    #[must_use]
    pub fn next_ready(&self) -> Option<u32> {
        let mut buffer = [0; 8192];
        loop {
            match recv(&self.0, &mut buffer[..], RecvFlags::empty()) {
                Ok((length, _)) => {
                    if let Some(link) = buffer.get(..length).and_then(parse_ready_link) {
                        return Some(link);
                    }
                }
                // News that were lost cost a retry of DHCP's, no more.
                Err(Errno::INTR | Errno::NOBUFS) => {}
                Err(_) => return None,
            }
        }
    }
}

impl AsFd for LinkNews {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The index of a link from news that it carries packets: `struct ifinfomsg` behind the header.
fn parse_ready_link(message: &[u8]) -> Option<u32> {
    let word = |at: usize| Some(u32::from_ne_bytes(message.get(at..at + 4)?.try_into().ok()?));
    let kind = u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?);
    let (index, flags) = (word(HEADER + 4)?, word(HEADER + 8)?);
    (kind == RTM_NEWLINK && flags & LOWER_UP != 0).then_some(index)
}

fn message_of(address: Address) -> AddressMessage {
    let Address { link, address, prefix } = address;
    let mut message = AddressMessage::default();
    message.header.family = Family::Inet;
    message.header.index = link;
    message.header.prefix_len = prefix;
    message.attributes = vec![AddressAttribute::Local(address.into()), AddressAttribute::Address(address.into())];
    // RFC 3021: a network of two addresses or of one has none to broadcast to.
    if prefix < 31 {
        let host_bits = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
        message.attributes.push(AddressAttribute::Broadcast(Ipv4Addr::from(u32::from(address) | host_bits)));
    }
    message
}

fn frame(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    // Our payloads are a few dozen bytes.
    let length = u32::try_from(HEADER + payload.len()).unwrap_or(u32::MAX);
    let mut message = Vec::with_capacity(HEADER + payload.len());
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend(sequence.to_ne_bytes());
    message.extend(0u32.to_ne_bytes());
    message.extend(payload);
    message
}

/// The sequence number of an answer and its error number, as positive errno.
fn parse_ack(message: &[u8]) -> Option<(u32, i32)> {
    let kind = u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?);
    let sequence = u32::from_ne_bytes(message.get(8..12)?.try_into().ok()?);
    let code = i32::from_ne_bytes(message.get(HEADER..HEADER + 4)?.try_into().ok()?);
    (kind == NLMSG_ERROR).then(|| (sequence, code.saturating_neg()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_from_other_messages() {
        let refusal = frame(NLMSG_ERROR, 0, 7, &(-17i32).to_ne_bytes());
        assert_eq!(parse_ack(&refusal), Some((7, 17)));
        assert_eq!(parse_ack(&refusal[..18]), None);
        assert_eq!(parse_ack(&frame(RTM_NEWLINK, 0, 7, &[0; 4])), None);
    }

    #[test]
    fn a_link_counts_as_ready_when_it_carries_packets() {
        let news = |flags: u32| {
            let body = [&[0; 4][..], &7u32.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 4]].concat();
            frame(RTM_NEWLINK, 0, 0, &body)
        };
        assert_eq!(parse_ready_link(&news(0x1_1043)), Some(7));
        assert_eq!(parse_ready_link(&news(0x1003)), None);
        assert_eq!(parse_ready_link(&news(0x1_1043)[..20]), None);
    }

    #[test]
    fn the_broadcast_address_is_the_last_of_the_network() {
        let broadcast = |prefix| {
            let message = message_of(Address { link: 2, address: Ipv4Addr::new(10, 0, 2, 15), prefix });
            message.attributes.into_iter().find_map(|attribute| match attribute {
                AddressAttribute::Broadcast(address) => Some(address),
                _ => None,
            })
        };
        assert_eq!(broadcast(24), Some(Ipv4Addr::new(10, 0, 2, 255)));
        assert_eq!(broadcast(0), Some(Ipv4Addr::BROADCAST));
        assert_eq!(broadcast(31), None);
        assert_eq!(broadcast(32), None);
    }
}
