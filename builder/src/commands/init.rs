//! `builder init`: recognizes a project, and writes nanoos.toml, and a Procfile where there is none.

use super::ask;
use super::report::{is_plain, path_word, print, shell_word};
use super::subject::{FILES, PROJECT, Project, facts, line, recognize};
use crate::cli::ec2::name as check_name;
use crate::cli::keys;
use crate::cli::project::Init;
use crate::cli::settings::FILE as SETTINGS;
use anyhow::{Context, Result, ensure};
use builder::application::Application;
use builder::destination::{Region, Surroundings};
use builder::local::Local;
use builder::local::containerfile;
use builder::local::look::PROCFILE;
use builder::progress::Progress;
use project::plan::{Base, Command, PORT, Plan, Process, Wishes};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

/// What nanoos.toml begins with.
const HEAD: &str = "\
# How a machine is made of this project: builder create. Each key is the name of a long option of that command
# (builder create --help has them all, docs/reference.md explains them), and the command line beats this file.
# Secrets do not belong here: a machine gets them as its user data, and builder run takes them from .env.
";

/// What it shows, in comments.
const EXAMPLES: &str = r#"
# Variables of the application, in every environment:
# env = { LOG = "info" }
# The machine: reboot when the application ends, kernel settings, GiB of swap.
# reboot = true
# sysctl = ["net.core.somaxconn=4096"]
# swap = "1"
"#;

/// Runs it.
pub(crate) fn init(init: Init, progress: &Progress) -> Result<()> {
    if init.schema {
        let schema = serde_json::to_string_pretty(&keys::schema()).context("write the schema")?;
        return print(format!("{schema}\n").as_bytes());
    }
    let directory = init.path;
    let shown = directory.display();
    let metadata = directory.metadata().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => anyhow::anyhow!("{shown}: no such directory"),
        _ => anyhow::anyhow!("{shown}: {error}"),
    })?;
    ensure!(metadata.is_dir(), "{shown}: a file needs no nanoos.toml: builder ./FILE makes a machine of it");
    let wishes = init.project.wishes(&Application::default())?;
    let mut local = Local { path: directory.clone(), wishes, results: Vec::new() };
    let looked = recognize(&mut local, progress)?;
    if init.containerfile {
        return print(containerfile_of(&directory, &looked.plan)?.as_bytes());
    }
    looked.warnings.iter().for_each(|warning| progress.warn(warning));
    let plan = looked.plan.clone();
    let project = Project::of(&local, looked);
    for (name, text) in facts(&project).into_iter().filter(|(name, _)| *name != FILES) {
        progress.line(&if name == PROJECT { text } else { format!("  {name}: {text}") });
    }
    let path = directory.join(SETTINGS);
    if is_there(&path) {
        progress.line(&format!("{} is there, and stays as it is", path.display()));
    } else {
        let account = Account::ask(progress)?;
        write(&path, &settings_of(&project.name, &plan, &local.wishes, &account)?, progress)?;
    }
    let path = directory.join(PROCFILE);
    if is_there(&path) {
        progress.line(&format!("{} is there, and stays as it is", path.display()));
    } else if let Some(text) = procfile_of(&plan) {
        write(&path, &text, progress)?;
    }
    let word = path_word(&directory);
    let create = if word == "." { String::new() } else { format!(" {}", shell_word(&shown.to_string())) };
    progress.line(&format!("Next: builder create{create}, or builder run {word} -p {PORT}:{PORT}"));
    Ok(())
}

/// Where AMIs go.
struct Account {
    region: Region,
    /// With which credentials; `None` where there are none here.
    profile: Option<String>,
    /// Whether that is what builder takes by itself.
    by_default: bool,
}

