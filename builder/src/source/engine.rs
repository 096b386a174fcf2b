//! Images of a container engine on this machine: Docker's daemon, or podman, which speaks the same protocol (Docker Engine
//! API, `GET /images/{name}/json` and `GET /images/{name}/get`).

use super::{Container, Fetch, export};
use crate::bounded::{COMPLAINT, CONFIGURATION};
use crate::digest::Digest;
use crate::platform::Platform;
use anyhow::{Context, Result, anyhow, bail, ensure};
use oci_spec::distribution::Reference;
use reqwest::StatusCode;
use reqwest::blocking::{Client, Response};
use serde::Deserialize;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long an engine may take to say that it is there. It is on this machine, or in the same network.
const PING: Duration = Duration::from_secs(5);
/// How long it may take to look an image up.
const LOOK: Duration = Duration::from_secs(30);
/// From this version on an engine can be asked for one platform of an image made for several (moby, API version history).
const PLATFORMS: (u32, u32) = (1, 49);

/// A container engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Docker's daemon: `DOCKER_HOST`, else its usual sockets.
    Docker,
    /// Podman's service: `CONTAINER_HOST`, else its usual sockets.
    Podman,
}

impl Engine {
    /// All of them.
    pub const ALL: &[Engine] = &[Engine::Docker, Engine::Podman];

    /// How its images are written on the command line.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Engine::Docker => "docker-daemon:",
            Engine::Podman => "podman:",
        }
    }

    /// The variable that says where it is, and where it is else: directories of the user's (`XDG_RUNTIME_DIR`), and of root.
    fn places(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Engine::Docker => ("DOCKER_HOST", "docker.sock", "/var/run/docker.sock"),
            Engine::Podman => ("CONTAINER_HOST", "podman/podman.sock", "/run/podman/podman.sock"),
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Engine::Docker => "the Docker daemon",
            Engine::Podman => "podman",
        })
    }
}

/// Why an engine does not give an image, though nothing is wrong.
#[derive(Debug, thiserror::Error)]
pub(super) enum Absence {
    /// There is no such engine on this machine.
    #[error("{0} does not run here: there is no socket {list}", list = .1.join(" or "))]
    NoEngine(Engine, Vec<String>),
    /// It does not answer, or in another language.
    #[error("{0} at {1} does not answer: {2}")]
    Silent(Engine, String, String),
    /// It has no such image.
    #[error("{0} has no image {1}")]
    NoImage(Engine, String),
    /// It has one that is made for something else.
    #[error("{0} has {1} for {2} only, not for {3}")]
    OtherPlatform(Engine, String, String, Platform),
}

/// The names by which an engine may know an image that the user named by Docker's rules.
pub(super) fn names(engine: Engine, reference: &Reference) -> Vec<String> {
    let mut names = vec![reference.whole()];
    // What podman builds without the name of a registry is called so.
    let short = reference.repository().strip_prefix("library/").filter(|_| reference.registry() == "docker.io");
    if let (Engine::Podman, Some(short)) = (engine, short) {
        let rest = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => format!("@{digest}"),
            (None, tag) => format!(":{}", tag.unwrap_or("latest")),
        };
        names.push(format!("localhost/{short}{rest}"));
    }
    names
}

/// A name or an ID as the user writes it for an engine; it becomes part of a URL.
pub(super) fn name(text: &str) -> Result<String> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:/@".contains(&byte);
    ensure!(
        text.bytes().all(known) && !text.split('/').any(|part| part.is_empty() || part == "." || part == ".."),
        "{text:?} is neither the name nor the ID of an image"
    );
    Ok(text.to_owned())
}

/// What an engine says of an image.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Inspected {
    /// Its identity: the digest of its configuration, or of its manifest where containerd keeps it.
    pub(super) id: Digest,
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    /// Bytes of its files, more or less.
    #[serde(default)]
    pub(super) size: u64,
}

impl Inspected {
    /// An image of which only its identity is known.
    pub(crate) fn new(id: Digest) -> Self {
        Inspected { id, os: String::new(), architecture: String::new(), size: 0 }
    }
}

/// Fetches an image that must be in the engine.
///
/// # Errors
/// When it is not there, or can't be read.
pub(super) fn fetch(engine: Engine, names: &[String], fetch: &Fetch<'_>) -> Result<Container> {
    find(engine, names, fetch)?.map_err(|absence| anyhow!("{absence}"))
}

