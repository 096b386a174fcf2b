//! Credentials for registries: from Docker's configuration (`config.json` in `DOCKER_CONFIG`, else in `~/.docker`), then
//! from podman's and skopeo's files, which have the same form (containers-auth.json(5)).

mod helper;

use crate::bounded::SETTINGS;
use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The key of Docker Hub in `auths`: the address of its first version, which Docker never changed.
const DOCKER_HUB_KEY: &str = "index.docker.io";
/// The same as helpers know it.
const DOCKER_HUB_SERVER: &str = "https://index.docker.io/v1/";

/// The files that may have credentials, the first of them first.
#[derive(Debug, Default, Clone)]
pub struct Logins(Vec<Config>);

/// The part of a configuration that tells credentials.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default)]
    creds_store: String,
}

/// What `docker login` keeps for a registry.
#[derive(Default, Clone, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<redacted>")
    }
}

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
    /// What to tell the user if the registry refuses: why credentials that are configured can't be used, or how to get some.
    pub hint: Option<String>,
}

impl Logins {
    /// Reads the user's configurations; those that are not there have nothing to say.
    ///
    /// # Errors
    /// When there is one that can't be read.
    pub fn load() -> Result<Self> {
        let files = locations(|name| std::env::var_os(name).filter(|value| !value.is_empty()));
        let read = files.iter().filter_map(|file| Config::read(file).transpose());
        read.collect::<Result<_>>().map(Logins)
    }

    /// What is known of a registry, given as host and perhaps port.
    ///
    /// # Errors
    /// When its entry can't be decoded.
    pub fn credentials(&self, registry: &str) -> Result<Credentials> {
        let mut hint = None;
        for config in &self.0 {
            let (login, complaint) = config.login(registry)?;
            if login != Login::Anonymous {
                return Ok(Credentials { login, hint: None });
            }
            hint = hint.or(complaint);
        }
        Ok(Credentials { login: Login::Anonymous, hint: hint.or_else(|| advice(registry)) })
    }
}

/// Where credentials may be, in the order in which they are looked at.
fn locations(variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let path = |name: &str| variable(name).map(PathBuf::from);
    let docker = path("DOCKER_CONFIG").or_else(|| Some(path("HOME")?.join(".docker")));
    let runtime = path("XDG_RUNTIME_DIR").map(|directory| directory.join("containers/auth.json"));
    let config = path("XDG_CONFIG_HOME").or_else(|| Some(path("HOME")?.join(".config")));
    [
        docker.map(|directory| directory.join("config.json")),
        path("REGISTRY_AUTH_FILE").or(runtime),
        config.map(|directory| directory.join("containers/auth.json")),
    ]
    .into_iter()
    .flatten()
    .collect()
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
    fn read(path: &Path) -> Result<Option<Self>> {
        let json = match SETTINGS.read_file(path) {
            Ok(json) => json,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("read credentials from {}", path.display())),
        };
        let config =
            serde_json::from_slice(&json).with_context(|| format!("read credentials from {}", path.display()))?;
        Ok(Some(config))
    }

    /// What this file says of a registry, and why it can't be had if a helper should know.
    fn login(&self, registry: &str) -> Result<(Login, Option<String>)> {
        let is_hub = registry == "docker.io";
        let host = if is_hub { DOCKER_HUB_KEY } else { registry };
        let helper = self.cred_helpers.iter().find(|(key, _)| host_of(key) == host).map(|(_, helper)| helper);
        let helper = helper.or(Some(&self.creds_store).filter(|store| !store.is_empty()));
        let mut complaint = None;
        if let Some(helper) = helper {
            match helper::get(helper, if is_hub { DOCKER_HUB_SERVER } else { registry }) {
                Ok(Login::Anonymous) => {}
                Ok(login) => return Ok((login, None)),
                // Most images are public. Only if this one is not does it matter that a helper does not help.
                Err(error) => complaint = Some(format!("{error:#}")),
            }
        }
        Ok((self.entry(host)?, complaint))
    }

    fn entry(&self, host: &str) -> Result<Login> {
        let Some((key, entry)) = self.auths.iter().find(|(key, _)| host_of(key) == host) else {
            return Ok(Login::Anonymous);
        };
        if !entry.registrytoken.is_empty() {
            return Ok(Login::Token(entry.registrytoken.clone()));
        }
        if !entry.identitytoken.is_empty() {
            return Ok(Login::Identity(entry.identitytoken.clone()));
        }
        if !entry.auth.is_empty() {
            let (user, password) = decode(&entry.auth).with_context(|| {
                format!(
                    "the credentials for {key} in Docker's configuration are not base64 of USER:PASSWORD: \
                     docker login {key} again"
                )
            })?;
            return Ok(Login::Password(user, password));
        }
        if !entry.username.is_empty() {
            return Ok(Login::Password(entry.username.clone(), entry.password.clone()));
        }
        Ok(Login::Anonymous)
    }
}

