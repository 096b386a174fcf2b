//! DHCPv6 (RFC 8415): packets, the client's state machine, and the socket that carries it.

pub mod client;
pub mod packet;
pub mod transport;
