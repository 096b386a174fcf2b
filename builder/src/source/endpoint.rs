//! Which server stands for a registry, and how it is spoken to.

use anyhow::{Result, bail, ensure};
use oci_spec::distribution::Reference;
use std::fmt;
use std::str::FromStr;

/// The registry that mirrors stand for, as for Docker's `registry-mirrors`.
const DOCKER_HUB: &str = "docker.io";

/// A server that stands for Docker Hub: `http://` or `https://`, a host, perhaps a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    host: String,
    plain: bool,
}

impl FromStr for Mirror {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        let shown = http_settings::without_credentials(text);
        let (plain, rest) = match text.split_once("://") {
            Some(("http", rest)) => (true, rest),
            Some(("https", rest)) => (false, rest),
            Some((scheme, _)) => bail!("mirror {shown}: {scheme}:// is not spoken, only https:// and http://"),
            None => bail!("mirror {shown}: write the whole URL, as https://{shown}"),
        };
        let host = rest.trim_end_matches('/');
        ensure!(
            !host.is_empty() && !host.contains(['/', '?', '#', '@']),
            "mirror {shown}: it must be a server without a path, a query or a user, as https://mirror.example:5000"
        );
        Ok(Mirror { host: host.to_owned(), plain })
    }
}

/// A server to ask for an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The image as this server names it.
    pub reference: Reference,
    /// Plain HTTP.
    pub plain: bool,
    /// Whether it stands in for another.
    pub mirror: bool,
}

impl Endpoint {
    /// The servers to ask for `reference`, in order: for Docker Hub's images the mirrors and then itself, else the
    /// image's own registry alone.
    #[must_use]
    pub fn all(reference: &Reference, mirrors: &[Mirror]) -> Vec<Self> {
        let mirrors = if reference.registry() == DOCKER_HUB { mirrors } else { &[] };
        let mut endpoints: Vec<Endpoint> = mirrors
            .iter()
            .map(|mirror| Endpoint { reference: on(reference, &mirror.host), plain: mirror.plain, mirror: true })
            .collect();
        endpoints.push(Endpoint { reference: reference.clone(), plain: false, mirror: false });
        endpoints
    }

    /// Whether it is on this very machine, where Docker too tries TLS, trusting whatever it shows, and then plain HTTP (dockerd(8),
    /// "Insecure registries").
    #[must_use]
    pub fn is_insecure(&self) -> bool {
        !self.mirror && http_settings::is_loopback(self.host())
    }

    /// The host, perhaps with a port, that requests go to.
    #[must_use]
    pub fn host(&self) -> &str {
        self.reference.resolve_registry()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.plain { "http" } else { "https" };
        match (self.mirror, self.reference.registry()) {
            (true, host) => write!(f, "mirror {scheme}://{host}"),
            (false, DOCKER_HUB) => f.write_str("Docker Hub"),
            (false, host) => write!(f, "{scheme}://{host}"),
        }
    }
}

/// The same image on another server.
fn on(reference: &Reference, host: &str) -> Reference {
    let (host, repository) = (host.to_owned(), reference.repository().to_owned());
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => Reference::with_digest(host, repository, digest.to_owned()),
        (None, tag) => Reference::with_tag(host, repository, tag.unwrap_or("latest").to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(image: &str, mirrors: &[&str]) -> Vec<String> {
        let mirrors: Vec<Mirror> = mirrors.iter().map(|mirror| mirror.parse().unwrap()).collect();
        let endpoints = Endpoint::all(&image.parse().unwrap(), &mirrors);
        endpoints.iter().map(|endpoint| format!("{endpoint}: {}", endpoint.reference)).collect()
    }

    #[test]
    fn mirrors_come_before_docker_hub_and_stand_for_nothing_else() {
        let mirrors = ["http://127.0.0.1:5000/", "https://mirror.example"];
        assert_eq!(
            asked("nginx:1", &mirrors),
            [
                "mirror http://127.0.0.1:5000: 127.0.0.1:5000/library/nginx:1",
                "mirror https://mirror.example: mirror.example/library/nginx:1",
                "Docker Hub: docker.io/library/nginx:1",
            ]
        );
        assert_eq!(asked("quay.io/a/b", &mirrors), ["https://quay.io: quay.io/a/b:latest"]);
    }

    #[test]
    fn what_is_no_mirror_is_refused_with_advice() {
        let refused = |text: &str| text.parse::<Mirror>().unwrap_err().to_string();
        assert_eq!(refused("mirror:5000"), "mirror mirror:5000: write the whole URL, as https://mirror:5000");
        assert!(refused("ftp://x").contains("ftp:// is not spoken"));
        assert!(refused("https://x/path").contains("without a path"));
        let secret = refused("https://user:hunter2@x");
        assert!(
            secret.starts_with("mirror https://x: it must be a server without a path, a query or a user"),
            "{secret}"
        );
    }
}
