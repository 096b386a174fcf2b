//! What real registries do only at bad times: connections that break, blobs that are damaged, answers that refuse. The
//! server here speaks just enough HTTP on loopback to do it on purpose; real registries are the end-to-end tests' part.

mod support;

use builder::cache::Cache;
use builder::cache::prune::Extent;
use builder::cache::size::Size;
use builder::digest::Digest;
use builder::flatten::Content;
use builder::platform::Platform;
use builder::progress::Progress;
use builder::source::endpoint::Mirror;
use builder::source::order::Order;
use builder::source::{Container, Fetch, Source};
use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use support::{builder, file, kernel, refusal, succeed, tar};

/// How the server treats blobs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
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
    /// It answers everything with this status and this body.
    Refusing(u16, &'static str),
}

/// A registry with the image `app`; requests that it got are in `seen`.
struct Registry {
    address: String,
    seen: Arc<Mutex<Vec<String>>>,
    /// Lets go what [`Manner::Holding`] holds.
    go: Arc<AtomicBool>,
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

    fn pull(&self, cache: &Cache) -> anyhow::Result<Container> {
        pull(&format!("{}/app", self.address), &[], cache)
    }

    fn mirror(&self) -> Mirror {
        format!("http://{}", self.address).parse().unwrap()
    }

    fn blob_requests(&self) -> usize {
        self.seen.lock().unwrap().iter().filter(|line| line.contains("/blobs/")).count()
    }
}

fn pull(image: &str, mirrors: &[Mirror], cache: &Cache) -> anyhow::Result<Container> {
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
fn layer_of(container: &Container) -> std::io::Result<Vec<u8>> {
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
        let seen = format!("{} from {}", request.line.trim(), request.offset);
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
        if self.manner == Manner::Asking {
            if path.starts_with("/token") {
                // printf me:secret | base64
                let known = request.authorization == "Basic bWU6c2VjcmV0"
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
        assert!(layer_of(&container).unwrap() == layer);
        assert_eq!(registry.blob_requests(), blob_requests);
        // What is in the cache is not asked for again.
        assert!(layer_of(&registry.pull(&cache).unwrap()).unwrap() == layer);
        assert_eq!(registry.blob_requests(), blob_requests);
        assert_eq!(support::names(&dir.path().join("blobs/sha256")).len(), 3, "something temporary is left");
        assert_eq!(support::names(&dir.path().join("blobs/sha256/partial")), [""; 0]);
    }
}

#[test]
fn a_damaged_blob_is_refused_and_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    let registry = Registry::start(Manner::Damaging, &large_layer());
    let refusal = format!("{:#}", registry.pull(&cache).unwrap_err());
    assert!(
        refusal.contains("pull the configuration: the content's digest is sha256:")
            && refusal.ends_with(": what was sent is damaged"),
        "{refusal}"
    );
    assert_eq!(support::names(&dir.path().join("blobs/sha256")), ["partial"]);
    assert_eq!(support::names(&dir.path().join("blobs/sha256/partial")), [""; 0]);

    let registry = Registry::start(Manner::DamagingLayers, &large_layer());
    let came = layer_of(&registry.pull(&cache).unwrap()).map(|bytes| bytes.len());
    let refusal = came.unwrap_err().to_string();
    let expected = format!("pull layer {} from http://{}: ", Digest::of(&large_layer()).short(), registry.address);
    assert!(refusal.starts_with(&expected) && refusal.ends_with(": what was sent is damaged"), "{refusal}");
    assert_eq!(support::names(&dir.path().join("blobs/sha256/partial")), [""; 0]);
}

#[test]
fn a_layer_is_read_while_it_comes() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, layer) = (Cache::open(dir.path()).unwrap(), large_layer());
    let registry = Registry::start(Manner::Holding, &layer);
    let container = registry.pull(&cache).unwrap();
    let Content::Blob(blob) = &container.layers[0].content else { panic!("nobody packed it") };
    let (mut reader, mut half) = (blob.reader(), vec![0; layer.len() / 2]);
    reader.read_exact(&mut half).unwrap();
    assert!(half == layer[..layer.len() / 2]);
    registry.go.store(true, Ordering::SeqCst);
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert!(rest == layer[layer.len() / 2..]);
}

