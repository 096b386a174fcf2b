//! Pulls an image from a registry (OCI distribution specification). Manifest and configuration are waited for; the layers
//! come in the background, into the cache, while the build already reads them.

mod client;
mod connection;
mod download;
mod token;
mod trust;

use super::credentials::Logins;
use super::endpoint::Endpoint;
use super::{Container, Fetch, check_layers, packed};
use crate::blob::Delivery;
use crate::bounded::CONFIGURATION;
use crate::flatten::{Content, Layer};
use crate::manifest::{ImageConfig, Manifest, check_layer_type};
use crate::progress::{Bar, mebibytes};
use anyhow::{Context, Result, bail};
use connection::Found;
use download::{Download, Servers};
use oci_spec::distribution::Reference;
use std::thread;

pub use trust::trusted;

/// Pulls an image: from the first server that has it.
///
/// # Errors
/// When no server gives it; the error has every server's reason. What fails later is the error of a layer's reader.
pub fn pull(reference: &Reference, fetch: &Fetch<'_>) -> Result<Container> {
    // One thread: the network is slower than what is done with its bytes here, which is to hash and write them.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the HTTP client")?;
    let logins = Logins::load();
    let mut refusals = Vec::new();
    let mut endpoints = Endpoint::all(reference, fetch.mirrors);
    for endpoint in endpoints.iter_mut().filter(|endpoint| endpoint.is_insecure()) {
        endpoint.plain = runtime.block_on(connection::is_plain(endpoint))?;
    }
    while !endpoints.is_empty() {
        let servers = Servers::new(&endpoints, &logins, fetch.registry_ca);
        match runtime.block_on(resolve(&servers, fetch)) {
            Ok((container, downloads)) => {
                if fetch.look {
                    return Ok(container);
                }
                let work = Work { downloads, cache: fetch.cache.clone(), progress: fetch.progress.clone() };
                in_background(runtime, servers, work)?;
                return Ok(container);
            }
            Err(error) => refusals.push(format!("{}: {error:#}", endpoints.remove(0))),
        }
    }
    bail!("{}", refusals.join("; "))
}

/// What the first of the servers says of the image, and which layers are still to be downloaded.
async fn resolve(servers: &Servers, fetch: &Fetch<'_>) -> Result<(Container, Vec<Download>)> {
    let connection = servers.first().await?;
    let Found { pin, digest, manifest } = connection.manifest(fetch.platform).await?;
    for layer in &manifest.layers {
        check_layer_type(layer)?;
    }
    CONFIGURATION.check(manifest.config.size).context("pull the configuration")?;
    let json = match fetch.cache.get(&manifest.config.digest)? {
        Some(json) => json,
        None => servers
            .receive(&manifest.config, None, fetch.cache, &Bar::hidden())
            .await
            .context("pull the configuration")?,
    };
    let config = ImageConfig::parse(&CONFIGURATION.read_blob(&json)?, fetch.platform)?;
    let (layers, downloads) = layers(&manifest, &config, fetch)?;
    check_layers(&layers)?;
    let id = manifest.config.digest;
    Ok((Container { id, pin: Some(pin), manifest: Some(digest), config, layers }, downloads))
}

/// The layers, from the cache or on their way.
fn layers(manifest: &Manifest, config: &ImageConfig, fetch: &Fetch<'_>) -> Result<(Vec<Layer>, Vec<Download>)> {
    let (mut layers, mut downloads) = (Vec::new(), Vec::new());
    let diff_ids = config.diff_ids(manifest.layers.len())?;
    for (descriptor, diff_id) in manifest.layers.iter().zip(diff_ids) {
        let content = if let Some(file) = diff_id.and_then(|diff_id| packed(fetch, &diff_id)) {
            Content::Packed(file)
        } else if let Some(blob) = fetch.cache.kept(&descriptor.digest, Some(descriptor.size))? {
            Content::Blob(blob)
        } else {
            let (delivery, blob) = Delivery::new(descriptor.size);
            downloads.push(Download { descriptor: descriptor.clone(), delivery });
            Content::Blob(blob)
        };
        // Its digest is verified as it comes, or by the cache's reader.
        layers.push(Layer { name: descriptor.digest.short(), content, digest: None, diff_id });
    }
    Ok((layers, downloads))
}

/// What the background has to do.
struct Work {
    downloads: Vec<Download>,
    cache: crate::cache::Cache,
    progress: crate::progress::Progress,
}

/// Downloads the layers while the caller goes on. The thread ends with the last of them, or with the program.
fn in_background(runtime: tokio::runtime::Runtime, servers: Servers, work: Work) -> Result<()> {
    let Work { downloads, cache, progress } = work;
    if downloads.is_empty() {
        return Ok(());
    }
    let bytes = downloads.iter().fold(0, |sum: u64, download| sum.saturating_add(download.descriptor.size));
    let what = if downloads.len() == 1 { "layer" } else { "layers" };
    progress.step(format!("pull {} {what}, {}, from {}", downloads.len(), mebibytes(bytes), servers.name()));
    let work = move || {
        let bar = progress.bytes("pull", bytes);
        runtime.block_on(servers.deliver(downloads, &cache, &bar));
    };
    thread::Builder::new().name("pull".to_owned()).spawn(work).context("start a thread")?;
    Ok(())
}
