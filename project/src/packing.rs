//! Which of a project's files are packed into its machine, and which are not, and why.

mod tree;

use crate::content::{self, Content};
use crate::ignore::{self, Matched, Rules};
use crate::links::{self, Leads};
use std::collections::HashSet;
use std::fs::{self, DirEntry, FileType};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use thiserror::Error;
pub use tree::{Entry, Kind, LeftOut, Reason, Tree, credentials};

/// Our own files of a project.
const OURS: &[&str] = &["nanoos.toml", "nanoos.lock"];
/// What the names of files begin with that are being written, by a build that goes on beside this one, too, or that was
/// broken off.
pub const UNFINISHED: &str = ".nanoos-";
/// Bytes of a file of rules.
const LONGEST_RULES: u64 = 1 << 20;

/// What is packed and what is not.
#[derive(Debug, Clone, Default)]
pub struct Packing {
    /// What a file of rules says, and its name.
    pub rules: Option<(Rules, &'static str)>,
    /// Files that the build writes, wherever they are.
    pub outputs: Vec<PathBuf>,
    /// Paths, relative to the project's root, that are packed with all that is below them, whatever else is said: what
    /// the user names, what a build makes.
    pub named: Vec<PathBuf>,
}

/// What keeps a project from being read.
#[derive(Debug, Error)]
pub enum Error {
    /// A file or a directory cannot be read.
    #[error("{path}: {error}; make it readable, or name it in .nanoosignore")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why. It is part of the message, and so is no source, which would say it again.
        error: io::Error,
    },
    /// The project's own directory cannot be found.
    #[error("{0}: {1}")]
    Root(PathBuf, io::Error),
    /// A file of rules is none.
    #[error("{0}: {1}")]
    Rules(&'static str, String),
}

impl Packing {
    /// What the rules of this project say.
    ///
    /// # Errors
    /// When there is a file of rules that cannot be read, or is none.
    pub fn of(root: &Path) -> Result<Self, Error> {
        for name in ignore::FILES {
            let path = root.join(name);
            // A pipe would never end.
            if !path.is_file() {
                continue;
            }
            let mut bytes = Vec::new();
            let read = fs::File::open(&path).and_then(|file| file.take(LONGEST_RULES + 1).read_to_end(&mut bytes));
            read.map_err(|error| Error::Rules(name, error.to_string()))?;
            if bytes.len() as u64 > LONGEST_RULES {
                return Err(Error::Rules(name, format!("it has more than {LONGEST_RULES} bytes")));
            }
            let text = String::from_utf8_lossy(&bytes);
            let rules = Rules::parse(&text).map_err(|error| Error::Rules(name, error.to_string()))?;
            return Ok(Packing { rules: Some((rules, *name)), ..Packing::default() });
        }
        Ok(Packing::default())
    }

    /// Walks a directory. Links are not followed; neither the depth of the tree nor a loop of links matters.
    ///
    /// # Errors
    /// When something that would be packed cannot be read.
    pub fn walk(&self, root: &Path) -> Result<Tree, Error> {
        let root = root.canonicalize().map_err(|error| Error::Root(root.to_owned(), error))?;
        let outputs = self.outputs.iter().filter_map(|output| below(&root, output)).collect();
        let tree = Tree { root, ..Tree::default() };
        let mut walk = Walk { packing: self, outputs, tree, absent: HashSet::new(), pending: Vec::new() };
        walk.pending.push(Directory::default());
        while let Some(directory) = walk.pending.pop() {
            walk.directory(&directory)?;
        }
        // As bytes: a directory comes before what is in it, and nothing is compared part by part.
        walk.tree.kept.sort_unstable_by(|one, other| one.path.as_os_str().cmp(other.path.as_os_str()));
        walk.tree.left_out.sort_unstable_by(|one, other| one.path.as_os_str().cmp(other.path.as_os_str()));
        Ok(walk.tree)
    }

    fn is_named(&self, path: &Path) -> bool {
        self.named.iter().any(|named| path.starts_with(named))
    }

    fn is_above_named(&self, path: &Path) -> bool {
        self.named.iter().any(|named| named.starts_with(path))
    }

