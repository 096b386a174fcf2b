//! DHCPv6 messages as bytes (RFC 8415). What a server sends is hostile until proven otherwise: every length is
//! checked, and a value that could do harm further on counts as absent.

use crate::net::dhcp4::packet::Mac;
use crate::net::domain::decode_list;
use std::net::Ipv6Addr;
use std::time::Duration;

/// Message types (RFC 8415, section 7.3).
mod kind {
    pub(super) const SOLICIT: u8 = 1;
    pub(super) const ADVERTISE: u8 = 2;
    pub(super) const REQUEST: u8 = 3;
    pub(super) const CONFIRM: u8 = 4;
    pub(super) const RENEW: u8 = 5;
    pub(super) const REBIND: u8 = 6;
    pub(super) const REPLY: u8 = 7;
    pub(super) const INFORMATION_REQUEST: u8 = 11;
}

/// Option numbers (RFC 8415, section 21, where nothing else is named).
mod option {
    pub(super) const CLIENT: u16 = 1;
    pub(super) const SERVER: u16 = 2;
    pub(super) const IA_NA: u16 = 3;
    pub(super) const ADDRESS: u16 = 5;
    pub(super) const WANTED: u16 = 6;
    pub(super) const ELAPSED: u16 = 8;
    pub(super) const STATUS: u16 = 13;
    pub(super) const RAPID_COMMIT: u16 = 14;
    pub(super) const DNS: u16 = 23; // RFC 3646
    pub(super) const SEARCH: u16 = 24; // RFC 3646
    pub(super) const SNTP: u16 = 31; // RFC 4075
    pub(super) const REFRESH: u16 = 32;
    pub(super) const NTP: u16 = 56; // RFC 5908
    pub(super) const SOLICIT_MAX: u16 = 82;
    pub(super) const INFORM_MAX: u16 = 83;
}

/// An address inside of the option for time servers (RFC 5908, section 4.1).
const NTP_ADDRESS: u16 = 1;
/// What we ask a server to tell.
const WANTED: [u16; 7] =
    [option::DNS, option::SEARCH, option::SNTP, option::NTP, option::REFRESH, option::SOLICIT_MAX, option::INFORM_MAX];
/// The longest DUID (RFC 8415, section 11.1).
const LONGEST_DUID: usize = 130;
/// No server gives a machine more addresses; what a link's hosts pretend must not fill the memory.
const MOST: usize = 8;
/// What a server says is not believed below or above this: an hour to a day (RFC 8415, sections 21.24, 21.25).
const LONGEST_RETRIES: std::ops::RangeInclusive<u32> = 60..=86_400;
/// Configuration without addresses is asked for again after this, where the server names no other time, and not
/// sooner than after that (IRT_DEFAULT, IRT_MINIMUM).
const REFRESH: u32 = 86_400;
const SOONEST_REFRESH: u32 = 600;
/// No renewal is asked for sooner, and no lease is shorter than twice that, seconds.
const SOONEST: u32 = 5;

/// What a client says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request<'a> {
    /// Who has an address for me?
    Solicit,
    /// I take what this server offered.
    Request(&'a Lease),
    /// Do these addresses still fit the link I am on?
    Confirm(&'a Lease),
    /// I want to keep these addresses of yours.
    Renew(&'a Lease),
    /// I want to keep these addresses, whoever gave them.
    Rebind(&'a Lease),
    /// I need no address, but the rest.
    Inform,
}

/// What a server gives.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lease {
    /// The server's DUID.
    pub server: Vec<u8>,
    /// The addresses; none where the server only tells the rest.
    pub addresses: Vec<Address>,
    /// When to ask the server for more time.
    pub renew_after: Duration,
    /// When to ask any server.
    pub rebind_after: Duration,
    /// Name servers, the preferred one first.
    pub dns: Vec<Ipv6Addr>,
    /// The domains that short names are looked up in.
    pub search: Vec<String>,
    /// Time servers.
    pub ntp: Vec<Ipv6Addr>,
}

impl Lease {
    /// For how long the last of its addresses is ours.
    #[must_use]
    pub fn time(&self) -> Duration {
        Duration::from_secs(self.addresses.iter().map(|address| address.valid).max().unwrap_or(0).into())
    }
}

/// An address, and for how long: seconds, all ones for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub address: Ipv6Addr,
    /// Until connections should no longer start from it.
    pub preferred: u32,
    /// Until it is ours no more.
    pub valid: u32,
}

/// How a request went (RFC 8415, section 21.13), as far as it matters to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Status {
    /// Well.
    #[default]
    Success,
    /// The server does not know these addresses: they must be asked for anew.
    NoBinding,
    /// The addresses do not fit the link.
    NotOnLink,
    /// In another way not well.
    Failed,
}

