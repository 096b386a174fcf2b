//! Which of the archives that a build left is started.

use super::jar::Jar;
use super::{Error, zip};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Files of a build's directory that are looked at.
const FILES: usize = 10_000;

/// Jars that builds leave beside the one that is started: Gradle's without Spring Boot's libraries, sources,
/// documentation, tests.
const BESIDE: [&str; 4] = ["-plain", "-sources", "-javadoc", "-tests"];

/// What Maven's shade plugin renames the jar without libraries to.
const ORIGINAL: &str = "original-";

/// The archives of a build's directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Candidates {
    /// Wars, and jars with a Main-Class.
    pub startable: Vec<PathBuf>,
    /// Jars without one.
    pub libraries: Vec<PathBuf>,
}

/// The one archive of a build's directory that is started.
///
/// # Errors
/// When there is none, or there are several, which are named.
pub fn choose(directory: &Path) -> Result<PathBuf, Error> {
    let candidates = Candidates::of(directory)?;
    let shown = directory.display();
    let names = |paths: &[PathBuf]| {
        let names = paths.iter().filter_map(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned());
        names.collect::<Vec<_>>().join(", ")
    };
    match (&candidates.startable[..], &candidates.libraries[..]) {
        ([one], _) => Ok(one.clone()),
        ([], []) => Err(Error::Candidates(format!(
            "the build left no jar and no war in {shown}: see what it said, or name another command with --build"
        ))),
        ([], libraries) => Err(Error::Candidates(format!(
            "no jar in {shown} has a Main-Class in its manifest ({}): build one that has (Maven: manifest.mainClass of \
             the jar plugin; Gradle: the attribute Main-Class of the task jar), or start one by a Procfile",
            names(libraries)
        ))),
        (several, _) => Err(Error::Candidates(format!(
            "{shown} has {} archives that can be started: {}. Remove those of former builds, or name the one: `builder \
             create {}`",
            several.len(),
            names(several),
            several.first().map_or_else(String::new, |path| path.display().to_string())
        ))),
    }
}

impl Candidates {
    /// Those in this directory, by their names.
    ///
    /// # Errors
    /// When the directory or an archive cannot be read.
    pub fn of(directory: &Path) -> Result<Self, Error> {
        let read = |path: &Path| {
            let path = path.display().to_string();
            move |source: io::Error| Error::Read { path, source }
        };
        let mut candidates = Candidates::default();
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            // A build that left nothing is told of as such.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(candidates),
            Err(error) => return Err(read(directory)(error)),
        };
        let entries = entries.take(FILES).map(|entry| entry.map(|entry| entry.path()));
        let mut paths = entries.collect::<Result<Vec<_>, _>>().map_err(read(directory))?;
        paths.retain(|path| path.is_file());
        paths.sort();
        for path in paths {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if name.ends_with(".war") {
                candidates.startable.push(path);
            } else if let Some(stem) = name.strip_suffix(".jar")
                && !stem.starts_with(ORIGINAL)
                && !BESIDE.iter().any(|end| stem.ends_with(end))
            {
                let file = File::open(&path).map_err(read(&path))?;
                let problem = |problem: zip::Problem| Error::Java {
                    path: path.display().to_string(),
                    problem: problem.to_string(),
                };
                let jar = Jar::read(file).map_err(problem)?;
                if jar.main_class.is_some() { &mut candidates.startable } else { &mut candidates.libraries }.push(path);
            }
        }
        Ok(candidates)
    }
}
