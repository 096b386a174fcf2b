//! Names: the machine's own, and the files by which programs find others — /etc/hostname, /etc/hosts and
//! /etc/resolv.conf, as Docker writes them.

use crate::log::OrWarn;
use crate::root::Root;
use anyhow::Context;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

/// Resolvers of the C library look at no more than three (resolv.conf(5)).
const NAME_SERVERS: usize = 3;

/// musl's resolver passes over a search line of 256 bytes or more as a whole.
const SEARCH_LINE: usize = 255;

/// What one lease, or the routers of one link, tell. Everything in it has been checked: it can be written into a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// The machine's name.
    pub hostname: Option<String>,
    /// Its domain.
    pub domain: Option<String>,
    /// Its address.
    pub address: Option<IpAddr>,
    /// Name servers as resolv.conf(5) writes them, the preferred one first.
    pub servers: Vec<String>,
    /// The domains that short names are looked up in.
    pub search: Vec<String>,
}

/// The names of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    hostname: String,
    domain: Option<String>,
    /// One of each family, if there is one.
    addresses: Vec<IpAddr>,
    servers: Vec<String>,
    search: Vec<String>,
}

impl Names {
    /// The names that leases and routers tell, the first card's first; `fallback` is the host name where none tells one.
    #[must_use]
    pub fn of(told: &[Told], fallback: &str) -> Self {
        let first = |of: fn(&Told) -> Option<String>| told.iter().find_map(of);
        let hostname = first(|told| told.hostname.clone());
        let (hostname, own_domain) = match hostname.as_deref().unwrap_or(fallback).split_once('.') {
            Some((host, domain)) => (host.to_owned(), Some(domain.to_owned())),
            None => (hostname.unwrap_or_else(|| fallback.to_owned()), None),
        };
        let addresses = || told.iter().filter_map(|told| told.address);
        let servers = unique(told.iter().flat_map(|told| told.servers.clone()).collect());
        let mut room = SEARCH_LINE - "search".len();
        let fits = |domain: &String| {
            let left = room.checked_sub(1 + domain.len());
            room = left.unwrap_or(room);
            left.is_some()
        };
        Names {
            hostname,
            domain: first(|told| told.domain.clone()).or(own_domain),
            addresses: addresses().find(IpAddr::is_ipv4).into_iter().chain(addresses().find(IpAddr::is_ipv6)).collect(),
            servers: servers.into_iter().take(NAME_SERVERS).collect(),
            search: unique(told.iter().flat_map(|told| told.search.clone()).collect())
                .into_iter()
                .filter(fits)
                .collect(),
        }
    }

    /// The same under another host name, which goes before what the network tells.
    #[must_use]
    pub fn under(self, given: &str) -> Self {
        match given.split_once('.') {
            Some((host, domain)) => Names { hostname: host.to_owned(), domain: Some(domain.to_owned()), ..self },
            None => Names { hostname: given.to_owned(), ..self },
        }
    }

    /// The machine's name.
    #[must_use]
    pub fn hostname(&self) -> &str {
        &self.hostname
    }

    /// Names the machine, and writes the files of the application's root. Neither keeps an application from running.
    pub fn apply(&self, root: &Root) {
        rustix::system::sethostname(self.hostname.as_bytes())
            .with_context(|| format!("name the machine {:?}", self.hostname))
            .or_warn("names");
        for (name, content) in
            [("hostname", format!("{}\n", self.hostname)), ("hosts", self.hosts()), ("resolv.conf", self.resolv_conf())]
        {
            root.write_file("/etc", name, content.as_bytes()).or_warn("names");
        }
    }

    fn hosts(&self) -> String {
        let mut hosts = String::from(
            "127.0.0.1\tlocalhost\n\
             ::1\tlocalhost ip6-localhost ip6-loopback\n\
             fe00::0\tip6-localnet\n\
             ff00::0\tip6-mcastprefix\n\
             ff02::1\tip6-allnodes\n\
             ff02::2\tip6-allrouters\n",
        );
        if self.hostname == "localhost" {
            return hosts;
        }
        // A machine without an address still knows itself, as Debian does it.
        let itself = [IpAddr::from(Ipv4Addr::new(127, 0, 1, 1))];
        for address in if self.addresses.is_empty() { &itself[..] } else { &self.addresses } {
            let _ = match &self.domain {
                Some(domain) => writeln!(hosts, "{address}\t{0}.{domain} {0}", self.hostname),
                None => writeln!(hosts, "{address}\t{}", self.hostname),
            };
        }
        hosts
    }