/// Fetches an image if the engine has it for the platform.
///
/// # Errors
/// When it has it, and it can't be read.
pub(super) fn find(engine: Engine, names: &[String], fetch: &Fetch<'_>) -> Result<Result<Container, Absence>> {
    let mut connection = match Connection::open(engine)? {
        Ok(connection) => connection,
        Err(absence) => return Ok(Err(absence)),
    };
    connection.ask_for(fetch.platform);
    for name in names {
        let inspected = match connection.inspect(name) {
            Ok(Some(inspected)) => inspected,
            Ok(None) => continue,
            Err(error) => return Ok(Err(Absence::Silent(engine, connection.address, format!("{error:#}")))),
        };
        let (os, architecture) = (&inspected.os, &inspected.architecture);
        if os != "linux" || architecture != fetch.platform.arch.oci {
            let other = format!("{os}/{architecture}");
            return Ok(Err(Absence::OtherPlatform(engine, name.clone(), other, fetch.platform)));
        }
        let container = match export::remembered(&inspected, fetch)? {
            Some(container) => container,
            None => {
                fetch.progress.step(format!("export {name} from {engine}"));
                let exported = connection.export(&inspected.id).and_then(|tar| export::read(tar, &inspected, fetch));
                exported.with_context(|| format!("export {name} from {engine}"))?
            }
        };
        return Ok(Ok(container));
    }
    Ok(Err(Absence::NoImage(engine, names.join(" or "))))
}

/// A conversation with an engine.
struct Connection {
    client: Client,
    /// What URLs begin with.
    base: String,
    /// Where it is, for messages.
    address: String,
    version: (u32, u32),
    /// The platform to ask for, as a query, where the engine understands that.
    query: String,
}

/// Where an engine listens.
#[derive(Debug, PartialEq, Eq)]
enum Address {
    Socket(PathBuf),
    Tcp(String),
}

impl Connection {
    fn open(engine: Engine) -> Result<Result<Self, Absence>> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let mut missing = Vec::new();
        for address in addresses(engine, variable)? {
            match &address {
                Address::Socket(path) if !path.exists() => missing.push(path.display().to_string()),
                _ => return Ok(Connection::ping(&address).map_err(|(at, why)| Absence::Silent(engine, at, why))),
            }
        }
        Ok(Err(Absence::NoEngine(engine, missing)))
    }

    /// Whether somebody answers there.
    fn ping(address: &Address) -> Result<Self, (String, String)> {
        // The client wants it even where no TLS is spoken.
        http_settings::install_cryptography();
        let client = Client::builder().no_proxy().timeout(None).connect_timeout(PING).tls_certs_only([]);
        let (client, base, address) = match address {
            Address::Socket(path) => {
                (client.unix_socket(path.as_path()), "http://engine".to_owned(), path.display().to_string())
            }
            Address::Tcp(host) => (client, format!("http://{host}"), format!("tcp://{host}")),
        };
        let words = |error: reqwest::Error| format!("{:#}", anyhow!(error.without_url()));
        let silent = |why: String| (address.clone(), why);
        let client = client.build().map_err(|error| silent(words(error)))?;
        let pong = client.get(format!("{base}/_ping")).timeout(PING).send().map_err(|error| silent(words(error)))?;
        if !pong.status().is_success() {
            return Err(silent(format!("it says {} to a ping", pong.status())));
        }
        let version = pong.headers().get("api-version").and_then(|value| value.to_str().ok()).and_then(version);
        Ok(Connection { client, base, address, version: version.unwrap_or_default(), query: String::new() })
    }

    fn ask_for(&mut self, platform: Platform) {
        if self.version >= PLATFORMS {
            // JSON in a query: only these characters of it need to be escaped.
            self.query = format!("?platform=%7B%22os%22:%22linux%22,%22architecture%22:%22{}%22%7D", platform.arch.oci);
        }
    }

    fn inspect(&self, name: &str) -> Result<Option<Inspected>> {
        let url = format!("{}/images/{name}/json{}", self.base, self.query);
        let answer = self.client.get(url).timeout(LOOK).send().map_err(reqwest::Error::without_url)?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let body = CONFIGURATION.read(accepted(answer)?).context("read what it says of the image")?;
        serde_json::from_slice(&body).context("read what it says of the image").map(Some)
    }

    /// The image as `docker save` writes it.
    fn export(&self, id: &Digest) -> Result<Response> {
        let url = format!("{}/images/{id}/get{}", self.base, self.query);
        accepted(self.client.get(url).send().map_err(reqwest::Error::without_url)?)
    }
}

