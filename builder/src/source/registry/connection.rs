//! A conversation with one server about one image, and what its refusals mean to the user.

use super::{token, trust};
use crate::digest::Digest;
use crate::manifest::{Document, MANIFEST_TYPES, MAX_DOCUMENT, Manifest};
use crate::platform::Platform;
use crate::source::credentials::{Credentials, Login, Logins};
use crate::source::endpoint::Endpoint;
use anyhow::{Context, Result, anyhow, bail, ensure};
use oci_client::RegistryOperation;
use oci_client::client::{BlobResponse, Certificate, Client, ClientConfig, ClientProtocol, SizedStream};
use oci_client::errors::{DigestError, OciDistributionError, OciErrorCode};
use oci_client::secrets::RegistryAuth;
use std::path::Path;
use std::time::Duration;

/// Time for a connection to come about.
const CONNECT: Duration = Duration::from_secs(15);
/// Time without a single byte after which a connection counts as broken.
const SILENCE: Duration = Duration::from_secs(60);
/// What this program calls itself.
const USER_AGENT: &str = concat!("nanoos-builder/", env!("CARGO_PKG_VERSION"));
/// Why a client may not start: its certificates are the system's.
const NO_CLIENT: &str =
    "start the HTTP client (are there certificates on this system? apt-get install ca-certificates)";

/// A conversation with one server about one image.
pub(super) struct Connection {
    client: Client,
    endpoint: Endpoint,
    auth: RegistryAuth,
    hint: Option<String>,
}

/// A blob on its way.
pub(super) struct Body {
    /// Its bytes.
    pub(super) stream: SizedStream,
    /// It starts from the blob's first byte.
    pub(super) restarted: bool,
}

impl Connection {
    /// Connects and logs in, trusting the authorities of the user's file as well.
    ///
    /// # Errors
    /// When the server does not answer, is not trusted, or refuses the credentials.
    pub(super) async fn open(endpoint: &Endpoint, logins: &Logins, ca: Option<&Path>) -> Result<Self> {
        let certificates = trust::certificates(endpoint.host(), ca)?;
        let Credentials { login, hint } = logins.credentials(endpoint.reference.registry())?;
        let client = Client::try_from(ClientConfig {
            protocol: if endpoint.plain { ClientProtocol::Http } else { ClientProtocol::Https },
            connect_timeout: Some(CONNECT),
            read_timeout: Some(SILENCE),
            user_agent: USER_AGENT,
            extra_root_certificates: certificates.clone(),
            ..ClientConfig::default()
        })
        .context(NO_CLIENT)?;
        let mut connection = Connection { client, endpoint: endpoint.clone(), auth: RegistryAuth::Anonymous, hint };
        connection.auth = match login {
            Login::Anonymous => RegistryAuth::Anonymous,
            Login::Password(user, password) => RegistryAuth::Basic(user, password),
            Login::Token(token) => RegistryAuth::Bearer(token),
            Login::Identity(identity) => connection.exchange(&identity, &certificates).await?,
        };
        let token = connection.client.auth(&endpoint.reference, &connection.auth, RegistryOperation::Pull).await;
        token.map_err(|error| connection.explain(error))?;
        Ok(connection)
    }

    async fn exchange(&self, identity: &str, certificates: &[Certificate]) -> Result<RegistryAuth> {
        let mut http = reqwest::Client::builder().connect_timeout(CONNECT).read_timeout(SILENCE).user_agent(USER_AGENT);
        for certificate in certificates {
            http = http.add_root_certificate(reqwest::Certificate::from_pem(&certificate.data).context(NO_CLIENT)?);
        }
        let http = http.build().context(NO_CLIENT)?;
        let scheme = if self.endpoint.plain { "http" } else { "https" };
        let base = format!("{scheme}://{}", self.endpoint.host());
        let token = token::exchange(&http, &base, self.endpoint.reference.repository(), identity).await;
        Ok(token
            .map_err(|error| self.distrusted(&*error).unwrap_or(error))?
            .map_or(RegistryAuth::Anonymous, RegistryAuth::Bearer))
    }

