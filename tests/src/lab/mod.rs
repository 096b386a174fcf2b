//! A network of the test's own: bridges in a network namespace with real servers on them, and the machine's network
//! cards plugged into the bridges.
//!
//! The namespace belongs to the thread that enters it and to what that thread starts: nothing of it touches the
//! host's network, and it is gone with the last of them, also when the test is killed.

mod namespace;
mod server;

pub(crate) use namespace::tap;

use anyhow::{Context, Result, bail};
use regex::Regex;
use serde::Deserialize;
use server::Server;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The bridge that is meant where none is named.
const FIRST_BRIDGE: &str = "br0";

/// The `[network]` section of a scenario; [`crate::scenario`] shows one.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// EC2's addresses and servers, see [`Network::with_ec2`].
    pub ec2: bool,
    /// Our own addresses on each bridge, with their prefix lengths.
    pub bridges: BTreeMap<String, Vec<String>>,
    /// The machine's network cards, called nic0, nic1 and so on; one on br0 if none is named.
    pub nics: Vec<Nic>,
    /// The servers, by name.
    pub servers: BTreeMap<String, server::Plan>,
}

/// A virtio network card of the machine. Its MAC address is 52:54:00:00:00:NN with its number.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Nic {
    /// The bridge at the other end of its cable.
    pub bridge: String,
    /// Whether it is there from the start; otherwise a step plugs it in.
    pub plugged: bool,
}

impl Default for Nic {
    fn default() -> Self {
        Nic { bridge: FIRST_BRIDGE.to_owned(), plugged: true }
    }
}

/// EC2's view of a subnet: the router, and the link-local services that answer behind it.
const EC2_ADDRESSES: &[&str] = &[
    "172.31.0.1/20",
    "169.254.169.123/32",
    "169.254.169.253/32",
    "169.254.169.254/32",
    "2001:db8:ec2::1/64",
    "fd00:ec2::123/128",
    "fd00:ec2::253/128",
    "fd00:ec2::254/128",
];

/// Name and command line of EC2's servers.
const EC2_SERVERS: &[(&str, &str)] = &[
    // A lease of an hour for 172.31.0.20, with what EC2's leases carry: router, DNS, MTU 9001, domain, host name.
    (
        "dhcp",
        "dnsmasq --dhcp-range=172.31.0.20,172.31.0.20,1h --dhcp-option=option:dns-server,172.31.0.2 \
         --dhcp-option=option:mtu,9001 --domain=eu-central-1.compute.internal \
         --dhcp-host=52:54:00:00:00:00,ip-172-31-0-20,172.31.0.20",
    ),
    ("ntp", "chronyd"),
    ("imds", "lab imds"),
];

impl Network {
    /// What `ec2 = true` stands for: one bridge with [`EC2_ADDRESSES`], [`EC2_SERVERS`] unless the scenario has
    /// servers of these names itself.
    #[must_use]
    pub fn with_ec2(mut self) -> Self {
        if self.ec2 {
            let addresses = EC2_ADDRESSES.iter().map(|address| (*address).to_owned());
            self.bridges.entry(FIRST_BRIDGE.to_owned()).or_default().extend(addresses);
            for (name, command) in EC2_SERVERS {
                self.servers.entry((*name).to_owned()).or_insert_with(|| server::Plan::of(command));
            }
        }
        self
    }
}

/// A network that runs.
#[derive(Debug)]
pub struct Lab {
    // In the order of dropping: the servers first, their directories last.
    running: BTreeMap<String, Server>,
    /// What servers that were stopped have said, for a report.
    stopped: String,
    network: Network,
    directory: TempDir,
}

impl Lab {
    /// Puts the calling thread into a new namespace with these bridges and starts the servers. There is no way back:
    /// the thread should be one of the test's own.
    ///
    /// # Errors
    /// What is missing: a tool, the right to make a namespace (root has it); or a server that does not start.
    pub fn enter(network: Network) -> Result<Self> {
        let mut network = network.with_ec2();
        if network.nics.is_empty() {
            network.nics.push(Nic::default());
        }
        network.bridges.entry(FIRST_BRIDGE.to_owned()).or_default();
        if let Some(nic) = network.nics.iter().find(|nic| !network.bridges.contains_key(&nic.bridge)) {
            bail!("a network card on the bridge {}, which [network] does not have", nic.bridge);
        }
        namespace::enter(&network.bridges, &network.nics)?;
        let directory = tempfile::Builder::new().prefix("nanoos-lab.").tempdir().context("make a directory")?;
        let mut lab = Lab { running: BTreeMap::new(), stopped: String::new(), network, directory };
        let at_once = lab.network.servers.iter().filter(|(_, plan)| plan.start).map(|(name, _)| name.clone());
        for name in at_once.collect::<Vec<_>>() {
            lab.start(&name)?;
        }
        Ok(lab)
    }

    /// Starts a server, with an empty directory.
    ///
    /// # Errors
    /// When there is none of this name, it runs already, or its program is missing.
    pub fn start(&mut self, name: &str) -> Result<()> {
        let plan = self.network.servers.get(name).with_context(|| format!("[network] has no server {name}"))?;
        if self.running.contains_key(name) {
            bail!("the server {name} runs already");
        }
        let directory = self.directory.path().join(name);
        if directory.exists() {
            fs::remove_dir_all(&directory).context("empty a server's directory")?;
        }
        let server = Server::start(plan, &directory).with_context(|| format!("start the server {name}"))?;
        self.running.insert(name.to_owned(), server);
        Ok(())
    }

    /// Stops a server.
    ///
    /// # Errors
    /// When it does not run.
    pub fn stop(&mut self, name: &str) -> Result<()> {
        let server = self.running.remove(name).with_context(|| format!("the server {name} does not run"))?;
        self.stopped += &report(name, &server);
        Ok(())
    }

    /// Waits until a server writes a line that matches, after the last one that was waited for.
    ///
    /// # Errors
    /// When it does not run, ends, or the time is over before.
    pub fn wait_for_line(&mut self, name: &str, pattern: &Regex, patience: Duration) -> Result<()> {
        let server = self.running.get_mut(name).with_context(|| format!("the server {name} does not run"))?;
        server.wait_for_line(pattern, patience).with_context(|| format!("server {name}"))
    }

    /// Runs a command in the namespace until it succeeds and prints what is wanted.
    ///
    /// # Errors
    /// When it has not before the time is over: what it printed last.
    pub fn run(&self, command: &str, prints: &Regex, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            let output = server::run(command)?;
            let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
            if output.status.success() && prints.is_match(&text) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!("{command}: {}, and prints nothing that matches {prints}:\n{text}", output.status);
            }
            std::thread::sleep(namespace::POLL);
        }
    }

    /// Fails when a server has ended by itself.
    ///
    /// # Errors
    /// Its name and its status.
    pub fn check_health(&mut self) -> Result<()> {
        for (name, server) in &mut self.running {
            if let Some(status) = server.status()? {
                bail!("the server {name} ended: {status}");
            }
        }
        Ok(())
    }

    /// The machine's network cards.
    #[must_use]
    pub fn nics(&self) -> &[Nic] {
        &self.network.nics
    }

    /// All that the servers have said, for a person to read.
    #[must_use]
    pub fn transcript(&self) -> String {
        self.running.iter().fold(self.stopped.clone(), |text, (name, server)| text + &report(name, server))
    }
}

fn report(name: &str, server: &Server) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "\nserver {name}, times since its start:\n{}", server.transcript());
    text
}
