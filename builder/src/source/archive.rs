//! Reads a file that `docker save` or `podman save` wrote: a tar with `manifest.json` that names configuration and
//! layers; newer ones are an OCI layout as well.

use super::{Container, Fetch, check_layers, layout};
use crate::blob::Blob;
use crate::bounded::{CONFIGURATION, LIST};
use crate::cache::no_room;
use crate::compression::{Compression, sniff_reader};
use crate::digest::Digest;
use crate::flatten::{Content, Layer, path};
use crate::json;
use crate::manifest::ImageConfig;
use crate::platform::Platform;
use crate::tarball::reader::Reader;
use crate::tarball::{Entry, Kind};
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::collections::HashMap;
use std::io::{self, Read};
use std::path::Path;

/// One image of `manifest.json` (Docker image specification v1.2, "Combined Image JSON + Filesystem Changeset Format").
#[derive(Debug, Deserialize)]
struct Image {
    config: String,
    #[serde(default, rename = "repotags")]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// What the user calls the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As `docker save` writes it; where that is an OCI layout too, either will do.
    Docker,
    /// An OCI layout in a tar.
    Oci,
}

/// Reads the image from an archive, which may be compressed as a whole.
///
/// # Errors
/// When it is no such archive, has no image with the tag, or one that is damaged.
pub fn read(archive: &Path, tag: Option<&str>, form: Form, fetch: &Fetch<'_>) -> Result<Container> {
    ensure!(!archive.is_dir(), "a directory, not an archive: for an OCI layout, use oci:");
    let archive = match Blob::open(archive) {
        Ok(archive) => archive,
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!("no such archive"),
        Err(error) => return Err(error).context("open the archive"),
    };
    let blob = plain(archive, fetch)?;
    let members = members(&blob)?;
    let files = |name: &str| Ok(members.get(name.as_bytes()).cloned());
    let is_layout = members.contains_key(&b"index.json"[..]);
    match files("manifest.json")? {
        _ if form == Form::Oci && is_layout => layout::read(&files, tag, fetch.platform),
        Some(_) if form == Form::Oci => bail!("it has no index.json, so it is no OCI layout: use docker-archive:"),
        Some(manifest) => read_images(&manifest, &files, tag, fetch.platform),
        None if is_layout => layout::read(&files, tag, fetch.platform),
        None => bail!("it has neither manifest.json nor index.json, so it is not an image that docker save wrote"),
    }
}

/// The archive as plain tar. A compressed one is unpacked once, into a nameless temporary file: its layers are read twice.
fn plain(archive: Blob, fetch: &Fetch<'_>) -> Result<Blob> {
    let compression = sniff_reader(archive.reader()).context("read the archive")?;
    if compression == Compression::None {
        return Ok(archive);
    }
    fetch.progress.step("decompress the archive");
    let bar = fetch.progress.bytes("decompress", archive.len());
    let mut file = fetch.cache.nameless()?;
    let mut reader = compression.decompress(bar.reader(archive.reader())).context("decompress the archive")?;
    io::copy(&mut reader, &mut file).map_err(|error| no_room(error, "decompress the archive".to_owned()))?;
    Blob::file(file).context("read the decompressed archive")
}

/// Every file of the archive by its name. Old archives have equal layers once and links to them.
fn members(archive: &Blob) -> Result<HashMap<Vec<u8>, Blob>> {
    let mut members: HashMap<Vec<u8>, Blob> = HashMap::new();
    let mut links = Vec::new();
    let mut names = Names::default();
    let mut reader = Reader::new(Positioned { inner: archive.reader(), position: 0 });
    let mut last: Option<Vec<u8>> = None;
    loop {
        let entry = reader.next_entry().with_context(|| match &last {
            None => "not a tar archive".to_owned(),
            Some(last) => format!("read the archive after {}", path::display(last)),
        })?;
        let Some(entry) = entry else { break };
        let name = clean(&entry.path);
        names.take(&entry)?;
        match entry.kind {
            Kind::File => {
                // Found again by where it lies, which works for files in one piece: nothing writes sparse ones here.
                let start = reader.input().position;
                ensure!(archive.len() - start >= entry.size, "the archive is truncated in {}", path::display(&name));
                members.insert(name.clone(), archive.slice(start, entry.size));
            }
            Kind::Symlink(target) => {
                let parent = name.iter().rposition(|byte| *byte == b'/').map_or(&b""[..], |at| &name[..at]);
                links.push((name.clone(), clean(&[parent, b"/", &target[..]].concat())));
            }
            Kind::HardLink(target) => links.push((name.clone(), clean(&target))),
            _ => {}
        }
        last = Some(name);
    }
    for (name, target) in links {
        if let Some(blob) = members.get(&target).cloned() {
            members.entry(name).or_insert(blob);
        }
    }
    Ok(members)
}