/// What a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// It only offers; otherwise it gives.
    pub is_offer: bool,
    /// It gives without having offered.
    pub is_rapid: bool,
    /// How the request went.
    pub status: Status,
    /// An address was taken back.
    pub withdrawn: bool,
    /// What is given.
    pub lease: Lease,
    /// The longest wait between two Solicits, or two Information-requests, that the server wants.
    pub longest_retry: Option<Duration>,
}

/// The client's identifier: DUID-LL, the card's address (RFC 8415, section 11.4). The same at every boot.
fn duid(Mac([a, b, c, d, e, f]): Mac) -> [u8; 10] {
    [0, 3, 0, 1, a, b, c, d, e, f]
}

/// The identifier of the one set of addresses that a client has.
fn iaid(Mac([_, _, c, d, e, f]): Mac) -> [u8; 4] {
    [c, d, e, f]
}

/// The message for a request, as the payload of UDP. Of `xid` the lower 24 bits count.
#[must_use]
pub fn encode(request: Request<'_>, mac: Mac, xid: u32, elapsed: Duration) -> Vec<u8> {
    use Request::{Confirm, Inform, Rebind, Renew, Solicit};
    let (kind, lease) = match request {
        Solicit => (kind::SOLICIT, None),
        Request::Request(lease) => (kind::REQUEST, Some(lease)),
        Confirm(lease) => (kind::CONFIRM, Some(lease)),
        Renew(lease) => (kind::RENEW, Some(lease)),
        Rebind(lease) => (kind::REBIND, Some(lease)),
        Inform => (kind::INFORMATION_REQUEST, None),
    };
    let [_, xid @ ..] = xid.to_be_bytes();
    let mut message = vec![kind];
    message.extend(xid);
    add(&mut message, option::CLIENT, &duid(mac));
    if let Request::Request(lease) | Renew(lease) = request {
        add(&mut message, option::SERVER, &lease.server);
    }
    let hundredths = u16::try_from(elapsed.as_millis() / 10).unwrap_or(u16::MAX);
    add(&mut message, option::ELAPSED, &hundredths.to_be_bytes());
    if request == Solicit {
        add(&mut message, option::RAPID_COMMIT, &[]);
    }
    if !matches!(request, Confirm(_)) {
        add(&mut message, option::WANTED, &WANTED.map(u16::to_be_bytes).concat());
    }
    if request != Inform {
        // The times are the server's to choose: zero (RFC 8415, section 21.4).
        let mut addresses = [&iaid(mac)[..], &[0; 8]].concat();
        for address in lease.map(|lease| &lease.addresses).into_iter().flatten() {
            add(&mut addresses, option::ADDRESS, &[&address.address.octets()[..], &[0; 8]].concat());
        }
        add(&mut message, option::IA_NA, &addresses);
    }
    message
}

/// All our options are far shorter than the 65,535 bytes that one can hold.
fn add(message: &mut Vec<u8>, code: u16, value: &[u8]) {
    message.extend(code.to_be_bytes());
    message.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
    message.extend(value);
}

/// Reads a message; `None` unless it is a whole answer to this card's request.
#[must_use]
pub fn decode(message: &[u8], mac: Mac, xid: u32) -> Option<Reply> {
    let (&[kind, a, b, c], options) = message.split_first_chunk()?;
    let is_answer =
        matches!(kind, kind::ADVERTISE | kind::REPLY) && u32::from_be_bytes([0, a, b, c]) == xid & 0xFF_FFFF;
    let is_for_us = get(options, option::CLIENT)? == duid(mac);
    let server = get(options, option::SERVER).filter(|duid| (1..=LONGEST_DUID).contains(&duid.len()))?;
    if !(is_answer && is_for_us) {
        return None;
    }
    let seconds = |code| Some(u32::from_be_bytes(get(options, code)?.try_into().ok()?));
    let longest_retry = [option::SOLICIT_MAX, option::INFORM_MAX].into_iter().find_map(seconds);
    let refresh = seconds(option::REFRESH).unwrap_or(REFRESH).max(SOONEST_REFRESH);
    let mut reply = Reply {
        is_offer: kind == kind::ADVERTISE,
        is_rapid: get(options, option::RAPID_COMMIT).is_some(),
        status: status(options),
        withdrawn: false,
        lease: Lease {
            server: server.to_vec(),
            addresses: Vec::new(),
            renew_after: Duration::from_secs(refresh.into()),
            rebind_after: Duration::from_secs(refresh.into()),
            dns: addresses(get(options, option::DNS).unwrap_or_default()).collect(),
            search: get(options, option::SEARCH).map(decode_list).unwrap_or_default(),
            ntp: time_servers(options),
        },
        longest_retry: longest_retry
            .filter(|seconds| LONGEST_RETRIES.contains(seconds))
            .map(|seconds| Duration::from_secs(seconds.into())),
    };
    let ours = |set: &&[u8]| set.get(..4) == Some(&iaid(mac));
    if let Some(set) = all(options, option::IA_NA).find(ours) {
        read_addresses(set, &mut reply);
    }
    Some(reply)
}

