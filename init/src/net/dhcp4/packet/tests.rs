//! Replies as servers send them, good and bad.

use super::*;
use proptest::prelude::*;

const MAC: Mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
const XID: u32 = 0x1234_5678;

/// A reply as QEMU's user network sends it, with the options given.
fn reply(options: &[(u8, &[u8])]) -> Vec<u8> {
    let mut message = vec![0; FIXED];
    message[0] = 2;
    message[4..8].copy_from_slice(&XID.to_be_bytes());
    message[16..20].copy_from_slice(&[10, 0, 2, 15]);
    message[28..34].copy_from_slice(&MAC.0);
    message[236..240].copy_from_slice(&MAGIC);
    for (code, value) in options {
        add(&mut message, *code, value);
    }
    message.push(option::END);
    message
}

const ACK: &[(u8, &[u8])] = &[
    (53, &[5]),
    (54, &[10, 0, 2, 2]),
    (51, &[0, 0, 0x0E, 0x10]),
    (1, &[255, 255, 255, 0]),
    (3, &[10, 0, 2, 2]),
    (6, &[10, 0, 2, 3, 10, 0, 2, 4]),
    (12, b"ip-10-0-2-15"),
    (15, b"eu-central-1.compute.internal."),
    (26, &[0x23, 0x29]),
];

fn decoded(options: &[(u8, &[u8])]) -> Option<Reply> {
    decode(&reply(options), MAC, XID)
}

fn lease_with(extra: &[(u8, &[u8])]) -> Lease {
    let options: Vec<_> =
        ACK.iter().filter(|(code, _)| extra.iter().all(|(other, _)| other != code)).chain(extra).copied().collect();
    match decoded(&options) {
        Some(Reply::Ack(lease)) => lease,
        other => panic!("{other:?}"),
    }
}

fn everywhere(last: u8) -> Route {
    Route { network: Ipv4Addr::UNSPECIFIED, prefix: 0, router: Some(Ipv4Addr::new(10, 0, 2, last)) }
}

#[test]
fn an_acknowledgement_as_ec2_gives_it() {
    assert_eq!(
        lease_with(&[]),
        Lease {
            address: Ipv4Addr::new(10, 0, 2, 15),
            prefix: 24,
            server: Ipv4Addr::new(10, 0, 2, 2),
            time: Duration::from_secs(3600),
            renew_after: Duration::from_secs(1800),
            rebind_after: Duration::from_secs(3150),
            routes: vec![everywhere(2)],
            dns: vec![Ipv4Addr::new(10, 0, 2, 3), Ipv4Addr::new(10, 0, 2, 4)],
            hostname: Some("ip-10-0-2-15".to_owned()),
            domain: Some("eu-central-1.compute.internal".to_owned()),
            search: Vec::new(),
            ntp: Vec::new(),
            mtu: Some(9001),
        }
    );
}

#[test]
fn classless_routes_take_the_place_of_the_router() {
    // RFC 3442's own example of 10.17.0.0/16 with stray bits behind the prefix, a network on the link, everywhere.
    let list = [20, 10, 17, 0xFF, 10, 0, 2, 1, 32, 169, 254, 169, 254, 0, 0, 0, 0, 0, 10, 0, 2, 9];
    let on_link = Route { network: Ipv4Addr::new(169, 254, 169, 254), prefix: 32, router: None };
    let routed =
        Route { network: Ipv4Addr::new(10, 17, 0xF0, 0), prefix: 20, router: Some(Ipv4Addr::new(10, 0, 2, 1)) };
    assert_eq!(lease_with(&[(121, &list)]).routes, [routed, on_link, everywhere(9)]);
    // What breaks off ends the list; with nothing whole in it, the router is better than no way out.
    assert_eq!(lease_with(&[(121, &list[..20])]).routes, [routed, on_link]);
    assert_eq!(lease_with(&[(121, &[33, 1, 2, 3, 4, 5, 6, 7, 8, 9])]).routes, [everywhere(2)]);
    assert_eq!(lease_with(&[(121, &[])]).routes, [everywhere(2)]);
}

#[test]
fn time_servers_and_the_search_list() {
    let lease = lease_with(&[(42, &[10, 0, 2, 9, 0, 0, 0, 0, 10, 0, 2, 10, 1]), (119, b"\x01a\x03org\0\x01b\xC0\x02")]);
    assert_eq!(lease.ntp, [Ipv4Addr::new(10, 0, 2, 9), Ipv4Addr::new(10, 0, 2, 10)]);
    assert_eq!(lease.search, ["a.org", "b.org"]);
}

