//! What a machine is made of, as it is told before anything is made: what messages, files and AMIs are called, and of a
//! project what it is, what decided that, and what is left out.

use super::ask;
use super::report::shell_word;
use crate::order::Order;
use anyhow::Result;
use builder::local::Local;
use builder::local::recognize::Recognized;
use builder::outfile::Files;
use builder::progress::{Progress, mebibytes};
use builder::source::Source;
use project::detect::Refusal;
use project::plan::{Base, Command, DIRECTORY, Kind, Process};
use std::path::Path;

/// Names of what lies left out that one line has room for.
const SOME: usize = 5;

/// What a machine is made of.
pub(crate) struct Subject {
    /// What a disk of it is called.
    pub(crate) name: String,
    /// A name for people, with a tag or a version.
    pub(crate) label: String,
    /// The same without: versions of the same have much in common.
    pub(crate) repository: String,
    /// Where it is a project or a payload, what it is.
    pub(crate) project: Option<Recognized>,
}

impl Subject {
    /// Finds out. What cannot be decided is asked where there is somebody to ask; the order then knows the answer. The files
    /// that are packed are none that may be written.
    pub(crate) fn find(
        order: &mut Order,
        files: &mut Files,
        name: Option<String>,
        progress: &Progress,
    ) -> Result<Self> {
        let Source::Local(local) = &mut order.source else {
            let source = &order.source;
            let (name, label, repository) = (source.stem(), source.label(), source.repository());
            return Ok(Subject { name, label, repository, project: None });
        };
        let mut project = recognize(local, progress)?;
        project.name = name.unwrap_or(project.name);
        if local.path.is_dir() {
            project.packed.iter().for_each(|file| files.reads("the project", &local.path.join(&file.path)));
        }
        let name = project.name.clone();
        let label = project.plan.version.as_ref().map_or_else(|| name.clone(), |version| format!("{name}:{version}"));
        Ok(Subject { repository: name.clone(), name, label, project: Some(project) })
    }
}

/// What a project is. Where several kinds match, or several processes could be started, the person at the terminal chooses.
///
/// # Errors
/// When it is nothing known, or nobody chooses.
pub(crate) fn recognize(local: &mut Local, progress: &Progress) -> Result<Looked> {
    loop {
        let error = match local.look() {
            Ok(looked) => return Ok(looked),
            Err(error) => error,
        };
        match error.downcast_ref() {
            Some(Refusal::Ambiguous(kinds)) if ask::is_possible() => {
                progress.line(&format!("{error:#}"));
                let names: Vec<String> = kinds.iter().map(|(kind, _)| kind.to_string()).collect();
                let chosen = ask::choose("which of them is it", &names, progress)?;
                local.wishes.kind = Kind::ALL.iter().copied().find(|kind| kind.name() == chosen);
            }
            Some(Refusal::Several { names, .. }) if ask::is_possible() => {
                progress.line(&format!("{error:#}"));
                let chosen = ask::choose("which of them is started", names, progress)?;
                local.wishes.process = Some(chosen.to_owned());
            }
            _ => return Err(error),
        }
    }
}

/// Says what will be made, and where.
pub(crate) fn announce(project: &Recognized, made: &str, progress: &Progress) {
    for (name, text) in facts(project) {
        progress.step(if name == "project" { text } else { format!("  {name}: {text}") });
    }
    progress.step(format!("  makes: {made}"));
    if !project.left_out.is_empty() {
        let names: Vec<&str> = project.left_out.iter().take(SOME).map(|left| left.path.as_str()).collect();
        let more = if project.left_out.len() > SOME { ", …" } else { "" };
        let count = project.left_out.len();
        progress.step(format!("  left out: {} ({}{more}); --dry-run lists them", counted(count, "entry", "entries"), names.join(", ")));
    }
    for warning in &project.plan.warnings {
        progress.warn(warning);
    }
}

/// What a project is, as lines with a name each.
pub(crate) fn facts(project: &Recognized) -> Vec<(&'static str, String)> {
    let plan = &project.plan;
    let version = plan.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
    let kind = kind(plan.kind);
    let mut facts = vec![("project", format!("{}{version}: {kind}, by {}", project.name, plan.decided_by))];
    facts.push(("base", base(&plan.base)));
    // The started one first.
    let (started, others): (Vec<_>, Vec<_>) = plan.processes.iter().partition(|(name, _)| **name == plan.process);
    let words = |name: &str, process: &Process| format!("{name}: {} (by {})", line(process), process.decided_by);
    facts.extend(started.into_iter().map(|(name, process)| ("starts", words(name, process))));
    facts.extend(others.into_iter().map(|(name, process)| ("or", words(name, process))));
    let bytes = project.packed.iter().map(|file| file.bytes).sum();
    facts.push(("files", format!("{} into {DIRECTORY}, {}", project.packed.len(), mebibytes(bytes))));
    facts
}

/// A kind, in words.
fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Dockerfile => "what its Dockerfile builds",
        Kind::Node => "a Node project",
        Kind::Python => "a Python project",
        Kind::Java => "a Java program",
        Kind::War => "a web application for Tomcat",
        Kind::Go => "a Go project",
        Kind::Rust => "a Rust project",
        Kind::Elf => "a program",
        Kind::Site => "a static site",
        Kind::Other => "a project",
    }
}

fn base(base: &Base) -> String {
    match base {
        Base::None => "none: the program brings what it needs".to_owned(),
        Base::Image(name) => name.clone(),
        Base::Built => "the image that the Dockerfile builds".to_owned(),
    }
}

/// A process as a line for a shell.
pub(crate) fn line(process: &Process) -> String {
    match &process.command {
        Command::Shell(line) => line.clone(),
        Command::Words(words) => words.iter().map(|word| shell_word(word)).collect::<Vec<_>>().join(" "),
    }
}

/// `1 file`, `2 files`.
fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
