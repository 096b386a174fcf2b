//! What routers tell of names in their advertisements (RFC 8106): resolvers and search domains, each for a time. The
//! kernel hands these options on; addresses, routes and MTU it sees to itself.

use super::domain::decode_list;
use std::net::Ipv6Addr;
use std::time::Duration;

/// A moment, as time since some fixed start.
type Moment = Duration;

/// Option types (RFC 8106, section 5).
const RDNSS: u8 = 25;
const DNSSL: u8 = 31;
/// Options are as many times this long as their second byte says (RFC 4861, section 4.6).
const UNIT: usize = 8;
/// No router has a use for more; what a link's hosts pretend must not fill the memory.
const MOST: usize = 8;

/// One option of a router advertisement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advice {
    /// Ask these resolvers, for this time.
    Servers(Vec<Ipv6Addr>, Duration),
    /// Look names up in these domains, for this time.
    Search(Vec<String>, Duration),
}

/// Reads the options of a router advertisement; others than ours, and whatever breaks off, are nothing.
#[must_use]
pub fn decode(mut options: &[u8]) -> Vec<Advice> {
    let mut advice = Vec::new();
    while let [kind, units, ..] = *options {
        // A length of zero ends it: there would be no end otherwise (RFC 4861, section 4.6).
        let Some((option, rest)) = options.split_at_checked(usize::from(units) * UNIT).filter(|_| units > 0) else {
            break;
        };
        // Two bytes are reserved, then the lifetime in seconds.
        let lifetime = option.get(4..8).and_then(|bytes| Some(u32::from_be_bytes(*bytes.first_chunk()?)));
        let (lifetime, value) =
            (Duration::from_secs(lifetime.unwrap_or(0).into()), option.get(8..).unwrap_or_default());
        match kind {
            RDNSS => advice.push(Advice::Servers(addresses(value), lifetime)),
            DNSSL => advice.push(Advice::Search(decode_list(value), lifetime)),
            _ => {}
        }
        options = rest;
    }
    advice
}

fn addresses(bytes: &[u8]) -> Vec<Ipv6Addr> {
    let (addresses, _) = bytes.as_chunks::<16>();
    let usable = |address: &Ipv6Addr| !(address.is_unspecified() || address.is_multicast() || address.is_loopback());
    addresses.iter().copied().map(Ipv6Addr::from).filter(usable).collect()
}

/// What the routers of one link have told, as long as it holds.
#[derive(Debug, Default)]
pub struct Router {
    servers: Vec<(Ipv6Addr, Moment)>,
    search: Vec<(String, Moment)>,
}

impl Router {
    /// Takes advice that came at `now`. Returns whether there is something new, or less than there was.
    pub fn learn(&mut self, advice: Advice, now: Moment) -> bool {
        match advice {
            Advice::Servers(servers, lifetime) => learn(&mut self.servers, servers, lifetime, now),
            Advice::Search(domains, lifetime) => learn(&mut self.search, domains, lifetime, now),
        }
    }

    /// Forgets what holds no longer at `now`. Returns whether there was such a thing.
    pub fn expire(&mut self, now: Moment) -> bool {
        let before = self.servers.len() + self.search.len();
        self.servers.retain(|(_, until)| *until > now);
        self.search.retain(|(_, until)| *until > now);
        self.servers.len() + self.search.len() != before
    }

    /// When [`Router::expire`] wants to be called next.
    #[must_use]
    pub fn wake(&self) -> Option<Moment> {
        let servers = self.servers.iter().map(|(_, until)| *until);
        servers.chain(self.search.iter().map(|(_, until)| *until)).min()
    }

    /// The resolvers, the preferred one first.
    pub fn servers(&self) -> impl Iterator<Item = Ipv6Addr> {
        self.servers.iter().map(|(server, _)| *server)
    }

    /// The search domains.
    pub fn search(&self) -> impl Iterator<Item = &str> {
        self.search.iter().map(|(domain, _)| domain.as_str())
    }
}

fn learn<T: PartialEq>(known: &mut Vec<(T, Moment)>, told: Vec<T>, lifetime: Duration, now: Moment) -> bool {
    let mut is_news = false;
    // All ones means for ever (RFC 8106); a hundred years do.
    let until = now + lifetime;
    for value in told {
        if let Some((_, held)) = known.iter_mut().find(|(known, _)| *known == value) {
            *held = until;
        } else if !lifetime.is_zero() && known.len() < MOST {
            known.push((value, until));
            is_news = true;
        }
    }
    let before = known.len();
    known.retain(|(_, until)| *until > now);
    is_news || known.len() != before
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn option(kind: u8, lifetime: u32, value: &[u8]) -> Vec<u8> {
        let mut option = [&[kind, 0, 0, 0][..], &lifetime.to_be_bytes(), value].concat();
        option.resize(option.len().next_multiple_of(UNIT), 0);
        option[1] = u8::try_from(option.len() / UNIT).unwrap();
        option
    }

    fn server(last: u16) -> Ipv6Addr {
        Ipv6Addr::new(0xFD00, 0, 0, 0, 0, 0, 0, last)
    }

    #[test]
    fn resolvers_and_search_domains_as_radvd_sends_them() {
        let two = [server(1).octets(), server(2).octets()].concat();
        let options = [option(RDNSS, 600, &two), option(3, 0, &[0; 24]), option(DNSSL, 60, b"\x01a\x03org\0")].concat();
        let servers = Advice::Servers(vec![server(1), server(2)], seconds(600));
        assert_eq!(decode(&options), [servers.clone(), Advice::Search(vec!["a.org".to_owned()], seconds(60))]);
        assert_eq!(decode(&options[..options.len() - 1]), [servers]);
        assert_eq!(decode(&[RDNSS, 0, 0, 0, 0, 0, 0, 0]), []);
        assert_eq!(decode(&option(RDNSS, 600, &Ipv6Addr::LOCALHOST.octets())), [Advice::Servers(vec![], seconds(600))]);
    }

    #[test]
    fn what_a_router_told_holds_for_its_time_and_as_long_as_it_is_repeated() {
        let mut router = Router::default();
        let told = |lifetime| Advice::Servers(vec![server(1)], seconds(lifetime));
        assert!(router.learn(told(60), seconds(0)));
        assert!(!router.learn(told(60), seconds(50)), "said before");
        assert_eq!(router.wake(), Some(seconds(110)));
        assert!(!router.expire(seconds(109)));
        assert!(router.expire(seconds(110)));
        assert_eq!((router.servers().count(), router.wake()), (0, None));
        assert!(router.learn(told(60), seconds(200)));
        assert!(router.learn(told(0), seconds(201)), "taken back");
        assert_eq!(router.servers().count(), 0);
    }

    proptest! {
        #[test]
        fn no_advertisement_makes_the_reader_panic_or_fills_the_memory(
            options in proptest::collection::vec((prop_oneof![Just(RDNSS), Just(DNSSL), any::<u8>()], 0u32..100, proptest::collection::vec(any::<u8>(), 0..200)), 0..20),
            tail: Vec<u8>,
        ) {
            let _ = decode(&tail);
            let bytes: Vec<u8> = options.iter().flat_map(|(kind, lifetime, value)| option(*kind, *lifetime, value)).chain(tail).collect();
            let mut router = Router::default();
            for (now, advice) in (0..).zip(decode(&bytes)) {
                router.learn(advice, seconds(now));
                router.expire(seconds(now));
                prop_assert!(router.servers().count() <= MOST && router.search().count() <= MOST);
                prop_assert!(router.wake().is_none_or(|wake| wake > seconds(now)));
            }
        }
    }
}
