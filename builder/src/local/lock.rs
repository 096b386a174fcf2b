//! nanoos.lock: the digests of the bases that a project was built on, so that the next build has the same, here and elsewhere.

use crate::bounded::SETTINGS;
use crate::digest::Digest;
use crate::source::{Container, Fetch, Source};
use anyhow::{Context, Result, anyhow};
use oci_spec::distribution::Reference;
use project::packing::UNFINISHED;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Its name, in the project's directory.
pub const FILE: &str = "nanoos.lock";
const HEAD: &str =
    "# The bases of this project's machines. Keep it with the project; `builder update` moves the pins.\n\n";

/// The pins of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    path: PathBuf,
    bases: Pins,
}

/// Bases as the project names them, with their digests.
type Pins = BTreeMap<String, Digest>;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    bases: Pins,
}

/// A pin that was moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The base.
    pub name: String,
    /// What it was, if it was pinned.
    pub from: Option<Digest>,
    /// What it is.
    pub to: Digest,
}

impl Lock {
    /// The pins of the project in this directory; none where it has no such file yet.
    ///
    /// # Errors
    /// When the file is there, and can't be read or understood.
    pub fn open(directory: &Path) -> Result<Self> {
        let path = directory.join(FILE);
        let shown = || format!("read {}", path.display());
        let text = match SETTINGS.read_regular(&path) {
            Ok(bytes) => String::from_utf8(bytes).with_context(shown)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(shown),
        };
        let document: Document = toml::from_str(&text).map_err(|error| told(&text, &error)).with_context(shown)?;
        Ok(Lock { bases: document.bases, path })
    }

    /// The bases that are pinned.
    pub fn bases(&self) -> impl Iterator<Item = (&str, &Digest)> {
        self.bases.iter().map(|(name, digest)| (name.as_str(), digest))
    }

    /// Moves the pin of each of these bases to what its registry has now, and forgets those of others.
    ///
    /// # Errors
    /// When a base can't be had, or the file not be written.
    pub fn update(&mut self, names: &[String], fetch: &Fetch<'_>) -> Result<Vec<Moved>> {
        let mut bases = Pins::new();
        let mut moved = Vec::new();
        for name in names {
            let Some(reference) = reference(name)? else { continue };
            let base = Source::Registry(reference).look(fetch)?;
            let Some(to) = base.pin else { continue };
            let from = self.bases.get(name).copied();
            if from != Some(to) {
                moved.push(Moved { name: name.clone(), from, to });
            }
            bases.insert(name.clone(), to);
        }
        if bases != self.bases {
            self.bases = bases;
            self.save()?;
        }
        Ok(moved)
    }

    fn save(&self) -> Result<()> {
        let shown = || format!("write {}", self.path.display());
        let document = Document { bases: self.bases.clone() };
        let text = format!("{HEAD}{}", toml::to_string(&document).with_context(shown)?);
        let directory = self.path.parent().unwrap_or(Path::new("."));
        // What the user's umask leaves of it, as of any file of the project.
        let permissions = Permissions::from_mode(0o666);
        let temp = tempfile::Builder::new().prefix(UNFINISHED).permissions(permissions).tempfile_in(directory);
        let mut temp = temp.with_context(shown)?;
        temp.write_all(text.as_bytes()).with_context(shown)?;
        temp.persist(&self.path).map_err(|error| error.error).with_context(shown)?;
        Ok(())
    }
}

/// Where and what is wrong, without the file's lines.
fn told(text: &str, error: &toml::de::Error) -> anyhow::Error {
    let line = |at: usize| text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
    let at = error.span().map_or_else(String::new, |span| format!("line {}: ", line(span.start)));
    anyhow!("{at}{}", error.message())
}

/// What a base's name means in a registry; `None` where it is something of this machine. One with a digest is pinned already.
fn reference(name: &str) -> Result<Option<Reference>> {
    Ok(match name.parse().with_context(|| format!("the base {name}"))? {
        Source::Anywhere(reference) | Source::Registry(reference) => {
            Some(reference).filter(|reference| reference.digest().is_none())
        }
        _ => None,
    })
}

