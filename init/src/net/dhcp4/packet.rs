//! DHCPv4 messages as bytes. What a server sends is hostile until proven otherwise: every length is checked, and a
//! value that could do harm further on (a name with a newline, a netmask with holes) counts as absent.

use crate::net::domain::{decode_list, is_host_name};
use std::net::Ipv4Addr;
use std::time::Duration;

/// BOOTP's fixed part up to the options, the magic cookie included (RFC 2131, figure 1).
const FIXED: usize = 240;
/// First bytes of the options (RFC 2132, section 2).
const MAGIC: [u8; 4] = [99, 130, 83, 99];
/// Some servers and relays drop messages shorter than BOOTP's 300 bytes.
const SHORTEST: usize = 300;
/// The largest message that we take: a whole Ethernet frame's worth.
pub(super) const LARGEST: u16 = 1472;

/// Option numbers (RFC 2132).
mod option {
    pub(super) const PAD: u8 = 0;
    pub(super) const NETMASK: u8 = 1;
    pub(super) const ROUTER: u8 = 3;
    pub(super) const DNS: u8 = 6;
    pub(super) const HOSTNAME: u8 = 12;
    pub(super) const DOMAIN: u8 = 15;
    pub(super) const MTU: u8 = 26;
    pub(super) const NTP: u8 = 42;
    pub(super) const REQUESTED_ADDRESS: u8 = 50;
    pub(super) const LEASE_TIME: u8 = 51;
    pub(super) const OVERLOAD: u8 = 52;
    pub(super) const MESSAGE_TYPE: u8 = 53;
    pub(super) const SERVER: u8 = 54;
    pub(super) const WANTED: u8 = 55;
    pub(super) const LARGEST_MESSAGE: u8 = 57;
    pub(super) const RENEW_AFTER: u8 = 58;
    pub(super) const REBIND_AFTER: u8 = 59;
    pub(super) const CLIENT: u8 = 61;
    pub(super) const SEARCH: u8 = 119; // RFC 3397
    pub(super) const ROUTES: u8 = 121; // RFC 3442
    pub(super) const END: u8 = 255;
}

/// What we ask a server to tell. Routes stand before the router (RFC 3442).
const WANTED: [u8; 11] = [
    option::NETMASK,
    option::ROUTES,
    option::ROUTER,
    option::DNS,
    option::HOSTNAME,
    option::DOMAIN,
    option::MTU,
    option::NTP,
    option::SEARCH,
    option::RENEW_AFTER,
    option::REBIND_AFTER,
];

/// A network card's hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

/// What a client says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Who has an address for me?
    Discover,
    /// I take the one that this server offered.
    Take {
        /// The address offered.
        address: Ipv4Addr,
        /// Who offered it.
        server: Ipv4Addr,
    },
    /// I have this address, and want to keep it.
    Keep(Ipv4Addr),
    /// I had this address before my link went: does it still fit?
    Verify(Ipv4Addr),
}

/// The message for a request, as the payload of UDP.
#[must_use]
pub fn encode(request: Request, mac: Mac, xid: u32, elapsed: Duration) -> Vec<u8> {
    let mut message = vec![0; FIXED];
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(field) = message.get_mut(at..at + bytes.len()) {
            field.copy_from_slice(bytes);
        }
    };
    put(0, &[1, 1, 6, 0]); // a request, over Ethernet, whose addresses have six bytes
    put(4, &xid.to_be_bytes());
    put(8, &u16::try_from(elapsed.as_secs()).unwrap_or(u16::MAX).to_be_bytes());
    if let Request::Keep(address) = request {
        put(12, &address.octets());
    }
    put(28, &mac.0);
    put(236, &MAGIC);

    let kind = if request == Request::Discover { 1 } else { 3 };
    add(&mut message, option::MESSAGE_TYPE, &[kind]);
    let [a, b, c, d, e, f] = mac.0;
    add(&mut message, option::CLIENT, &[1, a, b, c, d, e, f]);
    if let Request::Take { address, server } = request {
        add(&mut message, option::REQUESTED_ADDRESS, &address.octets());
        add(&mut message, option::SERVER, &server.octets());
    }
    if let Request::Verify(address) = request {
        add(&mut message, option::REQUESTED_ADDRESS, &address.octets());
    }
    add(&mut message, option::LARGEST_MESSAGE, &LARGEST.to_be_bytes());
    add(&mut message, option::WANTED, &WANTED);
    message.push(option::END);
    message.resize(message.len().max(SHORTEST), option::PAD);
    message
}