/// Reads a set of addresses, with its times (RFC 8415, section 21.4).
fn read_addresses(set: &[u8], reply: &mut Reply) {
    let word = |at: usize| set.get(at..).and_then(|bytes| Some(u32::from_be_bytes(*bytes.first_chunk()?))).unwrap_or(0);
    let (renew, rebind, options) = (word(4), word(8), set.get(12..).unwrap_or_default());
    if reply.status == Status::Success {
        reply.status = status(options);
    }
    for option in all(options, option::ADDRESS) {
        let Some((address, rest)) = option.split_first_chunk::<16>() else { continue };
        let Some((times, rest)) = rest.split_first_chunk::<8>() else { continue };
        let [preferred, valid] = [times.first_chunk(), times.last_chunk()]
            .map(|word| word.map_or(0, |word: &[u8; 4]| u32::from_be_bytes(*word)));
        let address = Ipv6Addr::from(*address);
        if !is_usable(address) || preferred > valid || status(rest) != Status::Success {
            continue;
        }
        reply.withdrawn |= valid == 0;
        if valid > 0 && reply.lease.addresses.len() < MOST {
            reply.lease.addresses.push(Address { address, preferred, valid: valid.max(2 * SOONEST) });
        }
    }
    let times = reply
        .lease
        .addresses
        .iter()
        .map(|address| if address.preferred > 0 { address.preferred } else { address.valid });
    let Some(shortest) = times.min() else { return };
    // A half and four fifths, where the server does not say or says nonsense (RFC 8415, section 14.2). At once is
    // nonsense too: a client that followed it would ask without end.
    let end = reply.lease.addresses.iter().map(|address| address.valid).min().unwrap_or(0);
    let rebind =
        Some(rebind).filter(|rebind| (SOONEST..=end).contains(rebind)).unwrap_or(shortest / 5 * 4).max(SOONEST);
    let renew = Some(renew).filter(|renew| (SOONEST..=rebind).contains(renew)).unwrap_or(shortest / 2).max(SOONEST);
    reply.lease.renew_after = Duration::from_secs(renew.into());
    reply.lease.rebind_after = Duration::from_secs(rebind.max(renew).into());
}

/// Whether an address is one that a machine can have from a server.
fn is_usable(address: Ipv6Addr) -> bool {
    !(address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || address.is_unicast_link_local()
        || address.to_ipv4_mapped().is_some())
}

fn status(options: &[u8]) -> Status {
    match get(options, option::STATUS).and_then(|status| status.first_chunk()) {
        None | Some([0, 0]) => Status::Success,
        Some([0, 3]) => Status::NoBinding,
        Some([0, 4]) => Status::NotOnLink,
        Some(_) => Status::Failed,
    }
}

/// Name servers may be on the link: those of home routers are.
fn addresses(bytes: &[u8]) -> impl Iterator<Item = Ipv6Addr> {
    let (addresses, _) = bytes.as_chunks::<16>();
    let usable = |address: &Ipv6Addr| is_usable(*address) || address.is_unicast_link_local();
    addresses.iter().copied().map(Ipv6Addr::from).filter(usable).take(MOST)
}

/// By the newer option, or by the older one.
fn time_servers(options: &[u8]) -> Vec<Ipv6Addr> {
    let newer = get(options, option::NTP).unwrap_or_default();
    let found: Vec<Ipv6Addr> = all(newer, NTP_ADDRESS).flat_map(addresses).take(MOST).collect();
    if found.is_empty() { addresses(get(options, option::SNTP).unwrap_or_default()).collect() } else { found }
}

/// The values of all options of a code, in a message or in another option, up to the first that breaks off.
fn all(mut bytes: &[u8], wanted: u16) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        loop {
            let (&[a, b, c, d], rest) = bytes.split_first_chunk()?;
            let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([c, d])))?;
            bytes = rest;
            if u16::from_be_bytes([a, b]) == wanted {
                return Some(value);
            }
        }
    })
}

fn get(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    all(bytes, wanted).next()
}

#[cfg(test)]
mod tests;
