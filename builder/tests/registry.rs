//! What real registries do only at bad times: connections that break, blobs that are damaged, answers that refuse. The
//! server here speaks just enough HTTP on loopback to do it on purpose; real registries are the end-to-end tests' part.

mod support;

use builder::cache::Cache;
use builder::digest::Digest;
use builder::flatten::Content;
use builder::platform::Platform;
use builder::progress::Progress;
use builder::source::{Container, Fetch, Source};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use support::{file, tar};

/// How the server treats blobs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Well.
    Well,
    /// It breaks each connection after half of what is left, but for the last 100 KB, and honours ranges.
    Breaking,
    /// It breaks the first connection for a blob in the middle, and ignores ranges.
    Forgetful,
    /// It changes the last byte.
    Damaging,
    /// It answers everything with this status and this body.
    Refusing(u16, &'static str),
}

/// A registry with the image `app`; requests that it got are in `seen`.
struct Registry {
    address: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Registry {
    fn start(manner: Manner, layer: &[u8]) -> Self {
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
        let log = seen.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that hung up is part of the game.
                let _ = answer(&stream.unwrap(), manner, &manifest, &blobs, &log);
            }
        });
        Registry { address, seen }
    }

    fn pull(&self, cache: &Cache) -> anyhow::Result<Container> {
        let source: Source = format!("{}/app", self.address).parse().unwrap();
        let progress = Progress::silent();
        source.fetch(&Fetch { platform: Platform::host(), mirrors: &[], cache, progress: &progress })
    }

    fn blob_requests(&self) -> usize {
        self.seen.lock().unwrap().iter().filter(|line| line.contains("/blobs/")).count()
    }
}

/// Answers one request and closes the connection.
fn answer(
    mut stream: &TcpStream,
    manner: Manner,
    manifest: &str,
    blobs: &HashMap<String, Vec<u8>>,
    log: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let mut offset = 0;
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(range) = line.strip_prefix("range: bytes=") {
            offset = range.trim_end_matches('-').parse().unwrap();
        }
    }
    log.lock().unwrap().push(request.clone());
    let path = request.split(' ').nth(1).unwrap_or_default();
    let mut head = |status: &str, length: usize| {
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")
    };
    if let Manner::Refusing(status, body) = manner {
        head(&format!("{status} Refused"), body.len())?;
        return stream.write_all(body.as_bytes());
    }
    let Some(blob) = path.split("/blobs/").nth(1).and_then(|digest| blobs.get(digest)) else {
        let body = if path.contains("/manifests/") { manifest } else { "{}" };
        head("200 OK", body.len())?;
        return stream.write_all(body.as_bytes());
    };
    let mut blob = blob.clone();
    if manner == Manner::Damaging {
        *blob.last_mut().unwrap() ^= 1;
    }
    let first_time = log.lock().unwrap().iter().filter(|line| **line == request).count() == 1;
    let honours = manner == Manner::Breaking && offset > 0;
    let rest = if honours { &blob[offset..] } else { &blob[..] };
    head(if honours { "206 Partial Content" } else { "200 OK" }, rest.len())?;
    let breaks = match manner {
        Manner::Breaking => rest.len() > 100_000,
        Manner::Forgetful => first_time && rest.len() > 100_000,
        _ => false,
    };
    stream.write_all(if breaks { &rest[..rest.len() / 2] } else { rest })
}

fn large_layer() -> Vec<u8> {
    tar(&[file("app", &(0..2_000_000u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>())])
}

#[test]
fn broken_downloads_are_taken_up_where_they_broke() {
    let layer = large_layer();
    for (manner, blob_requests) in [(Manner::Well, 2), (Manner::Breaking, 9), (Manner::Forgetful, 3)] {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let registry = Registry::start(manner, &layer);
        let container = registry.pull(&cache).unwrap();
        let Content::Blob(blob) = &container.layers[0].content else { panic!("nobody packed it") };
        assert!(blob.read_all(1 << 30).unwrap() == layer);
        assert_eq!(registry.blob_requests(), blob_requests);
        // What is in the cache is not asked for again.
        registry.pull(&cache).unwrap();
        assert_eq!(registry.blob_requests(), blob_requests);
        assert_eq!(support::names(&dir.path().join("blobs/sha256")).len(), 2, "something temporary is left");
    }
}

#[test]
fn a_damaged_blob_is_refused_and_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    let registry = Registry::start(Manner::Damaging, &large_layer());
    let refusal = format!("{:#}", registry.pull(&cache).unwrap_err());
    assert!(
        refusal.contains("pull the configuration: ") && refusal.contains("Invalid digest. Expected sha256:"),
        "{refusal}"
    );
    assert_eq!(support::names(&dir.path().join("blobs/sha256")), [""; 0]);
}

#[test]
fn a_registrys_refusal_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    for (status, body, expected) in [
        (404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"unknown"}]}"#, "it has no such image or tag"),
        (404, "nginx's own page", "it has no such image or tag"),
        (401, "", "it has no such image, or you may not read it: log in with docker login 127.0.0.1:"),
        (
            403,
            r#"{"errors":[{"code":"DENIED","message":"no"}]}"#,
            "it has no such image, or you may not read it: log in",
        ),
        (
            429,
            r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow"}]}"#,
            "it has had too many requests from this address",
        ),
        (500, "it hurts", "it answers 500: it hurts"),
    ] {
        let registry = Registry::start(Manner::Refusing(status, body), b"");
        let refusal = format!("{:#}", registry.pull(&cache).unwrap_err());
        assert!(refusal.contains(expected), "{status}: {refusal}");
    }
    let nobody = Registry { address: "127.0.0.1:1".to_owned(), seen: Arc::default() };
    let refusal = format!("{:#}", nobody.pull(&cache).unwrap_err());
    assert!(
        refusal.starts_with("127.0.0.1:1/app:latest: http://127.0.0.1:1: ") && refusal.contains("refused"),
        "{refusal}"
    );
}