    /// Whether the rules may take in again something below a directory that they leave out.
    fn may_keep_below(&self, path: &Path, matched: &Matched) -> bool {
        self.rules.as_ref().is_some_and(|(rules, _)| rules.may_keep_below(&path.to_string_lossy(), matched))
    }

    /// What the rules say of a path. Of dependencies only our own file's count: a .dockerignore nearly always names
    /// `node_modules`, as its image installs them anew.
    fn rule(&self, path: &Path, parent: &Matched, is_dependency: bool) -> (Option<Reason>, Matched) {
        let counts = |file: &str| !is_dependency || file == ignore::OWN;
        let Some((rules, file)) = self.rules.as_ref().filter(|(_, file)| counts(file)) else {
            return (None, Matched::default());
        };
        let (is_left_out, matched) = rules.leave_out(&path.to_string_lossy(), parent);
        (is_left_out.then_some(Reason::Rules(file)), matched)
    }
}

/// A file's path relative to the root, if it is below it. The file itself need not be there.
fn below(root: &Path, file: &Path) -> Option<PathBuf> {
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let unwritten = || Some(directory.canonicalize().ok()?.join(file.file_name()?));
    let path = file.canonicalize().ok().or_else(unwritten)?;
    path.strip_prefix(root).ok().map(Path::to_owned)
}

/// A directory that is to be read.
#[derive(Debug, Default)]
struct Directory {
    path: PathBuf,
    matched: Matched,
    /// Why it is left out, if it is: it is read for what is packed even so.
    left_out: Option<Reason>,
    is_dependency: bool,
}

impl Directory {
    /// Why nothing in it is packed but what is named, if so.
    fn never(&self) -> Option<Reason> {
        self.left_out.clone().filter(|reason| !matches!(reason, Reason::Rules(_)))
    }
}

struct Walk<'a> {
    packing: &'a Packing,
    outputs: Vec<PathBuf>,
    tree: Tree,
    /// Directories that are left out themselves, and are read: they are packed after all with what is kept of them.
    absent: HashSet<PathBuf>,
    pending: Vec<Directory>,
}

