//! The sockets that carry DHCPv4: a packet socket while the card has no address, a UDP socket when it has one.

use super::packet::{LARGEST, Mac};
use crate::sys;
use anyhow::{Context, Result};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

const CLIENT_PORT: u16 = 68;
const SERVER_PORT: u16 = 67;
const IP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const UDP: u8 = 17;
/// Everybody on an Ethernet.
const BROADCAST: [u8; 6] = [0xFF; 6];

/// An open way to servers.
#[derive(Debug)]
pub enum Transport {
    /// Whole IPv4 packets on one link, whatever addresses the machine has.
    Link(OwnedFd, u32),
    /// Datagrams from the leased address to the server that gave it.
    Udp(UdpSocket),
}

impl Transport {
    /// Opens the way to everybody on a link.
    ///
    /// # Errors
    /// When the socket cannot be had.
    pub fn on_link(link: u32) -> Result<Self> {
        let socket = sys::ipv4_packet_socket(link, FILTER).context("open a packet socket for DHCP")?;
        Ok(Transport::Link(socket, link))
    }

    /// Opens the way to one server.
    ///
    /// # Errors
    /// When the address is not ours any more, or the application has taken the port.
    pub fn to_server(ours: Ipv4Addr, server: Ipv4Addr) -> Result<Self> {
        let open = || {
            let socket = UdpSocket::bind((ours, CLIENT_PORT))?;
            socket.connect((server, SERVER_PORT))?;
            socket.set_nonblocking(true)?;
            Ok(Transport::Udp(socket))
        };
        open()
            .map_err(|error: std::io::Error| error)
            .with_context(|| format!("open a socket from {ours} to DHCP server {server}"))
    }

    /// Sends a DHCP message.
    ///
    /// # Errors
    /// When the link is down, among others: the client tries again.
    pub fn send(&self, message: &[u8]) -> Result<()> {
        match self {
            Transport::Link(socket, link) => sys::send_on_link(socket, *link, BROADCAST, &pack(message)),
            Transport::Udp(socket) => socket.send(message).map(|_| ()),
        }
        .context("send a DHCP message")
    }

    /// The next DHCP message that waits, if any.
    #[must_use]
    pub fn receive(&self) -> Option<Vec<u8>> {
        let mut buffer = [0; LARGEST as usize + IP_HEADER + UDP_HEADER + 40];
        loop {
            match self {
                Transport::Link(socket, _) => {
                    let length = rustix::io::read(socket, &mut buffer[..]).ok()?;
                    if let Some(message) = buffer.get(..length).and_then(unpack) {
                        return Some(message.to_vec());
                    }
                }
                Transport::Udp(socket) => {
                    let length = socket.recv(&mut buffer).ok()?;
                    return buffer.get(..length).map(<[u8]>::to_vec);
                }
            }
        }
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Transport::Link(socket, _) => socket.as_fd(),
            Transport::Udp(socket) => socket.as_fd(),
        }
    }
}

/// Lets only unfragmented UDP from port 67 to port 68 through, so that traffic of the application never wakes init. In
/// tcpdump's words: `udp src port 67 and dst port 68`, for packets that start with their IP header.
const FILTER: &[libc::sock_filter] = &[
    bpf(0x30, 0, 0, 9),                  // ldb  [9]            the protocol
    bpf(0x15, 0, 8, UDP as u32),         // jeq  #17            is UDP, or drop
    bpf(0x28, 0, 0, 6),                  // ldh  [6]            the fragment's offset
    bpf(0x45, 6, 0, 0x1FFF),             // jset #0x1fff        is 0, or drop
    bpf(0xB1, 0, 0, 0),                  // ldxb 4*([0]&0xf)    the IP header's length
    bpf(0x48, 0, 0, 0),                  // ldh  [x + 0]        the source port
    bpf(0x15, 0, 3, SERVER_PORT as u32), // jeq  #67            is a server's, or drop
    bpf(0x48, 0, 0, 2),                  // ldh  [x + 2]        the destination port
    bpf(0x15, 0, 1, CLIENT_PORT as u32), // jeq  #68            is ours, or drop
    bpf(0x06, 0, 0, 0xFFFF),             // ret  #65535
    bpf(0x06, 0, 0, 0),                  // ret  #0
];

