//! Network links, their addresses and routes: requests to the kernel over netlink (rtnetlink(7)).

use super::netlink::{
    AF_INET, AF_INET6, AF_UNSPEC, Channel, IFA_ADDRESS, IFA_BROADCAST, IFA_CACHEINFO, IFA_FLAGS, IFA_LOCAL,
    NLM_F_CREATE, NLM_F_REPLACE, RTM_DELADDR, RTM_DELROUTE, RTM_NEWADDR, RTM_NEWLINK, RTM_NEWROUTE, Request,
};
use anyhow::{Context, Result};
use rustix::io::Errno;
use std::net::{Ipv4Addr, Ipv6Addr};

/// IFF_UP (netdevice(7)).
const UP: u32 = 1;
/// IFLA_MTU (rtnetlink(7)).
const IFLA_MTU: u16 = 4;
/// RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY and RTA_PREFSRC (rtnetlink(7)).
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
/// The kernel's main routing table, a route that DHCP gave, to other hosts (rtnetlink(7)).
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_DHCP: u8 = 16;
const RTN_UNICAST: u8 = 1;
/// Through a router, and on the link.
const RT_SCOPE_UNIVERSE: u8 = 0;
const RT_SCOPE_LINK: u8 = 253;
/// The router is on the link, whatever the addresses say.
const RTNH_F_ONLINK: u32 = 4;
/// The address needs no duplicate address detection.
const IFA_F_NODAD: u32 = 2;

/// A way to the kernel's network configuration.
#[derive(Debug)]
pub struct Links(Channel);

/// An IPv4 address on a link, with its network's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The link's index.
    pub link: u32,
    /// The address itself.
    pub address: Ipv4Addr,
    /// Length of the network's prefix.
    pub prefix: u8,
}

/// An IPv6 address on a link. What else is on the link is for routers to say, so it has no prefix (RFC 5942).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address6 {
    /// The link's index.
    pub link: u32,
    /// The address itself.
    pub address: Ipv6Addr,
    /// Seconds until connections should no longer start from it.
    pub preferred: u32,
    /// Seconds until the kernel takes it away.
    pub valid: u32,
}

/// A way to a network through a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The link's index.
    pub link: u32,
    /// The network's first address.
    pub network: Ipv4Addr,
    /// Length of its prefix.
    pub prefix: u8,
    /// The router that leads there; without one, the network is on the link.
    pub router: Option<Ipv4Addr>,
    /// The address that connections start from.
    pub source: Ipv4Addr,
    /// Of several ways to the same network, the one of the lowest metric is taken.
    pub metric: u32,
}

impl Links {
    /// Opens the socket.
    ///
    /// # Errors
    /// When a kernel has no networking.
    pub fn open() -> Result<Self> {
        Channel::open(None).map(Links)
    }

    /// Switches a link on.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn up(&mut self, link: u32) -> Result<()> {
        self.request(Request::new(RTM_NEWLINK, 0, &link_body(link, UP))).context("switch the link on")
    }

    /// Sets a link's MTU, bytes.
    ///
    /// # Errors
    /// What the kernel answers, when the card cannot do it for example.
    pub fn set_mtu(&mut self, link: u32, mtu: u32) -> Result<()> {
        let request = Request::new(RTM_NEWLINK, 0, &link_body(link, 0)).with(IFLA_MTU, &mtu.to_ne_bytes());
        self.request(request).with_context(|| format!("set the MTU to {mtu}"))
    }

    /// Gives a link an address; one that is there already stays.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn add_address(&mut self, address: Address) -> Result<()> {
        self.request(address_request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, address))
            .with_context(|| format!("add address {}/{}", address.address, address.prefix))
    }

    /// Takes an address from a link, and with it the routes that need it.
    ///
    /// # Errors
    /// What the kernel answers; that it was gone already is none.
    pub fn remove_address(&mut self, address: Address) -> Result<()> {
        ignore(Errno::ADDRNOTAVAIL, self.request(address_request(RTM_DELADDR, 0, address)))
            .with_context(|| format!("remove address {}/{}", address.address, address.prefix))
    }

    /// Gives a link an IPv6 address; one that is there already gets these times.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn add_address6(&mut self, address: Address6) -> Result<()> {
        let Address6 { preferred, valid, .. } = address;
        let times = [preferred, valid, 0, 0].map(u32::to_ne_bytes).concat();
        let request = address6_request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, address)
            .with(IFA_CACHEINFO, &times)
            .with(IFA_FLAGS, &IFA_F_NODAD.to_ne_bytes());
        self.request(request).with_context(|| format!("add address {}", address.address))
    }

    /// Takes an IPv6 address from a link.
    ///
    /// # Errors
    /// What the kernel answers; that it was gone already, by its time, is none.
    pub fn remove_address6(&mut self, link: u32, address: Ipv6Addr) -> Result<()> {
        let gone = Address6 { link, address, preferred: 0, valid: 0 };
        ignore(Errno::ADDRNOTAVAIL, self.request(address6_request(RTM_DELADDR, 0, gone)))
            .with_context(|| format!("remove address {address}"))
    }

    /// Sets a way to a network.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn add_route(&mut self, route: Route) -> Result<()> {
        self.request(route_request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, route))
            .with_context(|| format!("set the route to {}/{}", route.network, route.prefix))
    }

    /// Takes a way to a network back.
    ///
    /// # Errors
    /// What the kernel answers; that it was gone already is none.
    pub fn remove_route(&mut self, route: Route) -> Result<()> {
        ignore(Errno::SRCH, self.request(route_request(RTM_DELROUTE, 0, route)))
            .with_context(|| format!("remove the route to {}/{}", route.network, route.prefix))
    }

    fn request(&mut self, request: Request) -> Result<()> {
        self.0.ask(request).map(drop)
    }
}

