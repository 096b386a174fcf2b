//! Pulls an image from a registry (OCI distribution specification) into the cache.

use super::credentials::{Credentials, DockerConfig};
use super::endpoint::Endpoint;
use super::look::{LayerSize, Look};
use super::{Container, Fetch, check_layers};
use crate::blob::Blob;
use crate::cache::Incoming;
use crate::digest::Digest;
use crate::flatten::{Content, Layer};
use crate::manifest::{Descriptor, Document, ImageConfig, MANIFEST_TYPES, MAX_DOCUMENT, Manifest, check_layer_type};
use crate::progress::{Bar, mebibytes};
use anyhow::{Context, Result, bail, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use oci_client::client::{BlobResponse, Client, ClientConfig, ClientProtocol, SizedStream};
use oci_client::errors::{DigestError, OciDistributionError, OciErrorCode};
use oci_client::{Reference, RegistryOperation};
use std::time::Duration;

/// Layers that are downloaded side by side: Docker's own number.
const DOWNLOADS: usize = 3;
/// Tries for a blob without getting any further. A connection that breaks is taken up where it broke.
const TRIES: u32 = 5;
/// Time for a connection to come about.
const CONNECT: Duration = Duration::from_secs(15);
/// Time without a single byte after which a connection counts as broken.
const SILENCE: Duration = Duration::from_secs(60);

/// Pulls an image: from the first server that has it.
///
/// # Errors
/// When no server gives it; every server's reason is told.
pub fn pull(reference: &Reference, fetch: &Fetch<'_>) -> Result<Container> {
    from_first(reference, fetch, &async |endpoint, config| pull_from(endpoint, config, fetch).await)
}

/// What a registry tells of an image before its layers: from the first server that has it.
///
/// # Errors
/// As [`pull`].
pub fn look(reference: &Reference, fetch: &Fetch<'_>) -> Result<Look> {
    from_first(reference, fetch, &async |endpoint, config| look_at(endpoint, config, fetch).await)
}

/// Asks one server after the other, until one answers.
fn from_first<T>(
    reference: &Reference,
    fetch: &Fetch<'_>,
    ask: &impl AsyncFn(&Endpoint, &DockerConfig) -> Result<T>,
) -> Result<T> {
    // Ring rather than the default aws-lc, which wants cmake. It is an error only if one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // One thread: the network is slower than what is done with its bytes here, which is to hash and write them.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the HTTP client")?;
    let config = DockerConfig::load()?;
    let mut refusals = Vec::new();
    for endpoint in Endpoint::all(reference, fetch.mirrors) {
        match runtime.block_on(ask(&endpoint, &config)) {
            Ok(answer) => return Ok(answer),
            Err(error) => refusals.push(format!("{endpoint}: {error:#}")),
        }
    }
    bail!("{}", refusals.join("; "))
}

async fn pull_from(endpoint: &Endpoint, config: &DockerConfig, fetch: &Fetch<'_>) -> Result<Container> {
    let credentials = config.credentials(endpoint.reference.registry())?;
    let connection = Connection::open(endpoint, credentials).await?;
    let (digest, manifest) = connection.manifest(fetch).await?;
    for layer in &manifest.layers {
        check_layer_type(layer)?;
    }
    let json = connection.blob(&manifest.config, fetch, &Bar::hidden()).await.context("pull the configuration")?;
    let config = ImageConfig::parse(&json.read_all(MAX_DOCUMENT)?, fetch.platform)?;
    let diff_ids = config.diff_ids(manifest.layers.len())?;
    let blobs = connection.layers(&manifest.layers, fetch).await?;
    let layers = manifest.layers.iter().zip(blobs).zip(diff_ids);
    let layers = layers.map(|((layer, blob), diff_id)| Layer {
        name: layer.digest.short(),
        content: Content::Blob(blob),
        digest: None, // it was verified when it came
        diff_id,
    });
    let layers: Vec<Layer> = layers.collect();
    check_layers(&layers)?;
    Ok(Container { id: manifest.config.digest, manifest: Some(digest), config, layers })
}

async fn look_at(endpoint: &Endpoint, config: &DockerConfig, fetch: &Fetch<'_>) -> Result<Look> {
    let credentials = config.credentials(endpoint.reference.registry())?;
    let connection = Connection::open(endpoint, credentials).await?;
    let (digest, manifest) = connection.manifest(fetch).await?;
    for layer in &manifest.layers {
        check_layer_type(layer)?;
    }
    let json = connection.blob(&manifest.config, fetch, &Bar::hidden()).await.context("pull the configuration")?;
    let config = ImageConfig::parse(&json.read_all(MAX_DOCUMENT)?, fetch.platform)?;
    let layers = manifest.layers.iter().map(|layer| LayerSize { name: layer.digest.short(), bytes: Some(layer.size) });
    let layers = layers.collect();
    Ok(Look { id: manifest.config.digest, manifest: Some(digest), config, layers })
}

/// A conversation with one server about one image.
struct Connection<'a> {
    client: Client,
    endpoint: &'a Endpoint,
    credentials: Credentials,
}

