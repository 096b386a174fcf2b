//! A DHCPv6 server's answer, and what it makes of the client in each of its states: whatever it is, the client asks on.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nanoos_init::net::dhcp4::packet::Mac;
use nanoos_init::net::dhcp6::client::Client;
use nanoos_init::net::dhcp6::packet::decode;
use std::time::Duration;

const MAC: Mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
const XID: u32 = 7;

fuzz_target!(|message: &[u8]| {
    let Some(reply) = decode(message, MAC, XID) else { return };
    let mut client = Client::new(MAC, XID);
    let _ = client.on_link_ready(Duration::ZERO);
    let mut now = Duration::ZERO;
    for _ in 0..8 {
        let _ = client.on_reply(reply.clone(), now);
        let _ = client.on_time(now);
        assert!(client.wake() > now, "a client that is always due would never let init sleep");
        now = client.wake();
        let _ = client.on_time(now);
    }
});