const fn bpf(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// Puts a message into UDP and IPv4, from nobody to everybody. UDP's checksum may be zero (RFC 768).
fn pack(message: &[u8]) -> Vec<u8> {
    let length = |header: usize| u16::try_from(message.len() + header).unwrap_or(u16::MAX).to_be_bytes();
    let mut packet = vec![0x45, 0];
    packet.extend(length(IP_HEADER + UDP_HEADER));
    packet.extend([0, 0, 0, 0, 64, UDP, 0, 0]); // no fragment, 64 hops, no checksum yet
    packet.extend(Ipv4Addr::UNSPECIFIED.octets());
    packet.extend(Ipv4Addr::BROADCAST.octets());
    let checksum = checksum(&packet).to_be_bytes();
    packet.splice(10..12, checksum);
    packet.extend(CLIENT_PORT.to_be_bytes());
    packet.extend(SERVER_PORT.to_be_bytes());
    packet.extend(length(UDP_HEADER));
    packet.extend([0, 0]);
    packet.extend(message);
    packet
}

/// The message inside a packet to our port. UDP's checksum is not looked at: a host that is on the same machine
/// leaves it for hardware that is not there (virtio's partial checksums), and the link has its own.
fn unpack(packet: &[u8]) -> Option<&[u8]> {
    let [first, _, total_high, total_low, ..] = packet else { return None };
    let header = usize::from(first & 0x0F) * 4;
    let total = usize::from(u16::from_be_bytes([*total_high, *total_low]));
    let is_udp = first >> 4 == 4 && header >= IP_HEADER && packet.get(9) == Some(&UDP);
    let datagram = packet.get(header..total.min(packet.len())).filter(|_| is_udp)?;
    let is_ours = datagram.get(..2)? == SERVER_PORT.to_be_bytes() && datagram.get(2..4)? == CLIENT_PORT.to_be_bytes();
    let length = usize::from(u16::from_be_bytes(datagram.get(4..6)?.try_into().ok()?));
    datagram.get(UDP_HEADER..length).filter(|_| is_ours)
}

/// The Internet checksum of a header (RFC 1071).
fn checksum(header: &[u8]) -> u16 {
    let mut sum: u32 = header
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
            [high] => u32::from(*high) << 8,
            _ => 0,
        })
        .sum();
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

/// A seed for transaction ids from a card's address and the time: they need to differ, not to be secret.
#[must_use]
pub fn seed(Mac(mac): Mac, nanos: u32) -> u32 {
    mac.iter().fold(nanos, |seed, byte| seed.rotate_left(5) ^ u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// From the client's side to the server's and back again.
    fn answered(message: &[u8]) -> Vec<u8> {
        let mut packet = pack(message);
        packet[20..22].copy_from_slice(&SERVER_PORT.to_be_bytes());
        packet[22..24].copy_from_slice(&CLIENT_PORT.to_be_bytes());
        packet
    }

    #[test]
    fn the_ip_header_is_one_that_routers_take() {
        let packet = pack(&[1, 2, 3]);
        assert_eq!(checksum(&packet[..20]), 0, "a header with its checksum sums up to zero");
        assert_eq!(packet[2..4], [0, 31]);
        assert_eq!(packet.len(), 31);
    }

    #[test]
    fn a_message_comes_out_as_it_went_in_without_the_padding_of_the_link() {
        let mut packet = answered(&[7, 8, 9]);
        packet.extend([0; 18]);
        assert_eq!(unpack(&packet), Some(&[7, 8, 9][..]));
    }

    #[test]
    fn packets_of_other_kinds_are_nothing() {
        let good = answered(&[7; 300]);
        for (at, value) in [(0, 0x65), (0, 0x44), (9, 6), (21, 68), (23, 69), (24, 0xFF)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert_eq!(unpack(&bad), None, "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn no_packet_makes_the_reader_panic(packet: Vec<u8>) {
            let _ = unpack(&packet);
        }
    }
}
