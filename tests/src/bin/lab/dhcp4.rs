//! A DHCP server that does not do what one should (RFC 2131). It is as simple as its clients allow: one address, and
//! answers go to everybody on the bridge.

use anyhow::{Context, Result, bail};
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Instant;

/// BOOTP's fixed part up to the options, the magic cookie included.
const FIXED: usize = 240;
/// Message types (RFC 2132, section 9.6).
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const NAK: u8 = 6;

/// Offers an address of a /24 for some seconds. With the manner `once` it gives it, and is silent from then on; with
/// `refuse` it refuses whoever takes it.
pub(crate) fn serve(manner: &str, address: Ipv4Addr, seconds: u32) -> Result<()> {
    let gives = match manner {
        "once" => true,
        "refuse" => false,
        _ => bail!("there is no manner {manner}"),
    };
    let [a, b, c, _] = address.octets();
    let (server, everybody) = (Ipv4Addr::new(a, b, c, 1), Ipv4Addr::new(a, b, c, 255));
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 67)).context("listen at port 67")?;
    socket.set_broadcast(true)?;
    let mut refused = 0;
    let mut first = None;
    let mut last = Vec::new();
    loop {
        let mut buffer = [0; 1500];
        let (length, _) = socket.recv_from(&mut buffer)?;
        let question = &buffer[..length];
        // A bridge's cable to nowhere, which the lab has, brings everything once more.
        if question == last {
            continue;
        }
        last = question.to_vec();
        let kind = match (question.get(FIXED..FIXED + 3), gives) {
            (Some([53, 1, DISCOVER]), _) => OFFER,
            (Some([53, 1, REQUEST]), true) => ACK,
            (Some([53, 1, REQUEST]), false) => NAK,
            _ => continue,
        };
        socket.send_to(&answer(question, kind, address, server, seconds), (everybody, 68)).context("answer")?;
        match kind {
            ACK => {
                eprintln!("given {address} for {seconds} s, and silent from now on");
                loop {
                    std::thread::park();
                }
            }
            NAK => {
                refused += 1;
                let since = *first.get_or_insert_with(Instant::now);
                eprintln!("refused {refused} times in {} s", since.elapsed().as_secs());
            }
            _ => {}
        }
    }
}

fn answer(question: &[u8], kind: u8, address: Ipv4Addr, server: Ipv4Addr, seconds: u32) -> Vec<u8> {
    let mut answer = question[..FIXED].to_vec();
    answer[0] = 2;
    answer[16..20].copy_from_slice(&address.octets());
    answer.extend([53, 1, kind, 54, 4]);
    answer.extend(server.octets());
    answer.extend([51, 4]);
    answer.extend(seconds.to_be_bytes());
    answer.extend([1, 4, 255, 255, 255, 0, 255]);
    answer
}