impl Account {
    /// Asks on a terminal, and takes the defaults elsewhere.
    fn ask(progress: &Progress) -> Result<Self> {
        let surroundings = Surroundings::of_process();
        let (preferred, profiles) = surroundings.profiles();
        let can_ask = ask::is_possible();
        let profile = match &profiles[..] {
            [first, ..] if can_ask => {
                let question = format!("profile with AWS credentials ({})", profiles.join(", "));
                let read = |answer: &str| match profiles.iter().find(|name| *name == answer) {
                    Some(name) => Ok(name.clone()),
                    None => Err(format!("{answer:?} is no profile with credentials")),
                };
                Some(ask::ask(&question, preferred.as_ref().unwrap_or(first), read, progress)?)
            }
            _ => preferred.clone(),
        };
        let default = surroundings.region(profile.as_deref())?;
        let region = if can_ask {
            ask::ask("region of AWS", &default.to_string(), str::parse::<Region>, progress)?
        } else {
            let profile = profile.as_ref().map(|name| format!(", profile {name}")).unwrap_or_default();
            progress.line(&format!("There is no terminal to ask at: region {default}{profile}"));
            default
        };
        Ok(Account { region, by_default: profile == preferred, profile })
    }
}

/// What nanoos.toml says.
fn settings_of(name: &str, plan: &Plan, given: &Wishes, account: &Account) -> Result<String> {
    let mut text = HEAD.to_owned();
    let quoted = |value: &str| serde_json::to_string(value).context("write a text");
    // A name that EC2 does not take is left to the project's directory.
    let mark = if check_name(name).is_ok() { "" } else { "# " };
    let _ = write!(text, "\n# What disks and AMIs are called.\n{mark}name = {}\n\n", quoted(name)?);
    match given.kind {
        Some(kind) => _ = writeln!(text, "kind = {}", quoted(kind.name())?),
        None => _ = writeln!(text, "# What it is, by {}:\n# kind = {}", plan.decided_by, quoted(plan.kind.name())?),
    }
    match (&given.base, &plan.base) {
        (Some(base), _) => _ = writeln!(text, "base = {}", quoted(base)?),
        (None, Base::Image(base)) => _ = writeln!(text, "# base = {}", quoted(base)?),
        (None, Base::None | Base::Built) => {}
    }
    if !given.build.is_empty() {
        let commands: Vec<String> = given.build.iter().map(|command| quoted(command)).collect::<Result<_>>()?;
        let _ = writeln!(text, "build = [{}]", commands.join(", "));
    }
    if let Some(process) = &given.process {
        let _ = writeln!(text, "process = {}", quoted(process)?);
    }
    let _ = write!(text, "\n# Where AMIs go. Without AWS credentials a disk image is made.\nregion = ");
    let _ = writeln!(text, "{}", quoted(&account.region.to_string())?);
    if let Some(profile) = &account.profile {
        // The name of a profile is of this machine: one that is taken anyway is not pinned for others.
        let _ = writeln!(text, "{}profile = {}", if account.by_default { "# " } else { "" }, quoted(profile)?);
    }
    Ok(text + EXAMPLES)
}

/// The processes that were found, the started one first; none where the image says what is started, or has no shell that
/// could read such a line.
fn procfile_of(plan: &Plan) -> Option<String> {
    let fits = |process: &Process| match &process.command {
        Command::Words(words) => plan.base != Base::None || words.iter().all(|word| is_plain(word)),
        Command::Shell(_) => true,
    };
    if plan.processes.is_empty() || !plan.processes.values().all(fits) {
        return None;
    }
    let (first, others): (Vec<_>, Vec<_>) = plan.processes.iter().partition(|(name, _)| **name == plan.process);
    Some(
        first
            .iter()
            .chain(&others)
            .fold(String::new(), |text, (name, process)| text + &format!("{name}: {}\n", line(process))),
    )
}

/// A Containerfile that builds the same.
fn containerfile_of(directory: &Path, plan: &Plan) -> Result<String> {
    let text = containerfile::for_people(plan, &|file| directory.join(file).exists())?;
    text.with_context(|| format!("{} has a Containerfile of its own: {}", directory.display(), plan.decided_by))
}

fn is_there(path: &Path) -> bool {
    // A link that leads nowhere is there as well.
    path.symlink_metadata().is_ok()
}

/// Writes a new file.
fn write(path: &Path, text: &str, progress: &Progress) -> Result<()> {
    let shown = path.display();
    let mut file =
        File::options().write(true).create_new(true).open(path).with_context(|| format!("create {shown}"))?;
    file.write_all(text.as_bytes()).with_context(|| format!("write {shown}"))?;
    progress.line(&format!("wrote {shown}"));
    Ok(())
}
