//! Where images come from: a container engine of this machine, a registry, or files.

pub mod archive;
pub mod credentials;
pub mod endpoint;
pub mod engine;
pub(crate) mod export;
pub mod layout;
pub mod look;
pub mod order;
pub mod registry;
mod rootfs;

use crate::cache::Cache;
use crate::digest::Digest;
use crate::flatten::{Content, Layer};
use crate::local::Local;
use crate::manifest::ImageConfig;
use crate::pack;
use crate::platform::Platform;
use crate::progress::Progress;
use anyhow::{Context, Result, bail, ensure};
use endpoint::Mirror;
use engine::Engine;
use oci_spec::distribution::Reference;
use order::Order;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

/// An image as the user names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Wherever it is, in the order of [`Fetch::order`]. By Docker's rules `nginx` is `docker.io/library/nginx:latest`.
    Anywhere(Reference),
    /// In a registry, and nowhere else.
    Registry(Reference),
    /// In a container engine, by name or ID.
    Engine(Engine, String),
    /// In a file that `docker save` wrote, by a tag where it has several images.
    DockerArchive(PathBuf, Option<String>),
    /// In a directory with an OCI layout, by a tag where it has several images.
    OciLayout(PathBuf, Option<String>),
    /// In a file with an OCI layout, by a tag where it has several images.
    OciArchive(PathBuf, Option<String>),
    /// A tar of files that is the whole root.
    RootFs(PathBuf),
    /// A project, or a payload such as a jar, of this machine.
    Local(Local),
}

/// What makes a file's path of what follows it.
type Located = fn(PathBuf, Option<String>) -> Source;

/// How a place is written, what messages call it, and what it makes.
const PLACES: &[(&str, &str, Located)] = &[
    ("docker-archive:", "the archive", Source::DockerArchive),
    ("oci-archive:", "the archive", Source::OciArchive),
    ("oci:", "the directory", Source::OciLayout),
];

impl FromStr for Source {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        for (prefix, what, source) in PLACES {
            if let Some(rest) = text.strip_prefix(prefix) {
                ensure!(!rest.is_empty(), "{text}: the name of {what} is missing");
                let (path, tag) = split_tag(rest);
                return Ok(source(path, tag));
            }
        }
        if let Some(rest) = text.strip_prefix("rootfs:") {
            ensure!(!rest.is_empty(), "{text}: the name of the tar is missing");
            return Ok(Source::RootFs(rest.into()));
        }
        for engine in Engine::ALL {
            if let Some(rest) = text.strip_prefix(engine.prefix()) {
                ensure!(!rest.is_empty(), "{text}: the name of the image is missing");
                return Ok(Source::Engine(*engine, engine::name(rest)?));
            }
        }
        let (text, only_registry) = text.strip_prefix("docker://").map_or((text, false), |rest| (rest, true));
        let reference = Reference::from_str(text).map_err(|error| {
            let advice = if Path::new(text).exists() {
                format!("; for a file or directory write docker-archive:{text}, oci:{text} or rootfs:{text}")
            } else {
                String::new()
            };
            anyhow::anyhow!("{text:?} is not the name of an image: {error}{advice}")
        })?;
        Ok(if only_registry { Source::Registry(reference) } else { Source::Anywhere(reference) })
    }
}

/// Whether a text says itself where its image is, as `oci:DIR` does.
#[must_use]
pub fn is_prefixed(text: &str) -> bool {
    let places = PLACES.iter().map(|(prefix, ..)| *prefix);
    let engines = Engine::ALL.iter().map(|engine| engine.prefix());
    places.chain(engines).chain(["rootfs:", "docker://"]).any(|prefix| text.starts_with(prefix))
}