impl Walk<'_> {
    fn directory(&mut self, directory: &Directory) -> Result<(), Error> {
        let here = self.tree.root.join(&directory.path);
        let failed = |error| Error::Read { path: here.clone(), error };
        for entry in fs::read_dir(&here).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let kind = entry.file_type().map_err(failed)?;
            let path = directory.path.join(entry.file_name());
            if kind.is_dir() {
                self.subdirectory(path, directory);
            } else {
                self.file(path, kind, &entry, directory)?;
            }
        }
        Ok(())
    }

    fn subdirectory(&mut self, path: PathBuf, parent: &Directory) {
        let is_dependency =
            parent.is_dependency || parent.left_out.is_none() && is_dependencies(&self.tree.root, &path);
        let (rule, matched) = self.packing.rule(&path, &parent.matched, is_dependency);
        let never = parent.never().or_else(|| match (parent.is_dependency, is_dependency) {
            (true, _) => never_of_dependencies(&path),
            // A virtual environment may be called .env itself.
            (false, true) => git(&path),
            (false, false) => never(&path),
        });
        let is_read =
            self.packing.is_above_named(&path) || never.is_none() && self.packing.may_keep_below(&path, &matched);
        let left_out = never.or(rule).filter(|_| !self.packing.is_named(&path));
        match left_out {
            Some(reason) if !is_read => {
                self.tree.left_out.push(LeftOut { path, is_directory: true, reason });
                return;
            }
            Some(_) => drop(self.absent.insert(path.clone())),
            None => self.keep(Entry { path: path.clone(), kind: Kind::Directory, is_dependency }),
        }
        self.pending.push(Directory { path, matched, left_out, is_dependency });
    }

    fn file(&mut self, path: PathBuf, kind: FileType, entry: &DirEntry, parent: &Directory) -> Result<(), Error> {
        let is_dependency = parent.is_dependency;
        match self.reason(&path, kind, parent)? {
            Some(reason) => self.tree.left_out.push(LeftOut { path, is_directory: false, reason }),
            None => {
                let failed = |error| Error::Read { path: self.tree.root.join(&path), error };
                let kind = if kind.is_symlink() {
                    Kind::Link(fs::read_link(entry.path()).map_err(failed)?)
                } else {
                    let metadata = entry.metadata().map_err(failed)?;
                    let is_executable = metadata.permissions().mode() & 0o100 != 0;
                    Kind::File { is_executable, size: metadata.len() }
                };
                self.keep(Entry { path, kind, is_dependency });
            }
        }
        Ok(())
    }

    /// Why something that is no directory is left out. What it holds is read last.
    fn reason(&self, path: &Path, kind: FileType, parent: &Directory) -> Result<Option<Reason>, Error> {
        if let Some(what) = special(kind) {
            return Ok(Some(Reason::Special(what)));
        }
        let is_named = self.packing.is_named(path);
        if !is_named {
            let ours = || self.outputs.iter().any(|output| output == path).then_some(Reason::Ours);
            let by_name = || if parent.is_dependency { never_of_dependencies(path) } else { never(path) };
            let told = parent.never().or_else(by_name).or_else(ours);
            let rule = || self.packing.rule(path, &parent.matched, parent.is_dependency).0;
            if let Some(reason) = told.or_else(rule) {
                return Ok(Some(reason));
            }
        }
        let file = self.tree.root.join(path);
        let failed = |error| Error::Read { path: file.clone(), error };
        if kind.is_symlink() {
            let target = fs::read_link(&file).map_err(failed)?;
            // A program of the base, such as the Python of a virtual environment.
            if parent.is_dependency && target.is_absolute() {
                return Ok(None);
            }
            return Ok(match links::follow(&self.tree.root, path.parent().unwrap_or(Path::new("")), &target) {
                Leads::Inside(_) => None,
                Leads::Outside => Some(Reason::Outside(target)),
                Leads::Nowhere => Some(Reason::Loop),
            });
        }
        // Packages bring keys for their own tests, which are no secret.
        if is_named || parent.is_dependency {
            return Ok(None);
        }
        Ok(content::look(&file).map_err(failed)?.map(|content| match content {
            Content::PrivateKey => Reason::PrivateKey,
            Content::Disk(format) => Reason::Disk(format),
        }))
    }

    fn keep(&mut self, entry: Entry) {
        if !self.absent.is_empty() {
            for directory in entry.path.ancestors().skip(1).filter(|directory| self.absent.remove(*directory)) {
                let (path, is_dependency) = (directory.to_owned(), entry.is_dependency);
                self.tree.kept.push(Entry { path, kind: Kind::Directory, is_dependency });
            }
        }
        self.tree.kept.push(entry);
    }
}

/// What is left out of the user's own files, whatever the rules say, by its name.
fn never(path: &Path) -> Option<Reason> {
    let name = path.file_name()?.as_encoded_bytes();
    let is_ours = OURS.iter().any(|ours| Path::new(ours) == path) || name.starts_with(UNFINISHED.as_bytes());
    never_of_dependencies(path).or(is_ours.then_some(Reason::Ours))
}

/// What is left out of dependencies, too: variables that somebody wrote there are as secret as elsewhere.
fn never_of_dependencies(path: &Path) -> Option<Reason> {
    let is_environment = path.file_name()?.as_encoded_bytes().starts_with(b".env");
    git(path).or(is_environment.then_some(Reason::Environment))
}

/// Of a submodule it is a file, which names a directory that the machine has not.
fn git(path: &Path) -> Option<Reason> {
    path.ends_with(".git").then_some(Reason::Git)
}

fn is_dependencies(root: &Path, path: &Path) -> bool {
    let is_of_root = path.parent().is_some_and(|parent| parent.as_os_str().is_empty());
    path.ends_with("node_modules")
        || is_of_root && (path.ends_with("vendor") || root.join(path).join("pyvenv.cfg").is_file())
}

fn special(kind: FileType) -> Option<&'static str> {
    let kinds = [
        (kind.is_socket(), "socket"),
        (kind.is_fifo(), "pipe"),
        (kind.is_block_device() || kind.is_char_device(), "device"),
    ];
    kinds.iter().find(|(is, _)| *is).map(|(_, what)| *what)
}

#[cfg(test)]
mod tests;
