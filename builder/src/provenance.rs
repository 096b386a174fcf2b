//! What a disk is made of: written into its EFI system partition, and into a file beside it where that is asked for.
//!
//! It is a function of what goes into the disk, like everything else on it: no time, no path, no name of who built it. Values of
//! the environment, which may be secret, are not in it; they are in the machine's configuration.

use crate::digest::Digest;
use crate::flatten::Layer;
use crate::local::Origin;
use crate::source::Container;
use anyhow::{Context, Result};
use initramfs::image::Image;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version of this format; it grows with every change that a reader would stumble over.
pub const VERSION: u32 = 1;

/// What a disk is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// Always [`VERSION`].
    pub version: u32,
    /// The version of the builder.
    pub builder: String,
    /// The image.
    pub image: ImageOf,
    /// The project or the payload that the image was made of, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<Origin>,
    /// What it runs on, such as `linux/amd64`.
    pub platform: String,
    /// The kernel.
    pub kernel: KernelOf,
    /// Digest of init.
    pub init: Digest,
    /// The kernel's command line.
    pub cmdline: String,
    /// The machine's configuration (image.json), but for the values of its environment.
    pub options: Value,
    /// What the disk consists of.
    pub parts: Parts,
}

/// The image that a disk is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageOf {
    /// Digest of its configuration: what Docker calls the image's ID.
    pub id: Digest,
    /// Digest of its manifest, where it came with one. Not on the disk, which is the same wherever the image came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Digest>,
    /// Its layers, lowest first: digests of the archives once decompressed, where the image tells them.
    pub layers: Vec<Option<Digest>>,
}

impl ImageOf {
    /// What a disk tells of an image that is at hand.
    #[must_use]
    pub fn of(container: &Container) -> Self {
        let layers = container.layers.iter().map(|Layer { diff_id, .. }| *diff_id).collect();
        ImageOf { id: container.id, manifest: None, layers }
    }
}

/// The kernel of a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelOf {
    /// As `uname -r` tells it.
    pub release: String,
    /// Digest of its configuration, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Digest>,
}

/// The parts of a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts {
    /// The root file system.
    pub root: Part,
    /// The EFI program as a whole.
    pub efi_program: Part,
    /// The kernel in it.
    pub vmlinuz: Part,
    /// The initramfs in it: the machine's configuration, init and modules.
    pub initramfs: Part,
    /// The stub that it starts with, before it was linked.
    pub efi_stub: Part,
}

/// A run of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its digest.
    pub digest: Digest,
    /// Its length.
    pub bytes: u64,
}

impl Part {
    /// The part that these bytes are.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Part { digest: Digest::of(bytes), bytes: bytes.len() as u64 }
    }
}

/// The machine's configuration without what may be secret: of the environment only the names are left.
///
/// # Errors
/// When it can't be written as JSON.
pub fn options(machine: &Image) -> Result<Value> {
    let mut value = serde_json::to_value(machine).context("write the machine's configuration")?;
    if let Some(env) = value.get_mut("env") {
        let name = |entry: &String| Value::from(entry.split('=').next().unwrap_or_default());
        *env = machine.env.iter().map(name).collect();
    }
    Ok(value)
}

impl Provenance {
    /// As a JSON document for people.
    ///
    /// # Errors
    /// When it can't be written as JSON, which it always can.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let mut json = serde_json::to_vec_pretty(self).context("write the provenance")?;
        json.push(b'\n');
        Ok(json)
    }

    /// Reads one from a disk.
    ///
    /// # Errors
    /// When it is none, or one of another version.
    pub fn parse(json: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let versioned: Versioned = serde_json::from_slice(json).context("read the provenance")?;
        anyhow::ensure!(
            versioned.version == VERSION,
            "the provenance has version {}, and this builder reads {VERSION}: take the builder that made the disk, or a newer one",
            versioned.version
        );
        serde_json::from_slice(json).context("read the provenance")
    }
}
