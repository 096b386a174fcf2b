//! What a project is, and which of its files are packed, before anything is built.

use anyhow::Result;
use project::detect::detect;
use project::packing::{Entry, Packing, Tree};
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
    let files = tree.files(|path| !of_dependencies(&tree, path))?;
    let procfile = files.text(PROCFILE).map(Procfile::parse).transpose()?;
    let processes = procfile.as_ref().map(|procfile| procfile.processes.as_slice());
    let plan = detect(&files, wishes, processes)?;
    let mut warnings = procfile.map(|procfile| procfile.warnings).unwrap_or_default();
    warnings.extend(plan.warnings.iter().cloned());
    warnings.extend(tree.warnings());
    Ok(Looked { plan, tree, warnings })
}

/// Texts of dependencies say nothing of the project.
fn of_dependencies(tree: &Tree, path: &str) -> bool {
    let at = tree.kept.binary_search_by(|entry| entry.path.as_path().cmp(Path::new(path)));
    at.ok().and_then(|at| tree.kept.get(at)).is_some_and(|entry| entry.is_dependency)
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
        let made_anew = |path: &Path| self.plan.left_out.iter().any(|directory| path.starts_with(directory));
        let packed = Path::new(&self.plan.packed);
        self.tree.kept.iter().filter(move |entry| entry.path.starts_with(packed) && !made_anew(&entry.path))
    }

    /// Where a packed file lies in the directory that is packed; `None` for that directory itself.
    pub(super) fn below_packed<'a>(&self, path: &'a Path) -> Option<&'a Path> {
        path.strip_prefix(&self.plan.packed).ok().filter(|path| !path.as_os_str().is_empty())
    }

    /// Whether the project's own path is packed, as its repository is asked.
    pub(super) fn is_packed(&self, path: &str) -> bool {
        let path = PathBuf::from(path);
        self.tree.kept.binary_search_by(|entry| entry.path.cmp(&path)).is_ok()
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
