//! The state machine against simulated time and servers.

use super::super::packet::Address;
use super::*;
use proptest::prelude::*;

const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const START: Moment = Duration::from_secs(1);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// As EC2 gives it: preferred for 140 s, valid for 450 s.
fn lease(last: u16) -> Lease {
    let address = Address { address: [0x2001, 0xDB8, 0, 0, 0, 0, 0, last].into(), preferred: 140, valid: 450 };
    Lease {
        server: vec![1],
        addresses: vec![address],
        renew_after: seconds(70),
        rebind_after: seconds(112),
        ..Lease::default()
    }
}

/// Everything but addresses.
fn rest() -> Lease {
    Lease { addresses: Vec::new(), renew_after: seconds(86_400), rebind_after: seconds(86_400), ..lease(0) }
}

fn reply(lease: Lease) -> Reply {
    Reply { is_offer: false, is_rapid: false, status: Status::Success, withdrawn: false, lease, longest_retry: None }
}

fn offer(lease: Lease) -> Reply {
    Reply { is_offer: true, ..reply(lease) }
}

fn refusal(status: Status) -> Reply {
    Reply { status, ..reply(rest()) }
}

/// The types of the messages that are sent, and `+` or `-` for an address that comes or goes.
fn summary(actions: &[Action]) -> String {
    let names = |action: &Action| match action {
        Action::Send(message) => message[0].to_string(),
        Action::Configure(_) => "+".to_owned(),
        Action::Deconfigure(_) => "-".to_owned(),
    };
    actions.iter().map(names).collect()
}

fn soliciting() -> Client {
    let mut client = Client::new(MAC, 7);
    assert_eq!((client.wake(), client.on_time(START)), (Moment::MAX, vec![]), "no link, no question");
    assert_eq!(summary(&client.on_link_ready(START)), "1");
    client
}

/// A client that got its lease at once, one second after the start.
fn bound() -> Client {
    let mut client = soliciting();
    assert_eq!(summary(&client.on_reply(offer(lease(5)), START)), "3");
    assert_eq!(client.on_reply(reply(lease(5)), START), [Action::Configure(lease(5))]);
    client
}

#[test]
fn a_lease_is_two_round_trips_and_then_silence_until_half_of_it() {
    let client = bound();
    assert!(!client.listens() && !client.expects());
    assert_eq!(client.wake(), START + seconds(70));
}

#[test]
fn a_server_that_commits_at_once_saves_a_round_trip() {
    let mut client = soliciting();
    assert_eq!(client.on_reply(reply(lease(5)), START), [], "not what was asked for");
    let actions = client.on_reply(Reply { is_rapid: true, ..reply(lease(5)) }, START);
    assert_eq!(actions, [Action::Configure(lease(5))]);
}

#[test]
fn a_network_without_ipv6_is_asked_ever_more_rarely_and_in_the_end_once_an_hour() {
    let mut client = soliciting();
    let mut times = vec![START];
    while client.wake() < seconds(86_400) {
        let now = client.wake();
        assert_eq!(summary(&client.on_time(now)), "1");
        times.push(now);
    }
    assert!(times.iter().filter(|time| **time < START + seconds(60)).count() <= 9, "{times:?}");
    assert!(times.len() < 40, "{}", times.len());
    let last = times[times.len() - 1] - times[times.len() - 2];
    assert!((seconds(3600)..=seconds(3960)).contains(&last), "{last:?}");
    assert!(!client.expects(), "nobody waits for it");
}

#[test]
fn a_server_may_say_how_rarely_it_is_asked() {
    let mut client = soliciting();
    client.on_reply(Reply { longest_retry: Some(seconds(60)), ..offer(rest()) }, START);
    for _ in 0..40 {
        let now = client.wake();
        client.on_time(now);
        assert!(client.wake() - now <= seconds(66));
    }
}

#[test]
fn renewal_and_rebinding_and_the_end_of_it() {
    let mut client = bound();
    let mut seen = Vec::new();
    while client.lease().is_some() {
        let now = client.wake();
        seen.push(((now - START).as_secs(), summary(&client.on_time(now))));
    }
    assert_eq!(seen.first(), Some(&(70, "5".to_owned())));
    assert!(seen.contains(&(112, "6".to_owned())));
    assert_eq!(seen.last(), Some(&(450, "-1".to_owned())));
    assert!(seen.len() < 20, "{seen:?}");
}

#[test]
fn renewal_keeps_the_address_and_counts_from_when_it_was_asked() {
    let mut client = bound();
    let now = START + seconds(70);
    assert_eq!(summary(&client.on_time(now)), "5");
    assert_eq!(summary(&client.on_reply(reply(lease(5)), now + seconds(1))), "+");
    assert_eq!((client.leased(), client.wake()), (now, now + seconds(70)));
}

#[test]
fn a_server_that_has_forgotten_is_asked_for_the_same_again() {
    let mut client = bound();
    let now = START + seconds(70);
    client.on_time(now);
    assert_eq!(summary(&client.on_reply(refusal(Status::NoBinding), now)), "3");
    assert_eq!(client.lease(), Some(&lease(5)), "meanwhile it holds");
    assert_eq!(summary(&client.on_reply(reply(lease(5)), now)), "+");
}

#[test]
fn an_address_that_is_taken_back_goes_and_another_is_asked_for() {
    let mut client = bound();
    let now = START + seconds(70);
    client.on_time(now);
    assert_eq!(summary(&client.on_reply(Reply { withdrawn: true, ..reply(rest()) }, now)), "-1");
}

