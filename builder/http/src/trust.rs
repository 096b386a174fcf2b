//! Whose signatures on certificates are trusted.

use anyhow::{Context, Result, ensure};
use reqwest::Certificate;
use std::error::Error;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Bytes of a file of certificates at most: all that the world's browsers trust are some 200 KiB.
const LARGEST: u64 = 16 << 20;

/// The certificates in a file in PEM form.
pub(crate) fn read(file: &Path) -> Result<Vec<Certificate>> {
    let read = || {
        let mut pem = Vec::new();
        File::open(file)?.take(LARGEST + 1).read_to_end(&mut pem)?;
        ensure!(pem.len() as u64 <= LARGEST, "it is longer than {} MiB", LARGEST >> 20);
        let certificates = Certificate::from_pem_bundle(&pem).context("it is no file in PEM form")?;
        ensure!(
            !certificates.is_empty(),
            "no certificate in PEM form is in it (it begins with -----BEGIN CERTIFICATE-----)"
        );
        Ok(certificates)
    };
    read().with_context(|| format!("trust the certificates in {}", file.display()))
}

/// What TLS says of it, where that is why an error came about. None of it passes by itself.
#[must_use]
pub fn tls_failure<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    reasons(error).find_map(<dyn Error>::downcast_ref)
}

/// Whether an error is that a server's certificate is not trusted, and in which words.
#[must_use]
pub fn distrust(error: &(dyn Error + 'static)) -> Option<String> {
    match tls_failure(error) {
        Some(rustls::Error::InvalidCertificate(reason)) => Some(reason.to_string()),
        _ => None,
    }
}

/// Whether a proxy wants a name and a password that it did not get.
#[must_use]
pub fn is_unknown_to_proxy(error: &(dyn Error + 'static)) -> bool {
    // The type is private to hyper-util.
    reasons(error).any(|reason| reason.to_string() == "tunnel error: proxy authorization required")
}

/// An error and all of its reasons.
fn reasons<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| reason(*error))
}

fn reason<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    // An error of input and output that carries another one does not name it as its source.
    let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    inside.map(|inside| inside as &(dyn Error + 'static)).or_else(|| error.source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        let refused = || format!("{:#}", read(&file).unwrap_err());
        assert!(refused().starts_with(&format!("trust the certificates in {}: No such file", file.display())));
        std::fs::write(&file, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
        assert!(refused().contains("no certificate in PEM form is in it"), "{}", refused());
        let endless = format!("{:#}", read(Path::new("/dev/zero")).unwrap_err());
        assert_eq!(endless, "trust the certificates in /dev/zero: it is longer than 16 MiB");
    }
}
