//! A registry of one image that does on purpose what real ones do only at bad times.
#![allow(dead_code)] // each test uses its part

use crate::support::{self, file, tar};
use builder::cache::Cache;
use builder::digest::Digest;
use builder::flatten::Content;
use builder::platform::Platform;
use builder::progress::Progress;
use builder::source::endpoint::Mirror;
use builder::source::order::Order;
use builder::source::{Container, Fetch, Source};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// How the server treats blobs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Well.
    Well,
    /// It breaks each connection after half of what is left, but for the last 100 KB, and honours ranges.
    Breaking,
    /// It breaks the first connection for a blob in the middle, and ignores ranges.
    Forgetful,
    /// It changes the last byte of everything.
    Damaging,
    /// It changes the last byte of layers.
    DamagingLayers,
    /// It has no layers.
    Lacking,
    /// It sends half of a layer, and the rest once it is let go.
    Holding,
    /// It asks for a token, which its token service gives to `me` with `secret`, and for the identity token `identity`.
    Asking,
    /// It asks for a token, which its token service gives to everybody.
    Open,
    /// The same, but the token service leads to that of [`Manner::Open`] on this port.
    Leading(u16),
    /// It answers everything with this status and this body.
    Refusing(u16, &'static str),
}

/// A registry with the image `app`; requests that it got are in `seen`.
pub(crate) struct Registry {
    pub(crate) address: String,
    pub(crate) seen: Arc<Mutex<Vec<String>>>,
    /// Lets go what [`Manner::Holding`] holds.
    pub(crate) go: Arc<AtomicBool>,
}

impl Registry {
    pub(crate) fn start(manner: Manner, layer: &[u8]) -> Self {
        let put = |blobs: &mut HashMap<String, Vec<u8>>, bytes: Vec<u8>| {
            let digest = Digest::of(&bytes).to_string();
            let descriptor =
                format!(r#"{{"digest":"{digest}","size":{},"mediaType":"{}"}}"#, bytes.len(), support::PLAIN);
            blobs.insert(digest, bytes);
            descriptor
        };
        let mut blobs = HashMap::new();
        let config = format!(r#"{{"config":{{"Cmd":["/app"]}},"rootfs":{{"diff_ids":["{}"]}}}}"#, Digest::of(layer));
        let config = put(&mut blobs, config.into_bytes());
        let layer = put(&mut blobs, layer.to_vec());
        let manifest = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}]}}"#);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let go = Arc::new(AtomicBool::new(false));
        let server = Arc::new(Server { manner, manifest, blobs, log: seen.clone(), go: go.clone() });
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (server, stream) = (server.clone(), stream.unwrap());
                // A client that hung up is part of the game.
                thread::spawn(move || drop(server.answer(&stream)));
            }
        });
        Registry { address, seen, go }
    }

    pub(crate) fn pull(&self, cache: &Cache) -> anyhow::Result<Container> {
        pull(&format!("{}/app", self.address), &[], cache)
    }

    pub(crate) fn mirror(&self) -> Mirror {
        format!("http://{}", self.address).parse().unwrap()
    }

    pub(crate) fn blob_requests(&self) -> usize {
        self.seen.lock().unwrap().iter().filter(|line| line.contains("/blobs/")).count()
    }
}

pub(crate) fn pull(image: &str, mirrors: &[Mirror], cache: &Cache) -> anyhow::Result<Container> {
    let source: Source = image.parse().unwrap();
    let progress = Progress::silent();
    source.fetch(&Fetch {
        platform: Platform::host(),
        look: false,
        archives: false,
        order: &Order::registry(),
        registry_ca: None,
        debug: false,
        mirrors,
        cache,
        progress: &progress,
    })
}

/// The bytes of the only layer.
pub(crate) fn layer_of(container: &Container) -> std::io::Result<Vec<u8>> {
    let Content::Blob(blob) = &container.layers[0].content else { panic!("nobody packed it") };
    blob.read_all(1 << 30)
}

struct Server {
    manner: Manner,
    manifest: String,
    blobs: HashMap<String, Vec<u8>>,
    log: Arc<Mutex<Vec<String>>>,
    go: Arc<AtomicBool>,
}

/// What a client asks for.
#[derive(Default)]
struct Request {
    line: String,
    offset: usize,
    authorization: String,
    body: String,
}

