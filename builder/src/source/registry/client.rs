//! Requests about one image of one registry (OCI distribution specification). No body is read without a bound.

use super::token::Authorization;
use crate::bounded::{COMPLAINT, MANIFEST, TooLong, Unread};
use crate::digest::Digest;
use crate::manifest::MANIFEST_TYPES;
use crate::source::credentials::Login;
use http_settings::Settings;
use oci_spec::distribution::Reference;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue, RANGE};
use reqwest::{RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Age from which a token that is refused may have expired: services may not give any for less than 60 s.
const AGED: Duration = Duration::from_secs(30);
/// Characters of somebody else's words that are shown.
const SHOWN: usize = 300;
/// Where a registry says what it takes a manifest for.
const DIGEST: &str = "docker-content-digest";

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    /// The connection was not made, or broke.
    #[error(transparent)]
    Http(reqwest::Error),
    /// It answers that it will not.
    #[error("it answers {0}: {1:?}")]
    Refused(StatusCode, Refusal),
    /// The token service will not.
    #[error("it refuses the credentials ({0})")]
    Credentials(String),
    /// The same, where there are none.
    #[error("it gives no token without credentials ({0})")]
    Stranger(String),
    /// Credentials are not sent to its token service, or to where that leads.
    #[error("its token service {0}: no credentials are sent there")]
    Withheld(String),
    /// A variable names no proxy.
    #[error(transparent)]
    Malformed(#[from] http_settings::Malformed),
    /// The token service's answer is none.
    #[error("{0} answers without a token")]
    NoToken(String),
    /// More came than makes sense.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// All came, and is not what was asked for.
    #[error("the content's digest is {0}, not {1}: what was sent is damaged")]
    Damaged(Digest, Digest),
    /// A digest by which nothing can be verified.
    #[error("{0} is not a digest that can be verified: name the image by its sha256 digest, or by a tag")]
    Unverifiable(String),
    /// Less came than there is.
    #[error("it sent {0} of {1} bytes")]
    Short(u64, u64),
}

impl From<reqwest::Error> for RequestError {
    fn from(error: reqwest::Error) -> Self {
        // The address may be one that was signed, and is as good as a password then.
        RequestError::Http(error.without_url())
    }
}

impl From<Unread> for RequestError {
    fn from(error: Unread) -> Self {
        match error {
            Unread::TooLong(error) => error.into(),
            Unread::Broken(error) => error.into(),
        }
    }
}

/// The words of a refusal (OCI distribution specification, "Error Codes").
#[derive(Debug, Default)]
pub(super) struct Refusal {
    /// Code and message of each error.
    pub(super) errors: Vec<Complaint>,
    /// The first line of what is no such document.
    pub(super) line: String,
}

/// One error.
#[derive(Debug, Deserialize)]
pub(super) struct Complaint {
    #[serde(default)]
    pub(super) code: String,
    #[serde(default)]
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn parse(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Envelope {
            errors: Vec<Complaint>,
        }
        match serde_json::from_slice::<Envelope>(body) {
            Ok(Envelope { mut errors }) => {
                for Complaint { message, .. } in &mut errors {
                    *message = first_line(message.as_bytes());
                }
                Refusal { errors, line: String::new() }
            }
            Err(_) => Refusal { errors: Vec::new(), line: first_line(body) },
        }
    }
}

/// The start of the first line of a text that somebody else wrote.
pub(super) fn first_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.trim().lines().next().unwrap_or_default().chars().take(SHOWN).collect()
}

/// What requests are sent with.
pub(super) struct Clients {
    /// To the registry, and to where it leads from there, without credentials.
    pub(super) registry: reqwest::Client,
    /// To its token service without credentials.
    pub(super) anonymous: reqwest::Client,
    /// To its token service, which alone gets them: it follows to no other server, and trusts certificates on this machine no
    /// more than elsewhere.
    pub(super) tokens: reqwest::Client,
    /// The same, for a token service on this machine, where any certificate will do if it will do for the registry.
    pub(super) tokens_here: reqwest::Client,
    /// What they are made with.
    pub(super) settings: Settings,
}

/// A client for one image.
pub(super) struct Client {
    http: Clients,
    /// `https://HOST`.
    base: String,
    repository: String,
    login: Login,
    /// What requests carry, and since when.
    authorization: Mutex<(Option<HeaderValue>, Instant)>,
}

impl Client {
    /// Logs in.
    ///
    /// # Errors
    /// When the server does not answer, or refuses the credentials.
    pub(super) async fn open(
        http: Clients,
        base: String,
        repository: &str,
        login: Login,
    ) -> Result<Self, RequestError> {
        let authorization = Mutex::new((None, Instant::now()));
        let client = Client { http, base, repository: repository.to_owned(), login, authorization };
        client.authorize().await?;
        Ok(client)
    }

    async fn authorize(&self) -> Result<(), RequestError> {
        let asking = Authorization { http: &self.http, base: &self.base, repository: &self.repository };
        let header = asking.header(&self.login).await?;
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = (header, Instant::now());
        Ok(())
    }

    /// Sends a request, with a new token where the one that it has may have expired.
    async fn send(&self, request: impl Fn() -> RequestBuilder) -> Result<Response, RequestError> {
        let attempt = async || {
            let (header, since) = self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let request = match &header {
                Some(header) => request().header(AUTHORIZATION, header),
                None => request(),
            };
            Ok::<_, RequestError>((request.send().await?, header.is_some() && since.elapsed() > AGED))
        };
        let (mut answer, aged) = attempt().await?;
        if answer.status() == StatusCode::UNAUTHORIZED && aged {
            self.authorize().await?;
            (answer, _) = attempt().await?;
        }
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        Err(RequestError::Refused(status, Refusal::parse(&COMPLAINT.start_of_body(answer).await)))
    }

    /// The manifest or index that a reference leads to, as it is stored.
    pub(super) async fn manifest(&self, reference: &Reference) -> Result<Vec<u8>, RequestError> {
        let unverifiable = |_| RequestError::Unverifiable(reference.digest().unwrap_or_default().to_owned());
        let asked: Option<Digest> = reference.digest().map(str::parse).transpose().map_err(unverifiable)?;
        let name = reference.digest().or_else(|| reference.tag()).unwrap_or("latest");
        let url = format!("{}/v2/{}/manifests/{name}", self.base, self.repository);
        let answer = self.send(|| self.http.registry.get(&url).header(ACCEPT, MANIFEST_TYPES.join(", "))).await?;
        // One of another kind than asked for says nothing that counts.
        let told = answer.headers().get(DIGEST).and_then(|digest| digest.to_str().ok()?.parse().ok());
        let json = MANIFEST.body(answer).await?;
        let found = Digest::of(&json);
        match [asked, told].into_iter().flatten().find(|expected| *expected != found) {
            Some(expected) => Err(RequestError::Damaged(found, expected)),
            None => Ok(json),
        }
    }

    /// A blob from `offset` on; from its first byte where the registry does not honour that.
    pub(super) async fn blob(&self, digest: &Digest, offset: u64) -> Result<Response, RequestError> {
        let url = format!("{}/v2/{}/blobs/{digest}", self.base, self.repository);
        let from = || match self.http.registry.get(&url) {
            request if offset > 0 => request.header(RANGE, format!("bytes={offset}-")),
            request => request,
        };
        self.send(from).await
    }
}
