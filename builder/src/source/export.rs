//! What a container engine exports: the stream that `docker save` writes. Each layer goes straight into the cache, and what
//! the image is made of is remembered, so that building it again asks for no export.

use super::archive::{Names, clean, read_images};
use super::engine::Inspected;
use super::{Container, Fetch, check_layers, layout, packed};
use crate::blob::Blob;
use crate::bounded::{CONFIGURATION, LIST};
use crate::cache::Kind as Derived;
use crate::digest::Digest;
use crate::flatten::{Content, Layer, path};
use crate::manifest::ImageConfig;
use crate::platform::Platform;
use crate::tarball::Kind;
use crate::tarball::reader::Reader;
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io::Read;

/// Bytes of a file of the stream that is kept in memory, as documents are.
const SMALL: u64 = 4 << 20;
/// Bytes of all of them. What is beyond goes into the cache, as layers do.
const MEMORY: u64 = 64 << 20;

/// What an engine's image is made of: blobs of the cache.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    config: Digest,
    manifest: Option<Digest>,
    layers: Vec<Digest>,
}

/// A record's key. An engine that has an image for several platforms has one identity for all of them.
fn key(inspected: &Inspected, platform: Platform) -> Digest {
    Digest::of(format!("{} {platform}", inspected.id).as_bytes())
}

/// The image, if the cache has everything that it is made of.
///
/// # Errors
/// When something of it is there and can't be read.
pub(crate) fn remembered(inspected: &Inspected, fetch: &Fetch<'_>) -> Result<Option<Container>> {
    let Some(file) = fetch.cache.derived(Derived::Export, &key(inspected, fetch.platform))? else { return Ok(None) };
    let json = LIST.read(file).context("read what is known of the engine's image")?;
    // A record that can't be understood is as good as none.
    let Ok(record) = serde_json::from_slice::<Record>(&json) else { return Ok(None) };
    let Some(config) = fetch.cache.get(&record.config)? else { return Ok(None) };
    let config = ImageConfig::parse(&CONFIGURATION.read_blob(&config)?, fetch.platform)?;
    let mut layers = Vec::new();
    for (digest, diff_id) in record.layers.iter().zip(config.diff_ids(record.layers.len())?) {
        let content = match diff_id.and_then(|diff_id| packed(fetch, &diff_id)) {
            Some(file) => Content::Packed(file),
            None => match fetch.cache.kept(digest, None)? {
                Some(blob) => Content::Blob(blob),
                None => return Ok(None),
            },
        };
        layers.push(Layer { name: digest.short(), content, digest: None, diff_id });
    }
    check_layers(&layers)?;
    Ok(Some(Container { id: record.config, pin: None, manifest: record.manifest, config, layers }))
}

/// Reads the image from the stream.
///
/// # Errors
/// When the stream breaks, holds no image for the platform, or the cache can't be written.
pub(crate) fn read(stream: impl Read, inspected: &Inspected, fetch: &Fetch<'_>) -> Result<Container> {
    let bar = fetch.progress.bytes("export", inspected.size);
    let members = members(bar.reader(stream), fetch)?;
    let files = |name: &str| Ok(members.get(name.as_bytes()).cloned());
    let manifest = files("manifest.json")?;
    let is_layout = members.contains_key(&b"index.json"[..]);
    let mut container = match manifest {
        Some(manifest) if !is_layout => read_images(&manifest, &files, None, fetch.platform)?,
        _ if is_layout => layout::read(&files, None, fetch.platform)?,
        _ => bail!("what it sent is no image: it has neither manifest.json nor index.json"),
    };
    let layers = container.layers.iter_mut().map(|layer| keep(layer, fetch)).collect::<Result<Vec<Digest>>>()?;
    // A large one went into the cache as it came.
    if !members.values().any(|blob| matches!(blob, Blob::Kept(kept) if kept.digest() == container.id)) {
        let is_it = |bytes: &&[u8]| Digest::of(bytes) == container.id;
        let config = members.values().filter_map(Blob::in_memory).find(is_it);
        fetch.cache.unnamed()?.take(config.context("what it sent has no configuration")?)?;
    }
    let record = Record { config: container.id, manifest: container.manifest, layers };
    let draft = fetch.cache.derive(Derived::Export, &key(inspected, fetch.platform))?;
    serde_json::to_writer(draft.file(), &record).context("note what the engine's image is made of")?;
    draft.finish()?;
    Ok(container)
}

/// Sees to it that a layer is in the cache, under its digest. What was written there as it came is already.
fn keep(layer: &mut Layer, fetch: &Fetch<'_>) -> Result<Digest> {
    let Content::Blob(blob) = &layer.content else { bail!("layer {} has no content", layer.name) };
    let blob = match blob {
        Blob::Kept(kept) => return Ok(named(layer, kept.digest())),
        blob => blob.clone(),
    };
    let (digest, blob) = fetch.cache.unnamed()?.take(blob.reader())?;
    layer.content = Content::Blob(blob);
    Ok(named(layer, digest))
}

/// Its reader verifies it from here on.
fn named(layer: &mut Layer, digest: Digest) -> Digest {
    layer.digest = None;
    layer.name = digest.short();
    digest
}

/// Every file of the stream by its name: small ones in memory, for most are documents, large ones in the cache.
fn members(stream: impl Read, fetch: &Fetch<'_>) -> Result<HashMap<Vec<u8>, Blob>> {
    let mut members: HashMap<Vec<u8>, Blob> = HashMap::new();
    let mut links = Vec::new();
    let (mut names, mut memory) = (Names::default(), MEMORY);
    let mut reader = Reader::new(stream);
    while let Some(entry) = reader.next_entry().context("read what it sends")? {
        names.take(&entry)?;
        let name = clean(&entry.path);
        let shown = || format!("read {}", path::display(&name));
        match entry.kind {
            Kind::File if entry.size <= SMALL && entry.size <= memory => {
                memory -= entry.size;
                let mut bytes = Vec::new();
                reader.content().read_to_end(&mut bytes).with_context(shown)?;
                members.insert(name, Blob::Memory(bytes.into()));
            }
            Kind::File => {
                let (_, blob) = fetch.cache.unnamed()?.take(reader.content()).with_context(shown)?;
                ensure!(blob.len() == entry.size, "{} is shorter than it should be", path::display(&name));
                members.insert(name, blob);
            }
            // Layers that are equal come once; the others are links to it.
            Kind::Symlink(target) => {
                let parent = name.iter().rposition(|byte| *byte == b'/').map_or(&b""[..], |at| &name[..at]);
                let target = clean(&[parent, b"/", &target[..]].concat());
                links.push((name, target));
            }
            Kind::HardLink(target) => links.push((name, clean(&target))),
            _ => {}
        }
    }
    reader.drain().context("read what it sends")?;
    for (name, target) in links {
        if let Some(blob) = members.get(&target).cloned() {
            members.entry(name).or_insert(blob);
        }
    }
    Ok(members)
}
