//! Netlink messages as bytes (netlink(7), rtnetlink(7)): requests are packed, news and answers taken apart; and the way
//! that requests take.
//!
//! Written out here: the crates for it know every attribute of every kernel object and take minutes to compile, for
//! the dozen that init uses.

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with,
};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Message types (rtnetlink(7)).
pub(super) const RTM_NEWLINK: u16 = 16;
pub(super) const RTM_NEWADDR: u16 = 20;
pub(super) const RTM_DELADDR: u16 = 21;
pub(super) const RTM_GETADDR: u16 = 22;
pub(super) const RTM_NEWROUTE: u16 = 24;
pub(super) const RTM_DELROUTE: u16 = 25;
pub(super) const RTM_NEWNDUSEROPT: u16 = 68;
/// An answer that carries an error number, 0 for success.
const NLMSG_ERROR: u16 = 2;

/// This is a request; answer it; replace the object if it is there; make it if it is not; tell of all there are.
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
pub(super) const NLM_F_REPLACE: u16 = 0x100;
pub(super) const NLM_F_CREATE: u16 = 0x400;
pub(super) const NLM_F_DUMP: u16 = 0x300;

/// Address families (socket(2)).
pub(super) const AF_UNSPEC: u8 = 0;
pub(super) const AF_INET: u8 = 2;
pub(super) const AF_INET6: u8 = 10;

/// IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_CACHEINFO and IFA_FLAGS (rtnetlink(7)).
pub(super) const IFA_ADDRESS: u16 = 1;
pub(super) const IFA_LOCAL: u16 = 2;
pub(super) const IFA_BROADCAST: u16 = 4;
pub(super) const IFA_CACHEINFO: u16 = 6;
pub(super) const IFA_FLAGS: u16 = 8;

/// Length, type, flags, sequence number, port.
const HEADER: usize = 16;
/// Messages and attributes start at multiples of this.
const ALIGNMENT: usize = 4;
/// There are attributes in this one.
pub(super) const NLA_F_NESTED: u16 = 0x8000;
/// The upper two bits of an attribute's type are flags, this one and NLA_F_NET_BYTEORDER.
const ATTRIBUTE_TYPE: u16 = 0x3FFF;

/// How long an answer may take. The kernel has answered when sendto(2) returns: one that is not there then never comes.
const DEADLINE: Duration = Duration::from_secs(1);
/// Longest answer that init asks for: that of the family "ethtool" has 1,096 bytes in Linux 6.18, and grows.
const LONGEST_ANSWER: usize = 8192;

/// A way to ask the kernel.
#[derive(Debug)]
pub(super) struct Channel {
    socket: OwnedFd,
    sequence: u32,
}

impl Channel {
    /// Opens one; without a protocol, that of rtnetlink(7).
    ///
    /// # Errors
    /// When a kernel has none of it.
    pub(super) fn open(protocol: Option<Protocol>) -> Result<Self> {
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)
            .context("open a netlink socket")?;
        set_socket_timeout(&socket, Timeout::Recv, Some(DEADLINE)).context("set the deadline of a netlink socket")?;
        bind(&socket, &SocketAddrNetlink::new(0, 0)).context("bind the netlink socket")?;
        Ok(Channel { socket, sequence: 0 })
    }

    /// Asks for something, and gives the body of the answer; an empty one where the kernel says only that it is done.
    ///
    /// # Errors
    /// What the kernel answers, as [`Errno`]; that it does not.
    pub(super) fn ask(&mut self, request: Request) -> Result<Vec<u8>> {
        self.sequence = self.sequence.wrapping_add(1);
        let message = request.finish(self.sequence);
        sendto(&self.socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0)).context("ask the kernel")?;
        let mut answer = Vec::new();
        let mut buffer = [0; LONGEST_ANSWER];
        loop {
            let (length, _) = recv(&self.socket, &mut buffer[..], RecvFlags::empty()).context("hear the kernel")?;
            // Others are answers to earlier requests that were given up.
            let ours = |message: &Message<'_>| message.sequence == self.sequence;
            for message in messages(buffer.get(..length).unwrap_or_default()).filter(ours) {
                match message.error() {
                    None => answer = message.body.to_vec(),
                    Some(0) => return Ok(answer),
                    Some(errno) => return Err(Errno::from_raw_os_error(errno).into()),
                }
            }
        }
    }
}

