//! The kernel's news of links, of IPv6 addresses and of what routers advertise, over netlink (rtnetlink(7)).

use super::nd::{self, Advice};
use super::netlink::{
    AF_INET6, AF_UNSPEC, IFA_ADDRESS, IFA_FLAGS, Message, NLM_F_DUMP, RTM_DELADDR, RTM_GETADDR, RTM_NEWADDR,
    RTM_NEWLINK, RTM_NEWNDUSEROPT, Request, attribute, messages,
};
use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with};
use std::net::Ipv6Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The multicast groups of links, of IPv6 addresses, of what routers say of configuration, and of the options of their
/// advertisements that the kernel has no use for (RTNLGRP_LINK, _IPV6_IFADDR, _IPV6_IFINFO, _ND_USEROPT).
const GROUPS: u32 = 1 << 0 | 1 << 8 | 1 << 11 | 1 << 19;

/// IFF_LOWER_UP (netdevice(7)): the link can carry packets.
const LOWER_UP: u32 = 1 << 16;
/// IFLA_PROTINFO of a link, and in it IFLA_INET6_FLAGS (linux/if_link.h).
const IFLA_PROTINFO: u16 = 12;
const IFLA_INET6_FLAGS: u16 = 1;
/// What the last router advertisement said, in those flags: addresses, or everything else, come by DHCPv6
/// (IF_RA_MANAGED, IF_RA_OTHERCONF; linux/if.h).
const RA_MANAGED: u32 = 0x40;
const RA_OTHER: u32 = 0x80;
/// The address cannot be used yet, or never, as somebody else has it (IFA_F_TENTATIVE, IFA_F_DADFAILED).
const NOT_USABLE: u32 = 0x40 | 0x08;
/// ICMPv6's router advertisement (RFC 4861).
const ROUTER_ADVERTISEMENT: u8 = 134;
/// `struct ifinfomsg`, `struct ifaddrmsg` and `struct nduseroptmsg`.
const LINK_HEAD: usize = 16;
const ADDRESS_HEAD: usize = 8;
const OPTION_HEAD: usize = 16;

/// Something that the kernel tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// Whether a link carries packets.
    Link {
        /// The link's index.
        link: u32,
        /// Whether it does.
        ready: bool,
    },
    /// An IPv6 address came, or went.
    Address {
        /// The index of its link.
        link: u32,
        /// The address.
        address: Ipv6Addr,
        /// Whether it can be used.
        usable: bool,
    },
    /// Where a router says that configuration comes from.
    Router {
        /// The index of its link.
        link: u32,
        /// Addresses and everything else come by DHCPv6.
        managed: bool,
        /// Everything but addresses does.
        other: bool,
    },
    /// What a router says of names.
    Advice {
        /// The index of its link.
        link: u32,
        /// What it says.
        advice: Vec<Advice>,
    },
    /// More happened than could be told: what is known of addresses may be wrong, and is told anew.
    Lost,
}

/// Where the news come in.
///
/// A card that was just switched on may need a moment until it carries packets, and what is sent before is lost.
#[derive(Debug)]
pub struct Listener(OwnedFd);

