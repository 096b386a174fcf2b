//! What real registries do only at bad times: connections that break, blobs that are damaged, answers that refuse. The
//! server here speaks just enough HTTP on loopback to do it on purpose; real registries are the end-to-end tests' part.

#[path = "support/registry.rs"]
mod registry;
mod support;

use builder::cache::Cache;
use builder::cache::prune::Extent;
use builder::cache::size::Size;
use builder::digest::Digest;
use builder::flatten::Content;
use registry::{Manner, Registry, large_layer, layer_of, pull};
use std::fs;
use std::io::Read;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use support::{builder, kernel, refusal, succeed};

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
fn a_digest_that_can_not_be_verified_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    let sha512 = format!("sha512:{}", "0".repeat(128));
    let registry = Registry::start(Manner::Well, b"layer");
    let refused = pull(&format!("{}/app@{sha512}", registry.address), &[], &cache).unwrap_err();
    let why =
        format!("{sha512} is not a digest that can be verified: name the image by its sha256 digest, or by a tag");
    assert!(format!("{refused:#}").ends_with(&why), "{refused:#}");
    assert!(!registry.seen.lock().unwrap().iter().any(|line| line.contains("/manifests/")), "it was asked for");
    // As little is taken that a manifest names so.
    for place in ["config", "layers"] {
        let digest = |of: &str| if of == place { sha512.clone() } else { Digest::of(b"").to_string() };
        let manifest = format!(
            r#"{{"schemaVersion":2,"config":{{"digest":"{}"}},"layers":[{{"digest":"{}"}}]}}"#,
            digest("config"),
            digest("layers")
        );
        let registry = Registry::start(Manner::Refusing(200, manifest.leak()), b"");
        let refused = format!("{:#}", registry.pull(&cache).unwrap_err());
        assert!(refused.contains(&format!("read the image manifest: \"{sha512}\" is not a digest")), "{refused}");
    }
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
