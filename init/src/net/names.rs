//! Names: the machine's own, and the files by which programs find others — /etc/hostname, /etc/hosts and
//! /etc/resolv.conf, as Docker writes them.

use super::dhcp4::packet::Lease;
use crate::log::OrWarn;
use crate::root::Root;
use anyhow::Context;
use std::fmt::Write;
use std::net::Ipv4Addr;

/// Resolvers of the C library look at no more than three (resolv.conf(5)).
const NAME_SERVERS: usize = 3;

/// The names of a machine with these leases.
#[derive(Debug, PartialEq, Eq)]
pub struct Names {
    hostname: String,
    domain: Option<String>,
    address: Option<Ipv4Addr>,
    servers: Vec<Ipv4Addr>,
    search: Vec<String>,
}

impl Names {
    /// The names that leases tell, the first card's lease first; `fallback` is the host name where none tells one.
    #[must_use]
    pub fn of(leases: &[&Lease], fallback: &str) -> Self {
        let first = |of: fn(&Lease) -> Option<String>| leases.iter().find_map(|lease| of(lease));
        let told = first(|lease| lease.hostname.clone());
        let (hostname, own_domain) = match told.as_deref().unwrap_or(fallback).split_once('.') {
            Some((host, domain)) => (host.to_owned(), Some(domain.to_owned())),
            None => (told.unwrap_or_else(|| fallback.to_owned()), None),
        };
        let mut servers = Vec::new();
        let mut search = Vec::new();
        for lease in leases {
            servers.extend(lease.dns.iter().copied());
            search.extend(lease.domain.iter().filter(|_| lease.search.is_empty()).chain(&lease.search).cloned());
        }
        let servers = unique(servers);
        Names {
            hostname,
            domain: first(|lease| lease.domain.clone()).or(own_domain),
            address: leases.first().map(|lease| lease.address),
            servers: servers.into_iter().take(NAME_SERVERS).collect(),
            search: unique(search),
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
        // A machine without an address still knows itself, as Debian does it.
        let address = self.address.unwrap_or(Ipv4Addr::new(127, 0, 1, 1));
        let _ = match &self.domain {
            _ if self.hostname == "localhost" => Ok(()),
            Some(domain) => writeln!(hosts, "{address}\t{0}.{domain} {0}", self.hostname),
            None => writeln!(hosts, "{address}\t{}", self.hostname),
        };
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
    use std::time::Duration;

    fn lease(hostname: Option<&str>, domain: Option<&str>, dns: &[[u8; 4]]) -> Lease {
        let time = Duration::from_secs(3600);
        Lease {
            address: Ipv4Addr::new(10, 0, 2, 15),
            prefix: 24,
            server: Ipv4Addr::new(10, 0, 2, 2),
            time,
            renew_after: time / 2,
            rebind_after: time / 8 * 7,
            routes: Vec::new(),
            dns: dns.iter().copied().map(Ipv4Addr::from).collect(),
            hostname: hostname.map(str::to_owned),
            domain: domain.map(str::to_owned),
            search: Vec::new(),
            ntp: Vec::new(),
            mtu: None,
        }
    }

    #[test]
    fn a_machine_on_ec2() {
        let lease = lease(Some("ip-10-0-2-15"), Some("eu-central-1.compute.internal"), &[[10, 0, 0, 2]]);
        let names = Names::of(&[&lease], "localhost");
        assert_eq!(names.hostname(), "ip-10-0-2-15");
        assert!(names.hosts().ends_with("10.0.2.15\tip-10-0-2-15.eu-central-1.compute.internal ip-10-0-2-15\n"));
        assert_eq!(names.resolv_conf(), "search eu-central-1.compute.internal\nnameserver 10.0.0.2\n");
    }

    #[test]
    fn servers_of_all_leases_are_merged_once_each_and_three_at_the_most() {
        let (a, b) = (lease(None, Some("a"), &[[1; 4], [2; 4]]), lease(None, Some("a"), &[[2; 4], [3; 4], [4; 4]]));
        let names = Names::of(&[&a, &b], "box");
        assert_eq!(names.resolv_conf(), "search a\nnameserver 1.1.1.1\nnameserver 2.2.2.2\nnameserver 3.3.3.3\n");
        assert_eq!(names.hostname(), "box");
    }

    #[test]
    fn a_machine_without_a_network_still_knows_its_name() {
        assert!(Names::of(&[], "box").hosts().ends_with("127.0.1.1\tbox\n"));
        assert!(!Names::of(&[], "localhost").hosts().contains("127.0.1.1"));
        assert_eq!(Names::of(&[], "box.example.org").hostname(), "box");
    }
}