/// A message to the kernel.
#[derive(Debug)]
pub(super) struct Request(Vec<u8>);

impl Request {
    /// A request of a type, with flags besides those of every request, and the fixed part of its body.
    pub(super) fn new(kind: u16, flags: u16, body: &[u8]) -> Self {
        let mut message = vec![0; 4];
        message.extend(kind.to_ne_bytes());
        message.extend((flags | NLM_F_REQUEST | NLM_F_ACK).to_ne_bytes());
        message.extend([0; 8]);
        message.extend(body);
        Request(message)
    }

    pub(super) fn with(mut self, attribute: u16, value: &[u8]) -> Self {
        self.0.extend(packed(attribute, value));
        self
    }

    /// The message with its length and a sequence number, by which its answer is known.
    pub(super) fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0.splice(0..4, length.to_ne_bytes());
        self.0.splice(8..12, sequence.to_ne_bytes());
        self.0
    }
}

/// An attribute, as it stands in a message or in another attribute, which has [`NLA_F_NESTED`] then.
pub(super) fn packed(attribute: u16, value: &[u8]) -> Vec<u8> {
    // All our values are a few bytes long.
    let length = u16::try_from(ALIGNMENT + value.len()).unwrap_or(u16::MAX);
    let mut bytes = [&length.to_ne_bytes(), &attribute.to_ne_bytes(), value].concat();
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
    bytes
}

/// A message from the kernel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) sequence: u32,
    pub(super) body: &'a [u8],
}

impl Message<'_> {
    /// The error number of an answer, 0 for success.
    pub(super) fn error(&self) -> Option<i32> {
        let code = i32::from_ne_bytes(*self.body.first_chunk()?);
        (self.kind == NLMSG_ERROR).then(|| code.saturating_neg())
    }
}

/// The messages that arrived together, up to the first that is not whole.
pub(super) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
        let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
        let sequence = u32::from_ne_bytes(bytes.get(8..12)?.try_into().ok()?);
        let body = bytes.get(HEADER..length)?;
        bytes = bytes.get(length.checked_next_multiple_of(ALIGNMENT)?..).unwrap_or_default();
        Some(Message { kind, sequence, body })
    })
}

/// The attributes of a message, or of another attribute, up to the first that is not whole.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & ATTRIBUTE_TYPE;
        let value = bytes.get(ALIGNMENT..length)?;
        bytes = bytes.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of one attribute.
pub(super) fn attribute(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(kind, value)| (kind == wanted).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_packed_is_what_is_taken_apart() {
        let first = Request::new(RTM_NEWADDR, 0, &[1, 2, 3, 4]).with(1, &[5, 6, 7]).with(0x8002, &[8]).finish(9);
        assert_eq!(first.len() % ALIGNMENT, 0);
        let two = [first, Request::new(RTM_DELADDR, 0, &[]).finish(10)].concat();
        let found: Vec<_> = messages(&two).collect();
        let [one, other] = found[..] else { panic!("{found:?}") };
        assert_eq!((one.kind, one.sequence, other.kind, other.sequence), (RTM_NEWADDR, 9, RTM_DELADDR, 10));
        let inside: Vec<_> = attributes(&one.body[4..]).collect();
        assert_eq!(inside, [(1, &[5, 6, 7][..]), (2, &[8][..])]);
        assert_eq!(messages(&two[..two.len() - 1]).count(), 1);
    }

    #[test]
    fn answers_are_told_from_other_messages() {
        let error = |kind, code: i32| {
            let bytes = Request::new(kind, 0, &code.to_ne_bytes()).finish(7);
            messages(&bytes).next().and_then(|message| message.error())
        };
        assert_eq!(error(NLMSG_ERROR, -17), Some(17));
        assert_eq!(error(NLMSG_ERROR, 0), Some(0));
        assert_eq!(error(RTM_NEWLINK, 0), None);
    }

    proptest! {
        #[test]
        fn no_message_makes_the_reader_panic_or_read_on_forever(bytes: Vec<u8>) {
            prop_assert!(messages(&bytes).count() <= bytes.len());
            prop_assert!(attributes(&bytes).count() <= bytes.len());
        }
    }
}
