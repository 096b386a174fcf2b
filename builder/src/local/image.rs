//! The image that a plan makes: its base, its dependencies and its code, and how it is run.

use super::layers::{self, Item, Items, Times, What};
use super::{Local, Project};
use crate::cache::Cache;
use crate::digest::Digest;
use crate::flatten::find::find;
use crate::flatten::tree::Tree;
use crate::flatten::{Content, Layer, merge};
use crate::machine::DEFAULT_PATH;
use crate::manifest::{ImageConfig, RunConfig};
use crate::pack;
use crate::progress::Progress;
use crate::source::{Container, Fetch};
use anyhow::{Context, Result, bail};
use initramfs::environment;
use project::plan::{Base, Command, DIRECTORY, PORT, Plan, USER};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The shell that lines are given to.
const SHELL: &str = "/bin/sh";
/// Where a program of an unknown user may write, in place of a home.
const HOME: &str = "HOME=/tmp";
/// Ports below are root's (ip(7), ip_unprivileged_port_start).
const UNPRIVILEGED: u16 = 1024;
/// What a machine without a base knows of users.
const PASSWD: &str = "root:x:0:0:root:/root:/sbin/nologin\napp:x:1000:1000:app:/tmp:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\napp:x:1000:\n";

/// What a plan was made into.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// Files of the system that the build added to the base, and what the program needs, each already a layer.
    pub(super) below: Vec<Layer>,
    /// The project's own files.
    pub(super) code: Items,
    /// Variables that the build wants.
    pub(super) env: Vec<(String, String)>,
    /// Directories before those of the base's PATH.
    pub(super) path: Vec<String>,
}

/// What lies in a base, as far as it has been looked at.
#[derive(Debug, Default)]
pub(super) struct Inside(Option<Tree>);

impl Inside {
    /// Packs the base's layers, which the build would do in any case, and merges what their indexes tell.
    ///
    /// # Errors
    /// When a layer can't be had or read.
    pub(super) fn of(base: &mut Container, cache: &Cache, progress: &Progress) -> Result<Self> {
        let mut packed = pack::pack(&base.layers, cache, progress)?;
        for (layer, packed) in base.layers.iter_mut().zip(&packed) {
            layer.content = Content::Packed(Arc::clone(&packed.file));
        }
        Ok(Inside(Some(merge::merge(&mut packed)?.tree)))
    }

    /// Whether there is such a file, as far as is known.
    pub(super) fn has_surely(&self, path: &str) -> bool {
        self.0.is_some() && self.has(path)
    }

    /// Whether there is such a file; nobody knows of a base that was not looked at, which is taken to have it.
    pub(super) fn has(&self, path: &str) -> bool {
        self.0.as_ref().is_none_or(|tree| find(tree, path.as_bytes()).is_some())
    }
}

/// Lays dependencies and code over the base.
///
/// # Errors
/// When a process can't be started in it, or a layer not be written.
pub(super) fn assemble(
    local: &Local,
    plan: &Plan,
    base: Option<(Container, Inside)>,
    parts: Parts,
    made: Project,
    fetch: &Fetch<'_>,
) -> Result<Container> {
    let mut config = base.as_ref().map(|(base, _)| base.config.clone()).unwrap_or_default();
    let mut layers = Vec::new();
    let mut code = parts.code;
    for (path, text) in &plan.added {
        let bytes = What::Bytes(text.clone().into_bytes());
        code.insert(path.trim_start_matches('/').into(), Item::new(bytes, false));
    }
    let base_id = base.as_ref().map(|(base, _)| base.id);
    let shell = match base {
        None => {
            without_base(&mut code);
            false
        }
        Some((mut base, inside)) => {
            let asked =
                !fetch.look && plan.processes.values().any(|process| matches!(process.command, Command::Shell(_)));
            let inside = match inside {
                Inside(None) if asked => Inside::of(&mut base, fetch.cache, fetch.progress)?,
                inside => inside,
            };
            layers.append(&mut base.layers);
            inside.has(SHELL)
        }
    };
    layers.extend(parts.below);
    if !code.is_empty() {
        layers.push(layers::layer("the project", &code, Times::OfContent, fetch.cache)?);
    }
    let mut processes = BTreeMap::new();
    for (name, process) in &plan.processes {
        let argv = argv(&process.command, shell);
        processes.insert(name.clone(), argv.with_context(|| format!("the process {name}, by {}", process.decided_by))?);
    }
    if plan.base != Base::Built {
        surround(&mut config.config, plan, local.wishes.port, &parts.env, &parts.path);
    }
    if let Some(argv) = processes.get(&plan.process) {
        config.config.entrypoint.clear();
        config.config.cmd.clone_from(argv);
    }
    config.config.project = Some(Project { processes, process: plan.process.clone(), ..made });
    let id = identity(base_id, &layers, &config)?;
    Ok(Container { id, pin: None, manifest: None, config, layers })
}