impl Request {
    fn read(stream: &TcpStream) -> std::io::Result<Self> {
        let mut reader = BufReader::new(stream);
        let (mut request, mut line, mut length) = (Request::default(), String::new(), 0);
        reader.read_line(&mut request.line)?;
        while reader.read_line(&mut line)? > 2 {
            let (name, value) = line.trim().split_once(": ").unwrap();
            match name.to_ascii_lowercase().as_str() {
                "range" => request.offset = value.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap(),
                "authorization" => value.clone_into(&mut request.authorization),
                "content-length" => length = value.parse().unwrap(),
                _ => {}
            }
            line.clear();
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        request.body = String::from_utf8(body).unwrap();
        Ok(request)
    }
}

impl Server {
    /// Answers one request and closes the connection.
    fn answer(&self, mut stream: &TcpStream) -> std::io::Result<()> {
        let request = Request::read(stream)?;
        let secret = request.authorization.starts_with("Basic ") || request.body.contains("refresh_token=");
        let secret = if secret { ", with a secret" } else { "" };
        let seen = format!("{} from {}{secret}", request.line.trim(), request.offset);
        self.log.lock().unwrap().push(seen.clone());
        let path = request.line.split(' ').nth(1).unwrap_or_default();
        let host = stream.local_addr()?;
        let mut head = |status: &str, more: &str, length: usize| {
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{more}Connection: close\r\n\r\n")
        };
        if let Manner::Refusing(status, body) = self.manner {
            head(&format!("{status} Refused"), "", body.len())?;
            return stream.write_all(body.as_bytes());
        }
        if let Manner::Leading(port) = self.manner
            && path.starts_with("/token")
        {
            return head("307 Elsewhere", &format!("Location: http://127.0.0.1:{port}{path}\r\n"), 0);
        }
        if matches!(self.manner, Manner::Asking | Manner::Open | Manner::Leading(_)) {
            if path.starts_with("/token") {
                // printf me:secret | base64
                let known = self.manner == Manner::Open
                    || request.authorization == "Basic bWU6c2VjcmV0"
                    || request.body.contains("grant_type=refresh_token")
                        && request.body.contains("refresh_token=identity");
                let body = if known { r#"{"token":"good","access_token":"good"}"# } else { "who are you?" };
                head(if known { "200 OK" } else { "401 No" }, "", body.len())?;
                return stream.write_all(body.as_bytes());
            }
            if request.authorization != "Bearer good" {
                let challenge = format!("WWW-Authenticate: Bearer realm=\"http://{host}/token\",service=\"s\"\r\n");
                return head("401 Unauthorized", &challenge, 0);
            }
        }
        let is_layer = |blob: &Vec<u8>| blob.len() > 1000;
        let Some(blob) = path.split("/blobs/").nth(1).and_then(|digest| self.blobs.get(digest)) else {
            let body = if path.contains("/manifests/") { &self.manifest } else { "{}" };
            head("200 OK", "", body.len())?;
            return stream.write_all(body.as_bytes());
        };
        if self.manner == Manner::Lacking && is_layer(blob) {
            return head("404 Not Found", "", 0);
        }
        let mut blob = blob.clone();
        if self.manner == Manner::Damaging || self.manner == Manner::DamagingLayers && is_layer(&blob) {
            *blob.last_mut().unwrap() ^= 1;
        }
        let first_time = self.log.lock().unwrap().iter().filter(|line| **line == seen).count() == 1;
        let honours = self.manner != Manner::Forgetful && request.offset > 0;
        let rest = if honours { &blob[request.offset..] } else { &blob[..] };
        head(if honours { "206 Partial Content" } else { "200 OK" }, "", rest.len())?;
        let breaks = match self.manner {
            Manner::Breaking => rest.len() > 100_000,
            Manner::Forgetful => first_time && request.offset == 0 && rest.len() > 100_000,
            _ => false,
        };
        if self.manner == Manner::Holding && is_layer(&blob) {
            stream.write_all(&rest[..rest.len() / 2])?;
            while !self.go.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(5));
            }
            return stream.write_all(&rest[rest.len() / 2..]);
        }
        stream.write_all(if breaks { &rest[..rest.len() / 2] } else { rest })
    }
}

pub(crate) fn large_layer() -> Vec<u8> {
    tar(&[file("app", &(0..2_000_000u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>())])
}