/// An answer that is none of failure; else what the engine says.
fn accepted(answer: Response) -> Result<Response> {
    #[derive(Deserialize)]
    struct Complaint {
        message: String,
    }
    if answer.status().is_success() {
        return Ok(answer);
    }
    let status = answer.status();
    let body = COMPLAINT.start_of(answer);
    match serde_json::from_slice::<Complaint>(&body) {
        Ok(complaint) => bail!("it answers {status}: {}", complaint.message),
        Err(_) => bail!("it answers {status}"),
    }
}

fn version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Where an engine may listen: where the user says, else where it usually does.
fn addresses(engine: Engine, variable: impl Fn(&str) -> Option<OsString>) -> Result<Vec<Address>> {
    let (host, of_user, of_root) = engine.places();
    if let Some(given) = variable(host) {
        let given = given.to_string_lossy();
        let address = match given.split_once("://") {
            Some(("unix", path)) => Address::Socket(path.into()),
            Some(("tcp" | "http", rest)) if variable("DOCKER_TLS_VERIFY").is_none() => {
                Address::Tcp(rest.trim_end_matches('/').to_owned())
            }
            _ => bail!(
                "{host}={given}: only unix:// and tcp:// without TLS are spoken; forward its socket with ssh -L, or pass the \
                 image on with docker save and docker-archive:, or leave the daemon out with --image-src registry"
            ),
        };
        return Ok(vec![address]);
    }
    let of_user = variable("XDG_RUNTIME_DIR").map(|directory| Address::Socket(Path::new(&directory).join(of_user)));
    let of_root = Some(Address::Socket(of_root.into()));
    // A user's own podman has the user's images; a user's own Docker is the exception to the machine's.
    let both = if engine == Engine::Podman { [of_user, of_root] } else { [of_root, of_user] };
    Ok(both.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(engine: Engine, set: &[(&str, &str)]) -> Result<Vec<Address>> {
        addresses(engine, |name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into()))
    }

    #[test]
    fn an_engine_is_where_the_user_says_or_where_it_usually_is() {
        let socket = |path: &str| Address::Socket(path.into());
        let user = ("XDG_RUNTIME_DIR", "/run/user/7");
        assert_eq!(at(Engine::Docker, &[]).unwrap(), [socket("/var/run/docker.sock")]);
        assert_eq!(
            at(Engine::Podman, &[user]).unwrap(),
            [socket("/run/user/7/podman/podman.sock"), socket("/run/podman/podman.sock")]
        );
        assert_eq!(at(Engine::Docker, &[user, ("DOCKER_HOST", "unix:///x.sock")]).unwrap(), [socket("/x.sock")]);
        assert_eq!(
            at(Engine::Docker, &[("DOCKER_HOST", "tcp://127.0.0.1:2375/")]).unwrap(),
            [Address::Tcp("127.0.0.1:2375".to_owned())]
        );
        let refused = at(Engine::Docker, &[("DOCKER_HOST", "ssh://me@host")]).unwrap_err().to_string();
        assert!(refused.starts_with("DOCKER_HOST=ssh://me@host: only unix:// and tcp:// without TLS"), "{refused}");
        assert!(at(Engine::Docker, &[("DOCKER_HOST", "tcp://h:1"), ("DOCKER_TLS_VERIFY", "1")]).is_err());
    }

    #[test]
    fn podman_knows_short_names_as_its_own_as_well() {
        let names = |engine, text: &str| names(engine, &text.parse().unwrap());
        assert_eq!(names(Engine::Docker, "app"), ["docker.io/library/app:latest"]);
        assert_eq!(names(Engine::Podman, "app:1"), ["docker.io/library/app:1", "localhost/app:1"]);
        assert_eq!(names(Engine::Podman, "quay.io/a/b"), ["quay.io/a/b:latest"]);
    }
}
