//! Scenarios: a folder says what is in an image, how its disk is built and booted, and what must happen then.
//!
//! `scenario.toml` in each folder of `tests/scenarios`:
//!
//! ```toml
//! about = "What this proves, in one sentence."
//!
//! [image]                         # an empty root with one static program, unless from = "nginx" or "systemd"
//! program = "probe"               # package of the workspace, put at /probe; or "hello", or "" for none
//! entrypoint = ["/probe", "say", "hello"]
//! # sparse = { "app/data" = 300 } # files of so many MiB of zeros
//! # processes = { web = ["/probe", "say", "hello"], worker = ["/probe", "wait"] } # as the image of a project has them
//! # cmd, env, user, cwd, stop-signal, volumes as in a Dockerfile; the folder's own root/ is laid over the program
//!
//! [build]
//! options = ["-b"]                # further arguments of the builder
//! kernel = "debian"               # Debian's stock cloud kernel instead of ours
//!
//! [damage]                        # done to the disk before it boots
//! truncate = 60                   # percent that are left
//! root = [{ at = 0, bytes = 4096 }]   # bytes of the root partition that are inverted
//! gpt = "table"                   # of the primary partition table; or "header"
//! image-json = "missing"          # or "corrupted", or "future": of version 999
//!
//! [boot]                          # see Options in vm.rs
//! memory = 256
//!
//! [[disks]]                       # further NVMe disks, compared bit by bit afterwards
//! name = "data"                   # their serial too, unless serial = "nanoos-swap" (with swap = 0 in [boot])
//! content = "ext4"                # blank, random, last-block, zero-first-mib, looping-partitions; or file = "NAME"
//! # mark = { size = 64 }: that of a swap volume of so many MiB, over the content; at = "first" or "last": at one end
//! # size = 64, before-root = false; plugged = false: a step plugs it in; unchanged = false: it may be written
//!
//! [network]                       # instead of QEMU's user network: real servers, in a network namespace
//! bridges = { br0 = ["10.1.0.1/24", "fd00:1::1/64"] }   # and our own addresses on them
//! nics = [{ bridge = "br0" }]     # the machine's, nic0 first; this one is there when none is named
//! # or: ec2 = true                # EC2's addresses, dnsmasq as "dhcp", chronyd as "ntp", a stand-in as "imds"
//!
//! [network.servers.dhcp]          # dnsmasq, chronyd, radvd, or `lab`: this crate's own, which misbehave as told
//! command = "dnsmasq --dhcp-range=10.1.0.20,10.1.0.20,2m"   # what every one needs is added: lab/server.rs
//! # files = { "NAME" = "content" }: in its working directory. start = false: a step starts it
//!
//! [[steps]]                       # in this order; each takes within = SECONDS, too
//! console = "^hello$"             # a line, after the last one that was waited for
//! [[steps]]
//! consoles = ["^a$", "^b$"]       # these lines in any order
//! [[steps]]
//! http = { port = 80, path = "/", status = 200, contains = "Welcome" }   # host = "10.1.0.20" in a [network]
//! [[steps]]
//! server = { name = "dhcp", says = "DHCPACK" }              # a line of its log, after the last that was waited for
//! [[steps]]
//! stop = "dhcp"                   # or start
//! [[steps]]
//! run = { command = "ip neigh", prints = "10.1.0.20" }      # in the namespace, repeated until it does
//! [[steps]]
//! cut = "nic0"                    # the cable: the machine sees its link go. mend = "nic0" puts it back
//! [[steps]]
//! plug = "data"                   # a disk or a network card that was not there; unplug = "nic0" pulls one out
//! [[steps]]
//! check = true                    # the scenario's own check.rs: see boot.rs
//! [[steps]]
//! press = "power-button"          # or "ctrl-alt-del"
//! [[steps]]
//! end = "power-off"               # or "reboot". Without an end the machine is killed after the last step
//! [[steps]]
//! boot = true                     # after power-off: once more with the same disks, as they are now
//! # config = "A=1": with other user data than [boot] says
//! ```
//!
//! A failure prints the console and what the servers said; `NANOOS_CONSOLES=DIRECTORY` keeps them of every scenario.

pub mod damage;
mod devices;
mod disk;
mod run;
pub mod step;

pub use disk::Disks;
pub use run::run;

use crate::disks;
use crate::lab::Network;
use crate::vm::{Options, Vm};
use anyhow::{Context, Result};
use damage::Damage;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use step::Step;

