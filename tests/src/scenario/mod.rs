//! Scenarios: a folder says what is in an image, how its disk is built and booted, and what must happen then.
//!
//! `scenario.toml` in each folder of `tests/scenarios`:
//!
//! ```toml
//! about = "What this proves, in one sentence."
//!
//! [image]                         # an empty root with one static program, unless from = "nginx"
//! program = "probe"               # package of the workspace, put at /probe; or "hello", or "" for none
//! entrypoint = ["/probe", "say", "hello"]
//! # cmd, env, user, cwd, stop-signal as in a Dockerfile; the folder's own root/ is laid over the program
//!
//! [build]
//! options = ["-b"]                # further arguments of the builder
//!
//! [boot]                          # see Options in vm.rs
//! memory = 256
//!
//! [[steps]]                       # in this order; each takes within = SECONDS, too
//! console = "^hello$"             # a line, after the last one that was waited for
//! [[steps]]
//! http = { port = 80, path = "/", status = 200, contains = "Welcome" }
//! [[steps]]
//! check = true                    # the scenario's own check.rs: see boot.rs
//! [[steps]]
//! press = "power-button"
//! [[steps]]
//! end = "power-off"               # without it the machine is killed after the last step
//! ```

mod disk;
mod run;

pub use run::run;

use crate::vm::{Options, Vm};
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};

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
    /// How the machine is started.
    #[serde(default)]
    pub boot: Options,
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
}

/// How the builder is called.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Build {
    /// Further arguments.
    pub options: Vec<String>,
}

/// One thing that must happen, or is done; exactly one field besides `within` is set.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Step {
    /// Seconds until it must have happened.
    pub within: Option<u64>,
    /// A pattern that a console line matches.
    pub console: Option<String>,
    /// A question to a server in the machine.
    pub http: Option<Http>,
    /// The scenario's own code.
    pub check: Option<bool>,
    /// Something that is pressed.
    pub press: Option<Button>,
    /// How the machine ends.
    pub end: Option<End>,
}

/// A GET request and what its answer must be.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
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
        Http { port: 80, path: "/".to_owned(), status: 200, contains: String::new() }
    }
}

/// What can be pressed on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Button {
    /// The ACPI power button.
    PowerButton,
}

/// How a machine ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// It switches itself off.
    PowerOff,
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
        if scenario.steps.is_empty() {
            bail!("a scenario without steps proves nothing");
        }
        for (index, step) in scenario.steps.iter().enumerate() {
            let Step { within: _, console, http, check, press, end } = step;
            let actions = [console.is_some(), http.is_some(), check == &Some(true), press.is_some(), end.is_some()];
            if actions.iter().filter(|action| **action).count() != 1 {
                bail!("step {} is not exactly one of console, http, check, press, end", index + 1);
            }
            if end.is_some() && index + 1 < scenario.steps.len() {
                bail!("step {} ends the machine before the last step", index + 1);
            }
        }
        Ok(scenario)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
