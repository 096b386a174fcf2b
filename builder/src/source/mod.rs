//! Where images come from: a registry, a file that `docker save` wrote, an OCI layout.

pub mod archive;
pub mod credentials;
pub mod endpoint;
pub mod layout;
pub mod look;
pub mod registry;

use crate::cache::Cache;
use crate::digest::Digest;
use crate::flatten::Layer;
use crate::manifest::ImageConfig;
use crate::platform::Platform;
use crate::progress::Progress;
use anyhow::{Context, Result, bail, ensure};
use endpoint::Mirror;
use oci_client::Reference;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// An image as the user names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// In a registry, by Docker's rules: `nginx` is `docker.io/library/nginx:latest`.
    Registry(Reference),
    /// In a file that `docker save` wrote, by a tag where it has several images.
    DockerArchive(PathBuf, Option<String>),
    /// In a directory with an OCI layout, by a tag where it has several images.
    OciLayout(PathBuf, Option<String>),
}

impl FromStr for Source {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let located = |rest: &str, what: &str| {
            ensure!(!rest.is_empty(), "{text}: the name of {what} is missing");
            Ok(split_tag(rest))
        };
        if let Some(rest) = text.strip_prefix("docker-archive:") {
            return located(rest, "the archive").map(|(path, tag)| Source::DockerArchive(path, tag));
        }
        if let Some(rest) = text.strip_prefix("oci:") {
            return located(rest, "the directory").map(|(path, tag)| Source::OciLayout(path, tag));
        }
        let reference = Reference::from_str(text).map_err(|error| {
            let advice = if Path::new(text).exists() {
                format!("; for a file or directory write docker-archive:{text} or oci:{text}")
            } else {
                String::new()
            };
            anyhow::anyhow!("{text:?} is not the name of an image: {error}{advice}")
        })?;
        Ok(Source::Registry(reference))
    }
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
            Source::Registry(reference) => write!(f, "{}", reference.whole()),
            Source::DockerArchive(path, tag) => tagged(f, "docker-archive", path, tag),
            Source::OciLayout(path, tag) => tagged(f, "oci", path, tag),
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
            let endings = [".tar.gz", ".tar.zst", ".tgz", ".tar"];
            let cut = endings.iter().find_map(|ending| name.strip_suffix(ending)).map(str::to_owned);
            cut.unwrap_or(name)
        };
        let stem = match self {
            Source::Registry(reference) => reference.repository().rsplit('/').next().unwrap_or_default().to_owned(),
            Source::DockerArchive(path, _) | Source::OciLayout(path, _) => of_path(path),
        };
        if stem.is_empty() { "image".to_owned() } else { stem }
    }

    /// Fetches the image: afterwards everything that a build needs is on this machine and verified, but for the
    /// layers' contents, whose digests are checked when they are merged.
    ///
    /// # Errors
    /// When the image is not there, not for the platform, damaged, or no container image.
    pub fn fetch(&self, fetch: &Fetch<'_>) -> Result<Container> {
        match self {
            Source::Registry(reference) => registry::pull(reference, fetch),
            Source::DockerArchive(path, tag) => archive::read(path, tag.as_deref(), fetch),
            Source::OciLayout(path, tag) => layout::read_directory(path, tag.as_deref(), fetch.platform),
        }
        .with_context(|| self.to_string())
    }
}

/// What fetching needs to know.
#[derive(Debug)]
pub struct Fetch<'a> {
    /// The platform to choose where an image is made for several.
    pub platform: Platform,
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
    /// Digest of its manifest for the platform, where it has one.
    pub manifest: Option<Digest>,
    /// How it is run.
    pub config: ImageConfig,
    /// Its layers.
    pub layers: Vec<Layer>,
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
    fn what_names_no_image_is_refused_with_advice() {
        let refused = |text: &str| text.parse::<Source>().unwrap_err().to_string();
        assert!(refused("NGINX").starts_with("\"NGINX\" is not the name of an image: "));
        assert!(refused("/").ends_with("; for a file or directory write docker-archive:/ or oci:/"));
        assert_eq!(refused("oci:"), "oci:: the name of the directory is missing");
    }
}
