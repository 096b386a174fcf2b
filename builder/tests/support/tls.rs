//! Authorities, certificates, and TLS in front of servers that speak none.
#![allow(dead_code)] // each test uses its part

use crate::part::run;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// A private authority, whose files are in a directory: `NAME.crt` is its certificate.
pub(crate) struct Authority<'a> {
    directory: &'a Path,
    name: &'a str,
}

impl<'a> Authority<'a> {
    pub(crate) fn new(directory: &'a Path, name: &'a str) -> Self {
        let authority = Authority { directory, name };
        authority.openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name} -keyout {name}.key -out \
             {name}.crt -addext basicConstraints=critical,CA:TRUE -addext keyUsage=keyCertSign"
        ));
        authority
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.directory.join(format!("{}.crt", self.name))
    }

    /// Signs for a server with these names (`DNS:…,IP:…`), and gives its certificate and its key.
    pub(crate) fn sign(&self, names: &str) -> (PathBuf, PathBuf) {
        let ca = self.name;
        self.openssl(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=server -keyout server.key -out server.csr",
        );
        fs::write(self.directory.join("names"), format!("subjectAltName={names}\n")).unwrap();
        self.openssl(&format!(
            "x509 -req -in server.csr -CA {ca}.crt -CAkey {ca}.key -CAcreateserial -days 2 -out server.crt -extfile names"
        ));
        (self.directory.join("server.crt"), self.directory.join("server.key"))
    }

    fn openssl(&self, line: &str) {
        let line: Vec<&str> = std::iter::once("openssl").chain(line.split(' ')).collect();
        run(self.directory, "openssl", &line);
    }
}

/// Speaks TLS in front of a server on this machine, as long as the test runs. Gives where.
pub(crate) fn in_front_of(server: String, (certificate, key): (PathBuf, PathBuf)) -> String {
    // It is an error only if one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let certificates = vec![CertificateDer::from_pem_file(certificate).unwrap()];
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(certificates, key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((client, _)) = listener.accept().await {
                let (acceptor, server) = (acceptor.clone(), server.clone());
                tokio::spawn(async move {
                    // Clients that do not trust it go away.
                    let Ok(mut client) = acceptor.accept(client).await else { return };
                    let Ok(mut server) = tokio::net::TcpStream::connect(server).await else { return };
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
    });
    address
}
