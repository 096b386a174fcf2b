//! The steps of a scenario, as its `scenario.toml` writes them.

use anyhow::{Result, bail};
use serde::Deserialize;
use std::net::IpAddr;

/// One thing that must happen, or is done; exactly one field besides `within` and `config` is set.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Step {
    /// Seconds until it must have happened.
    pub within: Option<u64>,
    /// A pattern that a console line matches.
    pub console: Option<String>,
    /// Patterns that console lines match, in any order.
    pub consoles: Option<Vec<String>>,
    /// A question to a server in the machine.
    pub http: Option<Http>,
    /// The scenario's own code.
    pub check: Option<bool>,
    /// Something that is pressed.
    pub press: Option<Button>,
    /// A server of the network that is started.
    pub start: Option<String>,
    /// A server of the network that is stopped.
    pub stop: Option<String>,
    /// A line that a server of the network writes.
    pub server: Option<Says>,
    /// A command in the network's namespace.
    pub run: Option<Run>,
    /// The cable of a network card that is pulled.
    pub cut: Option<String>,
    /// The cable of a network card that is put back.
    pub mend: Option<String>,
    /// A disk or network card that is plugged in.
    pub plug: Option<String>,
    /// A disk or network card that is pulled out.
    pub unplug: Option<String>,
    /// How the machine ends.
    pub end: Option<End>,
    /// Starts the machine again after its end, with the same disks as they are now.
    pub boot: Option<bool>,
    /// The user data of that boot, if they are others than before.
    pub config: Option<String>,
}

/// A GET request and what its answer must be.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// The machine's address in the network of the scenario; without it QEMU's user network leads there.
    pub host: Option<IpAddr>,
    /// The machine's port.
    pub port: u16,
    /// The path that is asked for.
    pub path: String,
    /// The answer's status.
    pub status: u16,
    /// What the answer's body contains.
    pub contains: String,
}

impl Default for Http {
    fn default() -> Self {
        Http { host: None, port: 80, path: "/".to_owned(), status: 200, contains: String::new() }
    }
}

/// A line of a server.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Says {
    /// The server.
    pub name: String,
    /// What the line matches.
    pub says: String,
}

/// A command, repeated until it succeeds and prints what is wanted.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Program and arguments, separated by spaces.
    pub command: String,
    /// What its output matches.
    #[serde(default)]
    pub prints: String,
}

/// What can be pressed on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Button {
    /// The ACPI power button.
    PowerButton,
    /// The keyboard's three keys.
    CtrlAltDel,
}

/// How a machine ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// It switches itself off.
    PowerOff,
    /// It resets itself; its next boot has begun then, and more steps may follow.
    Reboot,
}

/// Refuses what cannot be meant, and scenarios that cannot fail.
pub(super) fn check(steps: &[Step]) -> Result<()> {
    if steps.is_empty() {
        bail!("a scenario without steps proves nothing");
    }
    for (index, step) in steps.iter().enumerate() {
        let actions = [
            ("console", step.console.is_some()),
            ("consoles", step.consoles.as_ref().is_some_and(|patterns| !patterns.is_empty())),
            ("http", step.http.is_some()),
            ("check", step.check == Some(true)),
            ("press", step.press.is_some()),
            ("start", step.start.is_some()),
            ("stop", step.stop.is_some()),
            ("server", step.server.is_some()),
            ("run", step.run.is_some()),
            ("cut", step.cut.is_some()),
            ("mend", step.mend.is_some()),
            ("plug", step.plug.is_some()),
            ("unplug", step.unplug.is_some()),
            ("end", step.end.is_some()),
            ("boot", step.boot == Some(true)),
        ];
        if actions.iter().filter(|(_, is_set)| *is_set).count() != 1 {
            let names = actions.map(|(name, _)| name).join(", ");
            bail!("step {} is not exactly one of {names}", index + 1);
        }
        let boots_next = steps.get(index + 1).is_none_or(|next| next.boot == Some(true));
        if step.end == Some(End::PowerOff) && !boots_next {
            bail!("step {} ends the machine before the last step, and the next is no boot", index + 1);
        }
        let ended_before = index.checked_sub(1).is_some_and(|before| steps[before].end == Some(End::PowerOff));
        if step.boot == Some(true) && !ended_before {
            bail!("step {} boots a machine that is on", index + 1);
        }
        if step.config.is_some() && step.boot != Some(true) {
            bail!("step {} has a config and is no boot", index + 1);
        }
    }
    Ok(())
}
