//! How long an application that needs the network waits for it. What a network that is there answers, it answers within
//! milliseconds; what it does not answer is not waited for.

use super::dhcp4::client::Moment;
use std::time::Duration;

/// How long the application waits for a first address, and then starts without.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);
/// How long the other cards are waited for once one has its address: a second card is answered as fast as the
/// first, unless it is connected to nothing.
const STRAGGLERS: Duration = Duration::from_secs(1);
/// How long a card that has an address waits for one of the other family. Routers answer before DHCP servers do, so that
/// IPv4 is given a moment beside IPv6; nobody waits for IPv6 beside IPv4 unless something on the link speaks it.
const OTHER_FAMILY: Duration = Duration::from_millis(300);

/// What a card has, and what it is promised.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct State {
    pub(super) ipv4: bool,
    pub(super) ipv6: bool,
    /// A server or a router has let on that there is more to come.
    pub(super) expects: bool,
}

/// Until when to wait, where `first` is when the first address came; `None` when there is nothing to wait for.
pub(super) fn until(cards: &[State], first: Option<Moment>) -> Option<Moment> {
    let is_without = |card: &State| !(card.ipv4 || card.ipv6);
    let is_half = |card: &State| card.expects || !card.ipv4;
    match first {
        _ if cards.is_empty() => None,
        None => Some(PATIENCE),
        Some(first) if cards.iter().any(is_without) => Some((first + STRAGGLERS).min(PATIENCE)),
        Some(first) if cards.iter().any(is_half) => Some((first + OTHER_FAMILY).min(PATIENCE)),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: State = State { ipv4: false, ipv6: false, expects: false };
    const IPV4: State = State { ipv4: true, ..NONE };
    const IPV6: State = State { ipv6: true, ..NONE };

    #[test]
    fn an_ipv4_only_network_is_not_delayed_by_the_ipv6_that_it_lacks() {
        assert_eq!(until(&[IPV4], Some(Duration::from_millis(5))), None);
    }

    #[test]
    fn what_is_promised_or_usual_has_a_moment() {
        let at = Duration::from_millis(5);
        assert_eq!(until(&[IPV6], Some(at)), Some(at + OTHER_FAMILY));
        assert_eq!(until(&[State { expects: true, ..IPV4 }], Some(at)), Some(at + OTHER_FAMILY));
        assert_eq!(until(&[IPV4, NONE], Some(at)), Some(at + STRAGGLERS));
        assert_eq!(until(&[State { ipv6: true, ..IPV4 }], Some(at)), None);
    }

    #[test]
    fn a_network_that_does_not_answer_has_its_time_and_none_at_all_has_none() {
        assert_eq!(until(&[NONE], None), Some(PATIENCE));
        assert_eq!(until(&[NONE, IPV4], Some(PATIENCE)), Some(PATIENCE));
        assert_eq!(until(&[], None), None);
    }
}