/// All our options are far shorter than the 255 bytes that one can hold.
fn add(message: &mut Vec<u8>, code: u8, value: &[u8]) {
    message.extend([code, u8::try_from(value.len()).unwrap_or(u8::MAX)]);
    message.extend(value);
}

/// What a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// An address to take.
    Offer(Lease),
    /// The address is yours.
    Ack(Lease),
    /// It is not.
    Nak {
        /// Who says so, where it tells.
        server: Option<Ipv4Addr>,
    },
}

/// An address, for how long, and what goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// Length of the network's prefix.
    pub prefix: u8,
    /// The server that gave it.
    pub server: Ipv4Addr,
    /// For how long it is ours.
    pub time: Duration,
    /// When to ask the server for more.
    pub renew_after: Duration,
    /// When to ask any server.
    pub rebind_after: Duration,
    /// The ways to elsewhere.
    pub routes: Vec<Route>,
    /// Name servers, the preferred one first.
    pub dns: Vec<Ipv4Addr>,
    /// The machine's name.
    pub hostname: Option<String>,
    /// The machine's domain.
    pub domain: Option<String>,
    /// The domains that short names are looked up in, where not only in its own.
    pub search: Vec<String>,
    /// Time servers.
    pub ntp: Vec<Ipv4Addr>,
    /// The link's MTU, bytes.
    pub mtu: Option<u16>,
}

/// A way to a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The network's first address; 0.0.0.0 with a prefix of 0 is everywhere.
    pub network: Ipv4Addr,
    /// Length of its prefix.
    pub prefix: u8,
    /// The router that leads there; without one, the network is on the link.
    pub router: Option<Ipv4Addr>,
}

/// Reads a message; `None` unless it is a whole reply to this card's request.
#[must_use]
pub fn decode(message: &[u8], mac: Mac, xid: u32) -> Option<Reply> {
    let is_reply = message.first() == Some(&2) && message.get(4..8)? == xid.to_be_bytes();
    let is_for_us = message.get(28..34)? == mac.0 && message.get(236..FIXED)? == MAGIC;
    if !(is_reply && is_for_us) {
        return None;
    }
    let options = Options::parse(message)?;
    let address = address(message.get(16..20)?)?;
    match options.get(option::MESSAGE_TYPE)?.as_slice() {
        [2] => Some(Reply::Offer(lease(address, &options)?)),
        [5] => Some(Reply::Ack(lease(address, &options)?)),
        [6] => Some(Reply::Nak { server: options.address(option::SERVER) }),
        _ => None,
    }
}

/// A lease for less is not one that a machine can keep renewing.
const SHORTEST_LEASE: u32 = 10;
/// No renewal is asked for sooner, seconds.
const SOONEST: u32 = SHORTEST_LEASE / 2;

fn lease(address: Ipv4Addr, options: &Options) -> Option<Lease> {
    let usable =
        !(address.is_unspecified() || address.is_broadcast() || address.is_loopback() || address.is_multicast());
    if !usable {
        return None;
    }
    let time = options.seconds(option::LEASE_TIME)?.max(SHORTEST_LEASE);
    // RFC 2131, section 4.4.5: a half and seven eighths, where the server does not say or says nonsense.
    // At once is nonsense too: a client that followed it would ask without end.
    let rebind =
        options.seconds(option::REBIND_AFTER).filter(|rebind| (SOONEST..time).contains(rebind)).unwrap_or(time / 8 * 7);
    let renew = options
        .seconds(option::RENEW_AFTER)
        .filter(|renew| (SOONEST..rebind).contains(renew))
        .unwrap_or(time / 2)
        .min(rebind);
    let duration = |seconds: u32| Duration::from_secs(seconds.into());
    Some(Lease {
        address,
        prefix: options.get(option::NETMASK).and_then(|mask| prefix(&mask)).unwrap_or_else(|| classful_prefix(address)),
        server: options.address(option::SERVER)?,
        time: duration(time),
        renew_after: duration(renew),
        rebind_after: duration(rebind),
        routes: routes(options),
        dns: options.addresses(option::DNS),
        hostname: options.text(option::HOSTNAME).filter(|name| is_host_name(name)),
        domain: options.text(option::DOMAIN).filter(|name| is_host_name(name)),
        search: decode_list(&options.get(option::SEARCH).unwrap_or_default()),
        ntp: options.addresses(option::NTP),
        // Below 576 bytes IPv4 itself does not work (RFC 791).
        mtu: options
            .get(option::MTU)
            .and_then(|mtu| Some(u16::from_be_bytes(mtu.try_into().ok()?)))
            .filter(|mtu| *mtu >= 576),
    })
}

