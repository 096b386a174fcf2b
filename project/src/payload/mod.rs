//! A file that becomes a machine: what it is, by its bytes, and how it is started.
//!
//! ```text
//! a path ── recognize ──► Payload ── jar, war: java  ──► Fused: a plan, and the files that it takes of this machine
//!                                 ── program: program ─►
//!                                 ── archive: unpacked by the builder, then as the project that it holds
//! ```

mod candidates;
mod class;
mod jar;
mod java;
mod program;
mod recognize;
mod zip;

pub use candidates::{Candidates, choose};
pub use class::Servlets;
pub use jar::Jar;
pub use java::{archive, base};
pub use program::program;
pub use recognize::{Disk, Packing, Payload, recognize, sniff};

use crate::elf;
use crate::plan::Plan;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

/// The name of the process of what has only one.
pub const PROCESS: &str = "web";

/// A payload as a machine: a plan, and what it takes of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fused {
    /// How it is started, and on what.
    pub plan: Plan,
    /// Files by their absolute path in the machine, and where they are on this machine. Two paths of one file are hard
    /// links.
    pub files: BTreeMap<String, PathBuf>,
}

/// Why a file cannot become a machine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// Which, as the user wrote it.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It is nothing that a machine is made of.
    #[error("{path} is {what}: {advice}. {}", readings(path))]
    Unknown {
        /// Which, as the user wrote it.
        path: String,
        /// What it is.
        what: String,
        /// What to do.
        advice: &'static str,
    },
    /// A jar or war that says too little, or cannot be read.
    #[error("{path}: {problem}")]
    Java {
        /// Which, as the user wrote it.
        path: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A build left no archive to start, or several.
    #[error("{0}")]
    Candidates(String),
    /// A program that does not run by itself.
    #[error(transparent)]
    Program(#[from] elf::Error),
}

/// Both readings of what the user wrote.
fn readings(path: &str) -> String {
    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or(path);
    format!(
        "A path is a project's directory, a jar, a war, a program for Linux, a tar archive (.tar, .tar.gz, .tar.zst) \
         or a disk; an image of that name is docker://{name}"
    )
}

#[cfg(test)]
mod tests;
