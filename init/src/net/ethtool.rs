//! What ethtool(8) sets of a card by generic netlink (linux/ethtool_netlink.h), as far as a card needs it.

use super::netlink::{Channel, NLA_F_NESTED, Request, attribute, packed};
use crate::debug;
use crate::errand::Errand;
use crate::log::OrWarn;
use anyhow::{Context, Result};
use rustix::net::netlink::GENERIC;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// ENA's entries of transmit queues have 128 bytes unless asked otherwise: with 96 of them for headers, the card drops
/// each packet whose headers are longer, as those of IPv6 with timestamps and selective acknowledgments are. Entries of
/// 256 bytes leave room for this many (amzn-drivers, ENA_Linux_Best_Practices.rst; ENA_LLQ_LARGE_HEADER).
const TX_PUSH_BUF_LEN: u32 = 224;

/// GENL_ID_CTRL, which knows the other families (linux/genetlink.h): CTRL_CMD_GETFAMILY by CTRL_ATTR_FAMILY_NAME gives
/// CTRL_ATTR_FAMILY_ID. A message starts with the command's number, its version and two bytes of nothing.
const CONTROL: u16 = 16;
const CONTROL_HEAD: [u8; HEAD] = [3, 1, 0, 0];
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const HEAD: usize = 4;
/// ETHTOOL_MSG_RINGS_SET, ETHTOOL_A_RINGS_HEADER with ETHTOOL_A_HEADER_DEV_NAME in it, ETHTOOL_A_RINGS_TX_PUSH_BUF_LEN
/// (linux/ethtool_netlink.h).
const RINGS_SET_HEAD: [u8; HEAD] = [16, 1, 0, 0];
const RINGS_HEADER: u16 = 1;
const HEADER_DEV_NAME: u16 = 2;
const RINGS_TX_PUSH_BUF_LEN: u16 = 15;

/// How long a card may take to be reset until the console names it. The kernel configures no other card meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);

/// What must be set before a card is switched on: it is being done by a child, for the driver resets the card, where it
/// is over. Most cards need nothing.
pub(super) fn prepare(card: &str) -> Option<Errand> {
    let driver = fs::read_link(Path::new("/sys/class/net").join(card).join("device/driver")).ok()?;
    if driver.file_name() != Some(OsStr::new("ena")) {
        return None;
    }
    let enlarge = || match enlarge_push_buffer(card) {
        Ok(()) => debug!("network: {card}: tx-push-buf-len is {TX_PUSH_BUF_LEN}"),
        // Cards before Nitro v4 have no larger entries, and kernels before 6.4 do not ask them.
        Err(reason) => debug!("network: {card}: tx-push-buf-len stays as it is: {reason:#}"),
    };
    let errand = Errand::start(0, |_pipe| {
        enlarge();
        0
    });
    let line = format!("network: {card} has not answered for {} s: it is being reset", PATIENCE.as_secs());
    Some(errand.with_context(|| format!("network: {card}")).or_warn("tx-push-buf-len")?.remind_after(PATIENCE, line))
}

fn enlarge_push_buffer(card: &str) -> Result<()> {
    let mut channel = Channel::open(Some(GENERIC))?;
    let answer = channel.ask(family_request()).context("look for ethtool's netlink messages")?;
    let family = family(&answer).context("the kernel did not say the number of ethtool's netlink messages")?;
    channel.ask(push_buffer_request(family, card)).map(drop)
}

fn family_request() -> Request {
    Request::new(CONTROL, 0, &CONTROL_HEAD).with(CTRL_ATTR_FAMILY_NAME, b"ethtool\0")
}

fn family(answer: &[u8]) -> Option<u16> {
    let id = attribute(answer.get(HEAD..)?, CTRL_ATTR_FAMILY_ID)?;
    Some(u16::from_ne_bytes(*id.first_chunk()?))
}

fn push_buffer_request(family: u16, card: &str) -> Request {
    let name = packed(HEADER_DEV_NAME, &[card.as_bytes(), b"\0"].concat());
    Request::new(family, 0, &RINGS_SET_HEAD)
        .with(RINGS_HEADER | NLA_F_NESTED, &name)
        .with(RINGS_TX_PUSH_BUF_LEN, &TX_PUSH_BUF_LEN.to_ne_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::netlink::messages;
    use proptest::prelude::*;
    use rustix::io::Errno;

    /// What `ethtool -G eth0 tx-push-buf-len 224` of ethtool 6.11 sends, by strace(1); the family had number 21.
    const OF_ETHTOOL: &[u8] = include_bytes!("testdata/ethtool_6_11_tx_push_buf_len.bin");

    #[test]
    fn the_messages_are_those_of_ethtool() {
        let ours = [family_request().finish(1), push_buffer_request(21, "eth0").finish(2)].concat();
        assert_eq!(ours, OF_ETHTOOL);
    }

    #[test]
    fn the_number_of_the_family_is_found_in_what_linux_answers() {
        let answer = include_bytes!("testdata/linux_6_18_ethtool_family.bin");
        assert_eq!(messages(answer).next().and_then(|message| family(message.body)), Some(21));
        assert_eq!(family(b"\x01\x02\0\0"), None);
    }

    /// The kernel of this machine knows the messages, whoever sends them: the loopback link has no such buffer.
    #[test]
    fn a_link_that_has_no_such_buffer_says_so() {
        let refusal = enlarge_push_buffer("lo").unwrap_err();
        let expected = if rustix::process::geteuid().is_root() { Errno::OPNOTSUPP } else { Errno::PERM };
        assert_eq!(refusal.downcast_ref(), Some(&expected), "{refusal:#}");
        assert!(prepare("lo").is_none());
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(bytes: Vec<u8>) {
            let _ = family(&bytes);
        }
    }
}
