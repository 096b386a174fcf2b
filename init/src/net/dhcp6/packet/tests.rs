//! Replies as servers send them, good and bad.

use super::*;
use proptest::prelude::*;

const MAC: Mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
const XID: u32 = 0xFF12_3456;
const SERVER: [u8; 10] = [0, 3, 0, 1, 2, 0, 0, 0, 0, 1];

fn ip(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn address(address: &str, preferred: u32, valid: u32) -> Vec<u8> {
    let value = [&ip(address).octets()[..], &preferred.to_be_bytes(), &valid.to_be_bytes()].concat();
    packed(option::ADDRESS, &value)
}

fn packed(code: u16, value: &[u8]) -> Vec<u8> {
    let mut option = Vec::new();
    add(&mut option, code, value);
    option
}

fn set(renew: u32, rebind: u32, inside: &[u8]) -> Vec<u8> {
    packed(option::IA_NA, &[&iaid(MAC)[..], &renew.to_be_bytes(), &rebind.to_be_bytes(), inside].concat())
}

fn message(kind: u8, options: &[u8]) -> Vec<u8> {
    let ids = [packed(option::CLIENT, &duid(MAC)), packed(option::SERVER, &SERVER)].concat();
    [&[kind, 0x12, 0x34, 0x56][..], &ids, options].concat()
}

fn reply(options: &[u8]) -> Reply {
    decode(&message(kind::REPLY, options), MAC, XID).unwrap()
}

#[test]
fn a_reply_as_ec2_gives_it() {
    let options = [
        set(0, 0, &address("2001:db8::5", 140, 450)),
        packed(option::DNS, &ip("fd00:ec2::253").octets()),
        packed(option::SEARCH, b"\x0ceu-central-1\x07compute\x08internal\0"),
        packed(option::NTP, &packed(NTP_ADDRESS, &ip("fd00:ec2::123").octets())),
    ]
    .concat();
    let Reply { lease, status, is_offer, withdrawn, .. } = reply(&options);
    assert_eq!((status, is_offer, withdrawn), (Status::Success, false, false));
    assert_eq!(lease.server, SERVER);
    assert_eq!(lease.addresses, [Address { address: ip("2001:db8::5"), preferred: 140, valid: 450 }]);
    assert_eq!((lease.renew_after.as_secs(), lease.rebind_after.as_secs(), lease.time().as_secs()), (70, 112, 450));
    assert_eq!((lease.dns, lease.ntp), (vec![ip("fd00:ec2::253")], vec![ip("fd00:ec2::123")]));
    assert_eq!(lease.search, ["eu-central-1.compute.internal"]);
}

#[test]
fn times_that_make_no_sense_are_replaced() {
    let times = |renew, rebind, preferred, valid| {
        let lease = reply(&set(renew, rebind, &address("2001:db8::5", preferred, valid))).lease;
        (lease.renew_after.as_secs(), lease.rebind_after.as_secs(), lease.time().as_secs())
    };
    assert_eq!(times(60, 90, 100, 200), (60, 90, 200));
    assert_eq!(times(95, 90, 100, 200), (50, 90, 200), "renewal behind rebinding");
    assert_eq!(times(1, 1, 100, 200), (50, 80, 200));
    assert_eq!(times(0, 0, 0, 200), (100, 160, 200), "deprecated from the start");
    assert_eq!(times(0, 0, 1, 1), (5, 5, 10));
    assert_eq!(times(0, 0, u32::MAX, u32::MAX).2, u64::from(u32::MAX));
}

#[test]
fn values_that_could_do_harm_count_as_absent() {
    for bad in ["::", "::1", "ff02::1", "fe80::1", "::ffff:10.0.0.1"] {
        assert_eq!(reply(&set(0, 0, &address(bad, 100, 200))).lease.addresses, [], "{bad}");
    }
    assert_eq!(reply(&set(0, 0, &address("2001:db8::5", 300, 200))).lease.addresses, []);
    assert_eq!(reply(&packed(option::SEARCH, b"\x05a\nb c\0")).lease.search, [""; 0]);
    assert_eq!(reply(&packed(option::SOLICIT_MAX, &[0, 0, 0, 1])).longest_retry, None);
    let many: Vec<u8> = (1..100).flat_map(|last| address(&format!("2001:db8::{last}"), 100, 200)).collect();
    assert_eq!(reply(&set(0, 0, &many)).lease.addresses.len(), MOST);
}

#[test]
fn answers_to_others_and_halves_of_answers_are_nothing() {
    let whole = message(kind::REPLY, &[]);
    assert!(decode(&whole, MAC, XID).is_some());
    assert_eq!(decode(&whole, MAC, XID + 1), None);
    assert_eq!(decode(&whole, Mac([0; 6]), XID), None);
    assert_eq!(decode(&whole[..whole.len() - 1], MAC, XID), None);
    assert_eq!(decode(&message(kind::SOLICIT, &[]), MAC, XID), None);
    let foreign = packed(option::IA_NA, &[&[0; 12][..], &address("2001:db8::5", 100, 200)].concat());
    assert_eq!(reply(&foreign).lease.addresses, []);
}

#[test]
fn refusals_stand_in_the_message_or_in_its_set_of_addresses() {
    assert_eq!(reply(&packed(option::STATUS, &[0, 4])).status, Status::NotOnLink);
    assert_eq!(reply(&set(0, 0, &packed(option::STATUS, b"\0\x03gone"))).status, Status::NoBinding);
    assert_eq!(reply(&set(0, 0, &packed(option::STATUS, &[0, 2]))).status, Status::Failed);
    let Reply { withdrawn, lease, .. } = reply(&set(0, 0, &address("2001:db8::5", 0, 0)));
    assert_eq!((withdrawn, lease.addresses), (true, vec![]));
}

#[test]
fn our_own_messages_have_the_form_of_the_rfc() {
    let held = Address { address: ip("2001:db8::5"), preferred: 140, valid: 450 };
    let lease = Lease { server: SERVER.to_vec(), addresses: vec![held], ..Lease::default() };
    let built = |request| encode(request, MAC, XID, Duration::from_millis(1230));
    let solicit = built(Request::Solicit);
    assert_eq!(solicit[..4], [1, 0x12, 0x34, 0x56]);
    assert_eq!(get(&solicit[4..], option::CLIENT), Some(&duid(MAC)[..]));
    assert_eq!(get(&solicit[4..], option::ELAPSED), Some(&[0, 123][..]));
    assert_eq!(get(&solicit[4..], option::RAPID_COMMIT), Some(&[][..]));
    assert_eq!(get(&solicit[4..], option::SERVER), None);
    for (request, code, names_server) in [
        (Request::Request(&lease), 3, true),
        (Request::Confirm(&lease), 4, false),
        (Request::Renew(&lease), 5, true),
        (Request::Rebind(&lease), 6, false),
    ] {
        let message = built(request);
        assert_eq!(message[0], code);
        assert_eq!(get(&message[4..], option::SERVER).is_some(), names_server, "{code}");
        let set = get(&message[4..], option::IA_NA).unwrap();
        assert_eq!(get(&set[12..], option::ADDRESS).unwrap()[..16], held.address.octets());
    }
    assert_eq!(get(&built(Request::Inform)[4..], option::IA_NA), None);
}

proptest! {
    #[test]
    fn no_message_makes_the_reader_panic(
        tail: Vec<u8>,
        codes in proptest::collection::vec((0u16..100, proptest::collection::vec(any::<u8>(), 0..60)), 0..12),
        inside: Vec<u8>,
    ) {
        let _ = decode(&tail, MAC, XID);
        let mut options: Vec<u8> = codes.iter().flat_map(|(code, value)| packed(*code, value)).collect();
        options.extend(set(0, 0, &inside));
        options.extend(tail);
        let Some(reply) = decode(&message(kind::REPLY, &options), MAC, XID) else { return Ok(()) };
        prop_assert!(reply.lease.renew_after <= reply.lease.rebind_after);
        prop_assert!(reply.lease.renew_after >= Duration::from_secs(SOONEST.into()));
    }
}
