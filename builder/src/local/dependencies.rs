//! A project's dependencies as a layer, which is kept until what they are decided by changes.

use super::layers::{self, Items, Times};
use crate::bounded::LIST;
use crate::cache::{Cache, Kind};
use crate::digest::Digest;
use crate::flatten::{Content, Layer};
use crate::pack;
use anyhow::{Context, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

/// The version of all that a layer of dependencies depends on beside its [`Key`].
const VERSION: u32 = 1;

/// What dependencies are decided by.
#[derive(Debug, Serialize)]
pub(super) struct Key<'a> {
    /// The base's identity.
    pub(super) base: Digest,
    /// The architecture of the machine.
    pub(super) arch: &'a str,
    /// What fetches them: commands, with all that is said to them.
    pub(super) commands: &'a [String],
    /// Files of the project, with the digests of their contents.
    pub(super) files: BTreeMap<String, Digest>,
}

impl Key<'_> {
    fn digest(&self) -> Result<Digest> {
        let json = serde_json::to_vec(&(VERSION, self)).context("name dependencies")?;
        Ok(Digest::of(&json))
    }
}

/// The digests of those of these files that are there.
///
/// # Errors
/// When one is there and can't be read.
pub(super) fn digests<'a>(
    directory: &Path,
    files: impl IntoIterator<Item = &'a str>,
) -> Result<BTreeMap<String, Digest>> {
    let mut digests = BTreeMap::new();
    for name in files {
        let path = directory.join(name);
        if path.is_file() {
            let shown = || format!("read {}", path.display());
            let digest = Digest::of_reader(File::open(&path).with_context(shown)?).with_context(shown)?;
            digests.insert(name.to_owned(), digest);
        }
    }
    Ok(digests)
}

/// The layer of these dependencies, if the cache has it; with `archive` only where it has its archive, too.
///
/// # Errors
/// When something of it is there and can't be read.
pub(super) fn kept(key: &Key<'_>, archive: bool, cache: &Cache) -> Result<Option<Layer>> {
    let Some(file) = cache.derived(Kind::Dependencies, &key.digest()?)? else { return Ok(None) };
    let record = LIST.read(file).context("read what is known of the dependencies")?;
    // A record that can't be understood is as good as none.
    let Ok(diff_id) = serde_json::from_slice::<Digest>(&record) else { return Ok(None) };
    let blob = cache.kept(&diff_id, None)?;
    if archive && blob.is_none() {
        return Ok(None);
    }
    let content = match pack::cached(cache, &diff_id).ok().flatten() {
        Some(file) => Some(Content::Packed(file)),
        None => blob.map(Content::Blob),
    };
    Ok(content.map(|content| layer(content, diff_id)))
}

/// Makes the layer of what was fetched, and keeps it.
///
/// # Errors
/// When a file can't be read, or the cache not be written.
pub(super) fn keep(key: &Key<'_>, items: &Items, cache: &Cache) -> Result<Layer> {
    let written = cache.unnamed()?.take_written(|out| layers::write(items, Times::Fixed, out));
    let (diff_id, blob) = written.context("keep the dependencies")?;
    let draft = cache.derive(Kind::Dependencies, &key.digest()?)?;
    serde_json::to_writer(draft.file(), &diff_id).context("note what the dependencies are made of")?;
    draft.finish()?;
    let content = pack::cached(cache, &diff_id).ok().flatten().map_or(Content::Blob(blob), Content::Packed);
    Ok(layer(content, diff_id))
}

/// Lays what a kept layer has below `prefix` into a directory.
///
/// # Errors
/// When its archive is not there any more, or a file can't be written.
pub(super) fn unpack(layer: &Layer, prefix: &str, directory: &Path, cache: &Cache) -> Result<()> {
    let archive = layer.diff_id.map(|diff_id| cache.kept(&diff_id, None)).transpose()?.flatten();
    let archive = archive.context("the archive of the dependencies is not in the cache any more: build again")?;
    super::unpack::unpack(archive.reader(), prefix, directory).context("unpack the dependencies")
}

fn layer(content: Content, diff_id: Digest) -> Layer {
    Layer { name: "the dependencies".to_owned(), content, digest: None, diff_id: Some(diff_id) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::layers::tree;
    use std::fs;

    #[test]
    fn dependencies_are_kept_until_what_decides_them_is_another() {
        let (project, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let cache = Cache::open(cache.path()).unwrap();
        let lock = project.path().join("lock");
        fs::write(&lock, "a==1\n").unwrap();
        let commands = ["install".to_owned()];
        let digests = || digests(project.path(), ["lock", "not-there"]).unwrap();
        let key = |files| Key { base: Digest::of(b"base"), arch: "x86_64", commands: &commands, files };
        assert!(kept(&key(digests()), false, &cache).unwrap().is_none());
        let items = tree(project.path(), "app/.packages").unwrap();
        let made = keep(&key(digests()), &items, &cache).unwrap();
        let found = kept(&key(digests()), true, &cache).unwrap().unwrap();
        assert_eq!(found.diff_id, made.diff_id);
        let Content::Blob(blob) = found.content else { panic!() };
        assert_eq!(Some(Digest::of(&blob.read_all(1 << 20).unwrap())), made.diff_id);
        let other = Key { arch: "aarch64", ..key(digests()) };
        assert!(kept(&other, false, &cache).unwrap().is_none());
        fs::write(&lock, "a==2\n").unwrap();
        assert!(kept(&key(digests()), false, &cache).unwrap().is_none());
    }
}