/// `PATH[:TAG]`. A path may have colons itself: what exists as a whole is a path.
fn split_tag(text: &str) -> (PathBuf, Option<String>) {
    if !Path::new(text).exists() {
        for (at, _) in text.match_indices(':') {
            let (path, tag) = (&text[..at], &text[at + 1..]);
            if Path::new(path).exists() && !tag.is_empty() {
                return (path.into(), Some(tag.to_owned()));
            }
        }
    }
    (text.into(), None)
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tagged = |f: &mut fmt::Formatter<'_>, kind: &str, path: &Path, tag: &Option<String>| {
            write!(f, "{kind}:{}", path.display())?;
            tag.as_ref().map_or(Ok(()), |tag| write!(f, ":{tag}"))
        };
        match self {
            Source::Anywhere(reference) => write!(f, "{}", reference.whole()),
            Source::Registry(reference) => write!(f, "docker://{}", reference.whole()),
            Source::Engine(engine, name) => write!(f, "{}{name}", engine.prefix()),
            Source::OciArchive(path, tag) => tagged(f, "oci-archive", path, tag),
            Source::RootFs(path) => write!(f, "rootfs:{}", path.display()),
            Source::DockerArchive(path, tag) => tagged(f, "docker-archive", path, tag),
            Source::OciLayout(path, tag) => tagged(f, "oci", path, tag),
            Source::Local(local) => write!(f, "{}", local.path.display()),
        }
    }
}

impl Source {
    /// A name for what is made of the image: the last component of the image's own.
    #[must_use]
    pub fn stem(&self) -> String {
        let of_path = |path: &Path| {
            let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let endings = [".tar.gz", ".tar.zst", ".tgz", ".tar", ".jar", ".war", ".zip"];
            let cut = endings.iter().find_map(|ending| name.strip_suffix(ending)).map(str::to_owned);
            cut.unwrap_or(name)
        };
        let last = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
        let stem = match self {
            Source::Anywhere(reference) | Source::Registry(reference) => last(reference.repository()),
            // The tag is behind the last slash, a port before it.
            Source::Engine(_, name) => {
                last(name).split(['@', ':']).find(|part| *part != "sha256").unwrap_or_default().to_owned()
            }
            Source::DockerArchive(path, _)
            | Source::OciLayout(path, _)
            | Source::OciArchive(path, _)
            | Source::RootFs(path)
            | Source::Local(Local { path, .. }) => of_path(path),
        };
        if stem.is_empty() { "image".to_owned() } else { stem }
    }

    /// A name for people: the last component of the image's own, and its tag.
    #[must_use]
    pub fn label(&self) -> String {
        let tag = match self {
            Source::Anywhere(reference) | Source::Registry(reference) => reference.tag(),
            Source::Engine(_, name) => {
                let name = name.rsplit('/').next().unwrap_or_default();
                name.split_once(':').map(|(_, tag)| tag).filter(|_| !name.contains('@') && !name.starts_with("sha256:"))
            }
            Source::DockerArchive(_, tag) | Source::OciLayout(_, tag) | Source::OciArchive(_, tag) => tag.as_deref(),
            Source::RootFs(_) | Source::Local(_) => None,
        };
        // An archive's tag may be a whole name.
        let tag = tag.map(|tag| tag.rsplit([':', '/']).next().unwrap_or(tag)).filter(|tag| !tag.is_empty());
        tag.map_or_else(|| self.stem(), |tag| format!("{}:{tag}", self.stem()))
    }

    /// The image's registry and name, without its tag: versions of the same have much in common. Of a file, its name.
    #[must_use]
    pub fn repository(&self) -> String {
        match self {
            Source::Anywhere(reference) | Source::Registry(reference) => {
                format!("{}/{}", reference.registry(), reference.repository())
            }
            Source::Engine(_, name) if !name.starts_with("sha256:") => {
                let name = name.split('@').next().unwrap_or(name);
                // A port has no slash behind it.
                name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(name, |(name, _)| name).to_owned()
            }
            _ => self.stem(),
        }
    }

