//! Boots a disk in QEMU, with the console in the terminal.

use anyhow::{Context, Result, bail, ensure};
use builder::cleanup::{TempDir, Tool};
use builder::embedded;
use builder::progress::Progress;
use std::fmt;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

/// Exit status of boot.sh where the second Ctrl-C cut the power.
const POWER_CUT: i32 = 130;

/// What of the machine only QEMU must know.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hardware {
    /// Ports of this machine that lead to ports of the other.
    pub(crate) ports: Vec<Forward>,
    /// MiB of memory.
    pub(crate) memory: Option<u32>,
    /// Processors.
    pub(crate) processors: Option<u32>,
    /// The file with its user data.
    pub(crate) config: Option<PathBuf>,
    /// MiB of the blank swap volume, if another than boot.sh's own.
    pub(crate) swap: Option<u64>,
}

/// A port of 127.0.0.1 that leads to a port of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forward {
    pub(crate) host: u16,
    pub(crate) guest: u16,
    pub(crate) udp: bool,
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}{}", self.host, self.guest, if self.udp { "/udp" } else { "" })
    }
}

impl FromStr for Forward {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (ports, udp) = match text.split_once('/') {
            None | Some((_, "tcp")) => (text.trim_end_matches("/tcp"), false),
            Some((ports, "udp")) => (ports, true),
            Some((_, protocol)) => return Err(format!("{protocol:?} is neither tcp nor udp")),
        };
        let (host, guest) = ports.split_once(':').ok_or("it is not HOST:GUEST, such as 8080:80")?;
        let port = |text: &str| match text.parse::<u16>() {
            Ok(port @ 1..) => Ok(port),
            _ => Err(format!("{text:?} is not the number of a port")),
        };
        Ok(Forward { host: port(host)?, guest: port(guest)?, udp })
    }
}

impl Forward {
    /// Refuses a port that somebody has, before the work that takes time.
    pub(crate) fn check_is_free(&self) -> Result<()> {
        let address = (Ipv4Addr::LOCALHOST, self.host);
        let bound = if self.udp { UdpSocket::bind(address).map(drop) } else { TcpListener::bind(address).map(drop) };
        bound.with_context(|| format!("-p {self}: port {} of this machine can't be used; choose another", self.host))
    }
}

/// The user cut the power: not a failure of anything.
#[derive(Debug)]
pub(crate) struct PowerCut;

impl fmt::Display for PowerCut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the power was cut")
    }
}

impl std::error::Error for PowerCut {}

/// Boots a disk, and ends when the machine does; `started` is called once it runs.
///
/// # Errors
/// [`PowerCut`] after a second Ctrl-C; when boot.sh or QEMU fail.
pub(crate) fn boot(disk: &Path, hardware: &Hardware, progress: &Progress, started: impl FnOnce()) -> Result<()> {
    let scripts = TempDir::new()?;
    embedded::unpack(embedded::QEMU, scripts.path()).context("unpack QEMU's boot script")?;
    progress.step("boot it in QEMU; Ctrl-C presses the machine's power button, a second one pulls the plug");
    let mut command = Command::new("bash");
    command.arg(scripts.path().join("boot.sh")).arg(disk).args(arguments(hardware)).stdin(Stdio::null());
    if let Some(file) = &hardware.config {
        command.arg("--config").arg(file);
    }
    let mut machine = Tool::spawn_in_charge(&mut command)?;
    started();
    let status = machine.wait()?;
    if status.code() == Some(POWER_CUT) {
        bail!(PowerCut);
    }
    ensure!(status.success(), "the machine ended badly: boot.sh says {status} (its messages are above)");
    Ok(())
}

fn arguments(hardware: &Hardware) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut option = |name: &str, value: Option<String>| {
        arguments.extend(value.into_iter().flat_map(|value| [name.to_owned(), value]));
    };
    for port in &hardware.ports {
        option("-p", Some(port.to_string()));
    }
    option("-m", hardware.memory.map(|mib| mib.to_string()));
    option("--smp", hardware.processors.map(|count| count.to_string()));
    option("--swap", hardware.swap.map(|mib| mib.to_string()));
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_docker_writes_them() {
        let read = |text: &str| text.parse::<Forward>();
        assert_eq!(read("8080:80"), Ok(Forward { host: 8080, guest: 80, udp: false }));
        assert_eq!(read("53:53/udp").unwrap().to_string(), "53:53/udp");
        assert_eq!(read("1:2/tcp").unwrap().to_string(), "1:2");
        assert_eq!(read("80").unwrap_err(), "it is not HOST:GUEST, such as 8080:80");
        assert_eq!(read("0:80").unwrap_err(), "\"0\" is not the number of a port");
        assert_eq!(read("80:65536").unwrap_err(), "\"65536\" is not the number of a port");
        assert_eq!(read("1:2/sctp").unwrap_err(), "\"sctp\" is neither tcp nor udp");
    }

    #[test]
    fn a_port_that_is_taken_is_refused() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let host = taken.local_addr().unwrap().port();
        let refused = Forward { host, guest: 80, udp: false }.check_is_free().unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!("-p {host}:80: port {host} of this machine can't be used; choose another")
        );
    }
}
