//! Reads an OCI layout (OCI image specification, image-layout.md): a directory, or the same files inside an archive.

use super::{Container, check_layers};
use crate::blob::Blob;
use crate::bounded::{Bound, CONFIGURATION, LIST, MANIFEST};
use crate::digest::Digest;
use crate::flatten::{Content, Layer};
use crate::json;
use crate::manifest::{Descriptor, Document, ImageConfig, Index, Manifest, check_layer_type};
use crate::platform::Platform;
use anyhow::{Context, Result, bail, ensure};
use std::io;
use std::path::Path;

/// The tag of an image in `index.json`.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// containerd's and Docker's full name of it.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// Gives a file of the layout by its path; `None` where there is none.
pub type Files<'a> = dyn Fn(&str) -> Result<Option<Blob>> + 'a;

/// Reads the image from a directory.
///
/// # Errors
/// When it is no layout, has no such tag, no image for the platform, or a damaged one.
pub fn read_directory(directory: &Path, tag: Option<&str>, platform: Platform) -> Result<Container> {
    ensure!(directory.exists(), "no such directory");
    ensure!(directory.is_dir(), "not a directory: for a file that docker save wrote, use docker-archive:");
    read(&|path| open(&directory.join(path)), tag, platform)
}

fn open(path: &Path) -> Result<Option<Blob>> {
    match Blob::open(path) {
        Ok(blob) => Ok(Some(blob)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("open {}", path.display())),
    }
}

/// Reads the image from the files of a layout.
///
/// # Errors
/// As [`read_directory`].
pub fn read(files: &Files<'_>, tag: Option<&str>, platform: Platform) -> Result<Container> {
    let index = files("index.json")?.context("it has no index.json, so it is not an OCI layout")?;
    let index: Index = json::read(&LIST.read_blob(&index)?).context("read index.json")?;
    let (digest, manifest) = find(files, &index, tag, platform)?;
    let config = ImageConfig::parse(&verified(files, &manifest.config, CONFIGURATION)?, platform)?;
    let diff_ids = config.diff_ids(manifest.layers.len())?;
    let mut layers = Vec::new();
    for (layer, diff_id) in manifest.layers.iter().zip(diff_ids) {
        check_layer_type(layer)?;
        // Its digest is verified when it is read.
        let content = Content::Blob(blob(files, layer)?);
        layers.push(Layer { name: layer.digest.short(), content, digest: Some(layer.digest), diff_id });
    }
    check_layers(&layers)?;
    Ok(Container { id: manifest.config.digest, pin: None, manifest: Some(digest), config, layers })
}

fn find(files: &Files<'_>, index: &Index, tag: Option<&str>, platform: Platform) -> Result<(Digest, Manifest)> {
    let mut index = tagged(index, tag)?;
    // An index may lead to an index; beyond two levels it is a joke.
    for _ in 0..3 {
        let image = match &index.manifests[..] {
            [only] => only,
            _ => index.image_for(platform)?,
        };
        let json = verified(files, image, MANIFEST)?;
        match Document::parse(&json, &image.media_type)? {
            Document::Manifest(manifest) => return Ok((image.digest, manifest)),
            Document::Index(below) => index = below,
        }
    }
    bail!("its index leads to an index, again and again")
}

/// The entries with the tag, or all entries where none is asked for and they are one image.
fn tagged(index: &Index, tag: Option<&str>) -> Result<Index> {
    let mut names: Vec<&str> = index.manifests.iter().filter_map(name).collect();
    names.sort_unstable();
    names.dedup();
    let list = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    match tag {
        Some(tag) => {
            let manifests: Vec<Descriptor> = index.manifests.iter().filter(|entry| is(entry, tag)).cloned().collect();
            ensure!(!manifests.is_empty(), "no image has the tag {tag:?}; its tags are: {list}");
            Ok(Index { manifests })
        }
        None => {
            ensure!(!index.manifests.is_empty(), "its index.json lists no image");
            ensure!(names.len() < 2, "it has several images: add :TAG, one of {list}");
            Ok(index.clone())
        }
    }
}

fn name(entry: &Descriptor) -> Option<&str> {
    let annotation = |key: &str| entry.annotations.get(key).map(String::as_str);
    annotation(REF_NAME).or_else(|| annotation(CONTAINERD_NAME))
}

fn is(entry: &Descriptor, tag: &str) -> bool {
    [REF_NAME, CONTAINERD_NAME].iter().filter_map(|key| entry.annotations.get(*key)).any(|name| {
        // `latest` also finds `docker.io/library/nginx:latest`.
        name == tag || name.strip_suffix(tag).is_some_and(|rest| rest.ends_with(':') || rest.ends_with('/'))
    })
}

fn path(descriptor: &Descriptor) -> String {
    format!("blobs/sha256/{}", descriptor.digest.hex())
}

fn blob(files: &Files<'_>, descriptor: &Descriptor) -> Result<Blob> {
    let path = path(descriptor);
    files(&path)?.with_context(|| format!("{path} is missing: the layout is incomplete"))
}

/// A document of the layout, whose content must have the digest that it is named by.
fn verified(files: &Files<'_>, descriptor: &Descriptor, bound: Bound) -> Result<Vec<u8>> {
    let path = path(descriptor);
    let json = bound.read_blob(&blob(files, descriptor)?).with_context(|| format!("read {path}"))?;
    let found = Digest::of(&json);
    ensure!(found == descriptor.digest, "{path} is damaged: its content has the digest {found}");
    Ok(json)
}
