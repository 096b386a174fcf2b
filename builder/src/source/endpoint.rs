//! Which server stands for a registry, and how it is spoken to.

use anyhow::{Result, bail, ensure};
use oci_spec::distribution::Reference;
use std::fmt;
use std::net::IpAddr;
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
        let (plain, rest) = match text.split_once("://") {
            Some(("http", rest)) => (true, rest),
            Some(("https", rest)) => (false, rest),
            Some((scheme, _)) => bail!("mirror {text}: {scheme}:// is not spoken, only https:// and http://"),
            None => bail!("mirror {text}: write the whole URL, as https://{text}"),
        };
        let host = rest.trim_end_matches('/');
        ensure!(
            !host.is_empty() && !host.contains(['/', '?', '#', '@']),
            "mirror {text}: it must be a server without a path, a query or a user, as https://mirror.example:5000"
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
        let plain = is_loopback(reference.registry());
        endpoints.push(Endpoint { reference: reference.clone(), plain, mirror: false });
        endpoints
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

/// Whether a registry is on this very machine, where Docker too speaks plain HTTP.
fn is_loopback(registry: &str) -> bool {
    let host = match registry.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
        None => registry.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
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
    fn registries_on_this_machine_are_spoken_to_in_plain_http() {
        for (registry, plain) in [
            ("localhost", true),
            ("localhost:5000", true),
            ("127.0.0.1:5000", true),
            ("127.1.2.3", true),
            ("[::1]:5000", true),
            ("localhost.example", false),
            ("10.0.0.1:5000", false),
        ] {
            assert_eq!(is_loopback(registry), plain, "{registry}");
        }
    }

    #[test]
    fn what_is_no_mirror_is_refused_with_advice() {
        let refused = |text: &str| text.parse::<Mirror>().unwrap_err().to_string();
        assert_eq!(refused("mirror:5000"), "mirror mirror:5000: write the whole URL, as https://mirror:5000");
        assert!(refused("ftp://x").contains("ftp:// is not spoken"));
        assert!(refused("https://x/path").contains("without a path"));
        assert!(refused("https://user@x").contains("without a path"));
    }
}
