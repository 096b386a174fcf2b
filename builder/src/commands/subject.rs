//! What a machine is made of, as it is told before anything is made: what messages, files and AMIs are called, and of a
//! project what it is, what decided that, and what is left out.

use super::ask;
use super::report::shell_word;
use crate::order::Order;
use anyhow::{Result, anyhow};
use builder::local::Local;
use builder::local::look::{Looked, look};
use builder::outfile::Files;
use builder::platform::Platform;
use builder::progress::{Progress, mebibytes};
use builder::source::Source;
use project::detect::Refusal;
use project::packing::{self, Entry};
use project::payload::{self, Fused, Payload};
use project::plan::{Base, Command, DIRECTORY, Kind, Plan, Process};
use std::path::{Path, PathBuf};

/// What a machine is made of.
pub(crate) struct Subject {
    /// What a disk of it is called.
    pub(crate) name: String,
    /// Where it is a project or a payload, what it is.
    pub(crate) project: Option<Project>,
}

/// A project or a payload, by its name.
pub(crate) struct Project {
    pub(crate) name: String,
    pub(crate) known: Known,
    /// Whether the command line or nanoos.toml says what is started, whatever its files say.
    command: bool,
}

/// What is known of it before it is made.
pub(crate) enum Known {
    /// A directory.
    Directory(Box<Looked>),
    /// A jar, a war or a program, with the files that it takes of this machine.
    Payload(Box<Fused>),
    /// An archive, which is unpacked first.
    Archive,
}

impl Project {
    /// A directory, by its own name, else by its directory's.
    pub(crate) fn of(local: &Local, looked: Looked) -> Self {
        let name = looked.plan.name.as_deref().map_or_else(|| Source::Local(local.clone()).stem(), last);
        Project { name, known: Known::Directory(Box::new(looked)), command: local.wishes.command }
    }
}

impl Subject {
    /// Finds out. What cannot be decided is asked where there is somebody to ask; the order then knows the answer. `name` is
    /// what nanoos.toml calls the project.
    pub(crate) fn find(order: &mut Order, name: Option<String>, progress: &Progress) -> Result<Self> {
        let Source::Local(local) = &mut order.source else {
            return Ok(Subject { name: order.source.stem(), project: None });
        };
        let mut project = find(local, order.platform, progress)?;
        project.name = name.unwrap_or(project.name);
        Ok(Subject { name: project.name.clone(), project: Some(project) })
    }

    /// What people are told that it was made of, with a tag or a version.
    #[cfg(feature = "aws")]
    pub(crate) fn label(&self, source: &Source) -> String {
        let Some(project) = &self.project else { return source.label() };
        let version = project.known.plan().and_then(|plan| plan.version.as_ref());
        version.map_or_else(|| self.name.clone(), |version| format!("{}:{version}", self.name))
    }

    /// The same without: versions of the same have much in common.
    #[cfg(feature = "aws")]
    pub(crate) fn repository(&self, source: &Source) -> String {
        if self.project.is_some() { self.name.clone() } else { source.repository() }
    }

    /// Keeps the files of a project or payload from being written, packed or not: of a project nothing is overwritten
    /// but what an earlier run made. `outputs` are the files that the user has written, `results` those that an earlier
    /// run wrote, and that are no disks: they are not packed.
    pub(crate) fn protect(&self, outputs: &[&Path], results: Vec<PathBuf>, order: &mut Order, files: &mut Files) {
        let (Source::Local(local), Some(project)) = (&mut order.source, &self.project) else { return };
        let looked = match &project.known {
            Known::Directory(looked) => looked,
            Known::Payload(fused) => {
                fused.files.values().for_each(|path| files.reads("the payload", path));
                return;
            }
            Known::Archive => return,
        };
        let results: Vec<PathBuf> = results.into_iter().filter_map(|path| path.canonicalize().ok()).collect();
        let is_result = |path: &Path| {
            results.iter().any(|result| result == path) || matches!(payload::sniff(path), Ok(Payload::Disk(_)))
        };
        let there = outputs.iter().filter_map(|path| path.canonicalize().ok());
        there
            .filter(|path| path.starts_with(&looked.tree.root) && path.is_file() && !is_result(path))
            .for_each(|path| files.reads("the project", &path));
        local.results = results;
    }
}