#[test]
fn a_link_that_was_cut_is_asked_whether_the_address_still_fits() {
    for (answer, expected) in [(Status::Success, "+"), (Status::NotOnLink, "-1")] {
        let mut client = bound();
        client.on_link_lost();
        assert_eq!(client.wake(), START + seconds(450), "nothing is asked on a link that is not there");
        assert_eq!(summary(&client.on_link_ready(START + seconds(20))), "4");
        assert_eq!(summary(&client.on_reply(refusal(answer), START + seconds(20))), expected);
    }
    let mut silent = bound();
    silent.on_link_lost();
    silent.on_link_ready(START + seconds(20));
    let mut all = String::new();
    while silent.wake() < START + seconds(70) {
        all += &summary(&silent.on_time(silent.wake()));
    }
    assert_eq!(all, "4444+", "without an answer it is kept");
    let mut gone = bound();
    gone.on_link_lost();
    assert_eq!(summary(&gone.on_time(gone.wake())), "-");
    assert_eq!(gone.wake(), Moment::MAX);
}

#[test]
fn a_server_without_addresses_tells_the_rest_and_is_asked_for_both_again() {
    let mut client = soliciting();
    assert_eq!(summary(&client.on_reply(offer(rest()), START)), "11");
    assert_eq!(summary(&client.on_reply(reply(rest()), START)), "+");
    assert_eq!(client.wake(), START + LONGEST_RETRY);
    let now = client.wake();
    assert_eq!(summary(&client.on_time(now)), "1");
    assert_eq!(client.lease(), Some(&rest()), "what is known stays known");
}

#[test]
fn routers_say_whom_to_ask() {
    let (managed, other) = (Hint { managed: true, other: true }, Hint { managed: false, other: true });
    let mut client = soliciting();
    assert_eq!(client.on_hint(managed, START), [], "it is being asked already");
    assert!(client.expects());
    assert_eq!(client.on_hint(other, START), [], "not at once: it has just asked");
    assert_eq!(summary(&client.on_time(START + seconds(1))), "11");
    assert_eq!(summary(&client.on_reply(reply(rest()), START + seconds(1))), "+");
    assert!(!client.expects());
    assert_eq!(summary(&client.on_hint(managed, START + seconds(60))), "1");

    let mut late = soliciting();
    while late.wake() < seconds(5000) {
        late.on_time(late.wake());
    }
    assert_eq!(summary(&late.on_hint(managed, seconds(5000))), "1", "a router that comes late is not waited out");
}

#[test]
fn a_server_that_offers_and_refuses_is_not_asked_in_a_tight_loop() {
    let mut client = soliciting();
    let mut now = START;
    let mut waits = Vec::new();
    for _ in 0..16 {
        client.on_reply(offer(lease(5)), now);
        assert_eq!(client.on_reply(refusal(Status::Failed), now), []);
        waits.push(client.wake() - now);
        now = client.wake();
        assert_eq!(summary(&client.on_time(now)), "1");
    }
    assert_eq!(waits[0], FIRST_RETRY * 2);
    assert!(waits.is_sorted() && waits[15] == LONGEST_RETRY, "{waits:?}");
}

proptest! {
    /// Whatever servers and routers say and whenever: what is set up is what the client holds, and a client that was
    /// just served does not want to be served again at the same moment.
    #[test]
    fn what_is_set_up_is_what_is_held(events in proptest::collection::vec((0u8..14, 0u64..2000), 0..80)) {
        let mut client = Client::new(MAC, 7);
        let mut now = START;
        let mut configured: Option<Lease> = None;
        let mut sent = 0;
        for (event, pause) in events {
            now += Duration::from_millis(pause * pause / 10);
            let mut actions = match event {
                0 => client.on_link_ready(now),
                1 => { client.on_link_lost(); Vec::new() }
                2 => client.on_reply(offer(lease(5)), now),
                3 => client.on_reply(offer(rest()), now),
                4 => client.on_reply(reply(lease(5)), now),
                5 => client.on_reply(reply(lease(6)), now),
                6 => client.on_reply(Reply { is_rapid: true, ..reply(lease(5)) }, now),
                7 => client.on_reply(refusal(Status::NoBinding), now),
                8 => client.on_reply(refusal(Status::NotOnLink), now),
                9 => client.on_reply(Reply { withdrawn: true, ..reply(rest()) }, now),
                10 => client.on_hint(Hint { managed: false, other: true }, now),
                11 => client.on_hint(Hint { managed: true, other: false }, now),
                _ => Vec::new(),
            };
            // A lease whose every time has passed takes a few steps.
            for _ in 0..5 {
                actions.extend(client.on_time(now));
            }
            prop_assert!(client.wake() > now);
            for action in actions {
                match action {
                    Action::Configure(lease) => configured = Some(lease),
                    Action::Deconfigure(lease) => prop_assert_eq!(configured.take(), Some(lease)),
                    Action::Send(_) => sent += 1,
                }
            }
            prop_assert_eq!(configured.as_ref(), client.lease());
            if let Some(lease) = client.lease().filter(|lease| !lease.addresses.is_empty()) {
                prop_assert!(now < client.leased() + lease.time() || client.listens(), "kept beyond its time");
            }
        }
        prop_assert!(sent < 400);
    }
}