fn address(bytes: &[u8]) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?))
}

fn prefix(mask: &[u8]) -> Option<u8> {
    let mask = u32::from_be_bytes(mask.try_into().ok()?);
    let ones = mask.leading_ones();
    (mask.count_ones() == ones).then(|| u8::try_from(ones).ok()).flatten()
}

/// What a server means that sends no netmask (RFC 950's classes).
fn classful_prefix(address: Ipv4Addr) -> u8 {
    match address.octets() {
        [0..=127, ..] => 8,
        [128..=191, ..] => 16,
        _ => 24,
    }
}

/// Classless static routes; where there are none, the router's (RFC 3442: never both).
fn routes(options: &Options) -> Vec<Route> {
    let classless = options.get(option::ROUTES).map(|list| classless(&list)).unwrap_or_default();
    if !classless.is_empty() {
        return classless;
    }
    let router = options.address(option::ROUTER).filter(|router| !router.is_unspecified());
    router.map(|router| Route { network: Ipv4Addr::UNSPECIFIED, prefix: 0, router: Some(router) }).into_iter().collect()
}

/// A list of routes: length of the prefix, as many bytes of the network as that has, the router's address.
fn classless(mut list: &[u8]) -> Vec<Route> {
    let mut routes = Vec::new();
    while let [prefix @ 0..=32, rest @ ..] = list {
        let Some((significant, rest)) = rest.split_at_checked(usize::from(prefix.div_ceil(8))) else { break };
        let Some((router, rest)) = rest.split_first_chunk::<4>() else { break };
        let mut network = [0; 4];
        network.iter_mut().zip(significant).for_each(|(byte, told)| *byte = *told);
        // Bits behind the prefix should be zero; the kernel insists.
        let mask = u32::MAX.checked_shl(32 - u32::from(*prefix)).unwrap_or(0);
        let network = Ipv4Addr::from(u32::from_be_bytes(network) & mask);
        let router = Some(Ipv4Addr::from(*router)).filter(|router| !router.is_unspecified());
        routes.push(Route { network, prefix: *prefix, router });
        list = rest;
    }
    routes
}

/// The options, in the order they came, from all the places that may hold some.
struct Options(Vec<(u8, Vec<u8>)>);

impl Options {
    fn parse(message: &[u8]) -> Option<Self> {
        let mut options = Options(Vec::new());
        options.read(message.get(FIXED..)?);
        // The server's name and the boot file's name can be given up for more options (RFC 2132, section 9.3).
        let overload = options.get(option::OVERLOAD).and_then(|value| value.first().copied()).unwrap_or(0);
        if overload & 1 != 0 {
            options.read(message.get(108..236)?);
        }
        if overload & 2 != 0 {
            options.read(message.get(44..108)?);
        }
        Some(options)
    }

    fn read(&mut self, mut bytes: &[u8]) {
        while let [code, rest @ ..] = bytes {
            match *code {
                option::PAD => bytes = rest,
                option::END => return,
                code => {
                    let [length, rest @ ..] = rest else { return };
                    // A truncated option ends the list: those before it are whole.
                    let Some((value, rest)) = rest.split_at_checked(usize::from(*length)) else { return };
                    self.0.push((code, value.to_vec()));
                    bytes = rest;
                }
            }
        }
    }

    /// A value; one that came in several pieces is joined (RFC 3396).
    fn get(&self, code: u8) -> Option<Vec<u8>> {
        let mut pieces = self.0.iter().filter(|(found, _)| *found == code).map(|(_, value)| value).peekable();
        pieces.peek()?;
        Some(pieces.flatten().copied().collect())
    }

    fn addresses(&self, code: u8) -> Vec<Ipv4Addr> {
        let addresses = self.get(code).unwrap_or_default();
        addresses.chunks_exact(4).filter_map(address).filter(|address| !address.is_unspecified()).collect()
    }

    /// The first address of an option.
    fn address(&self, code: u8) -> Option<Ipv4Addr> {
        address(self.get(code)?.get(..4)?)
    }

    fn seconds(&self, code: u8) -> Option<u32> {
        Some(u32::from_be_bytes(self.get(code)?.try_into().ok()?))
    }

    /// A text; some servers end it with NULs or a dot.
    fn text(&self, code: u8) -> Option<String> {
        let text = String::from_utf8(self.get(code)?).ok()?;
        Some(text.trim_end_matches(['\0', '.']).to_owned())
    }
}

#[cfg(test)]
mod tests;
