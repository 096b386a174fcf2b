//! The state machine against simulated time and servers.

use super::*;
use proptest::prelude::*;

const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn lease(last: u8) -> Lease {
    Lease {
        address: Ipv4Addr::new(10, 0, 0, last),
        prefix: 24,
        server: SERVER,
        time: seconds(3600),
        renew_after: seconds(1800),
        rebind_after: seconds(3150),
        routes: Vec::new(),
        dns: vec![SERVER],
        hostname: None,
        domain: None,
        search: Vec::new(),
        ntp: Vec::new(),
        mtu: None,
    }
}

/// A client that got its lease at once, at time 0.
fn bound() -> Client {
    let mut client = Client::new(MAC, 7, Duration::ZERO);
    assert!(matches!(client.on_time(Duration::ZERO)[..], [Action::Broadcast(_)]));
    assert!(matches!(client.on_reply(Reply::Offer(lease(5)), Duration::ZERO)[..], [Action::Broadcast(_)]));
    assert_eq!(client.on_reply(Reply::Ack(lease(5)), Duration::ZERO), [Action::Configure(lease(5))]);
    client
}

#[test]
fn a_lease_is_two_round_trips_and_then_silence_until_half_of_it() {
    let client = bound();
    assert!(!client.listens());
    assert_eq!(client.wake(), seconds(1800));
}

#[test]
fn questions_without_an_answer_grow_rarer() {
    let mut client = Client::new(MAC, 7, Duration::ZERO);
    let mut waits = Vec::new();
    for _ in 0..11 {
        let now = client.wake();
        client.on_time(now);
        waits.push((client.wake() - now).as_millis());
    }
    assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 16000, 32000, 64000, 64000, 64000]);
}

#[test]
fn a_link_that_comes_up_is_asked_over_at_once_unless_there_is_an_address() {
    let mut client = Client::new(MAC, 7, Duration::ZERO);
    client.on_time(Duration::ZERO);
    assert!(matches!(client.on_link_ready(Duration::from_millis(20))[..], [Action::Broadcast(_)]));
    assert_eq!(client.wake(), Duration::from_millis(270));
}

#[test]
fn a_link_that_was_cut_is_asked_whether_the_address_still_fits() {
    let cut = || {
        let mut client = bound();
        assert!(matches!(client.on_link_ready(seconds(5))[..], [Action::Broadcast(_)]));
        assert_eq!(client.lease(), Some(&lease(5)), "it is kept meanwhile");
        client
    };
    assert_eq!(cut().on_reply(Reply::Ack(lease(5)), seconds(5)), [Action::Configure(lease(5))]);
    let actions = cut().on_reply(Reply::Nak { server: None }, seconds(5));
    assert!(matches!(&actions[..], [Action::Deconfigure(_), Action::Broadcast(_)]), "{actions:?}");
    let mut silent = cut();
    while silent.listens() {
        silent.on_time(silent.wake());
    }
    assert_eq!((silent.lease(), silent.wake()), (Some(&lease(5)), seconds(1800)));
}

#[test]
fn renewal_asks_the_server_itself_and_keeps_the_address() {
    let mut client = bound();
    assert!(matches!(client.on_time(seconds(1800))[..], [Action::Unicast(SERVER, _)]));
    assert_eq!(client.on_reply(Reply::Ack(lease(5)), seconds(1801)), [Action::Configure(lease(5))]);
    assert_eq!(client.wake(), seconds(1800 + 1800));
}

#[test]
fn a_silent_server_is_asked_then_any_server_then_the_address_goes() {
    let mut client = bound();
    let mut seen = Vec::new();
    while client.lease().is_some() {
        let now = client.wake();
        for action in client.on_time(now) {
            let what = match action {
                Action::Unicast(..) => "renew",
                Action::Broadcast(_) => "rebind",
                Action::Deconfigure(_) => "lost",
                Action::Configure(_) => "configure",
            };
            seen.push((now.as_secs(), what));
        }
    }
    assert_eq!(seen.first(), Some(&(1800, "renew")));
    assert!(seen.contains(&(3150, "rebind")));
    assert_eq!(seen.iter().find(|(_, what)| *what == "lost"), Some(&(3600, "lost")));
    assert!(seen.len() < 20, "{seen:?}");
}

#[test]
fn a_refusal_takes_the_address_away_and_asks_anew() {
    let mut client = bound();
    client.on_time(seconds(1800));
    let actions = client.on_reply(Reply::Nak { server: Some(SERVER) }, seconds(1801));
    assert!(matches!(&actions[..], [Action::Deconfigure(_), Action::Broadcast(_)]), "{actions:?}");
}

#[test]
fn another_address_at_renewal_replaces_the_first() {
    let mut client = bound();
    client.on_time(seconds(1800));
    let actions = client.on_reply(Reply::Ack(lease(9)), seconds(1801));
    assert_eq!(actions, [Action::Deconfigure(lease(5)), Action::Configure(lease(9))]);
}

#[test]
fn a_server_that_offers_and_refuses_is_not_asked_in_a_tight_loop() {
    let mut client = Client::new(MAC, 7, Duration::ZERO);
    let (mut now, mut waits) = (Duration::ZERO, Vec::new());
    for _ in 0..10 {
        client.on_time(now);
        client.on_reply(Reply::Offer(lease(5)), now);
        assert_eq!(client.on_reply(Reply::Nak { server: None }, now), []);
        waits.push(client.wake() - now);
        now = client.wake();
    }
    assert!(waits[0] == FIRST_RETRY && waits.is_sorted() && waits[9] == LONGEST_RETRY, "{waits:?}");
}

/// What a machine has set up after these actions; an action that does not fit what it has set up is an error.
fn apply(mut configured: Option<Ipv4Addr>, actions: Vec<Action>) -> Result<Option<Ipv4Addr>, TestCaseError> {
    for action in actions {
        match action {
            Action::Configure(lease) => {
                prop_assert!(configured.is_none_or(|held| held == lease.address));
                configured = Some(lease.address);
            }
            Action::Deconfigure(lease) => {
                prop_assert_eq!(configured, Some(lease.address));
                configured = None;
            }
            Action::Broadcast(_) | Action::Unicast(..) => {}
        }
    }
    Ok(configured)
}

proptest! {
    /// Whatever servers say and whenever: addresses are set up and taken down in turn, and a client that was just
    /// served does not want to be served again at the same moment.
    #[test]
    fn every_address_that_is_set_up_is_taken_down_before_the_next(
        events in proptest::collection::vec((0u8..7, 0u64..4000), 0..60),
    ) {
        let mut client = Client::new(MAC, 7, Duration::ZERO);
        let mut now = Duration::ZERO;
        let mut configured = None;
        for (event, pause) in events {
            now += seconds(pause);
            let actions = match event {
                0 => client.on_reply(Reply::Offer(lease(5)), now),
                1 => client.on_reply(Reply::Ack(lease(5)), now),
                2 => client.on_reply(Reply::Ack(lease(6)), now),
                3 => client.on_reply(Reply::Nak { server: None }, now),
                4 => client.on_link_ready(now),
                _ => client.on_time(now),
            };
            configured = apply(configured, actions)?;
            prop_assert_eq!(configured, client.lease().map(|lease| lease.address));
            // A lease whose every time has passed takes a few steps: renewing, rebinding, lost, asking anew.
            for _ in 0..5 {
                configured = apply(configured, client.on_time(now))?;
            }
            prop_assert!(client.wake() > now);
        }
    }
}
