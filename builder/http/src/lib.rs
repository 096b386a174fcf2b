//! How this program speaks HTTP, to registries, token services and AWS alike: through which proxies, and trusting whom.
//! It is resolved once, and handed to every client.

mod proxies;
mod trust;

pub use proxies::{Malformed, Proxies, is_loopback};
pub use trust::{distrust, is_unknown_to_proxy, tls_failure};

use anyhow::{Context, Result};
use reqwest::{Certificate, Client, ClientBuilder, Proxy, Url};
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// A proxy that is nowhere (RFC 2606, section 2): a request that must not go directly goes there.
const NOWHERE: &str = "http://malformed-proxy.invalid";

/// What every HTTP client is made with. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    proxies: Arc<Proxies>,
    /// The authorities that are trusted in place of the system's.
    authorities: Option<Arc<[Certificate]>>,
}

impl Settings {
    /// Those of this process, read from its environment at the first call.
    #[must_use]
    pub fn of_process() -> Self {
        static SETTINGS: OnceLock<Settings> = OnceLock::new();
        SETTINGS.get_or_init(|| Settings::default().with_proxies(Proxies::of(|name| std::env::var_os(name)))).clone()
    }

    /// With these proxies.
    #[must_use]
    pub fn with_proxies(self, proxies: Proxies) -> Self {
        Settings { proxies: Arc::new(proxies), ..self }
    }

    /// The same, but it trusts the certificates of a file in PEM form, and no others.
    ///
    /// # Errors
    /// When the file can't be read, or holds no certificates.
    pub fn trusting_only(self, file: &Path) -> Result<Self> {
        Ok(Settings { authorities: Some(trust::read(file)?.into()), ..self })
    }

    /// A client to be completed: with its proxies and its trust, and without the library's own idea of either. Requests
    /// fail that would go by a malformed variable, such as after a redirection; [`Settings::proxy_of`] says why.
    pub fn client(&self) -> ClientBuilder {
        install_cryptography();
        let proxies = self.proxies.clone();
        let builder = Client::builder().proxy(Proxy::custom(move |url| match proxies.of_url(url) {
            Ok(proxy) => proxy.map(Url::as_str).map(str::to_owned),
            Err(_) => Some(NOWHERE.to_owned()),
        }));
        match &self.authorities {
            Some(authorities) => builder.tls_certs_only(authorities.iter().cloned()),
            None => builder,
        }
    }

    /// What messages call the proxy that requests to this URL go through.
    ///
    /// # Errors
    /// When a variable that tells it is malformed.
    pub fn proxy_of(&self, url: &str) -> Result<Option<String>, Malformed> {
        let Ok(url) = url.parse::<Url>() else { return Ok(None) };
        let proxy = self.proxies.of_url(&url).map_err(Clone::clone)?;
        Ok(proxy.map(|proxy| proxies::without_credentials(proxy.as_str()).into_owned()))
    }
}

/// Starts a client.
///
/// # Errors
/// When there are no authorities to trust, or some that can't be read.
pub fn start(builder: ClientBuilder) -> Result<Client> {
    builder.build().with_context(|| {
        let named: Vec<String> = ["SSL_CERT_FILE", "SSL_CERT_DIR"]
            .iter()
            .filter_map(|name| Some(format!("{name}={}", std::env::var_os(name)?.display())))
            .collect();
        let advice = if named.is_empty() { "apt-get install ca-certificates".to_owned() } else { named.join(", ") };
        format!("start the HTTP client (are there certificates on this system? {advice})")
    })
}

/// A URL for messages: without the user's name and password.
#[must_use]
pub fn without_credentials(url: &str) -> String {
    proxies::without_credentials(url).into_owned()
}

/// Ring rather than the default aws-lc, which wants cmake.
pub fn install_cryptography() {
    // It is an error only if one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