/// How the program is surrounded: its directory, user and variables.
fn surround(config: &mut RunConfig, plan: &Plan, port: Option<u16>, env: &[(String, String)], path: &[String]) {
    let port = port.unwrap_or(PORT);
    DIRECTORY.clone_into(&mut config.working_dir);
    if config.user.is_empty() && port >= UNPRIVILEGED {
        USER.clone_into(&mut config.user);
    }
    let set = |config: &mut RunConfig, name: &str, value: &str| {
        config.env.retain(|entry| environment::key(entry) != Some(name));
        config.env.push(format!("{name}={value}"));
    };
    if config.user == USER && !config.env.iter().any(|entry| entry.starts_with("HOME=")) {
        config.env.push(HOME.to_owned());
    }
    if !path.is_empty() {
        let own = config
            .env
            .iter()
            .find_map(|entry| entry.strip_prefix("PATH="))
            .unwrap_or_else(|| DEFAULT_PATH.trim_start_matches("PATH="))
            .to_owned();
        let all = format!("{}:{own}", path.join(":"));
        set(config, "PATH", &all);
    }
    set(config, "PORT", &port.to_string());
    for (name, value) in env.iter().chain(&plan.env) {
        set(config, name, value);
    }
    let port = config.env.iter().find_map(|entry| entry.strip_prefix("PORT=")).unwrap_or_default();
    config.exposed_ports = [(format!("{port}/tcp"), serde_json::json!({}))].into();
}

/// What a machine has that has no base.
fn without_base(code: &mut Items) {
    let text = |text: &str| Item::new(What::Bytes(text.into()), false);
    let directory = |mode| Item { mode, ..Item::new(What::Directory, true) };
    for (path, item) in [
        ("etc", directory(0o755)),
        ("etc/passwd", text(PASSWD)),
        ("etc/group", text(GROUP)),
        ("tmp", directory(0o1777)),
    ] {
        code.entry(path.into()).or_insert(item);
    }
}

/// Program and arguments of a process.
///
/// # Errors
/// When it is a line for a shell, and there is none.
fn argv(command: &Command, shell: bool) -> Result<Vec<String>> {
    match command {
        Command::Words(words) => Ok(words.clone()),
        Command::Shell(line) if shell => Ok(by_shell(line)),
        Command::Shell(line) => match plain_words(line) {
            Some(words) => Ok(words),
            None => bail!(
                "{line:?} needs a shell, and the image has no {SHELL}: write a program and plain words, or take a base \
                 that has one"
            ),
        },
    }
}

/// A line as a shell is given it.
pub(super) fn by_shell(line: &str) -> Vec<String> {
    vec![SHELL.to_owned(), "-c".to_owned(), line.to_owned()]
}

/// The words of a line that means the same without a shell.
fn plain_words(line: &str) -> Option<Vec<String>> {
    let plain = |character: char| {
        character.is_ascii_alphanumeric() || "-_./:,=@%+ \t".contains(character) || !character.is_ascii()
    };
    let words: Vec<String> = line.split_ascii_whitespace().map(str::to_owned).collect();
    let assigns = words.first()?.contains('=');
    (line.chars().all(plain) && !assigns).then_some(words)
}

/// Names the image by what it is made of.
fn identity(base: Option<Digest>, layers: &[Layer], config: &ImageConfig) -> Result<Digest> {
    let run = &config.config;
    let layers: Vec<Option<Digest>> = layers.iter().map(|layer| layer.diff_id).collect();
    let made_of = serde_json::json!({
        "base": base,
        "layers": layers,
        "entrypoint": run.entrypoint,
        "cmd": run.cmd,
        "env": run.env,
        "cwd": run.working_dir,
        "user": run.user,
        "processes": run.project.as_ref().map(|project| &project.processes),
    });
    Ok(Digest::of(&serde_json::to_vec(&made_of).context("name the image")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_plain_words_needs_no_shell() {
        for (line, words) in [
            ("/app/server --port=8080", &["/app/server", "--port=8080"][..]),
            ("  a\tb ", &["a", "b"]),
            ("naïve ü", &["naïve", "ü"]),
        ] {
            assert_eq!(argv(&Command::Shell(line.to_owned()), false).unwrap(), words);
        }
        for line in
            ["a $PORT", "A=1 a", "a && b", "a 'b c'", "a > b", "a \\\nb", "cd x; y", "a *", "~/a", "a # b", "(a)", ""]
        {
            let refused = argv(&Command::Shell(line.to_owned()), false).unwrap_err().to_string();
            let expected = format!(
                "{line:?} needs a shell, and the image has no /bin/sh: write a program and plain words, or take a base that \
                 has one"
            );
            assert_eq!(refused, expected);
        }
        assert_eq!(argv(&Command::Shell("a $B".to_owned()), true).unwrap(), ["/bin/sh", "-c", "a $B"]);
    }
}