    /// The files and directories of this machine that it is read from.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        match self {
            Source::DockerArchive(path, _) | Source::OciArchive(path, _) | Source::RootFs(path) => vec![path.clone()],
            // Beside these there may be anything in the directory.
            Source::OciLayout(path, _) => ["index.json", "oci-layout", "blobs"].map(|name| path.join(name)).into(),
            // A project's directory may hold what is made of it; which of its files are read is known once it was looked at.
            Source::Local(local) if local.path.is_dir() => Vec::new(),
            Source::Local(local) => vec![local.path.clone()],
            Source::Anywhere(_) | Source::Registry(_) | Source::Engine(..) => Vec::new(),
        }
    }

    /// Fetches the image: afterwards its configuration is on this machine and verified. Its layers may still be on their
    /// way; their contents are verified when they are read.
    ///
    /// # Errors
    /// When the image is not there, not for the platform, damaged, or no container image.
    pub fn fetch(&self, fetch: &Fetch<'_>) -> Result<Container> {
        let container = match self {
            Source::Anywhere(reference) => order::fetch(reference, fetch),
            Source::Registry(reference) => registry::pull(reference, fetch),
            Source::Engine(engine, name) => engine::fetch(*engine, std::slice::from_ref(name), fetch),
            Source::DockerArchive(path, tag) => archive::read(path, tag.as_deref(), archive::Form::Docker, fetch),
            Source::OciArchive(path, tag) => archive::read(path, tag.as_deref(), archive::Form::Oci, fetch),
            Source::OciLayout(path, tag) => layout::read_directory(path, tag.as_deref(), fetch.platform),
            Source::RootFs(path) => rootfs::read(path),
            Source::Local(local) => local.fetch(fetch),
        };
        let mut container = container.with_context(|| self.to_string())?;
        for layer in &mut container.layers {
            // What earlier builds made of it is taken instead; registries and engines have looked for it before.
            if let (Content::Blob(_), Some(diff_id)) = (&layer.content, layer.diff_id)
                && let Some(file) = packed(fetch, &diff_id)
            {
                layer.content = Content::Packed(file);
            }
        }
        Ok(container)
    }
}

/// What fetching needs to know.
#[derive(Debug)]
pub struct Fetch<'a> {
    /// The platform to choose where an image is made for several.
    pub platform: Platform,
    /// Only manifest and configuration are wanted: nothing is downloaded that is not needed to tell what the image is.
    pub look: bool,
    /// Layers are wanted as archives, and what earlier builds made of them is of no use: an engine is to have them.
    pub archives: bool,
    /// Where to look for an image that is only named.
    pub order: &'a Order,
    /// A file with certificates of authorities to trust for registries, beside the system's.
    pub registry_ca: Option<&'a Path>,
    /// Whether to say what is passed over.
    pub debug: bool,
    /// Stand-ins for Docker Hub, to be tried in this order before it.
    pub mirrors: &'a [Mirror],
    /// Where blobs are kept.
    pub cache: &'a Cache,
    /// Where the steps are told.
    pub progress: &'a Progress,
}

/// An image that is here: how to run it, and its layers, lowest first.
#[derive(Debug)]
pub struct Container {
    /// Digest of its configuration, which is the image's identity: what Docker calls its ID.
    pub id: Digest,
    /// The digest by which its registry gives it again, for every platform that it is made for.
    pub pin: Option<Digest>,
    /// Digest of its manifest for the platform, where it has one.
    pub manifest: Option<Digest>,
    /// How it is run.
    pub config: ImageConfig,
    /// Its layers.
    pub layers: Vec<Layer>,
}

/// What an earlier build made of a layer, which then needs neither a download nor an export. One that can't be read is as
/// good as none.
fn packed(fetch: &Fetch<'_>, diff_id: &Digest) -> Option<Arc<File>> {
    if fetch.archives {
        return None;
    }
    pack::cached(fetch.cache, diff_id).ok().flatten()
}

