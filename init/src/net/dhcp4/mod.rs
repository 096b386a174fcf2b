//! DHCPv4 (RFC 2131, RFC 2132): packets, the client's state machine, and the sockets that carry it.

pub mod client;
pub mod packet;
pub mod transport;
