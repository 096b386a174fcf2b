//! Whether dependencies that are there already fit the base: `node_modules`, a virtual environment.
//!
//! What is JavaScript or Python fits any. What is compiled is for an architecture, a C library, and a version of Node
//! or Python: by its ELF tables and by its name.

mod node;
mod python;

pub use node::node;
pub use python::{Venv, python};

use crate::elf::{Architecture, Image};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Files of a tree of dependencies. Large ones have some 200,000.
const FILES: usize = 2_000_000;

/// Directories in each other.
const DEPTH: u32 = 64;

/// What of a base its dependencies have to fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name, for people: `node:20-slim`.
    pub name: String,
    /// What it is for.
    pub architecture: Architecture,
    /// Its C library.
    pub libc: Libc,
    /// The major version of its Node.
    pub node: Option<u32>,
    /// The version of its Python: (3, 12).
    pub python: Option<(u32, u32)>,
}

/// C libraries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Libc {
    /// GNU's, and its version where that is known: (2, 36).
    Glibc(Option<(u32, u32)>),
    /// Alpine's.
    Musl,
}

impl Target {
    /// What a base is, by the variables of official images (`NODE_VERSION`, `PYTHON_VERSION`).
    pub fn of_env<'a>(
        name: &str,
        architecture: Architecture,
        libc: Libc,
        env: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let mut target = Target { name: name.to_owned(), architecture, libc, node: None, python: None };
        for (variable, value) in env {
            match variable {
                "NODE_VERSION" => target.node = value.split('.').next().and_then(|major| major.parse().ok()),
                "PYTHON_VERSION" => target.python = crate::elf::version_of(value),
                _ => {}
            }
        }
        target
    }
}

/// Why dependencies cannot be taken as they are.
#[derive(Debug, thiserror::Error)]
pub enum Misfit {
    /// They cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// Which file or directory.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// They are for something else than the base.
    #[error("{path} {problem}, and {base} {has}: {advice}")]
    Other {
        /// Which file, relative to the project.
        path: String,
        /// What it is for: `is for musl`.
        problem: String,
        /// The base's name.
        base: String,
        /// What the base is or has: `is for x86_64`.
        has: String,
        /// What to do.
        advice: String,
    },
}

impl Misfit {
    fn read(path: &Path, source: io::Error) -> Self {
        Misfit::Read { path: path.display().to_string(), source }
    }
}

/// What does not fit: the file's side, and the base's.
type Sides = (String, String);

/// Whether an ELF file runs with the base's processor and C library.
fn elf(image: &Image, target: &Target) -> Result<(), Sides> {
    if image.architecture != target.architecture {
        return Err((format!("is for {}", image.architecture), format!("is for {}", target.architecture)));
    }
    let needs = |start: &str| {
        image
            .needed
            .iter()
            .chain(&image.interpreter)
            .any(|name| name.rsplit('/').next().is_some_and(|name| name.starts_with(start)))
    };
    let (gnu, musl) = (needs("libc.so.6") || needs("ld-linux"), needs("libc.musl-") || needs("ld-musl-"));
    match target.libc {
        Libc::Musl if gnu => Err(("needs glibc".to_owned(), "has musl".to_owned())),
        Libc::Glibc(_) if musl => Err(("needs musl".to_owned(), "has glibc".to_owned())),
        Libc::Glibc(Some(has)) => match image.glibc.filter(|needs| gnu && *needs > has) {
            Some((major, minor)) => {
                Err((format!("needs glibc {major}.{minor}"), format!("has glibc {}.{}", has.0, has.1)))
            }
            None => Ok(()),
        },
        Libc::Glibc(None) | Libc::Musl => Ok(()),
    }
}

/// Every file below a directory for which `wanted` says so, in order; links are not followed.
fn files(directory: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<Vec<PathBuf>, Misfit> {
    let mut found = Vec::new();
    let mut left = FILES;
    walk(directory, wanted, DEPTH, &mut left, &mut found)?;
    found.sort();
    Ok(found)
}

fn walk(
    directory: &Path,
    wanted: &dyn Fn(&str) -> bool,
    depth: u32,
    left: &mut usize,
    found: &mut Vec<PathBuf>,
) -> Result<(), Misfit> {
    let read = |source| Misfit::read(directory, source);
    for entry in fs::read_dir(directory).map_err(read)? {
        let entry = entry.map_err(read)?;
        let too_many = || read(io::Error::other("it has more files than dependencies have"));
        *left = left.checked_sub(1).ok_or_else(too_many)?;
        let kind = entry.file_type().map_err(read)?;
        if kind.is_dir() {
            let deeper = depth.checked_sub(1).ok_or_else(too_many)?;
            walk(&entry.path(), wanted, deeper, left, found)?;
        } else if kind.is_file() && entry.file_name().to_str().is_some_and(wanted) {
            found.push(entry.path());
        }
    }
    Ok(())
}

/// A file's path below the directory that its project is in.
fn shown(file: &Path, directory: &Path) -> String {
    file.strip_prefix(directory.parent().unwrap_or(directory)).unwrap_or(file).display().to_string()
}

#[cfg(test)]
mod tests;
