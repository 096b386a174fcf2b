//! The namespace itself: bridges, and a tap on a bridge for each network card of the machine.

use super::Nic;
use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

/// Pause between two attempts of a command.
pub(super) const POLL: Duration = Duration::from_millis(200);

/// The largest packets that EC2 has, so that a lease may tell the machine any size up to that.
const MTU: u32 = 9001;

/// For every interface that is made afterwards, and their reasons.
const SYSCTLS: &[(&str, &str)] = &[
    // Servers bind to an address as soon as it is there, which duplicate address detection would delay.
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    // radvd refuses to advertise a router that is none.
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv4/ip_forward", "1"),
    // An address answers on its own bridge only.
    ("ipv4/conf/all/arp_ignore", "1"),
    ("ipv4/conf/default/rp_filter", "0"),
];

/// The tap of a network card by its number.
pub(crate) fn tap(nic: usize) -> String {
    format!("tap{nic}")
}

pub(super) fn enter(bridges: &BTreeMap<String, Vec<String>>, nics: &[Nic]) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).context("make namespaces: run the tests as root")?;
    protect_the_host().context("protect the host's files from the servers")?;
    for (name, value) in SYSCTLS {
        // What /proc/sys/net shows is the calling thread's namespace.
        let path = format!("/proc/sys/net/{name}");
        fs::write(&path, value).with_context(|| format!("write {path}"))?;
    }
    ip(&commands(bridges, nics)).context("make bridges and taps")
}

/// The servers run as root, and some delete what they are given as a pid file, be it /dev/null. Devices can be used all
/// the same where their names are read-only.
fn protect_the_host() -> Result<()> {
    let nothing = None::<&str>;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)?;
    mount(Some("/dev"), "/dev", nothing, MsFlags::MS_BIND | MsFlags::MS_REC, nothing)?;
    mount(nothing, "/dev", nothing, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, nothing)?;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, nothing)?;
    Ok(())
}

fn commands(bridges: &BTreeMap<String, Vec<String>>, nics: &[Nic]) -> String {
    let mut batch = "link set lo up\n".to_owned();
    for (number, (bridge, addresses)) in bridges.iter().enumerate() {
        // A cable to nowhere keeps the bridge up, and servers on it, while the machine is off.
        let (inside, outside) = (format!("in-{bridge}"), format!("out-{bridge}"));
        let _ = writeln!(batch, "link add {bridge} address 02:00:00:00:00:0{number} type bridge mcast_snooping 0");
        let _ = writeln!(batch, "link add {inside} mtu {MTU} type veth peer name {outside}");
        let _ = writeln!(batch, "link set {inside} master {bridge} up");
        let _ = writeln!(batch, "link set {outside} addrgenmode none up");
        let _ = writeln!(batch, "link set {bridge} mtu {MTU} up");
        for address in addresses {
            let nodad = if address.contains(':') { " nodad" } else { "" };
            let _ = writeln!(batch, "addr add {address} dev {bridge}{nodad}");
        }
    }
    for (number, Nic { bridge, .. }) in nics.iter().enumerate() {
        let tap = tap(number);
        let _ = writeln!(batch, "tuntap add {tap} mode tap");
        let _ = writeln!(batch, "link set {tap} mtu {MTU} master {bridge} addrgenmode none up");
    }
    batch
}

/// Runs commands of ip(8), one on each line.
fn ip(batch: &str) -> Result<()> {
    let mut command = crate::process::tool("ip", "iproute2")?;
    command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().context("start ip")?;
    child.stdin.take().context("speak to ip")?.write_all(batch.as_bytes()).context("speak to ip")?;
    let output = child.wait_with_output().context("wait for ip")?;
    if !output.status.success() {
        bail!("ip -batch: {}\n{}{batch}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