    /// The manifest of the image for the wanted platform, and its digest.
    pub(super) async fn manifest(&self, platform: Platform) -> Result<(Digest, Manifest)> {
        let mut reference = self.endpoint.reference.clone();
        // An index may lead to an index; beyond two levels it is a joke.
        for _ in 0..3 {
            let (json, _) = self
                .client
                .pull_manifest_raw(&reference, &self.auth, MANIFEST_TYPES)
                .await
                .map_err(|error| self.explain(error))?;
            ensure!(json.len() as u64 <= MAX_DOCUMENT, "its manifest has {} bytes, which no image's has", json.len());
            match Document::parse(&json, "")? {
                Document::Manifest(manifest) => return Ok((Digest::of(&json), manifest)),
                Document::Index(index) => {
                    let image = index.image_for(platform)?;
                    reference = reference.clone_with_digest(image.digest.to_string());
                }
            }
        }
        bail!("its index leads to an index, again and again")
    }

    /// Asks for a blob from `offset` on.
    pub(super) async fn open_blob(&self, digest: &Digest, offset: u64) -> Result<Body, OciDistributionError> {
        let (reference, digest) = (&self.endpoint.reference, digest.to_string());
        if offset == 0 {
            let stream = self.client.pull_blob_stream(reference, digest.as_str()).await?;
            return Ok(Body { stream, restarted: true });
        }
        Ok(match self.client.pull_blob_stream_partial(reference, digest.as_str(), offset, None).await? {
            BlobResponse::Partial(stream) => Body { stream, restarted: false },
            BlobResponse::Full(stream) => Body { stream, restarted: true },
        })
    }

    /// What a registry's refusal means to the user.
    pub(super) fn explain(&self, error: OciDistributionError) -> anyhow::Error {
        use OciDistributionError as E;
        match &error {
            E::UnauthorizedError { .. } => self.denied("it has no such image, or you may not read it"),
            E::AuthenticationFailure(reason) => {
                self.denied(&format!("it refuses the credentials ({})", first_line(reason)))
            }
            E::ImageManifestNotFoundError(_) | E::ServerError { code: 404, .. } => {
                anyhow!("it has no such image or tag")
            }
            E::RegistryError { envelope, .. } => {
                let has = |code: &OciErrorCode| envelope.errors.iter().any(|error| error.code == *code);
                if [OciErrorCode::ManifestUnknown, OciErrorCode::NameUnknown, OciErrorCode::NotFound].iter().any(has) {
                    return anyhow!("it has no such image or tag");
                }
                if has(&OciErrorCode::Unauthorized) || has(&OciErrorCode::Denied) {
                    return self.denied("it has no such image, or you may not read it");
                }
                if has(&OciErrorCode::Toomanyrequests) {
                    return self.denied("it has had too many requests from this address");
                }
                let messages: Vec<&str> = envelope.errors.iter().map(|error| error.message.as_str()).collect();
                anyhow!("it answers: {}", messages.join(", "))
            }
            E::ServerError { code, message, .. } => anyhow!("it answers {code}: {}", first_line(message)),
            _ => self.distrusted(&error).unwrap_or_else(|| anyhow::Error::new(error)),
        }
    }

    fn denied(&self, detail: &str) -> anyhow::Error {
        let host = self.endpoint.reference.registry();
        let hint = self.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        anyhow!("{detail}: log in with docker login {host}{hint}")
    }

    fn distrusted(&self, error: &(dyn std::error::Error + 'static)) -> Option<anyhow::Error> {
        let (reason, host) = (trust::distrust(error)?, self.endpoint.host());
        Some(anyhow!(
            "its certificate is not trusted ({reason}): if it is the right server, name the authority that signed it with \
             --registry-ca FILE, or put its certificate into /etc/docker/certs.d/{host}/ca.crt"
        ))
    }
}

/// Whether the same request may well succeed in a moment.
pub(super) fn is_passing(error: &OciDistributionError) -> bool {
    match error {
        OciDistributionError::IoError(error) => !is_digest_error(error),
        OciDistributionError::RequestError(error) => !error.is_builder() && trust::distrust(error).is_none(),
        OciDistributionError::ServerError { code, .. } => matches!(code, 408 | 429 | 500..=599),
        _ => false,
    }
}

/// Whether all came, and is not what was asked for.
pub(super) fn is_damage(error: &OciDistributionError) -> bool {
    matches!(error, OciDistributionError::IoError(error) if is_digest_error(error))
}

fn is_digest_error(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<DigestError>)
}

fn first_line(text: &str) -> &str {
    text.trim().lines().next().unwrap_or_default()
}
