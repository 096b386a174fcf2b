//! The tree of a project: what of it is packed, and what is not, and why.

use super::Error;
use crate::detect;
use crate::files::{Files, LONGEST_TEXT};
use crate::links::{self, Leads};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Bytes of all texts that detection reads of a project.
const ALL_TEXTS: u64 = 64 << 20;
/// Warnings about files that are not packed.
const MOST_WARNINGS: usize = 5;
/// Paths that the warning about credentials names.
const MOST_CREDENTIALS: usize = 3;
/// Ends of paths of files in which programs keep credentials: they are packed, as the project's own program may be one
/// of those.
const CREDENTIALS: &[&str] = &[
    ".npmrc",
    ".netrc",
    ".pypirc",
    ".pgpass",
    ".my.cnf",
    ".git-credentials",
    ".aws/credentials",
    ".docker/config.json",
    ".kube/config",
    "terraform.tfstate",
];

/// The project's tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    /// Where it is, with no link in the path.
    pub root: PathBuf,
    /// What is packed: sorted, with every directory before what is in it.
    pub kept: Vec<Entry>,
    /// What is not: sorted. A directory stands for all that is in it.
    pub left_out: Vec<LeftOut>,
}

/// Something that is packed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Relative to the root.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Whether it is, or is in, a directory of dependencies: `node_modules`, `vendor`, a virtual environment. Only
    /// .nanoosignore, `.env*` and `.git` leave out what is in there.
    pub is_dependency: bool,
}

/// What is packed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A file of so many bytes.
    File {
        /// Whether its owner may run it.
        is_executable: bool,
        /// Its size when it was looked at.
        size: u64,
    },
    /// A symbolic link to this.
    Link(PathBuf),
}

/// Something that is not packed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeftOut {
    /// Relative to the root.
    pub path: PathBuf,
    /// Whether it is a directory, and so all that is in it.
    pub is_directory: bool,
    /// Why.
    pub reason: Reason,
}

