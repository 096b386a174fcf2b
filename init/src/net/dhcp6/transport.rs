//! The socket that carries DHCPv6: UDP from the card's link-local address to all servers on its link.

use anyhow::{Context, Result};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

const CLIENT_PORT: u16 = 546;
const SERVER_PORT: u16 = 547;
/// All DHCPv6 servers and relays on a link (RFC 8415, section 7.1).
const SERVERS: Ipv6Addr = Ipv6Addr::new(0xFF02, 0, 0, 0, 0, 0, 1, 2);
/// An Ethernet frame's worth.
const LARGEST: usize = 1500;

/// An open way to servers.
#[derive(Debug)]
pub struct Transport {
    socket: UdpSocket,
    link: u32,
}

impl Transport {
    /// Opens the way from a link's own address.
    ///
    /// # Errors
    /// When the address is not ours any more, or the application has taken the port.
    pub fn open(link: u32, link_local: Ipv6Addr) -> Result<Self> {
        let open = || {
            let socket = UdpSocket::bind(SocketAddrV6::new(link_local, CLIENT_PORT, 0, link))?;
            socket.set_nonblocking(true)?;
            Ok(Transport { socket, link })
        };
        open().map_err(|error: std::io::Error| error).context("open a socket for DHCPv6")
    }

    /// Sends a DHCPv6 message.
    ///
    /// # Errors
    /// When the link is down, among others: the client tries again.
    pub fn send(&self, message: &[u8]) -> Result<()> {
        let servers = SocketAddrV6::new(SERVERS, SERVER_PORT, 0, self.link);
        self.socket.send_to(message, servers).map(|_| ()).context("send a DHCPv6 message")
    }

    /// The next message that waits, if any. It comes from the link itself, from a server or from its relay, or it
    /// is none; the port it comes from is free (RFC 8415, section 7.2, binds the one it goes to).
    #[must_use]
    pub fn receive(&self) -> Option<Vec<u8>> {
        let mut buffer = [0; LARGEST];
        let (length, from) = self.socket.recv_from(&mut buffer).ok()?;
        let is_on_link = matches!(from, SocketAddr::V6(from) if from.ip().is_unicast_link_local());
        Some(buffer.get(..length).filter(|_| is_on_link).unwrap_or_default().to_vec())
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