fn decode(auth: &str) -> Option<(String, String)> {
    let decoded = String::from_utf8(STANDARD.decode(auth.trim()).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    // Docker itself pads old entries with NULs.
    Some((user.to_owned(), password.trim_end_matches('\0').to_owned()))
}

/// Keys are hosts, or URLs as old clients wrote them: `https://index.docker.io/v1/`.
fn host_of(key: &str) -> &str {
    let rest = key.split_once("://").map_or(key, |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logins(files: &[&str]) -> Logins {
        Logins(files.iter().map(|json| serde_json::from_str(json).unwrap()).collect())
    }

    fn password(user: &str, password: &str) -> Login {
        Login::Password(user.to_owned(), password.to_owned())
    }

    #[test]
    fn logins_are_found_by_host_however_their_key_is_written() {
        // printf 'me:pass:word' | base64
        let logins = logins(&[
            r#"{"auths":{"https://index.docker.io/v1/":{"auth":"bWU6cGFzczp3b3Jk"},
                "localhost:5000":{"username":"u","password":"p"},"empty.example":{},
                "id.example":{"auth":"bWU6cGFzczp3b3Jk","identitytoken":"i"},"token.example":{"registrytoken":"t"}}}"#,
            r#"{"auths":{"localhost:5000":{"username":"other","password":"p"},"quay.io":{"username":"q","password":"p"}}}"#,
        ]);
        let login = |registry| logins.credentials(registry).unwrap().login;
        assert_eq!(login("docker.io"), password("me", "pass:word"));
        assert_eq!(login("localhost:5000"), password("u", "p"));
        assert_eq!(login("quay.io"), password("q", "p"));
        assert_eq!(login("id.example"), Login::Identity("i".to_owned()));
        assert_eq!(login("token.example"), Login::Token("t".to_owned()));
        assert_eq!(login("empty.example"), Login::Anonymous);
        assert_eq!(login("other.example"), Login::Anonymous);
    }

    #[test]
    fn files_are_looked_for_where_each_tool_keeps_them() {
        let at = |set: &[(&str, &str)]| {
            let set = set.to_vec();
            let files =
                locations(|name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into()));
            files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(at(&[("HOME", "/h")]), ["/h/.docker/config.json", "/h/.config/containers/auth.json"]);
        assert_eq!(
            at(&[("HOME", "/h"), ("DOCKER_CONFIG", "/d"), ("XDG_RUNTIME_DIR", "/r"), ("XDG_CONFIG_HOME", "/c")]),
            ["/d/config.json", "/r/containers/auth.json", "/c/containers/auth.json"]
        );
        assert_eq!(at(&[("REGISTRY_AUTH_FILE", "/a"), ("XDG_RUNTIME_DIR", "/r")]), ["/a"]);
    }

    #[test]
    fn a_helper_that_cannot_be_asked_is_told_only_if_the_registry_refuses() {
        let logins = logins(&[r#"{"credHelpers":{"ecr.example":"nowhere-to-be-found"},"auths":{"quay.io":{}}}"#]);
        let found = logins.credentials("ecr.example").unwrap();
        assert_eq!(found.login, Login::Anonymous);
        assert!(found.hint.unwrap().starts_with("docker-credential-nowhere-to-be-found get for ecr.example: "));
        assert_eq!(logins.credentials("quay.io").unwrap().hint, None);
        let hint = logins.credentials("1.dkr.ecr.eu-central-1.amazonaws.com").unwrap().hint.unwrap();
        assert!(hint.contains(r#"{"credHelpers":{"1.dkr.ecr.eu-central-1.amazonaws.com":"ecr-login"}}"#), "{hint}");
    }

    #[test]
    fn a_damaged_entry_says_how_to_mend_it() {
        let refusal =
            logins(&[r#"{"auths":{"quay.io":{"auth":"%%%"}}}"#]).credentials("quay.io").unwrap_err().to_string();
        assert!(refusal.ends_with("docker login quay.io again"), "{refusal}");
    }
}
