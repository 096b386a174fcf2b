//! A server in the namespace: a real one of Debian's, or one of this crate's programs that misbehaves as told.

use crate::console::{Console, Wait};
use crate::process::{Group, guarded, tool};
use anyhow::{Context, Result, bail};
use regex::Regex;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::pipe;
use std::path::Path;
use std::process::{ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// What a scenario says of a server.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plan {
    /// Program and arguments, separated by spaces. [`COMMON`] is added.
    pub command: String,
    /// Files in its directory, which is its working directory, by name.
    pub files: BTreeMap<String, String>,
    /// Whether it runs before the machine boots; otherwise a step starts it.
    pub start: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Plan { command: String::new(), files: BTreeMap::new(), start: true }
    }
}

impl Plan {
    /// A server that needs no files.
    #[must_use]
    pub fn of(command: &str) -> Self {
        Plan { command: command.to_owned(), ..Plan::default() }
    }
}

/// How a known server stays in the foreground, in its directory, with its say on stderr; and its Debian package.
const COMMON: &[(&str, &str, &[&str])] = &[
    (
        "dnsmasq",
        "dnsmasq-base",
        &[
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--log-facility=-",
            "--log-dhcp",
            "--log-queries",
            "--user=root",
            "--pid-file=",
            "--dhcp-leasefile=leases",
            "--dhcp-authoritative",
            "--no-ping",
            "--no-resolv",
            "--no-hosts",
            "--bind-dynamic",
            "--interface=br*",
        ],
    ),
    // Serves the host's time without touching it.
    ("chronyd", "chrony", &["-x", "-d", "-u", "root", "-f", "chrony.conf"]),
    (
        "radvd",
        "radvd",
        &["--nodaemon", "--config=radvd.conf", "--pidfile=radvd.pid", "--logmethod=stderr", "--debug=1"],
    ),
];

/// Of a chronyd for which the scenario has no chrony.conf.
const CHRONY_CONF: &str = "local stratum 1\nallow all\n";
/// Keeps every chronyd away from the host's; its directory follows for the pid file, which chronyd deletes at its end
/// whatever it is.
const CHRONY_PRIVATE: &str = "cmdport 0\nbindcmdaddress /\npidfile ";

/// A server that runs.
#[derive(Debug)]
pub(super) struct Server {
    group: Group,
    log: Console,
    /// Index of the first line that no wait has passed yet.
    next_line: usize,
}

impl Server {
    pub(super) fn start(plan: &Plan, directory: &Path) -> Result<Self> {
        let mut words = plan.command.split_whitespace();
        let program = words.next().context("a server without a command")?;
        let common = COMMON.iter().find(|(name, ..)| *name == program);
        let (package, common) = common.map_or(("of this name", &[][..]), |(_, package, common)| (package, common));
        tool(Path::new(&path_of(program)), package)?;

        fs::create_dir(directory).with_context(|| format!("make {}", directory.display()))?;
        let mut files = plan.files.clone();
        if program == "chronyd" {
            let private = format!("{CHRONY_PRIVATE}{}/chronyd.pid\n", directory.display());
            *files.entry("chrony.conf".to_owned()).or_insert_with(|| CHRONY_CONF.to_owned()) += &private;
        }
        for (name, content) in &files {
            fs::write(directory.join(name), content).with_context(|| format!("write {name}"))?;
        }
        let (reader, writer) = pipe().context("make a pipe")?;
        let mut command = guarded(path_of(program));
        command.args(common).args(words).current_dir(directory);
        command.stdin(Stdio::null()).stdout(writer.try_clone().context("clone a pipe")?).stderr(writer);
        let group = Group::spawn(&mut command)?;
        drop(command); // and with it our end of the pipe
        Ok(Server { group, log: Console::collect(reader), next_line: 0 })
    }

    pub(super) fn status(&mut self) -> Result<Option<ExitStatus>> {
        self.group.status()
    }

    pub(super) fn wait_for_line(&mut self, pattern: &Regex, patience: Duration) -> Result<()> {
        match self.log.wait_for(|line| pattern.is_match(line), self.next_line, Instant::now() + patience) {
            Wait::Seen(index, _) => {
                self.next_line = index + 1;
                Ok(())
            }
            Wait::Ended => bail!("it ended without a line that matches {pattern}"),
            Wait::TimedOut => bail!("no line that matches {pattern} within {} s", patience.as_secs()),
        }
    }

    pub(super) fn transcript(&self) -> String {
        self.log.transcript()
    }
}

/// Runs a command, words separated by spaces, to its end.
pub(super) fn run(command: &str) -> Result<Output> {
    let mut words = command.split_whitespace();
    let program = words.next().context("an empty command")?;
    let mut command = tool(Path::new(&path_of(program)), "the package that has it")?;
    command.args(words).stdin(Stdio::null()).output().with_context(|| format!("run {program}"))
}

/// This crate's own programs stand beside the directory of its tests' programs; all others are found by PATH.
fn path_of(program: &str) -> OsString {
    let own = env::current_exe().ok().and_then(|test| Some(test.parent()?.parent()?.join(program)));
    match own {
        Some(path) if path.is_file() => path.into(),
        _ => program.into(),
    }
}