/// Fetches a base: what is pinned, else what there is, which is pinned then.
///
/// # Errors
/// When it can't be had.
pub(super) fn fetch(name: &str, lock: Option<&mut Lock>, fetch: &Fetch<'_>) -> Result<Container> {
    let source: Source = name.parse().with_context(|| format!("the base {name}"))?;
    let Some(reference) = reference(name)? else {
        return source.fetch(fetch).with_context(|| format!("the base {name}"));
    };
    let pin = lock.as_ref().and_then(|lock| lock.bases.get(name).copied());
    let Some(pin) = pin else {
        let base = source.fetch(fetch).with_context(|| format!("the base {name}"))?;
        if let Some(lock) = lock.filter(|_| !fetch.look) {
            keep(name, lock, base.pin, fetch);
        }
        return Ok(base);
    };
    let pinned = reference.clone_with_digest(pin.to_string());
    let source =
        if matches!(source, Source::Registry(_)) { Source::Registry(pinned) } else { Source::Anywhere(pinned) };
    source.fetch(fetch).with_context(|| format!("the base {name}, which {FILE} pins (builder update moves the pin)"))
}

/// A project that can't be written to is built all the same.
fn keep(name: &str, lock: &mut Lock, pin: Option<Digest>, fetch: &Fetch<'_>) {
    let Some(pin) = pin else {
        fetch.progress.step(format!("{name} is a container engine's of this machine, so {FILE} does not pin it"));
        return;
    };
    lock.bases.insert(name.to_owned(), pin);
    match lock.save() {
        Ok(()) => fetch.progress.step(format!("pin {name} to {} in {}", pin.short(), lock.path.display())),
        Err(error) => fetch.progress.warn(format!("{name} is not pinned: {error:#}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_read_back_as_they_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut lock = Lock::open(dir.path()).unwrap();
        assert_eq!(lock.bases().count(), 0);
        lock.bases.insert("node:20-slim".to_owned(), Digest::of(b"node"));
        lock.save().unwrap();
        assert_eq!(Lock::open(dir.path()).unwrap(), lock);
        let text = std::fs::read_to_string(dir.path().join(FILE)).unwrap();
        assert_eq!(text, format!("{HEAD}[bases]\n\"node:20-slim\" = \"{}\"\n", Digest::of(b"node")));
    }

    #[test]
    fn what_is_no_lock_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        for text in ["bases = 1", "[bases]\na = \"latest\"\n", "[base]\n", "x"] {
            std::fs::write(dir.path().join(FILE), text).unwrap();
            let refused = format!("{:#}", Lock::open(dir.path()).unwrap_err());
            assert!(refused.starts_with(&format!("read {}/{FILE}: ", dir.path().display())), "{refused}");
        }
        std::fs::write(dir.path().join(FILE), "[bases]\npassword hunter2\n").unwrap();
        let refused = format!("{:#}", Lock::open(dir.path()).unwrap_err());
        assert!(refused.contains(&format!("{FILE}: line 2: ")) && !refused.contains("hunter2"), "{refused}");
        // Another file's text is none of a project's.
        std::fs::rename(dir.path().join(FILE), dir.path().join("other")).unwrap();
        std::os::unix::fs::symlink("other", dir.path().join(FILE)).unwrap();
        let refused = format!("{:#}", Lock::open(dir.path()).unwrap_err());
        assert_eq!(refused, format!("read {}/{FILE}: it is no regular file", dir.path().display()));
    }

    #[test]
    fn only_what_a_registry_names_by_a_tag_is_pinned() {
        let digest = format!("node@{}", Digest::of(b""));
        for (name, pinned) in [("node:20", true), ("docker://a/b", true), (&digest, false), ("docker-daemon:a", false)]
        {
            assert_eq!(reference(name).unwrap().is_some(), pinned, "{name}");
        }
        assert!(format!("{:#}", reference("NODE").unwrap_err()).starts_with("the base NODE: \"NODE\" is not the name"));
    }
}
