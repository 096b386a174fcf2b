//! Manifests, image indexes and image configurations (OCI image specification; Docker's own formats have the same fields).
//! Only what a build needs is read, and nothing else is asked of them.

use crate::digest::Digest;
use crate::json;
use crate::local::Project;
use crate::platform::Platform;
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;

/// Media types of manifests and indexes, as a client says which it takes.
pub const MANIFEST_TYPES: &[&str] = &[
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// Media types of layers that can be read. The compression is told by the bytes: types are not always right about it.
const LAYER_TYPES: &[&str] = &[
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
    "application/vnd.docker.container.image.rootfs.diff+x-gtar",
];

/// Names a blob.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Descriptor {
    /// What it is; empty where a document leaves it out.
    #[serde(default, rename = "mediatype")]
    pub media_type: String,
    /// Digest of its bytes.
    pub digest: Digest,
    /// Its length in bytes.
    #[serde(default)]
    pub size: u64,
    /// For an image of an index: the platform it runs on.
    #[serde(default)]
    pub platform: Option<PlatformOf>,
    /// Free notes, such as the tag in an OCI layout.
    #[serde(default, deserialize_with = "null_is_default")]
    pub annotations: BTreeMap<String, String>,
}

/// The platform that an index tells of an image.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PlatformOf {
    /// `linux`, `windows`, …; `unknown` for attestations.
    #[serde(default)]
    pub os: String,
    /// Go's name.
    #[serde(default)]
    pub architecture: String,
    /// Such as `v8`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub variant: String,
}

/// An image: its configuration and its layers, lowest first.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Manifest {
    /// The image's configuration.
    pub config: Descriptor,
    /// The layers.
    pub layers: Vec<Descriptor>,
}

/// A choice of images.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Index {
    /// The images.
    pub manifests: Vec<Descriptor>,
}

/// Either of the two documents that a reference may lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// A choice.
    Index(Index),
}

impl Document {
    /// Reads a document. `media_type` is what it was called where it came from, perhaps nothing.
    ///
    /// # Errors
    /// When it is neither a manifest nor an index of a version that is known.
    pub fn parse(json: &[u8], media_type: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Kind {
            #[serde(rename = "schemaversion")]
            schema_version: Option<u32>,
            #[serde(default, rename = "mediatype", deserialize_with = "null_is_default")]
            media_type: String,
            manifests: Option<serde::de::IgnoredAny>,
            layers: Option<serde::de::IgnoredAny>,
        }
        let kind: Kind = json::read(json).context("not an image manifest")?;
        let media_type = if kind.media_type.is_empty() { media_type } else { &kind.media_type };
        let known = media_type.is_empty()
            || MANIFEST_TYPES.contains(&media_type)
            || matches!(media_type, "application/json" | "application/octet-stream");
        ensure!(
            known,
            "media type {media_type} is not that of an image manifest or index: push the image again with a current tool"
        );
        if kind.schema_version == Some(1) {
            bail!(
                "a manifest of Docker's schema 1, which registries stopped serving in 2020: push the image again with a current tool"
            );
        }
        if kind.manifests.is_some() {
            return Ok(Document::Index(json::read(json).context("read the image index")?));
        }
        ensure!(kind.layers.is_some(), "a document with neither layers nor manifests is not an image manifest");
        Ok(Document::Manifest(json::read(json).context("read the image manifest")?))
    }
}

impl Index {
    /// The image for a platform. Attestations, which call themselves unknown/unknown, are no images.
    ///
    /// # Errors
    /// When there is none, with the list of those there are.
    pub fn image_for(&self, platform: Platform) -> Result<&Descriptor> {
        let images: Vec<&Descriptor> = self.manifests.iter().filter(|entry| !is_attestation(entry)).collect();
        if let Some(image) = images.iter().find(|image| image.platform.as_ref().is_some_and(|of| runs_on(of, platform)))
        {
            return Ok(image);
        }
        // An index of one image that doesn't say what it is for: its configuration will.
        if let [image] = images[..]
            && image.platform.is_none()
        {
            return Ok(image);
        }
        let offered: Vec<String> = images.iter().filter_map(|image| image.platform.as_ref()).map(name).collect();
        let offered = if offered.is_empty() { "no platform at all".to_owned() } else { offered.join(", ") };
        bail!(
            "the image is not made for {platform}, only for {offered}: choose with --platform, or build it for {platform}"
        );
    }
}

fn is_attestation(entry: &Descriptor) -> bool {
    entry.annotations.contains_key("vnd.docker.reference.type")
        || entry.platform.as_ref().is_some_and(|platform| platform.os == "unknown")
}

fn runs_on(of: &PlatformOf, platform: Platform) -> bool {
    // amd64/v2 and above need processors that not every machine has; amd64 alone, or v1, is the base.
    let base = matches!(of.variant.as_str(), "" | "v1" | "v8");
    of.os == "linux" && of.architecture == platform.arch.oci && base
}