/// What a folder describes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it proves, in one sentence.
    pub about: String,
    /// What the disk is made from.
    #[serde(default)]
    pub image: Image,
    /// How the disk is made.
    #[serde(default)]
    pub build: Build,
    /// What is broken on it then.
    pub damage: Option<Damage>,
    /// How the machine is started.
    #[serde(default)]
    pub boot: Options,
    /// Further disks.
    #[serde(default)]
    pub disks: Vec<disks::Plan>,
    /// A network of the scenario's own, in place of QEMU's user network.
    pub network: Option<Network>,
    /// What must happen, one after the other.
    pub steps: Vec<Step>,
    /// Patterns that no console line may match.
    #[serde(default)]
    pub forbidden: Vec<String>,
    /// The folder.
    #[serde(skip)]
    pub folder: PathBuf,
}

/// A container image.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Image {
    /// Where its root comes from.
    pub from: Base,
    /// Package of the static program that is put into an empty root under its name.
    pub program: String,
    /// ENTRYPOINT.
    pub entrypoint: Vec<String>,
    /// CMD.
    pub cmd: Vec<String>,
    /// ENV.
    pub env: Vec<String>,
    /// USER.
    pub user: String,
    /// WORKDIR.
    pub cwd: String,
    /// STOPSIGNAL.
    pub stop_signal: String,
    /// VOLUME.
    pub volumes: Vec<String>,
    /// The processes of a project, one of which is ENTRYPOINT and CMD.
    pub processes: BTreeMap<String, Vec<String>>,
    /// Files of zeros, and their sizes in MiB.
    pub sparse: BTreeMap<String, u32>,
}

impl Default for Image {
    fn default() -> Self {
        Image {
            from: Base::default(),
            program: "probe".to_owned(),
            entrypoint: Vec::new(),
            cmd: Vec::new(),
            env: Vec::new(),
            user: String::new(),
            cwd: String::new(),
            stop_signal: String::new(),
            volumes: Vec::new(),
            processes: BTreeMap::new(),
            sparse: BTreeMap::new(),
        }
    }
}

/// What an image starts from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Base {
    /// An empty root.
    #[default]
    Scratch,
    /// [`crate::nginx`], pulled by its plain name from a registry.
    Nginx,
    /// [`crate::systemd`].
    Systemd,
}

/// How the builder is called.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Build {
    /// Further arguments.
    pub options: Vec<String>,
    /// The kernel.
    pub kernel: Kernel,
}

/// The kernel of a disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kernel {
    /// Ours, of `kernel/build.sh`.
    #[default]
    Own,
    /// Debian's stock cloud kernel.
    Debian,
}

/// What a scenario does that TOML cannot say: its `check.rs`.
#[derive(Clone, Copy, Debug)]
pub struct Code {
    /// Changes the scenario before anything is made.
    pub prepare: fn(&mut Scenario) -> Result<()>,
    /// Runs at the step `check = true`.
    pub check: fn(&mut Vm, &Scenario) -> Result<()>,
}

impl Scenario {
    /// Reads the `scenario.toml` of a folder.
    ///
    /// # Errors
    /// What is wrong with it, with its line.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join("scenario.toml");
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let mut scenario = Scenario::parse(&text).with_context(|| format!("read {}", path.display()))?;
        scenario.folder = folder.to_owned();
        Ok(scenario)
    }

    fn parse(text: &str) -> Result<Self> {
        let scenario: Scenario = toml::from_str(text)?;
        step::check(&scenario.steps)?;
        Ok(scenario)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use step::End;

    #[test]
    fn what_is_not_said_has_its_default() {
        let scenario = Scenario::parse("about = 'x'\n[[steps]]\nhttp = {}\n[[steps]]\nend = 'power-off'").unwrap();
        assert_eq!(scenario.image.from, Base::Scratch);
        assert_eq!(scenario.image.program, "probe");
        let http = scenario.steps[0].http.as_ref().unwrap();
        assert_eq!((http.port, http.path.as_str(), http.status), (80, "/", 200));
        assert_eq!(scenario.steps[1].end, Some(End::PowerOff));
    }

    #[test]
    fn a_scenario_that_cannot_fail_is_refused() {
        let refusal = |text: &str| format!("{:#}", Scenario::parse(&format!("about = 'x'\n{text}")).unwrap_err());
        assert_eq!(refusal("steps = []"), "a scenario without steps proves nothing");
        assert!(refusal("[[steps]]\nwithin = 3").starts_with("step 1 is not exactly one of"));
        assert!(refusal("[[steps]]\ncheck = false").starts_with("step 1 is not exactly one of"));
        assert!(refusal("[[steps]]\ncheck = true\nconsole = 'x'").starts_with("step 1 is not exactly one of"));
        assert!(refusal("[[steps]]\nend = 'power-off'\n[[steps]]\ncheck = true").starts_with("step 1 ends"));
        assert!(refusal("[[steps]]\nconsol = 'x'").contains("unknown field `consol`"));
    }
}
