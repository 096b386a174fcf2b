//! What a project is, and which of its files are packed, before anything is built.

use anyhow::{Result, bail};
use project::detect::{detect, wants};
use project::files::{Files, LONGEST_TEXT};
use project::packing::{self, Entry, Packing, Reason, Tree};
use project::payload;
use project::plan::{Build, Plan, Wishes};
use project::procfile::Procfile;
use std::path::{Path, PathBuf};

/// The Procfile's name.
pub const PROCFILE: &str = "Procfile";

/// A project that was looked at.
#[derive(Debug)]
pub struct Looked {
    /// How it is made into a machine.
    pub plan: Plan,
    /// Its files: those that are packed, and those that are not.
    pub tree: Tree,
    /// What the user should know of both.
    pub warnings: Vec<String>,
}

/// Looks at a project's directory, in which `results` are what earlier builds made.
///
/// # Errors
/// When a file can't be read, or nothing says what it is.
pub fn look(directory: &Path, wishes: &Wishes, results: &[PathBuf]) -> Result<Looked> {
    let tree = Packing { outputs: results.to_vec(), ..Packing::of(directory)? }.walk(directory)?;
    let files = tree.files(wants)?;
    let procfile = procfile(&tree, &files)?;
    let processes = procfile.as_ref().map(|procfile| procfile.processes.as_slice());
    let mut plan = detect(&files, wishes, processes)?;
    if let Build::Ready(archive) = &plan.build {
        // The archive's bytes say what it runs on.
        let fused = payload::archive(&directory.join(archive), wishes)?;
        plan.base = fused.plan.base;
        if plan.processes.is_empty() {
            (plan.processes, plan.process) = (fused.plan.processes, fused.plan.process);
        }
    }
    let mut warnings = procfile.map(|procfile| procfile.warnings).unwrap_or_default();
    warnings.extend(plan.warnings.iter().cloned());
    warnings.extend(tree.warnings());
    let mut looked = Looked { plan, tree, warnings };
    if !matches!(looked.plan.build, Build::Containerfile(_)) {
        let said = packing::credentials(looked.packed());
        looked.warnings.extend(said);
    }
    Ok(looked)
}

/// What the Procfile says. One that is there and can't be read is not passed over: something else would be started.
fn procfile(tree: &Tree, files: &Files) -> Result<Option<Procfile>> {
    if let Some(text) = files.text(PROCFILE) {
        return Ok(Some(Procfile::parse(text)?));
    }
    let Ok(metadata) = tree.root.join(PROCFILE).symlink_metadata() else { return Ok(None) };
    let left_out = tree.left_out.iter().find(|out| out.path.as_path() == Path::new(PROCFILE));
    let problem = match left_out.map(|out| &out.reason).filter(|reason| !matches!(reason, Reason::Rules(_))) {
        Some(reason) => reason.to_string(),
        None if metadata.is_dir() => "it is a directory".to_owned(),
        None if metadata.is_symlink() => "it is a link that leads to no text of the project".to_owned(),
        None if metadata.len() > LONGEST_TEXT => "it is longer than 1 MiB".to_owned(),
        None => "it is not UTF-8, or can't be read".to_owned(),
    };
    let advice = "make it a text file with a line NAME: COMMAND for each process, or give it another name";
    bail!("{PROCFILE}: {problem}: {advice}")
}

impl Looked {
    /// Paths of the project's own files that are packed.
    pub(super) fn code(&self) -> impl Iterator<Item = &Path> {
        self.packed().filter(|entry| !entry.is_dependency).map(|entry| entry.path.as_path())
    }

    /// Paths of the dependencies that lie in the project, and are packed as they are.
    pub(super) fn dependencies(&self) -> impl Iterator<Item = &Path> {
        self.packed().filter(|entry| entry.is_dependency).map(|entry| entry.path.as_path())
    }

    /// What is packed.
    pub fn packed(&self) -> impl Iterator<Item = &Entry> {
        let packed = Path::new(&self.plan.packed);
        self.tree.kept.iter().filter(move |entry| entry.path.starts_with(packed) && !self.is_made_anew(&entry.path))
    }

    fn is_made_anew(&self, path: &Path) -> bool {
        self.plan.left_out.iter().any(|directory| path.starts_with(directory))
    }

    /// Where a packed file lies in the directory that is packed; `None` for that directory itself.
    pub(super) fn below_packed<'a>(&self, path: &'a Path) -> Option<&'a Path> {
        path.strip_prefix(&self.plan.packed).ok().filter(|path| !path.as_os_str().is_empty())
    }

    /// Whether the project's own path is packed, as its repository is asked. Dependencies that are installed anew are
    /// not.
    pub(super) fn is_packed(&self, path: &str) -> bool {
        let installs = matches!(&self.plan.build, Build::InBase(build) if !build.install.is_empty());
        let is_installed = |entry: &Entry| installs && entry.is_dependency;
        // A repository in this one has a slash at its end.
        let entry = self.tree.entry(Path::new(path.trim_end_matches('/')));
        entry.is_some_and(|entry| !self.is_made_anew(&entry.path) && !is_installed(entry))
    }

    /// What it is built by, for people.
    #[must_use]
    pub fn built_by(&self) -> Option<String> {
        match &self.plan.build {
            Build::None | Build::Ready(_) => None,
            Build::Containerfile(file) => Some(format!("a container engine, from {file}")),
            Build::Python(_) => Some("pip or uv".to_owned()),
            Build::InBase(build) => {
                let commands = [&build.install[..], &build.build, &build.prune].concat();
                (!commands.is_empty()).then(|| commands.join("; "))
            }
            Build::Host(build) => Some(build.argv.join(" ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn look_at(directory: &Path) -> Result<Looked> {
        look(directory, &Wishes { base: Some("some:base".to_owned()), ..Wishes::default() }, &[])
    }

    #[test]
    fn a_name_that_begins_like_a_directorys_is_found() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        for name in ["Procfile", "a/b", "a-new"] {
            fs::write(dir.path().join(name), "web: run\n").unwrap();
        }
        let looked = look_at(dir.path()).unwrap();
        for (path, is_packed) in [("a-new", true), ("a/b", true), ("a/", true), ("a.new", false), ("b", false)] {
            assert_eq!(looked.is_packed(path), is_packed, "{path}");
        }
    }

    #[test]
    fn a_procfile_that_is_none_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(PROCFILE);
        let refused = || look_at(dir.path()).unwrap_err().to_string();
        fs::write(&path, b"web: \xff\n").unwrap();
        let expected = "Procfile: it is not UTF-8, or can't be read: make it a text file with a line NAME: COMMAND for each \
                        process, or give it another name";
        assert_eq!(refused(), expected);
        fs::write(&path, "#\n".repeat(1 << 20)).unwrap();
        assert!(refused().starts_with("Procfile: it is longer than 1 MiB: "));
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(refused().starts_with("Procfile: it is a link out of the project, to /etc/passwd: "));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(refused().starts_with("Procfile: it is a directory: "));
    }
}