#[test]
fn values_that_could_do_harm_count_as_absent() {
    assert_eq!(lease_with(&[(12, b"a\nnameserver 6.6.6.6")]).hostname, None);
    assert_eq!(lease_with(&[(15, b"a b")]).domain, None);
    assert_eq!(lease_with(&[(26, &[0, 68])]).mtu, None);
    assert_eq!(lease_with(&[(1, &[255, 0, 255, 0])]).prefix, 8);
    assert_eq!(lease_with(&[(3, &[0, 0, 0, 0])]).routes, []);
    let nonsense = lease_with(&[(58, &[0xFF; 4]), (59, &[0xFF; 4])]);
    assert_eq!((nonsense.renew_after.as_secs(), nonsense.rebind_after.as_secs()), (1800, 3150));
    let at_once = lease_with(&[(58, &[0; 4]), (59, &[0; 4])]);
    assert_eq!((at_once.renew_after.as_secs(), at_once.rebind_after.as_secs()), (1800, 3150));
    let short = lease_with(&[(51, &[0; 4])]);
    assert_eq!((short.time.as_secs(), short.renew_after.as_secs()), (10, 5));
}

#[test]
fn replies_to_others_and_halves_of_replies_are_nothing() {
    let whole = reply(ACK);
    assert_eq!(decode(&whole, MAC, XID + 1), None);
    assert_eq!(decode(&whole, Mac([0; 6]), XID), None);
    assert_eq!(decode(&whole[..FIXED], MAC, XID), None);
    assert_eq!(decoded(&[(53, &[5])]), None, "no server, no lease time");
    assert_eq!(
        decoded(&[(53, &[6]), (54, &[10, 0, 2, 2])]),
        Some(Reply::Nak { server: Some(Ipv4Addr::new(10, 0, 2, 2)) })
    );
}

#[test]
fn long_values_are_joined_and_overloaded_fields_are_read() {
    let mut message = reply(&[&ACK[..6], &[(15, b"example."), (15, b"org"), (52, &[2])]].concat());
    message[44..49].copy_from_slice(&[12, 2, b'v', b'm', 255]);
    let Some(Reply::Ack(lease)) = decode(&message, MAC, XID) else { panic!() };
    assert_eq!((lease.domain.as_deref(), lease.hostname.as_deref()), (Some("example.org"), Some("vm")));
}

#[test]
fn our_own_messages_have_the_form_of_the_rfc() {
    let take = Request::Take { address: Ipv4Addr::new(10, 0, 2, 15), server: Ipv4Addr::new(10, 0, 2, 2) };
    let message = encode(take, MAC, XID, Duration::from_secs(3));
    assert!(message.len() >= SHORTEST);
    let options = Options::parse(&message).unwrap();
    assert_eq!(options.get(option::MESSAGE_TYPE), Some(vec![3]));
    assert_eq!(options.address(option::REQUESTED_ADDRESS), Some(Ipv4Addr::new(10, 0, 2, 15)));
    assert_eq!(options.address(option::SERVER), Some(Ipv4Addr::new(10, 0, 2, 2)));
    assert_eq!(message[8..10], [0, 3]);
    // RFC 2131, table 5: who keeps an address says so in ciaddr, and names neither it nor the server in options.
    let keep = encode(Request::Keep(Ipv4Addr::new(10, 0, 2, 15)), MAC, XID, Duration::ZERO);
    assert_eq!(keep[12..16], [10, 0, 2, 15]);
    assert_eq!(Options::parse(&keep).unwrap().get(option::REQUESTED_ADDRESS), None);
}

proptest! {
    #[test]
    fn no_message_makes_the_reader_panic(tail: Vec<u8>, options in proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..20)) {
        let _ = decode(&tail, MAC, XID);
        let mut message = reply(&[]);
        message.truncate(FIXED);
        message.extend(&tail);
        let _ = decode(&message, MAC, XID);
        let borrowed: Vec<_> = ACK.iter().copied().chain(options.iter().map(|(code, value)| (*code, value.as_slice()))).collect();
        let _ = decode(&reply(&borrowed), MAC, XID);
    }
}