impl<'a> Connection<'a> {
    async fn open(endpoint: &'a Endpoint, credentials: Credentials) -> Result<Self> {
        let client = Client::try_from(ClientConfig {
            protocol: if endpoint.plain { ClientProtocol::Http } else { ClientProtocol::Https },
            connect_timeout: Some(CONNECT),
            read_timeout: Some(SILENCE),
            user_agent: concat!("nanoos-builder/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        })
        .context("start the HTTP client (are there certificates on this system? apt-get install ca-certificates)")?;
        let connection = Connection { client, endpoint, credentials };
        let auth = &connection.credentials.auth;
        let token = connection.client.auth(&endpoint.reference, auth, RegistryOperation::Pull).await;
        token.map_err(|error| connection.explain(error))?;
        Ok(connection)
    }

    /// The manifest of the image for the wanted platform, and its digest.
    async fn manifest(&self, fetch: &Fetch<'_>) -> Result<(Digest, Manifest)> {
        let mut reference = self.endpoint.reference.clone();
        // An index may lead to an index; beyond two levels it is a joke.
        for _ in 0..3 {
            let (json, _) = self
                .client
                .pull_manifest_raw(&reference, &self.credentials.auth, MANIFEST_TYPES)
                .await
                .map_err(|error| self.explain(error))?;
            ensure!(json.len() as u64 <= MAX_DOCUMENT, "its manifest has {} bytes, which no image's has", json.len());
            match Document::parse(&json, "")? {
                Document::Manifest(manifest) => return Ok((Digest::of(&json), manifest)),
                Document::Index(index) => {
                    let image = index.image_for(fetch.platform)?;
                    reference = reference.clone_with_digest(image.digest.to_string());
                }
            }
        }
        bail!("its index leads to an index, again and again")
    }

    async fn layers(&self, layers: &[Descriptor], fetch: &Fetch<'_>) -> Result<Vec<Blob>> {
        let mut missing = Vec::new();
        for layer in layers {
            if !fetch.cache.has(&layer.digest) {
                missing.push(layer);
            }
        }
        let bytes = missing.iter().fold(0, |sum: u64, layer| sum.saturating_add(layer.size));
        if !missing.is_empty() {
            let count = missing.len();
            let what = if count == 1 { "layer" } else { "layers" };
            fetch.progress.step(format!("pull {count} {what}, {}, from {}", mebibytes(bytes), self.endpoint));
        }
        let bar = fetch.progress.bytes("pull", bytes);
        let pulls = layers.iter().map(|layer| async {
            self.blob(layer, fetch, &bar).await.with_context(|| format!("pull layer {}", layer.digest.short()))
        });
        stream::iter(pulls).buffered(DOWNLOADS).try_collect().await
    }

    /// A blob, from the cache or into it.
    async fn blob(&self, descriptor: &Descriptor, fetch: &Fetch<'_>, bar: &Bar) -> Result<Blob> {
        if let Some(blob) = fetch.cache.get(&descriptor.digest)? {
            return Ok(blob);
        }
        let mut incoming = fetch.cache.incoming(&descriptor.digest)?;
        let (mut fruitless, mut furthest) = (0, 0);
        loop {
            let Some(error) = self.download(descriptor, &mut incoming, fetch, bar).await? else {
                return incoming.finish();
            };
            if incoming.len() > furthest {
                (fruitless, furthest) = (0, incoming.len());
            }
            fruitless += 1;
            if fruitless == TRIES || !is_passing(&error) {
                return Err(self.explain(error));
            }
            // 0.2, 0.4, 0.8, 1.6 s: three seconds in all, enough for a server to restart a connection.
            tokio::time::sleep(Duration::from_millis(100 << fruitless)).await;
        }
    }

    /// Receives what is still missing of a blob. Gives the error with which the connection broke, if it did.
    async fn download(
        &self,
        descriptor: &Descriptor,
        incoming: &mut Incoming,
        fetch: &Fetch<'_>,
        bar: &Bar,
    ) -> Result<Option<OciDistributionError>> {
        let mut body = match self.open_blob(&descriptor.digest.to_string(), incoming.len()).await {
            Ok(body) => body,
            Err(error) => return Ok(Some(error)),
        };
        if body.restarted && !incoming.is_empty() {
            *incoming = fetch.cache.incoming(&descriptor.digest)?;
        }
        while let Some(bytes) = body.stream.next().await {
            match bytes {
                Ok(bytes) => {
                    incoming.write(&bytes)?;
                    ensure!(
                        incoming.len() <= descriptor.size,
                        "more was sent than the {} bytes that the manifest tells",
                        descriptor.size
                    );
                    bar.add(bytes.len() as u64);
                }
                Err(error) => return Ok(Some(OciDistributionError::IoError(error))),
            }
        }
        Ok(None)
    }

    async fn open_blob(&self, digest: &str, offset: u64) -> Result<Body, OciDistributionError> {
        let reference = &self.endpoint.reference;
        if offset == 0 {
            let stream = self.client.pull_blob_stream(reference, digest).await?;
            return Ok(Body { stream, restarted: true });
        }
        Ok(match self.client.pull_blob_stream_partial(reference, digest, offset, None).await? {
            BlobResponse::Partial(stream) => Body { stream, restarted: false },
            BlobResponse::Full(stream) => Body { stream, restarted: true },
        })
    }

    /// What a registry's refusal means to the user.
    fn explain(&self, error: OciDistributionError) -> anyhow::Error {
        use OciDistributionError as E;
        let host = self.endpoint.reference.registry();
        let denied = |detail: &str| {
            let unused = self.credentials.unused.as_ref().map(|unused| format!(" ({unused})")).unwrap_or_default();
            anyhow::anyhow!("{detail}: log in with docker login {host}{unused}")
        };
        match &error {
            E::UnauthorizedError { .. } => denied("it has no such image, or you may not read it"),
            E::AuthenticationFailure(reason) => denied(&format!("it refuses the credentials ({})", first_line(reason))),
            E::ImageManifestNotFoundError(_) | E::ServerError { code: 404, .. } => {
                anyhow::anyhow!("it has no such image or tag")
            }
            E::RegistryError { envelope, .. } => {
                let has = |code: &OciErrorCode| envelope.errors.iter().any(|error| error.code == *code);
                if [OciErrorCode::ManifestUnknown, OciErrorCode::NameUnknown, OciErrorCode::NotFound].iter().any(has) {
                    return anyhow::anyhow!("it has no such image or tag");
                }
                if has(&OciErrorCode::Unauthorized) || has(&OciErrorCode::Denied) {
                    return denied("it has no such image, or you may not read it");
                }
                if has(&OciErrorCode::Toomanyrequests) {
                    return denied("it has had too many requests from this address");
                }
                let messages: Vec<&str> = envelope.errors.iter().map(|error| error.message.as_str()).collect();
                anyhow::anyhow!("it answers: {}", messages.join(", "))
            }
            E::ServerError { code, message, .. } => anyhow::anyhow!("it answers {code}: {}", first_line(message)),
            _ => anyhow::Error::new(error),
        }
    }
}

/// A blob on its way.
struct Body {
    stream: SizedStream,
    /// It starts from the blob's first byte.
    restarted: bool,
}

/// Whether the same request may well succeed in a moment.
fn is_passing(error: &OciDistributionError) -> bool {
    match error {
        OciDistributionError::IoError(error) => !is_digest_error(error),
        OciDistributionError::RequestError(error) => !error.is_builder(),
        OciDistributionError::ServerError { code, .. } => matches!(code, 408 | 429 | 500..=599),
        _ => false,
    }
}

fn is_digest_error(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<DigestError>)
}

fn first_line(text: &str) -> &str {
    text.trim().lines().next().unwrap_or_default()
}