/// `struct ifinfomsg` that sets some flags.
fn link_body(link: u32, flags: u32) -> Vec<u8> {
    let mut body = vec![AF_UNSPEC, 0, 0, 0];
    body.extend([link, flags, flags].map(u32::to_ne_bytes).concat());
    body
}

/// `struct ifaddrmsg`, and its attributes.
fn address_request(kind: u16, flags: u16, address: Address) -> Request {
    let Address { link, address, prefix } = address;
    let mut body = vec![AF_INET, prefix, 0, 0];
    body.extend(link.to_ne_bytes());
    let bytes = address.octets();
    let request = Request::new(kind, flags, &body).with(IFA_LOCAL, &bytes).with(IFA_ADDRESS, &bytes);
    match broadcast(address, prefix) {
        Some(broadcast) => request.with(IFA_BROADCAST, &broadcast.octets()),
        None => request,
    }
}

/// The last address of a network; one of two addresses or of one has none (RFC 3021).
fn broadcast(address: Ipv4Addr, prefix: u8) -> Option<Ipv4Addr> {
    let host_bits = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
    (prefix < 31).then(|| Ipv4Addr::from(u32::from(address) | host_bits))
}

fn address6_request(kind: u16, flags: u16, address: Address6) -> Request {
    let mut body = vec![AF_INET6, 128, 0, 0];
    body.extend(address.link.to_ne_bytes());
    let bytes = address.address.octets();
    Request::new(kind, flags, &body).with(IFA_LOCAL, &bytes).with(IFA_ADDRESS, &bytes)
}

/// `struct rtmsg`, and its attributes.
fn route_request(kind: u16, flags: u16, route: Route) -> Request {
    let Route { link, network, prefix, router, source, metric } = route;
    // Some clouds give a /32 and a router outside of it: it is on the link all the same.
    let (scope, onlink) = if router.is_some() { (RT_SCOPE_UNIVERSE, RTNH_F_ONLINK) } else { (RT_SCOPE_LINK, 0) };
    let mut body = vec![AF_INET, prefix, 0, 0, RT_TABLE_MAIN, RTPROT_DHCP, scope, RTN_UNICAST];
    body.extend(onlink.to_ne_bytes());
    let mut request = Request::new(kind, flags, &body)
        .with(RTA_OIF, &link.to_ne_bytes())
        .with(RTA_PREFSRC, &source.octets())
        .with(RTA_PRIORITY, &metric.to_ne_bytes());
    if prefix > 0 {
        request = request.with(RTA_DST, &network.octets());
    }
    match router {
        Some(router) => request.with(RTA_GATEWAY, &router.octets()),
        None => request,
    }
}

/// Takes one error as success.
fn ignore(ignored: Errno, result: Result<()>) -> Result<()> {
    result.or_else(|error| if error.downcast_ref() == Some(&ignored) { Ok(()) } else { Err(error) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_broadcast_address_is_the_last_of_the_network() {
        let broadcast = |prefix| broadcast(Ipv4Addr::new(10, 0, 2, 15), prefix);
        assert_eq!(broadcast(24), Some(Ipv4Addr::new(10, 0, 2, 255)));
        assert_eq!(broadcast(0), Some(Ipv4Addr::BROADCAST));
        assert_eq!(broadcast(31), None);
        assert_eq!(broadcast(32), None);
    }

    /// In a network namespace of the tests' own (`unshare -n`), on its loopback link: the kernel takes what is packed.
    #[test]
    fn the_kernel_takes_addresses_and_routes_and_gives_them_back() {
        let mut links = Links::open().unwrap();
        if links.up(1).is_err() {
            eprintln!("not root of a network namespace: nothing tested");
            return;
        }
        let (link, source) = (1, Ipv4Addr::new(10, 99, 0, 5));
        let address = Address { link, address: source, prefix: 24 };
        let address6 = Address6 { link, address: "2001:db8::5".parse().unwrap(), preferred: 140, valid: 450 };
        let route =
            |router, prefix| Route { link, network: Ipv4Addr::new(10, 98, 0, 0), prefix, router, source, metric: 100 };
        let routes = [route(None, 16), route(Some(Ipv4Addr::new(10, 97, 0, 1)), 32)];
        links.set_mtu(link, 9001).unwrap();
        for _ in 0..2 {
            links.add_address(address).unwrap();
            links.add_address6(address6).unwrap();
            routes.iter().for_each(|route| links.add_route(*route).unwrap());
        }
        let addresses = std::fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap();
        assert!(addresses.contains("20010db8000000000000000000000005 01 80 00"), "{addresses}");
        let kernel_routes = std::fs::read_to_string("/proc/thread-self/net/route").unwrap();
        assert!(kernel_routes.contains("lo\t0000620A\t00000000\t0001"), "{kernel_routes}");
        assert!(kernel_routes.contains("lo\t0000620A\t0100610A\t0007"), "{kernel_routes}");
        for _ in 0..2 {
            routes.iter().for_each(|route| links.remove_route(*route).unwrap());
            links.remove_address6(link, address6.address).unwrap();
            links.remove_address(address).unwrap();
        }
        assert!(!std::fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap().contains("20010db8"));
    }
}