#[test]
fn what_a_stopped_builder_downloaded_is_not_downloaded_again() {
    let dir = tempfile::tempdir().unwrap();
    let layer = large_layer();
    let registry = Registry::start(Manner::Holding, &layer);
    kernel(&dir.path().join("kernel"));
    let image = format!("docker://{}/app", registry.address);
    let mut first = builder(dir.path(), &[&image, "--kernel", "kernel", "-o", "x.raw"]).spawn().unwrap();
    let partial = dir.path().join("cache/blobs/sha256/partial").join(Digest::of(&layer).hex());
    let deadline = Instant::now() + Duration::from_secs(60);
    while partial.metadata().map_or(0, |metadata| metadata.len()) < layer.len() as u64 / 2 {
        assert!(Instant::now() < deadline, "half of the layer does not come");
        thread::sleep(Duration::from_millis(10));
    }
    // Ctrl-C.
    assert!(Command::new("kill").args(["-INT", &first.id().to_string()]).status().unwrap().success());
    assert_eq!(first.wait().unwrap().code(), Some(130));
    registry.go.store(true, Ordering::SeqCst);
    succeed(builder(dir.path(), &[&image, "--kernel", "kernel", "-o", "x.raw"]));
    let seen = registry.seen.lock().unwrap();
    let layers: Vec<&String> = seen.iter().filter(|line| line.contains(&Digest::of(&layer).hex())).collect();
    assert_eq!(layers.len(), 2, "{layers:?}");
    assert!(layers[1].ends_with(&format!(" from {}", layer.len() / 2)), "{layers:?}");
    assert_eq!(support::names(partial.parent().unwrap()), [""; 0]);
    assert_eq!(support::names(dir.path()), ["cache", "kernel", "x.raw"]);
}

#[test]
fn a_layer_that_one_server_lacks_comes_from_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let (cache, layer) = (Cache::open(dir.path()).unwrap(), large_layer());
    let (lacking, well) = (Registry::start(Manner::Lacking, &layer), Registry::start(Manner::Well, &layer));
    let container = pull("docker://app", &[lacking.mirror(), well.mirror()], &cache).unwrap();
    assert!(layer_of(&container).unwrap() == layer);
    assert_eq!((lacking.blob_requests(), well.blob_requests()), (2, 1));
}

#[test]
fn several_builders_share_a_cache_and_download_once() {
    let dir = tempfile::tempdir().unwrap();
    let layer = large_layer();
    let registry = Registry::start(Manner::Well, &layer);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let pruning = scope.spawn(|| {
            let cache = Cache::open(dir.path()).unwrap();
            while !done.load(Ordering::SeqCst) {
                cache.prune(Extent::Beyond(Size(1))).unwrap();
            }
        });
        let builders: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| {
                    let cache = Cache::open(dir.path()).unwrap();
                    assert!(layer_of(&registry.pull(&cache).unwrap()).unwrap() == layer);
                })
            })
            .collect();
        let ends: Vec<bool> = builders.into_iter().map(|builder| builder.join().is_ok()).collect();
        done.store(true, Ordering::SeqCst);
        pruning.join().unwrap();
        assert_eq!(ends, [true; 6]);
    });
    let seen = registry.seen.lock().unwrap();
    assert_eq!(seen.iter().filter(|line| line.contains(&Digest::of(&layer).hex())).count(), 1, "{seen:?}");
}

