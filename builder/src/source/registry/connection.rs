//! A conversation with one server about one image, and what its refusals mean to the user.

use super::client::{Client, Clients, RequestError};
use super::trust;
use crate::digest::Digest;
use crate::manifest::{Document, Manifest};
use crate::platform::Platform;
use crate::source::credentials::{Credentials, Logins};
use crate::source::endpoint::Endpoint;
use anyhow::{Result, anyhow, bail};
use http_settings::Settings;
use reqwest::{Certificate, Response, StatusCode, redirect};
use std::path::Path;
use std::time::Duration;

/// Time for a connection to come about.
const CONNECT: Duration = Duration::from_secs(15);
/// Time without a single byte after which a connection counts as broken.
const SILENCE: Duration = Duration::from_secs(60);
/// Time for a server on this machine to say something.
const NEARBY: Duration = Duration::from_secs(5);
/// Redirections of a token service at most.
const MOST_REDIRECTIONS: usize = 5;
/// What this program calls itself.
const USER_AGENT: &str = concat!("nanoos-builder/", env!("CARGO_PKG_VERSION"));

/// A conversation with one server about one image.
pub(super) struct Connection {
    client: Client,
    words: Words,
}

/// The manifest of an image for a platform.
pub(super) struct Found {
    /// Digest of what the reference leads to: an index, or the manifest itself.
    pub(super) pin: Digest,
    /// Digest of the manifest.
    pub(super) digest: Digest,
    pub(super) manifest: Manifest,
}

/// What errors are explained with.
struct Words {
    endpoint: Endpoint,
    hint: Option<String>,
    /// What is between here and there.
    proxy: Option<String>,
}

/// Whether a registry on this machine speaks no TLS: nothing that is secret is sent to learn it.
///
/// # Errors
/// When no client can be made.
pub(super) async fn is_plain(endpoint: &Endpoint) -> Result<bool> {
    let http = Settings::of_process().client().tls_danger_accept_invalid_certs(true);
    let http = http_settings::start(http.timeout(NEARBY).redirect(redirect::Policy::none()))?;
    // If plain HTTP fails as well, the error says why.
    Ok(http.get(format!("https://{}/v2/", endpoint.host())).send().await.is_err())
}

impl Connection {
    /// Connects and logs in, trusting the authorities of the user's file as well.
    ///
    /// # Errors
    /// When the server does not answer, is not trusted, or refuses the credentials.
    pub(super) async fn open(endpoint: &Endpoint, logins: &Logins, ca: Option<&Path>) -> Result<Self> {
        let settings = Settings::of_process();
        let http = Clients::new(settings.clone(), endpoint, &trust::certificates(endpoint.host(), ca)?)?;
        let (registry, repository) = (endpoint.reference.registry(), endpoint.reference.repository());
        let Credentials { login, hint } = logins.credentials(registry, repository);
        let base = format!("{}://{}", if endpoint.plain { "http" } else { "https" }, endpoint.host());
        let words = Words { endpoint: endpoint.clone(), hint, proxy: settings.proxy_of(&base)? };
        let client = Client::open(http, base, repository, login).await;
        Ok(Connection { client: client.map_err(|error| words.explain(error))?, words })
    }

    /// The manifest of the image for the wanted platform, and its digest.
    pub(super) async fn manifest(&self, platform: Platform) -> Result<Found> {
        let mut pin = None;
        let mut reference = self.words.endpoint.reference.clone();
        // An index may lead to an index; beyond two levels it is a joke.
        for _ in 0..3 {
            let json = self.client.manifest(&reference).await.map_err(|error| match error {
                // A sentence of its own.
                RequestError::Refused(..) => self.explain(error),
                error => self.explain(error).context("pull the manifest"),
            })?;
            let digest = Digest::of(&json);
            let pin = *pin.get_or_insert(digest);
            match Document::parse(&json, "")? {
                Document::Manifest(manifest) => return Ok(Found { pin, digest, manifest }),
                Document::Index(index) => {
                    let image = index.image_for(platform)?;
                    reference = reference.clone_with_digest(image.digest.to_string());
                }
            }
        }
        bail!("its index leads to an index, again and again")
    }

    /// Asks for a blob from `offset` on; whether it starts there, and not from the blob's first byte.
    pub(super) async fn open_blob(&self, digest: &Digest, offset: u64) -> Result<(Response, bool), RequestError> {
        let answer = self.client.blob(digest, offset).await?;
        let partial = answer.status() == StatusCode::PARTIAL_CONTENT;
        Ok((answer, partial))
    }