/// Why something is not packed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// This file of rules says so.
    Rules(&'static str),
    /// `.env*`: variables of one environment, with its passwords.
    Environment,
    /// `.git`.
    Git,
    /// A private key's PEM block, in a file that is none of a dependency.
    PrivateKey,
    /// A file of ours, or one that the build writes.
    Ours,
    /// A disk image of this format.
    Disk(&'static str),
    /// A socket, a pipe or a device.
    Special(&'static str),
    /// A link that leads out of the project, to this.
    Outside(PathBuf),
    /// A link that leads to itself.
    Loop,
}

/// A file whose text is to be read.
struct Wanted<'a> {
    name: &'a str,
    file: PathBuf,
    size: u64,
    is_packed: bool,
}

impl Reason {
    /// Whether the user should hear of it even where nobody asks.
    fn is_warning(&self) -> bool {
        matches!(self, Reason::PrivateKey | Reason::Outside(_) | Reason::Loop)
    }

    /// What is counted together, behind its number.
    fn group(&self) -> String {
        match self {
            Reason::Rules(file) => format!("by {file}"),
            Reason::Environment => "with variables (.env*)".to_owned(),
            Reason::Git => "of git".to_owned(),
            Reason::PrivateKey => "with a private key".to_owned(),
            Reason::Ours | Reason::Disk(_) => "of builder".to_owned(),
            Reason::Special(_) | Reason::Outside(_) | Reason::Loop => "that the machine cannot have".to_owned(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Rules(file) => write!(f, "{file} says so"),
            Reason::Environment => f.write_str("it holds variables of one environment"),
            Reason::Git => f.write_str("it is the project's history"),
            Reason::PrivateKey => f.write_str("it holds a private key"),
            Reason::Ours => f.write_str("it is builder's own"),
            Reason::Disk(format) => write!(f, "it is a disk image ({format})"),
            Reason::Special(what) => write!(f, "it is a {what}"),
            Reason::Outside(target) => write!(f, "it is a link out of the project, to {}", target.display()),
            Reason::Loop => f.write_str("it is a link that leads to itself"),
        }
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}: {}", self.path.display(), if self.is_directory { "/" } else { "" }, self.reason)
    }
}

impl Tree {
    /// What detection sees: every file that is packed, and the texts of those that it `wants`; and files of the root
    /// that only the rules leave out and that describe the project ([`detect::describes`]), for a Dockerfile or a
    /// Procfile need not be in the machine to say what it is.
    ///
    /// All texts together are bounded: those nearest to the root are read first, and of these the shortest.
    ///
    /// # Errors
    /// When a wanted file that is packed cannot be read.
    pub fn files(&self, wants: impl Fn(&str) -> bool) -> Result<Files, Error> {
        let mut files = Files::default();
        let mut wanted = Vec::new();
        let by_rules = |out: &&LeftOut| !out.is_directory && matches!(out.reason, Reason::Rules(_));
        let left_out = self.left_out.iter().filter(by_rules).map(|out| (out.path.as_path(), true, false));
        let left_out = left_out.filter(|(path, ..)| path.to_str().is_some_and(detect::describes));
        let kept = self.kept.iter().filter(|entry| entry.kind != Kind::Directory);
        let kept = kept.map(|entry| (entry.path.as_path(), matches!(entry.kind, Kind::Link(_)), true));
        for (path, may_be_link, is_packed) in kept.chain(left_out) {
            // A name that is no text is none that detection knows.
            let Some(name) = path.to_str() else { continue };
            let file = if may_be_link { self.target(path) } else { Some(self.root.join(path)) };
            let Some(file) = file else { continue };
            // A link may lead to a directory, or to nothing.
            let metadata = if wants(name) { fs::metadata(&file).ok() } else { None };
            match metadata {
                Some(metadata) if metadata.is_file() && metadata.len() <= LONGEST_TEXT => {
                    wanted.push(Wanted { name, file, size: metadata.len(), is_packed });
                }
                _ => files.add(name),
            }
        }
        // What says what a project is lies at its root and is short; data with such names takes what is left.
        wanted.sort_by_key(|wanted| (wanted.name.matches('/').count(), wanted.size));
        let mut left = ALL_TEXTS;
        for Wanted { name, file, size, is_packed } in wanted {
            if size > left {
                files.add(name);
                continue;
            }
            match files.read(name, &file) {
                Ok(()) => left -= size,
                Err(error) if is_packed => return Err(Error::Read { path: file, error }),
                // It is as if it were not there.
                Err(_) => {}
            }
        }
        Ok(files)
    }

    /// What is packed at this path, relative to the root. They are sorted as bytes are, and not as [`Path`] compares.
    #[must_use]
    pub fn entry(&self, path: &Path) -> Option<&Entry> {
        let found = self.kept.binary_search_by(|entry| entry.path.as_os_str().cmp(path.as_os_str()));
        self.kept.get(found.ok()?)
    }

    /// The file that a link leads to, if it is of the project.
    fn target(&self, path: &Path) -> Option<PathBuf> {
        match links::follow(&self.root, Path::new(""), path) {
            Leads::Inside(path) => Some(self.root.join(path)),
            Leads::Outside | Leads::Nowhere => None,
        }
    }

    /// What the user should hear of where nobody asks: a line each, for the first few.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let told: Vec<&LeftOut> = self.left_out.iter().filter(|out| out.reason.is_warning()).collect();
        let mut lines: Vec<String> = told.iter().take(MOST_WARNINGS).map(|out| format!("not packed: {out}")).collect();
        if let Some(more) = told.len().checked_sub(MOST_WARNINGS).filter(|more| *more > 0) {
            lines.push(format!("not packed: {more} more like these (--dry-run lists them)"));
        }
        lines
    }

    /// One line on what was left out, if anything was.
    #[must_use]
    pub fn summary(&self) -> Option<String> {
        let mut groups: BTreeMap<String, usize> = BTreeMap::new();
        for out in &self.left_out {
            *groups.entry(out.reason.group()).or_default() += 1;
        }
        let groups: Vec<String> = groups.iter().map(|(group, count)| format!("{count} {group}")).collect();
        let groups = groups.join(", ");
        (!groups.is_empty()).then(|| format!("left out of the machine: {groups} (--dry-run lists them)"))
    }
}

/// One warning about what looks like credentials and is packed, if anything does. Dependencies are other people's.
pub fn credentials<'a>(packed: impl IntoIterator<Item = &'a Entry>) -> Option<String> {
    let looks = |path: &Path| {
        CREDENTIALS.iter().any(|known| path.ends_with(known)) || path.extension().is_some_and(|ending| ending == "env")
    };
    let own = packed.into_iter().filter(|entry| !entry.is_dependency && entry.kind != Kind::Directory);
    let found: Vec<String> =
        own.filter(|entry| looks(&entry.path)).map(|entry| entry.path.display().to_string()).collect();
    if let [path] = found.as_slice() {
        return Some(format!(
            "{path} looks like credentials, and is packed: name it in .nanoosignore if the machine does not need it"
        ));
    }
    let (last, first) = found.split_last()?;
    let (first, last) = match found.get(..MOST_CREDENTIALS) {
        Some(shown) if found.len() > MOST_CREDENTIALS => (shown, format!("{} more", found.len() - MOST_CREDENTIALS)),
        _ => (first, last.clone()),
    };
    Some(format!(
        "{} and {last} look like credentials, and are packed: name them in .nanoosignore if the machine does not need them",
        first.join(", ")
    ))
}