#[test]
fn token_services_take_passwords_and_identity_tokens_from_files_and_helpers() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::start(Manner::Asking, &large_layer());
    kernel(&dir.path().join("kernel"));
    let bin = dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let helper = |name: &str, script: &str| {
        let path = bin.join(format!("docker-credential-{name}"));
        fs::write(&path, format!("#!/bin/sh\nread server\n{script}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    let answer = |user: &str, secret: &str| format!("echo '{{\"Username\":\"{user}\",\"Secret\":\"{secret}\"}}'");
    helper("good", &format!("test \"$1 $server\" = 'get {}' && {}", registry.address, answer("me", "secret")));
    helper("identity", &answer("<token>", "identity"));
    helper("wrong", &answer("me", "forgotten"));
    helper("empty", "echo 'credentials not found in native keychain'; exit 1");
    helper("broken", "echo 'the vault is locked'; exit 3");
    let attempt = |config: &str| {
        let docker = dir.path().join("docker");
        fs::create_dir_all(&docker).unwrap();
        fs::write(docker.join("config.json"), config.replace("HOST", &registry.address)).unwrap();
        let image = format!("docker://{}/app", registry.address);
        let mut command = builder(dir.path(), &[&image, "--kernel", "kernel", "-o", "x.raw"]);
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        command.env("DOCKER_CONFIG", docker).env("PATH", path);
        // Each of them asks again.
        command.env("NANOOS_CACHE", dir.path().join(format!("cache-{}", Digest::of(config.as_bytes()).short())));
        command
    };
    succeed(attempt(r#"{"auths":{"HOST":{"auth":"bWU6c2VjcmV0"}}}"#));
    succeed(attempt(r#"{"auths":{"HOST":{"identitytoken":"identity"}}}"#));
    succeed(attempt(r#"{"credHelpers":{"HOST":"good"}}"#));
    succeed(attempt(r#"{"credsStore":"identity"}"#));
    succeed(attempt(r#"{"credsStore":"empty","auths":{"HOST":{"auth":"bWU6c2VjcmV0"}}}"#));
    let login = format!("log in with docker login {}", registry.address);
    let refused = refusal(attempt(r#"{"credsStore":"wrong"}"#));
    assert!(refused.contains(&format!("it refuses the credentials (who are you?): {login}")), "{refused}");
    let refused = refusal(attempt(r#"{"credsStore":"broken"}"#));
    let why = format!(
        "(docker-credential-broken get for {}: it ended with exit status: 3: the vault is locked)",
        registry.address
    );
    assert!(refused.ends_with(&format!("{login} {why}")), "{refused}");
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
    let nobody = Registry { address: "127.0.0.1:1".to_owned(), seen: Arc::default(), go: Arc::default() };
    let refusal = format!("{:#}", nobody.pull(&cache).unwrap_err());
    assert!(
        refusal.starts_with("127.0.0.1:1/app:latest: http://127.0.0.1:1: ") && refusal.contains("refused"),
        "{refusal}"
    );
}

#[test]
fn a_full_disk_is_told_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::start(Manner::Well, &large_layer());
    kernel(&dir.path().join("kernel"));
    fs::create_dir(dir.path().join("cache")).unwrap();
    let image = format!("docker://{}/app", registry.address);
    let build = builder(dir.path(), &[&image, "--kernel", "kernel", "-o", "x.raw"]);
    // A small disk of the test's own: it needs root, and nobody else sees it.
    let mut small = Command::new("unshare");
    small.args(["-m", "sh", "-c", "mount -t tmpfs -o size=2m none cache && exec \"$@\"", "sh"]);
    small.arg(build.get_program()).args(build.get_args()).current_dir(dir.path());
    for (name, value) in build.get_envs() {
        match value {
            Some(value) => small.env(name, value),
            None => small.env_remove(name),
        };
    }
    let refused = refusal(small);
    let layer = Digest::of(&large_layer());
    let path = dir.path().join("cache/blobs/sha256").join(layer.hex());
    // The layer comes while it is packed: whichever finds the disk full first.
    let pulled = format!("pull layer {} from http://{}: write {}", layer.short(), registry.address, path.display());
    let packed = "builder: write a packed layer into the cache";
    let cause = ": No space left on device (os error 28): make room with builder cache prune, or let NANOOS_CACHE name a \
                 directory where there is more";
    let place = refused.strip_suffix(cause).unwrap_or_else(|| panic!("{refused}"));
    assert!(place.ends_with(&pulled) || place == packed, "{refused}");
    assert_eq!(support::names(dir.path()), ["cache", "kernel"]);
}

#[test]
fn the_cache_is_shown_and_kept_within_its_size() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::start(Manner::Well, &large_layer());
    kernel(&dir.path().join("kernel"));
    let image = format!("docker://{}/app", registry.address);
    let build = || builder(dir.path(), &[&image, "--kernel", "kernel", "-o", "x.raw"]);
    let cache = |arguments: &[&str]| {
        let output = succeed(builder(dir.path(), &[&["cache"], arguments].concat()));
        String::from_utf8(output.stdout).unwrap()
    };
    let blobs = || support::names(&dir.path().join("cache/blobs/sha256"));
    succeed(build());
    fs::create_dir(dir.path().join("cache/kernel")).unwrap();
    fs::write(dir.path().join("cache/kernel/vmlinuz"), vec![0; 2048]).unwrap();
    let shown = cache(&[]);
    assert!(shown.contains("\nblobs                 7.6 MiB       2 files, used just now\n"), "{shown}");
    assert!(shown.contains("\nkernel                2.0 KiB       1 file, used just now, not pruned\n"), "{shown}");
    assert!(shown.contains(" of 10.0 GiB (NANOOS_CACHE_SIZE)\n"), "{shown}");
    let json: serde_json::Value = serde_json::from_str(&cache(&["ls", "--json"])).unwrap();
    assert_eq!(json["kinds"][0]["kind"], "blobs");
    assert_eq!(json["kinds"][0]["files"], 2);
    // What was used just now stays, unless all is to go.
    assert!(cache(&["prune", "--size", "1M"]).starts_with("removed 0 files, "));
    assert!(cache(&["prune", "--all"]).starts_with("removed "));
    assert_eq!(blobs(), ["partial"]);
    let mut command = build();
    command.env("NANOOS_CACHE_SIZE", "0");
    succeed(command);
    assert_eq!(blobs(), ["partial"]);
    let mut command = build();
    command.env("NANOOS_CACHE_SIZE", "much");
    let words = support::stderr(&succeed(command));
    let expected = "warning: the cache is not kept within its size: NANOOS_CACHE_SIZE=much: \"much\" is not a size: write \
                    bytes, or a number with K, M, G or T, such as 512M or 20G";
    assert!(words.contains(expected), "{words}");
    assert!(dir.path().join("cache/kernel/vmlinuz").exists());
}