    /// What a registry's refusal means to the user.
    pub(super) fn explain(&self, error: RequestError) -> anyhow::Error {
        self.words.explain(error)
    }
}

impl Clients {
    fn new(settings: Settings, endpoint: &Endpoint, certificates: &[Certificate]) -> Result<Self> {
        let client = || {
            let http = settings.client().connect_timeout(CONNECT).read_timeout(SILENCE).user_agent(USER_AGENT);
            http.tls_certs_merge(certificates.iter().cloned())
        };
        let insecure = endpoint.is_insecure();
        let tokens = || client().redirect(within_one_host());
        let registry = http_settings::start(client().tls_danger_accept_invalid_certs(insecure))?;
        Ok(Clients {
            anonymous: if insecure { http_settings::start(client())? } else { registry.clone() },
            registry,
            tokens: http_settings::start(tokens())?,
            tokens_here: http_settings::start(tokens().tls_danger_accept_invalid_certs(insecure))?,
            settings,
        })
    }
}

/// Redirections go to no other server than the one that was asked.
fn within_one_host() -> redirect::Policy {
    redirect::Policy::custom(|attempt| {
        let asked = attempt.previous().last().map(|url| (url.scheme().to_owned(), url.authority().to_owned()));
        let (next, many) = (attempt.url(), attempt.previous().len() > MOST_REDIRECTIONS);
        let same = asked.is_some_and(|(scheme, host)| scheme == next.scheme() && host == next.authority());
        if same && !many { attempt.follow() } else { attempt.stop() }
    })
}

impl Words {
    fn explain(&self, error: RequestError) -> anyhow::Error {
        let (status, refusal) = match error {
            RequestError::Refused(status, refusal) => (status, refusal),
            RequestError::Credentials(why) => return self.denied(&format!("it refuses the credentials ({why})")),
            RequestError::Stranger(why) => {
                return self.denied(&format!("it gives no token without credentials ({why})"));
            }
            error @ (RequestError::Withheld(_) | RequestError::Malformed(_)) => return error.into(),
            error => return self.distrusted(&error).unwrap_or_else(|| self.on_the_way(error)),
        };
        let has = |codes: &[&str]| refusal.errors.iter().any(|error| codes.contains(&error.code.as_str()));
        if status == StatusCode::NOT_FOUND || has(&["MANIFEST_UNKNOWN", "NAME_UNKNOWN", "NOT_FOUND"]) {
            return anyhow!("it has no such image or tag");
        }
        if status == StatusCode::UNAUTHORIZED || has(&["UNAUTHORIZED", "DENIED"]) {
            return self.denied("it has no such image, or you may not read it");
        }
        if has(&["TOOMANYREQUESTS"]) {
            return self.denied("it has had too many requests from this address");
        }
        let messages: Vec<&str> = refusal.errors.iter().map(|error| error.message.as_str()).collect();
        match messages[..] {
            [] => anyhow!("it answers {}: {}", status.as_u16(), refusal.line),
            _ => anyhow!("it answers: {}", messages.join(", ")),
        }
    }

    fn denied(&self, detail: &str) -> anyhow::Error {
        let host = self.endpoint.reference.registry();
        let hint = self.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        anyhow!("{detail}: log in with docker login {host}{hint}")
    }

    fn on_the_way(&self, error: RequestError) -> anyhow::Error {
        match &self.proxy {
            Some(proxy) if http_settings::is_unknown_to_proxy(&error) => anyhow!(
                "the proxy {proxy} wants a name and a password: write them into the variable that names it, as \
                 http://NAME:PASSWORD@HOST:PORT"
            ),
            Some(proxy) => anyhow::Error::new(error).context(format!("through the proxy {proxy}")),
            None => error.into(),
        }
    }

    fn distrusted(&self, error: &(dyn std::error::Error + 'static)) -> Option<anyhow::Error> {
        let (reason, host) = (http_settings::distrust(error)?, self.endpoint.host());
        Some(anyhow!(
            "its certificate is not trusted ({reason}): if it is the right server, name the authority that signed it with \
             --registry-ca FILE, or put its certificate into /etc/docker/certs.d/{host}/ca.crt"
        ))
    }
}

/// Whether the same request may well succeed in a moment.
pub(super) fn is_passing(error: &RequestError) -> bool {
    match error {
        RequestError::Http(error) => {
            let lasting = http_settings::distrust(error).is_some() || http_settings::is_unknown_to_proxy(error);
            !error.is_builder() && !error.is_redirect() && !lasting
        }
        RequestError::Refused(status, _) => matches!(status.as_u16(), 408 | 429 | 500..=599),
        RequestError::Short(..) => true,
        _ => false,
    }
}