    fn resolv_conf(&self) -> String {
        let mut text = String::new();
        if !self.search.is_empty() {
            let _ = writeln!(text, "search {}", self.search.join(" "));
        }
        for server in &self.servers {
            let _ = writeln!(text, "nameserver {server}");
        }
        text
    }
}

/// The first of each, in order.
fn unique<T: PartialEq>(items: Vec<T>) -> Vec<T> {
    let mut kept = Vec::new();
    for item in items {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(hostname: Option<&str>, domain: Option<&str>, servers: &[&str]) -> Told {
        Told {
            hostname: hostname.map(str::to_owned),
            domain: domain.map(str::to_owned),
            address: Some(Ipv4Addr::new(10, 0, 2, 15).into()),
            servers: servers.iter().map(|server| (*server).to_owned()).collect(),
            search: domain.into_iter().map(str::to_owned).collect(),
        }
    }

    #[test]
    fn a_machine_on_ec2() {
        let lease = told(Some("ip-10-0-2-15"), Some("eu-central-1.compute.internal"), &["10.0.0.2"]);
        let names = Names::of(&[lease], "localhost");
        assert_eq!(names.hostname(), "ip-10-0-2-15");
        assert!(names.hosts().ends_with("10.0.2.15\tip-10-0-2-15.eu-central-1.compute.internal ip-10-0-2-15\n"));
        assert_eq!(names.resolv_conf(), "search eu-central-1.compute.internal\nnameserver 10.0.0.2\n");
    }

    #[test]
    fn a_name_that_is_given_goes_before_the_network_s() {
        let lease = told(Some("ip-10-0-2-15"), Some("internal"), &[]);
        let names = || Names::of(std::slice::from_ref(&lease), "localhost");
        assert_eq!(names().under("web-1").hostname(), "web-1");
        assert!(names().under("web-1.example.org").hosts().contains("web-1.example.org web-1\n"));
    }

    #[test]
    fn servers_of_all_leases_are_merged_once_each_and_three_at_the_most() {
        let (a, b) = (
            told(None, Some("a"), &["1.1.1.1", "2.2.2.2"]),
            told(None, Some("a"), &["2.2.2.2", "fe80::3%eth0", "4.4.4.4"]),
        );
        let names = Names::of(&[a, b], "box");
        assert_eq!(names.resolv_conf(), "search a\nnameserver 1.1.1.1\nnameserver 2.2.2.2\nnameserver fe80::3%eth0\n");
        assert_eq!(names.hostname(), "box");
    }

    #[test]
    fn a_machine_without_a_network_still_knows_its_name() {
        assert!(Names::of(&[], "box").hosts().ends_with("127.0.1.1\tbox\n"));
        assert!(!Names::of(&[], "localhost").hosts().contains("127.0.1.1"));
        assert_eq!(Names::of(&[], "box.example.org").hostname(), "box");
    }

    #[test]
    fn a_machine_with_both_families_knows_itself_by_both() {
        let ipv6 = Told { address: Some("2001:db8::5".parse().unwrap()), ..Told::default() };
        let names = Names::of(&[ipv6, told(None, None, &[])], "box");
        assert!(names.hosts().ends_with("10.0.2.15\tbox\n2001:db8::5\tbox\n"), "{}", names.hosts());
    }

    #[test]
    fn a_search_line_that_musl_would_pass_over_is_shortened() {
        let search: Vec<String> = (0..9).map(|number| format!("{number}.{}", "x".repeat(60))).collect();
        let conf = Names::of(&[Told { search, ..Told::default() }], "box").resolv_conf();
        assert!((190..=SEARCH_LINE).contains(&conf.trim_end().len()), "{conf}");
    }
}
