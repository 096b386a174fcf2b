//! The SDK's way to HTTP: the client that all of this program uses, with a bound for answers.

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use http_body_util::Limited;
use http_settings::Settings;
use reqwest::{Body, Client, Request, redirect};
use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Bytes of an answer at most. The largest are pages of a thousand snapshots with 50 tags each, some 10 MiB of XML.
const LONGEST_ANSWER: usize = 64 << 20;

/// Clients that differ in nothing but their deadlines. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Transport(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    /// By the time for a connection, and between two reads.
    connectors: Mutex<HashMap<[Option<Duration>; 2], SharedHttpConnector>>,
}

impl Transport {
    pub(crate) fn new(settings: Settings) -> Self {
        Transport(Arc::new(Inner { settings, connectors: Mutex::default() }))
    }
}

impl HttpClient for Transport {
    fn http_connector(&self, wanted: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        let deadlines = [wanted.connect_timeout(), wanted.read_timeout()];
        let mut connectors = self.0.connectors.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || SharedHttpConnector::new(Connector::new(&self.0.settings, deadlines));
        connectors.entry(deadlines).or_insert_with(new).clone()
    }
}

#[derive(Debug)]
struct Connector {
    /// Or why there is none.
    client: Result<Client, String>,
    settings: Settings,
}

impl Connector {
    fn new(settings: &Settings, [connect, read]: [Option<Duration>; 2]) -> Self {
        // AWS answers with no redirection that the SDK would not follow itself.
        let mut builder = settings.client().redirect(redirect::Policy::none());
        if let Some(connect) = connect {
            builder = builder.connect_timeout(connect);
        }
        if let Some(read) = read {
            builder = builder.read_timeout(read);
        }
        let client = http_settings::start(builder).map_err(|error| format!("{error:#}"));
        Connector { client, settings: settings.clone() }
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = match &self.client {
            Ok(client) => client.clone(),
            Err(reason) => return HttpConnectorFuture::ready(Err(ConnectorError::user(reason.as_str().into()))),
        };
        let proxy = match self.settings.proxy_of(request.uri()) {
            Ok(proxy) => proxy,
            Err(malformed) => {
                return HttpConnectorFuture::ready(Err(ConnectorError::other(Refusal::from(malformed).into(), None)));
            }
        };
        let request = request.try_into_http1x().map_err(Into::into).and_then(|request| {
            Request::try_from(request.map(Body::wrap)).map_err(|error| Box::new(error.without_url()).into())
        });
        HttpConnectorFuture::new(async move {
            let answer = client.execute(request.map_err(ConnectorError::user)?).await;
            let answer = answer.map_err(|error| failure(error, proxy))?;
            if answer.content_length().is_some_and(|length| length > LONGEST_ANSWER as u64) {
                return Err(ConnectorError::other(Refusal::TooLong.into(), None));
            }
            let bound = |body: Body| SdkBody::from_body_1_x(Limited::new(body, LONGEST_ANSWER));
            let answer = http::Response::<Body>::from(answer).map(bound);
            HttpResponse::try_from(answer).map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// Why asking again is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// The server is not the one that was meant, as far as anybody can tell.
    #[error(
        "its certificate is not trusted ({0}): if it is the right server, as of a proxy that looks into TLS, name the \
         authority that signed it with AWS_CA_BUNDLE=FILE, or with ca_bundle in the profile"
    )]
    Untrusted(String),
    /// A proxy wants to know who asks.
    #[error(
        "the proxy {0} wants a name and a password: write them into the variable that names it, as \
         http://NAME:PASSWORD@HOST:PORT"
    )]
    Unknown(String),
    /// A variable names no proxy.
    #[error(transparent)]
    Malformed(#[from] http_settings::Malformed),
    /// An answer beyond all measure.
    #[error("its answer is longer than {} MiB", LONGEST_ANSWER >> 20)]
    TooLong,
}

/// What failed on the way through a proxy.
#[derive(Debug)]
struct Through {
    proxy: String,
    error: reqwest::Error,
}

impl fmt::Display for Through {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "through the proxy {}", self.proxy)
    }
}

impl Error for Through {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}

/// A failure as the SDK knows it.
fn failure(error: reqwest::Error, proxy: Option<String>) -> ConnectorError {
    let error = error.without_url();
    let refusal = match (http_settings::tls_failure(&error), &proxy) {
        (Some(rustls::Error::InvalidCertificate(reason)), _) => Some(Refusal::Untrusted(reason.to_string())),
        (None, Some(proxy)) if http_settings::is_unknown_to_proxy(&error) => Some(Refusal::Unknown(proxy.clone())),
        // A record that is damaged on its way, and the like, is passing.
        _ => None,
    };
    if let Some(refusal) = refusal {
        return ConnectorError::other(refusal.into(), None);
    }
    let (late, never) = (error.is_timeout(), error.is_connect());
    let error = match proxy {
        Some(proxy) => Through { proxy, error }.into(),
        None => error.into(),
    };
    let told = if late { ConnectorError::timeout(error) } else { ConnectorError::io(error) };
    if never { told.never_connected() } else { told }
}
