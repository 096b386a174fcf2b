//! Which certificate authorities are trusted for a registry beside the system's: where Docker and podman keep them, and
//! what the user names.

use crate::bounded::SETTINGS;
use anyhow::{Context, Result, ensure};
use reqwest::Certificate;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// Directories with a folder of certificates for each registry (docs.docker.com, "Verify repository client with
/// certificates"; containers-certs.d(5)).
const SYSTEM: &[&str] = &["/etc/docker/certs.d", "/etc/containers/certs.d"];
/// The same in a user's home: of rootless Docker, of Docker's desktop, of podman.
const HOME: &[&str] = &[".config/docker/certs.d", ".docker/certs.d", ".config/containers/certs.d"];

/// The certificates to trust for a registry, given as host and perhaps port.
///
/// # Errors
/// When one can't be read, or is none.
pub(super) fn certificates(registry: &str, given: Option<&Path>) -> Result<Vec<Certificate>> {
    let mut files = Vec::new();
    for directory in directories(variable("HOME")) {
        files.extend(in_directory(&directory.join(registry))?);
    }
    let mut certificates = Vec::new();
    for file in files.iter().map(PathBuf::as_path).chain(given) {
        certificates.extend(read(file).with_context(|| format!("trust the certificates in {}", file.display()))?);
    }
    Ok(certificates)
}

/// The directories and files with certificates that are trusted; not all of them are there.
pub fn trusted() -> impl Iterator<Item = PathBuf> {
    let systems = ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().filter_map(variable).map(PathBuf::from);
    directories(variable("HOME")).chain(systems)
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

fn directories(home: Option<OsString>) -> impl Iterator<Item = PathBuf> {
    let home = home.map(PathBuf::from);
    let of_user = home.into_iter().flat_map(|home| HOME.iter().map(move |directory| home.join(directory)));
    SYSTEM.iter().map(PathBuf::from).chain(of_user)
}

/// `*.crt`: other endings are of clients' certificates and keys.
fn in_directory(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error).with_context(|| format!("list {}", directory.display())),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("list {}", directory.display()))?.path();
        if path.extension().is_some_and(|extension| extension == "crt") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(file: &Path) -> Result<Vec<Certificate>> {
    let data = SETTINGS.read_file(file)?;
    let begins = |line: &[u8]| line.starts_with(b"-----BEGIN CERTIFICATE-----");
    ensure!(
        data.split(|byte| *byte == b'\n').any(begins),
        "no certificate in PEM form is in it (it begins with -----BEGIN CERTIFICATE-----)"
    );
    Certificate::from_pem_bundle(&data).context("a certificate in it is damaged")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_found_in_a_folder_named_for_the_registry() {
        let dir = tempfile::tempdir().unwrap();
        let pem = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n";
        for name in ["b.crt", "a.crt", "client.cert", "client.key"] {
            std::fs::write(dir.path().join(name), pem).unwrap();
        }
        let found = in_directory(dir.path()).unwrap();
        assert_eq!(found, [dir.path().join("a.crt"), dir.path().join("b.crt")]);
        assert!(in_directory(&dir.path().join("other")).unwrap().is_empty());
        assert!(directories(Some("/h".into())).any(|directory| directory == Path::new("/h/.config/docker/certs.d")));
    }

    #[test]
    fn what_is_no_certificate_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        let refused = || format!("{:#}", certificates("registry.example", Some(&file)).unwrap_err());
        assert!(refused().starts_with(&format!("trust the certificates in {}: No such file", file.display())));
        std::fs::write(&file, "-----BEGIN PRIVATE KEY-----\n").unwrap();
        assert!(refused().contains("no certificate in PEM form is in it"), "{}", refused());
    }
}
