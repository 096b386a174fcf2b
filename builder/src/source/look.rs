//! What is known of an image before its layers are pulled.

use super::{Container, Fetch, Source};
use crate::digest::Digest;
use crate::flatten::Content;
use crate::manifest::ImageConfig;
use anyhow::Result;

/// An image as its manifest and its configuration tell of it.
#[derive(Debug)]
pub struct Look {
    /// Digest of its configuration, what Docker calls its ID.
    pub id: Digest,
    /// Digest of what its name leads to in a registry: an index, or the manifest itself.
    pub pin: Option<Digest>,
    /// Digest of its manifest for the platform, where it has one.
    pub manifest: Option<Digest>,
    /// How it is run.
    pub config: ImageConfig,
    /// Its layers, lowest first.
    pub layers: Vec<LayerSize>,
}

/// A layer, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerSize {
    /// What messages call it.
    pub name: String,
    /// Bytes as it is stored; `None` where that is not known without reading it.
    pub bytes: Option<u64>,
}

impl Source {
    /// Looks at an image. A registry gives its manifest and configuration, and no layer; a container engine can't tell the
    /// one without the others, so its image is exported into the cache, as a build would do it.
    ///
    /// # Errors
    /// As [`Source::fetch`].
    pub fn look(&self, fetch: &Fetch<'_>) -> Result<Look> {
        self.fetch(&Fetch { look: true, ..*fetch }).map(Look::from)
    }
}

impl From<Container> for Look {
    fn from(container: Container) -> Self {
        let layers = container.layers.into_iter().map(|layer| LayerSize {
            bytes: match &layer.content {
                Content::Blob(blob) => Some(blob.len()),
                Content::Packed(_) => None,
            },
            name: layer.name,
        });
        let layers = layers.collect();
        Look { id: container.id, pin: container.pin, manifest: container.manifest, config: container.config, layers }
    }
}
