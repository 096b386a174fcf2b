//! Credentials for registries, by the rules of Docker's `config.json` and of containers-auth.json(5). A password goes
//! to nobody but the registry, or the part of it, that its key names.

mod files;
mod helper;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use files::{Config, Entry, Form};
use std::iter;
use std::path::PathBuf;

/// Docker Hub by all of its names; the last is a URL's of its first version, which `docker login` still writes.
const DOCKER_HUB: &[&str] = &["docker.io", "index.docker.io", "registry-1.docker.io"];
/// The same as helpers know it.
const DOCKER_HUB_SERVER: &str = "https://index.docker.io/v1/";

/// The files that may have credentials, the first of them first.
#[derive(Debug, Default, Clone)]
pub struct Logins(Vec<Config>);

/// How to log in to a registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// Not at all.
    Anonymous,
    /// As a user with a password.
    Password(String, String),
    /// With a token that the registry itself takes.
    Token(String),
    /// With a token that the registry's token service exchanges for one that the registry takes.
    Identity(String),
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Login::Anonymous => "Anonymous",
            Login::Password(..) => "Password(<redacted>)",
            Login::Token(_) => "Token(<redacted>)",
            Login::Identity(_) => "Identity(<redacted>)",
        })
    }
}

/// What is known of a registry.
#[derive(Debug, PartialEq, Eq)]
pub struct Credentials {
    /// How to log in.
    pub login: Login,
    /// What to tell the user if the registry refuses: why credentials that are configured can't be used, or how to get
    /// some.
    pub hint: Option<String>,
}

/// The user's files that may have credentials; not all of them are there.
pub fn config_files() -> impl Iterator<Item = PathBuf> {
    locations().into_iter().map(|(file, _)| file)
}

fn locations() -> Vec<(PathBuf, Form)> {
    let user = rustix::process::getuid().as_raw();
    files::locations(|name| std::env::var_os(name).filter(|value| !value.is_empty()), user)
}

impl Logins {
    /// Reads the user's configurations; those that are not there have nothing to say.
    #[must_use]
    pub fn load() -> Self {
        Logins(locations().iter().filter_map(|(file, form)| files::read(file, *form)).collect())
    }

    /// What is known of a repository of a registry, which is given as host and perhaps port.
    #[must_use]
    pub fn credentials(&self, registry: &str, repository: &str) -> Credentials {
        let mut hint = None;
        for config in &self.0 {
            let (login, complaint) = config.login(registry, repository);
            if login != Login::Anonymous {
                return Credentials { login, hint: None };
            }
            hint = hint.or(complaint).or_else(|| config.complaint.clone());
        }
        Credentials { login: Login::Anonymous, hint: hint.or_else(|| advice(registry)) }
    }
}

/// How to get credentials for registries that need a program for it.
fn advice(registry: &str) -> Option<String> {
    let is_ecr = registry.contains(".dkr.ecr.") && registry.contains(".amazonaws.com");
    is_ecr.then(|| {
        format!(
            "for Amazon ECR install amazon-ecr-credential-helper and put {{\"credHelpers\":{{\"{registry}\":\"ecr-login\"}}}} \
             into ~/.docker/config.json, or pipe aws ecr get-login-password into docker login --username AWS \
             --password-stdin {registry}"
        )
    })
}

impl Config {
    /// What this file says of a repository, and why it can't be had if something should know: most images are public,
    /// and only if this one is not does it matter.
    fn login(&self, registry: &str, repository: &str) -> (Login, Option<String>) {
        let mut complaint = None;
        let mut of_entry = |found: Option<(&String, &Entry)>| {
            let (key, entry) = found?;
            match entry.login() {
                Some(Login::Anonymous) => None,
                Some(login) => Some(login),
                None => {
                    let path = &self.path;
                    let mend = format!(
                        "{path}: the credentials for {key} are not base64 of USER:PASSWORD: docker login {key} again"
                    );
                    complaint.get_or_insert(mend);
                    None
                }
            }
        };
        // Helpers know hosts alone.
        for namespace in namespaces(repository) {
            if let Some(login) = of_entry(self.entry(registry, namespace)) {
                return (login, None);
            }
        }
        let at_host = of_entry(self.entry(registry, ""));
        match self.helper(registry).map(|helper| helper::get(helper, server(registry))) {
            None | Some(Ok(Login::Anonymous)) => {}
            Some(Ok(login)) => return (login, None),
            Some(Err(error)) => complaint = complaint.or(Some(format!("{error:#}"))),
        }
        (at_host.unwrap_or(Login::Anonymous), complaint)
    }

    fn helper(&self, registry: &str) -> Option<&str> {
        let named = self.helpers.iter().find(|(key, _)| is_host(key, registry));
        named.map(|(_, helper)| helper).or(self.store.as_ref()).map(String::as_str)
    }

    /// The entry for a part of a registry, or for all of it. Keys as tools write them today count before URLs, as old
    /// ones did.
    fn entry(&self, registry: &str, namespace: &str) -> Option<(&String, &Entry)> {
        let exact = names(registry).find_map(|host| {
            let wanted = if namespace.is_empty() { host.to_owned() } else { format!("{host}/{namespace}") };
            self.auths.iter().find(|(key, _)| key.trim_end_matches('/').eq_ignore_ascii_case(&wanted))
        });
        let by_url = || self.auths.iter().find(|(key, _)| namespace.is_empty() && is_host(key, registry));
        exact.or_else(by_url)
    }
}

impl Entry {
    /// How it logs in; `None` where it can't be decoded.
    fn login(&self) -> Option<Login> {
        Some(if !self.token.is_empty() {
            Login::Token(self.token.clone())
        } else if !self.identity.is_empty() {
            Login::Identity(self.identity.clone())
        } else if !self.auth.is_empty() {
            let (user, password) = decode(&self.auth)?;
            Login::Password(user, password)
        } else if !self.username.is_empty() {
            Login::Password(self.username.clone(), self.password.clone())
        } else {
            Login::Anonymous
        })
    }
}

fn decode(auth: &str) -> Option<(String, String)> {
    let decoded = String::from_utf8(STANDARD.decode(auth.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    // Docker itself pads old entries with NULs.
    Some((user.to_owned(), password.trim_end_matches('\0').to_owned()))
}

/// `a/b/c`, `a/b`, `a`.
fn namespaces(repository: &str) -> impl Iterator<Item = &str> {
    let itself = Some(repository).filter(|repository| !repository.is_empty());
    iter::successors(itself, |name| Some(name.rsplit_once('/')?.0))
}

/// All names of a registry.
fn names(registry: &str) -> impl Iterator<Item = &str> {
    let hub: &[&str] = if DOCKER_HUB.contains(&registry) { DOCKER_HUB } else { &[] };
    let itself = if hub.is_empty() { Some(registry) } else { None };
    hub.iter().copied().chain(itself)
}

/// What helpers call a registry.
fn server(registry: &str) -> &str {
    if DOCKER_HUB.contains(&registry) { DOCKER_HUB_SERVER } else { registry }
}

/// Whether a key is of a whole registry: its name, or a URL, whose path says nothing: `https://index.docker.io/v1/`.
fn is_host(key: &str, registry: &str) -> bool {
    let host = match key.split_once("://") {
        Some((_, rest)) => rest.split('/').next().unwrap_or_default(),
        None => key.trim_end_matches('/'),
    };
    names(registry).any(|name| host.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests;