/// Refuses an image without any layer before later steps wonder.
fn check_layers(layers: &[Layer]) -> Result<()> {
    if layers.is_empty() {
        bail!("the image has no layers, so it holds no program to run");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_dockers_rules() {
        for (text, full, stem) in [
            ("nginx", "docker.io/library/nginx:latest", "nginx"),
            ("nginx:1.27", "docker.io/library/nginx:1.27", "nginx"),
            ("user/app", "docker.io/user/app:latest", "app"),
            ("index.docker.io/nginx", "docker.io/library/nginx:latest", "nginx"),
            ("localhost/x", "localhost/x:latest", "x"),
            ("localhost:5000/a/b:t", "localhost:5000/a/b:t", "b"),
            ("registry:5000/x", "registry:5000/x:latest", "x"),
            ("quay.io/a/b/c", "quay.io/a/b/c:latest", "c"),
        ] {
            let source: Source = text.parse().unwrap();
            assert_eq!((source.to_string().as_str(), source.stem().as_str()), (full, stem), "{text}");
        }
        let only = "docker://nginx:1".parse::<Source>().unwrap();
        assert_eq!((only.to_string().as_str(), only.stem().as_str()), ("docker://docker.io/library/nginx:1", "nginx"));
        let digest = format!("nginx@sha256:{}", "0".repeat(64));
        assert_eq!(digest.parse::<Source>().unwrap().to_string(), format!("docker.io/library/{digest}"));
    }

    #[test]
    fn files_and_directories_may_have_a_tag() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("with:colon.tar");
        std::fs::write(&path, "").unwrap();
        let text = format!("docker-archive:{}", path.display());
        assert_eq!(text.parse::<Source>().unwrap(), Source::DockerArchive(path.clone(), None));
        let tagged = format!("{text}:name:1");
        assert_eq!(tagged.parse::<Source>().unwrap(), Source::DockerArchive(path, Some("name:1".to_owned())));
        assert_eq!(tagged.parse::<Source>().unwrap().stem(), "with:colon");
    }

    #[test]
    fn images_of_an_engine_have_a_name_or_an_id() {
        let id = format!("sha256:{}", "ab".repeat(32));
        for (text, full, stem) in [
            ("docker-daemon:nginx", "docker-daemon:nginx", "nginx"),
            ("docker-daemon:localhost:5000/a/web:1.2", "docker-daemon:localhost:5000/a/web:1.2", "web"),
            ("podman:localhost/app@sha256:00", "podman:localhost/app@sha256:00", "app"),
            (&format!("docker-daemon:{id}"), &format!("docker-daemon:{id}"), &"ab".repeat(32)),
        ] {
            let source: Source = text.parse().unwrap();
            assert_eq!((source.to_string().as_str(), source.stem().as_str()), (full, stem), "{text}");
        }
        let refused = "docker-daemon:../x?y".parse::<Source>().unwrap_err().to_string();
        assert_eq!(refused, "\"../x?y\" is neither the name nor the ID of an image");
    }

    #[test]
    fn repositories_of_two_registries_are_two_and_tags_are_no_part_of_them() {
        let repository = |text: &str| text.parse::<Source>().unwrap().repository();
        for name in ["nginx", "nginx:1.27", "docker://library/nginx"] {
            assert_eq!(repository(name), "docker.io/library/nginx");
        }
        assert_eq!(repository("localhost:5000/a/web:2"), "localhost:5000/a/web");
        for name in ["localhost:5000/a/web", "localhost:5000/a/web:1.2", "localhost:5000/a/web@sha256:00"] {
            assert_eq!(repository(&format!("docker-daemon:{name}")), "localhost:5000/a/web");
        }
    }

    #[test]
    fn what_names_no_image_is_refused_with_advice() {
        let refused = |text: &str| text.parse::<Source>().unwrap_err().to_string();
        assert!(refused("NGINX").starts_with("\"NGINX\" is not the name of an image: "));
        assert!(refused("/").ends_with("; for a file or directory write docker-archive:/, oci:/ or rootfs:/"));
        assert_eq!(refused("oci:"), "oci:: the name of the directory is missing");
    }
}