impl Known {
    /// How it is made into a machine.
    pub(crate) fn plan(&self) -> Option<&Plan> {
        match self {
            Known::Directory(looked) => Some(&looked.plan),
            Known::Payload(fused) => Some(&fused.plan),
            Known::Archive => None,
        }
    }
}

/// The last part of a name that may have an owner before it: npm's `@owner/name`, Go's `example.org/owner/name`.
fn last(name: &str) -> String {
    name.rsplit('/').next().unwrap_or(name).to_owned()
}

fn find(local: &mut Local, platform: Platform, progress: &Progress) -> Result<Project> {
    let known = match payload::sniff(&local.path)? {
        Payload::Directory => {
            let looked = recognize(local, progress)?;
            return Ok(Project::of(local, looked));
        }
        Payload::Jar | Payload::War => Known::Payload(Box::new(payload::archive(&local.path, &local.wishes)?)),
        Payload::Program => {
            let name = platform.arch.name;
            let architecture = name.parse().map_err(|_| anyhow!("programs for {name} are not known"))?;
            Known::Payload(Box::new(payload::program(&local.path, &local.wishes, architecture)?))
        }
        // A disk is refused before.
        Payload::Archive(_) | Payload::Disk(_) => Known::Archive,
    };
    Ok(Project { name: Source::Local(local.clone()).stem(), known, command: local.wishes.command })
}

/// What a project is. Where several kinds match, or several processes could be started, the person at the terminal chooses.
///
/// # Errors
/// When it is nothing known, or nobody chooses.
pub(crate) fn recognize(local: &mut Local, progress: &Progress) -> Result<Looked> {
    loop {
        let error = match look(&local.path, &local.wishes, &[]) {
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
pub(crate) fn announce(project: &Project, made: &str, progress: &Progress) {
    for (name, text) in facts(project) {
        progress.step(if name == PROJECT { text } else { format!("  {name}: {text}") });
    }
    progress.step(format!("  makes: {made}"));
    if let Known::Directory(looked) = &project.known {
        looked.tree.summary().into_iter().for_each(|summary| progress.step(summary));
        looked.warnings.iter().for_each(|warning| progress.warn(warning));
    }
}

/// The first of [`facts`].
pub(crate) const PROJECT: &str = "project";
/// The last of a directory's.
pub(crate) const FILES: &str = "files";

/// What a project is, as lines with a name each.
pub(crate) fn facts(project: &Project) -> Vec<(&'static str, String)> {
    let Some(plan) = project.known.plan() else {
        return vec![(PROJECT, format!("{}: an archive of a project, which is unpacked first", project.name))];
    };
    let version = plan.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
    let mut facts = vec![(PROJECT, format!("{}{version}: {}, by {}", project.name, kind(plan.kind), plan.decided_by))];
    facts.push(("base", base(&plan.base)));
    if let Known::Directory(looked) = &project.known {
        facts.extend(looked.built_by().map(|words| ("built by", words)));
    }
    // The started one first.
    let is_started = |name: &str| !project.command && name == plan.process;
    let (started, others): (Vec<_>, Vec<_>) = plan.processes.iter().partition(|(name, _)| is_started(name));
    if project.command {
        facts.push(("starts", "what cmd and entrypoint say (of the command line, or of nanoos.toml)".to_owned()));
    }
    let words = |name: &str, process: &Process| format!("{name}: {} (by {})", line(process), process.decided_by);
    facts.extend(started.into_iter().map(|(name, process)| ("starts", words(name, process))));
    facts.extend(others.into_iter().map(|(name, process)| ("or", words(name, process))));
    if let (Known::Payload(fused), Kind::Java) = (&project.known, plan.kind)
        && fused.files.len() > 1
    {
        let names = fused.files.keys().filter_map(|place| place.rsplit('/').next()).collect::<Vec<_>>();
        facts.push((FILES, format!("{} (by Class-Path of its manifest)", names.join(", "))));
    }
    if let Known::Directory(looked) = &project.known {
        let sizes = || looked.packed().filter_map(size);
        let files = format!("{} into {DIRECTORY}, {}", sizes().count(), mebibytes(sizes().sum()));
        facts.push((FILES, files));
    }
    facts
}

fn size(entry: &Entry) -> Option<u64> {
    match entry.kind {
        packing::Kind::File { size, .. } => Some(size),
        _ => None,
    }
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
