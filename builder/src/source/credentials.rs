//! Credentials for registries, from Docker's own configuration (`config.json` in `DOCKER_CONFIG`, else in `~/.docker`).

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oci_client::secrets::RegistryAuth;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The key of Docker Hub in `auths`: the address of its first version, which Docker never changed.
const DOCKER_HUB_KEY: &str = "index.docker.io";

/// The part of Docker's configuration that tells credentials.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Login>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
    #[serde(default)]
    creds_store: String,
}

/// What `docker login` keeps for a registry.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Login {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<redacted>")
    }
}

/// What is known of a registry.
#[derive(Debug, PartialEq, Eq)]
pub struct Credentials {
    /// How to log in.
    pub auth: RegistryAuth,
    /// What to tell the user if the registry refuses: credentials that are configured and can't be used.
    pub unused: Option<String>,
}

impl DockerConfig {
    /// Reads the user's configuration; an empty one where there is none.
    ///
    /// # Errors
    /// When there is one that can't be read.
    pub fn load() -> Result<Self> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let directory = set("DOCKER_CONFIG").or_else(|| Some(set("HOME")?.join(".docker")));
        directory.map_or_else(|| Ok(DockerConfig::default()), |directory| Self::read(&directory.join("config.json")))
    }

    fn read(path: &Path) -> Result<Self> {
        let json = match std::fs::read(path) {
            Ok(json) => json,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(DockerConfig::default()),
            Err(error) => return Err(error).with_context(|| format!("read Docker's configuration {}", path.display())),
        };
        serde_json::from_slice(&json).with_context(|| format!("read Docker's configuration {}", path.display()))
    }

    /// What is known of a registry, given as host and perhaps port.
    ///
    /// # Errors
    /// When its entry can't be decoded.
    pub fn credentials(&self, registry: &str) -> Result<Credentials> {
        let host = if registry == "docker.io" { DOCKER_HUB_KEY } else { registry };
        let helper = self.cred_helpers.iter().find(|(key, _)| host_of(key) == host).map(|(_, helper)| helper);
        let helper = helper.or(Some(&self.creds_store).filter(|store| !store.is_empty()));
        if let Some(helper) = helper {
            let unused = format!(
                "Docker's configuration keeps the credentials for {registry} in docker-credential-{helper}, and credential \
                 helpers are not supported yet: put them into a config.json of its own and point DOCKER_CONFIG at its directory"
            );
            let known = self.login(host)?;
            let unused = (known == RegistryAuth::Anonymous).then_some(unused);
            return Ok(Credentials { auth: known, unused });
        }
        Ok(Credentials { auth: self.login(host)?, unused: None })
    }

    fn login(&self, host: &str) -> Result<RegistryAuth> {
        let Some((key, login)) = self.auths.iter().find(|(key, _)| host_of(key) == host) else {
            return Ok(RegistryAuth::Anonymous);
        };
        if !login.registrytoken.is_empty() {
            return Ok(RegistryAuth::Bearer(login.registrytoken.clone()));
        }
        if !login.auth.is_empty() {
            let (user, password) =
                decode(&login.auth).with_context(|| format!("the credentials for {key} in Docker's configuration are not base64 of USER:PASSWORD: docker login {key} again"))?;
            if !login.identitytoken.is_empty() {
                // The registry's token service takes it as a password of this user (Docker's token authentication, OAuth2).
                return Ok(RegistryAuth::Basic(user, login.identitytoken.clone()));
            }
            return Ok(RegistryAuth::Basic(user, password));
        }
        if !login.username.is_empty() {
            return Ok(RegistryAuth::Basic(login.username.clone(), login.password.clone()));
        }
        Ok(RegistryAuth::Anonymous)
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

    fn config(json: &str) -> DockerConfig {
        serde_json::from_str(json).unwrap()
    }

    fn basic(user: &str, password: &str) -> RegistryAuth {
        RegistryAuth::Basic(user.to_owned(), password.to_owned())
    }

    #[test]
    fn logins_are_found_by_host_however_their_key_is_written() {
        // printf 'me:pass:word' | base64
        let config = config(
            r#"{"auths":{"https://index.docker.io/v1/":{"auth":"bWU6cGFzczp3b3Jk"},
                "localhost:5000":{"username":"u","password":"p"},"empty.example":{}}}"#,
        );
        let auth = |registry| config.credentials(registry).unwrap().auth;
        assert_eq!(auth("docker.io"), basic("me", "pass:word"));
        assert_eq!(auth("localhost:5000"), basic("u", "p"));
        assert_eq!(auth("empty.example"), RegistryAuth::Anonymous);
        assert_eq!(auth("other.example"), RegistryAuth::Anonymous);
    }

    #[test]
    fn a_helper_that_cannot_be_asked_is_named() {
        let config = config(r#"{"credHelpers":{"ecr.example":"ecr-login"},"auths":{"quay.io":{}}}"#);
        let found = config.credentials("ecr.example").unwrap();
        assert_eq!(found.auth, RegistryAuth::Anonymous);
        assert!(found.unused.unwrap().contains("docker-credential-ecr-login"));
        assert_eq!(config.credentials("quay.io").unwrap().unused, None);
    }

    #[test]
    fn a_damaged_entry_says_how_to_mend_it() {
        let config = config(r#"{"auths":{"quay.io":{"auth":"%%%"}}}"#);
        let refusal = config.credentials("quay.io").unwrap_err().to_string();
        assert!(refusal.ends_with("docker login quay.io again"), "{refusal}");
    }
}