/// What is kept of the members of an archive: the image's files are inside of its layers, so there are not many.
#[derive(Debug, Default)]
pub(super) struct Names(u64);

impl Names {
    /// Bytes of all names, and of what is kept beside them: a hundred thousand members of the usual names.
    const MOST: u64 = 32 << 20;
    /// What a member takes beside its name, more or less.
    const MEMBER: u64 = 256;

    pub(super) fn take(&mut self, entry: &Entry) -> Result<()> {
        let target = match &entry.kind {
            Kind::Symlink(target) | Kind::HardLink(target) => target.len(),
            _ => 0,
        };
        self.0 += (entry.path.len() + target) as u64 + Names::MEMBER;
        ensure!(self.0 <= Names::MOST, "it has more members than any image's archive: is it a tar of files (rootfs:)?");
        Ok(())
    }
}

/// `./a/../b` as `b`. Names in the archive only ever find other members of it.
pub(super) fn clean(name: &[u8]) -> Vec<u8> {
    let mut names: Vec<&[u8]> = Vec::new();
    for component in path::components(name) {
        if component == b".." {
            names.pop();
        } else {
            names.push(component);
        }
    }
    names.join(&b'/')
}

pub(super) fn read_images(
    manifest: &Blob,
    files: &layout::Files<'_>,
    tag: Option<&str>,
    platform: Platform,
) -> Result<Container> {
    let images: Vec<Image> = json::read(&LIST.read_blob(manifest)?).context("read manifest.json")?;
    let image = choose(&images, tag)?;
    let member = |name: &str| {
        let found = files(&String::from_utf8_lossy(&clean(name.as_bytes())))?;
        found.with_context(|| format!("{name} is missing: the archive is incomplete"))
    };
    let json = CONFIGURATION.read_blob(&member(&image.config)?)?;
    let (id, config) = (Digest::of(&json), ImageConfig::parse(&json, platform)?);
    let diff_ids = config.diff_ids(image.layers.len())?;
    let layers = image.layers.iter().zip(diff_ids);
    let layers = layers.map(|(name, diff_id)| {
        Ok(Layer { name: name.clone(), content: Content::Blob(member(name)?), digest: None, diff_id })
    });
    let layers: Vec<Layer> = layers.collect::<Result<_>>()?;
    check_layers(&layers)?;
    Ok(Container { id, pin: None, manifest: None, config, layers })
}

fn choose<'a>(images: &'a [Image], tag: Option<&str>) -> Result<&'a Image> {
    let tags = || images.iter().filter_map(|image| image.repo_tags.as_ref()).flatten();
    let list = || {
        let tags: Vec<&str> = tags().map(String::as_str).collect();
        if tags.is_empty() { "none".to_owned() } else { tags.join(", ") }
    };
    match (tag, images) {
        (_, []) => bail!("its manifest.json lists no image"),
        (None, [only]) => Ok(only),
        (None, _) => bail!("it has {} images: add :TAG, one of {}", images.len(), list()),
        (Some(tag), _) => images
            .iter()
            .find(|image| {
                image.repo_tags.iter().flatten().any(|known| known == tag || *known == format!("{tag}:latest"))
            })
            .with_context(|| format!("no image has the tag {tag:?}; its tags are: {}", list())),
    }
}

/// Counts what is read, to tell where a member's content starts.
struct Positioned<R> {
    inner: R,
    position: u64,
}

impl<R: Read> Read for Positioned<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.position += read as u64;
        Ok(read)
    }
}
