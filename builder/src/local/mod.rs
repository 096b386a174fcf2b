//! Projects and payloads of this machine: a directory, a jar, a program, an archive. What they are and how they are built
//! says the crate `project`; here it is carried out, and ends in an image like any other: its base's layers, its
//! dependencies, its files.

use crate::source::{Container, Fetch};
use anyhow::{Result, bail};
use project::plan::Wishes;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A project or a payload as the user names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// Where it is, as the user wrote it.
    pub path: PathBuf,
    /// What the user wants other than its files say.
    pub wishes: Wishes,
}

/// What an image that was made of a project knows beside a container image's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Project {
    /// Its processes by name: program and arguments each.
    pub processes: BTreeMap<String, Vec<String>>,
    /// The name of the one that is started.
    pub process: String,
}

impl Local {
    /// Makes an image of it.
    ///
    /// # Errors
    /// When it is nothing known, cannot be built, or its base cannot be had.
    pub fn fetch(&self, _fetch: &Fetch<'_>) -> Result<Container> {
        bail!("{} is a project or a payload, which cannot be built yet", self.path.display())
    }
}