fn name(of: &PlatformOf) -> String {
    let variant = if of.variant.is_empty() { String::new() } else { format!("/{}", of.variant) };
    format!("{}/{}{variant}", of.os, of.architecture)
}

/// Refuses a layer that can't be read, by what it calls itself.
///
/// # Errors
/// When the media type is not that of a tar, or says that the layer must not be distributed.
pub fn check_layer_type(layer: &Descriptor) -> Result<()> {
    let (kind, digest) = (layer.media_type.as_str(), layer.digest.short());
    if LAYER_TYPES.contains(&kind) {
        return Ok(());
    }
    if kind.contains("nondistributable") || kind.contains("foreign") {
        bail!(
            "layer {digest} is a foreign layer ({kind}), which is Windows' and not in the registry: such an image can't be a machine"
        );
    }
    if kind.ends_with("+encrypted") {
        bail!(
            "layer {digest} is encrypted ({kind}): decrypt the image first, for instance with skopeo copy --decryption-key"
        );
    }
    bail!(
        "layer {digest} has media type {kind:?}, which is not that of a container image's layer: is this a container image?"
    );
}

/// The part of an image's configuration that makes a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct ImageConfig {
    /// Go's name of the architecture; old images leave it out.
    #[serde(default, deserialize_with = "null_is_default")]
    pub architecture: String,
    /// `linux`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub os: String,
    /// How a container is run.
    #[serde(default, deserialize_with = "null_is_default")]
    pub config: RunConfig,
    /// The layers' identities.
    #[serde(default, deserialize_with = "null_is_default")]
    pub rootfs: RootFs,
}

/// How a container is run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct RunConfig {
    /// ENTRYPOINT.
    #[serde(default, deserialize_with = "words")]
    pub entrypoint: Vec<String>,
    /// CMD.
    #[serde(default, deserialize_with = "words")]
    pub cmd: Vec<String>,
    /// ENV, `KEY=VALUE` each.
    #[serde(default, deserialize_with = "words")]
    pub env: Vec<String>,
    /// WORKDIR.
    #[serde(default, rename = "workingdir", deserialize_with = "null_is_default")]
    pub working_dir: String,
    /// USER.
    #[serde(default, deserialize_with = "null_is_default")]
    pub user: String,
    /// STOPSIGNAL.
    #[serde(default, rename = "stopsignal", deserialize_with = "null_is_default")]
    pub stop_signal: String,
    /// VOLUME: the keys are directories, the values nothing.
    #[serde(default, deserialize_with = "null_is_default")]
    pub volumes: BTreeMap<String, serde_json::Value>,
    /// EXPOSE: the keys are ports, `80/tcp`, the values nothing.
    #[serde(default, rename = "exposedports", deserialize_with = "null_is_default")]
    pub exposed_ports: BTreeMap<String, serde_json::Value>,
    /// What is known of the project that the image was made of, if it was.
    #[serde(skip)]
    pub project: Option<Project>,
}

/// The layers' identities.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct RootFs {
    /// Digests of the layers once decompressed, lowest first.
    #[serde(default, deserialize_with = "null_is_default")]
    pub diff_ids: Vec<Digest>,
}

impl ImageConfig {
    /// Reads a configuration and checks that it is for `platform`.
    ///
    /// # Errors
    /// When it is no configuration of an image, or one for another platform.
    pub fn parse(json: &[u8], platform: Platform) -> Result<Self> {
        let config: ImageConfig = json::read(json).context("read the image's configuration")?;
        let for_other = |has: &str, wanted: &str| !has.is_empty() && has != wanted;
        if for_other(&config.os, "linux") || for_other(&config.architecture, platform.arch.oci) {
            bail!(
                "the image is made for {}/{}, not for {platform}: choose with --platform, or build it for {platform}",
                config.os,
                config.architecture
            );
        }
        Ok(config)
    }

    /// The identity of each of `layers` layers; none where the configuration lists none at all.
    ///
    /// # Errors
    /// When it lists another number of layers than there are.
    pub fn diff_ids(&self, layers: usize) -> Result<Vec<Option<Digest>>> {
        let listed = &self.rootfs.diff_ids;
        if listed.is_empty() {
            return Ok(vec![None; layers]);
        }
        ensure!(
            listed.len() == layers,
            "the image's manifest has {layers} layers and its configuration {}: the image is damaged",
            listed.len()
        );
        Ok(listed.iter().copied().map(Some).collect())
    }
}

/// Go writes `null` for what is empty.
fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A list of words as Docker reads it (moby, `strslice`): a string is a list of one, and `null` an empty word.
fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a list of strings")]
    enum Words {
        One(String),
        All(Vec<Option<String>>),
    }
    Ok(match Option::deserialize(deserializer)? {
        None => Vec::new(),
        Some(Words::One(word)) => vec![word],
        Some(Words::All(words)) => words.into_iter().map(Option::unwrap_or_default).collect(),
    })
}

#[cfg(test)]
mod tests;