impl Listener {
    /// Listens from now on.
    ///
    /// # Errors
    /// When a kernel has no networking.
    pub fn open() -> Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None).context("open a netlink socket")?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUPS)).context("listen to changes of links")?;
        Ok(Listener(socket))
    }

    /// The next news, perhaps of nothing that matters, if any wait.
    #[must_use]
    pub fn receive(&self) -> Option<Vec<News>> {
        let mut buffer = [0; 16384];
        match recv(&self.0, &mut buffer[..], RecvFlags::empty()) {
            Ok((length, _)) => Some(buffer.get(..length).map(decode).unwrap_or_default()),
            Err(Errno::INTR) => Some(Vec::new()),
            Err(Errno::NOBUFS) => {
                // The answer comes as news.
                let all = Request::new(RTM_GETADDR, NLM_F_DUMP, &[AF_INET6, 0, 0, 0, 0, 0, 0, 0]).finish(0);
                let _ = sendto(&self.0, &all, SendFlags::empty(), &SocketAddrNetlink::new(0, 0));
                Some(vec![News::Lost])
            }
            Err(_) => None,
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Reads what arrived together; what is of no interest is left out.
#[must_use]
pub fn decode(bytes: &[u8]) -> Vec<News> {
    messages(bytes).filter_map(news).collect()
}

fn news(Message { kind, body, .. }: Message<'_>) -> Option<News> {
    let word = |at: usize| Some(u32::from_ne_bytes(*body.get(at..)?.first_chunk()?));
    match (kind, *body.first()?) {
        (RTM_NEWLINK, AF_UNSPEC) => Some(News::Link { link: word(4)?, ready: word(8)? & LOWER_UP != 0 }),
        (RTM_NEWLINK, AF_INET6) => {
            let flags = attribute(attribute(body.get(LINK_HEAD..)?, IFLA_PROTINFO)?, IFLA_INET6_FLAGS)?;
            let flags = u32::from_ne_bytes(*flags.first_chunk()?);
            Some(News::Router { link: word(4)?, managed: flags & RA_MANAGED != 0, other: flags & RA_OTHER != 0 })
        }
        (RTM_NEWADDR | RTM_DELADDR, AF_INET6) => {
            let attributes = body.get(ADDRESS_HEAD..)?;
            let address = Ipv6Addr::from(*attribute(attributes, IFA_ADDRESS)?.first_chunk::<16>()?);
            let flags =
                attribute(attributes, IFA_FLAGS).and_then(|flags| Some(u32::from_ne_bytes(*flags.first_chunk()?)));
            let usable = kind == RTM_NEWADDR && flags? & NOT_USABLE == 0;
            Some(News::Address { link: word(4)?, address, usable })
        }
        (RTM_NEWNDUSEROPT, AF_INET6) if body.get(8) == Some(&ROUTER_ADVERTISEMENT) => {
            let length = usize::from(u16::from_ne_bytes(*body.get(2..)?.first_chunk()?));
            let advice = nd::decode(body.get(OPTION_HEAD..)?.get(..length)?);
            Some(News::Advice { link: word(4)?, advice })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const LINK: [u8; 4] = 7u32.to_ne_bytes();

    #[test]
    fn a_link_counts_as_ready_when_it_carries_packets() {
        let news = |flags: u32| {
            let body = [&[AF_UNSPEC, 0, 1, 0][..], &LINK, &flags.to_ne_bytes(), &[0; 4]].concat();
            decode(&Request::new(RTM_NEWLINK, 0, &body).finish(0))
        };
        assert_eq!(news(0x1_1043), [News::Link { link: 7, ready: true }]);
        assert_eq!(news(0x1003), [News::Link { link: 7, ready: false }]);
    }

    #[test]
    fn what_routers_say_of_configuration_stands_inside_an_attribute() {
        let body = [&[AF_INET6, 0, 1, 0][..], &LINK, &[0; 8]].concat();
        let flags = Request::new(0, 0, &[]).with(2, &[0; 6]).with(IFLA_INET6_FLAGS, &0x8000_0040u32.to_ne_bytes());
        let message = Request::new(RTM_NEWLINK, 0, &body).with(IFLA_PROTINFO, &flags.finish(0)[16..]).finish(0);
        assert_eq!(decode(&message), [News::Router { link: 7, managed: true, other: false }]);
    }

    #[test]
    fn an_address_is_usable_when_it_is_nobody_elses() {
        let address = Ipv6Addr::new(0xFE80, 0, 0, 0, 0, 0, 0, 1);
        let news = |kind, flags: u32| {
            let body = [&[AF_INET6, 64, 0, 0][..], &LINK].concat();
            let request = Request::new(kind, 0, &body).with(IFA_ADDRESS, &address.octets());
            decode(&request.with(IFA_FLAGS, &flags.to_ne_bytes()).finish(0))
        };
        let told = |usable| [News::Address { link: 7, address, usable }];
        assert_eq!(news(RTM_NEWADDR, 0x80), told(true));
        assert_eq!(news(RTM_NEWADDR, 0xC0), told(false));
        assert_eq!(news(RTM_DELADDR, 0x80), told(false));
    }

    #[test]
    fn an_option_of_an_advertisement_is_handed_on() {
        let option = [&[25, 3, 0, 0, 0, 0, 0, 60][..], &Ipv6Addr::new(0xFD00, 0, 0, 0, 0, 0, 0, 2).octets()].concat();
        let body = [&[AF_INET6, 0, 24, 0][..], &LINK, &[134, 0, 0, 0, 0, 0, 0, 0], &option].concat();
        let message = Request::new(RTM_NEWNDUSEROPT, 0, &body).finish(0);
        let advice = vec![Advice::Servers(vec![Ipv6Addr::new(0xFD00, 0, 0, 0, 0, 0, 0, 2)], Duration::from_secs(60))];
        assert_eq!(decode(&message), [News::Advice { link: 7, advice }]);
    }

    proptest! {
        #[test]
        fn no_news_make_the_reader_panic(
            kind in prop_oneof![Just(RTM_NEWLINK), Just(RTM_NEWADDR), Just(RTM_NEWNDUSEROPT), any::<u16>()],
            body: Vec<u8>,
        ) {
            let _ = decode(&body);
            let _ = decode(&Request::new(kind, 0, &body).finish(0));
        }
    }
}
