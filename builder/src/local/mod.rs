//! Projects and payloads of this machine: a directory, a jar, a program, an archive. What they are and how they are built
//! says the crate `project`; here it is carried out, and ends in an image like any other: its base's layers, its
//! dependencies, its files.

mod above;
pub mod containerfile;
mod copy;
mod dependencies;
mod engine;
pub mod git;
mod host;
mod image;
mod layers;
pub mod lock;
pub mod look;
mod making;
mod payloads;
mod python;
mod tool;
mod unpack;

use crate::cleanup::TempDir;
use crate::digest::Digest;
use crate::source::{Container, Fetch};
use anyhow::{Result, bail};
use git::Commit;
use project::payload::{self, Payload};
use project::plan::{Kind, Wishes};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A project or a payload as the user names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// Where it is, as the user wrote it.
    pub path: PathBuf,
    /// What the user wants other than its files say.
    pub wishes: Wishes,
    /// What earlier builds made, if it lies in the project: it is not packed.
    pub results: Vec<PathBuf>,
}

/// What an image that was made of a project knows beside a container image's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Project {
    /// Its processes by name: program and arguments each.
    pub processes: BTreeMap<String, Vec<String>>,
    /// The name of the one that is started.
    pub process: String,
    /// What it was made of.
    pub origin: Option<Origin>,
}

/// What an image was made of, as its provenance tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// What it is: `node`, `elf`, …
    pub kind: String,
    /// Its own name, where it says one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its own version, where it says one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Digest of the payload: the jar, the program, the archive, or what a build left of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Digest>,
    /// The commit that it was made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<Commit>,
}

impl Project {
    /// Whether a Dockerfile says what it is: then it is an image like any other.
    #[must_use]
    pub fn is_of_a_dockerfile(&self) -> bool {
        self.origin.as_ref().is_some_and(|origin| origin.kind == Kind::Dockerfile.name())
    }
}

impl Local {
    /// Makes an image of it.
    ///
    /// # Errors
    /// When it is nothing known, cannot be built, or its base cannot be had.
    pub fn fetch(&self, fetch: &Fetch<'_>) -> Result<Container> {
        match payload::sniff(&self.path)? {
            Payload::Directory => self.project(&self.path, true, None, fetch),
            Payload::Program => payloads::program(self, &self.path, Origin::default(), fetch),
            Payload::Jar | Payload::War => payloads::archive(self, &self.path, None, None, Origin::default(), fetch),
            Payload::Archive(_) => {
                let scratch = TempDir::new_in(&copy::folder(fetch.cache)?)?;
                let directory = unpack::project(&self.path, &scratch.path().join("project"))?;
                self.project(&directory, false, Some(payloads::digest(&self.path)?), fetch)
            }
            Payload::Disk(_) => {
                bail!("it is a disk, which is built already: builder run boots it, builder publish makes an AMI of it")
            }
        }
    }

    /// A project's directory: the user's own, or what an archive held.
    fn project(&self, directory: &Path, own: bool, payload: Option<Digest>, fetch: &Fetch<'_>) -> Result<Container> {
        let looked = look::look(directory, &self.wishes, &self.results)?;
        let plan = &looked.plan;
        // Of the user's own directory all this is said before.
        if !own {
            fetch.progress.step(format!("it is {}, by {}", plan.kind, plan.decided_by));
            looked.warnings.iter().for_each(|warning| fetch.progress.warn(warning));
            looked.tree.summary().into_iter().for_each(|summary| fetch.progress.step(summary));
        }
        let git = if own { git::commit(directory, &|path| looked.is_packed(path)) } else { None };
        let (kind, name, version) = (plan.kind.to_string(), plan.name.clone(), plan.version.clone());
        making::make(self, directory, &looked, own, Origin { kind, name, version, payload, git }, fetch)
    }
}
