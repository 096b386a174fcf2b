//! Answers and files may have no end: what is read has a bound, and is refused in a sentence.

#[path = "support/endless.rs"]
mod endless;
mod support;

use builder::digest::Digest;
use endless::{Answer, Server};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;
use support::{PLAIN, builder, file, kernel, tar};

const MIB: u64 = 1 << 20;
/// What a build of a small image takes with a debugger's program, and the largest bound.
const MEMORY: u64 = 160 * MIB;
/// What may be on its way when the other side stops reading: buffers of sockets on both sides.
const BUFFERS: u64 = 16 * MIB;

/// Runs a command that must fail with status 1 and within bounds of memory; its last line.
#[track_caller]
fn refusal(mut command: Command) -> String {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut peak = 0;
    let status = loop {
        // The most memory that it has had (proc_pid_status(5)); it is gone with the program.
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak = line.map_or(peak, |line| line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024);
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if peak > 2 * MEMORY => {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("it has {} MiB of memory and takes more", peak / MIB);
            }
            None => thread::sleep(Duration::from_millis(5)),
        }
    };
    let mut words = String::new();
    child.stderr.take().unwrap().read_to_string(&mut words).unwrap();
    println!("{} MiB: {}", peak / MIB, words.lines().last().unwrap_or_default());
    assert_eq!(status.code(), Some(1), "{words}");
    assert!(peak < MEMORY, "{} MiB of memory: {words}", peak / MIB);
    words.lines().last().unwrap_or_default().to_owned()
}

fn workshop() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    kernel(&dir.path().join("kernel"));
    dir
}

fn build(dir: &Path, image: &str, more: &[&str]) -> Command {
    builder(dir, &[&[image, "--kernel", "kernel", "-o", "x.raw"], more].concat())
}

/// The manifest of an image with a configuration and a layer of these sizes.
fn manifest(config: u64, layer: u64) -> Answer {
    let digest = Digest::of(b"");
    let descriptor = |size| format!(r#"{{"digest":"{digest}","size":{size},"mediaType":"{PLAIN}"}}"#);
    Answer::of(format!(r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#, descriptor(config), descriptor(layer)))
}

#[test]
fn a_manifest_without_an_end_is_refused_whatever_it_claims() {
    let dir = workshop();
    for claim in [None, Some("Content-Length: 8589934592"), Some("Content-Length: 5000000")] {
        let server = Server::start(move |path, _| match path.contains("/manifests/") {
            true => claim.map_or(Answer::endless("200 OK", ""), |claim| Answer::endless("200 OK", "").with(claim)),
            false => Answer::of("{}"),
        });
        let refused = refusal(build(dir.path(), &server.image(), &[]));
        let why = ": pull the manifest: it is longer than 4 MiB, the most that is read of a manifest";
        assert!(refused.ends_with(why), "{refused}");
        assert!(server.sent() < BUFFERS, "{}", server.sent());
        assert_eq!(server.asked("/manifests/"), 1);
    }
}

#[test]
fn a_configuration_is_bounded_by_what_the_manifest_claims_and_that_by_what_makes_sense() {
    let dir = workshop();
    let pull = |config: u64| {
        let server = Server::start(move |path, _| match path {
            path if path.contains("/manifests/") => manifest(config, 1),
            path if path.contains("/blobs/") => Answer::endless("200 OK", ""),
            _ => Answer::of("{}"),
        });
        let refused = refusal(build(dir.path(), &server.image(), &[]));
        (refused, server)
    };
    let (refused, server) = pull(3 << 30);
    let why = ": pull the configuration: it is longer than 32 MiB, the most that is read of an image's configuration";
    assert!(refused.ends_with(why), "{refused}");
    assert_eq!((server.asked("/blobs/"), server.sent()), (0, 0));
    let (refused, server) = pull(1000);
    assert!(refused.contains(": more was sent than the 1000 bytes that the manifest tells"), "{refused}");
    assert!(server.sent() < BUFFERS, "{}", server.sent());
}

/// An image with this configuration, and a layer that has no end.
fn image(config: String) -> Server {
    Server::start(move |path, _| {
        let (digest, layer) = (Digest::of(config.as_bytes()), Digest::of(b"layer"));
        match path {
            path if path.contains("/manifests/") => Answer::of(format!(
                r#"{{"schemaVersion":2,"config":{{"digest":"{digest}","size":{}}},"layers":[{{"digest":"{layer}","size":100000,"mediaType":"{PLAIN}"}}]}}"#,
                config.len()
            )),
            path if path.contains(&digest.hex()) => Answer::of(config.as_str()),
            path if path.contains("/blobs/") => Answer::endless("200 OK", ""),
            _ => Answer::of("{}"),
        }
    })
}

#[test]
fn a_configuration_of_many_small_values_takes_no_more_memory_than_its_bytes() {
    let dir = workshop();
    let server = image(format!(r#"{{"config":{{"Cmd":[{}0]}}}}"#, r#"{"":0},"#.repeat(4_000_000)));
    let refused = refusal(build(dir.path(), &server.image(), &[]));
    assert!(refused.contains("read the image's configuration: it has more than 100000 values"), "{refused}");
}

#[test]
fn a_layer_is_bounded_by_what_the_manifest_claims() {
    let dir = workshop();
    let server = image(r#"{"config":{"Cmd":["/app"]}}"#.to_owned());
    let refused = refusal(build(dir.path(), &server.image(), &[]));
    // The layer is read while it comes: what it starts with is no tar.
    assert!(
        refused.contains("more was sent than the 100000 bytes") || refused.contains("not a tar header"),
        "{refused}"
    );
    assert!(server.sent() < BUFFERS, "{}", server.sent());
}

#[test]
fn a_token_service_is_not_listened_to_for_ever() {
    let dir = workshop();
    let docker = dir.path().join("docker");
    fs::create_dir(&docker).unwrap();
    let pull = |token: Answer, login: &str| {
        let server = Server::start(move |path, address| match path {
            path if path.starts_with("/token") => token.clone(),
            _ => Answer { status: "401 Unauthorized", ..Answer::of("") }
                .with(&format!(r#"WWW-Authenticate: Bearer realm="http://{address}/token",service="s""#)),
        });
        fs::write(docker.join("config.json"), login.replace("HOST", &server.address)).unwrap();
        let mut command = build(dir.path(), &server.image(), &[]);
        command.env("DOCKER_CONFIG", &docker);
        let refused = refusal(command);
        assert!(server.sent() < BUFFERS, "{}", server.sent());
        refused
    };
    for login in ["{}", r#"{"auths":{"HOST":{"auth":"bWU6c2VjcmV0"}}}"#, r#"{"auths":{"HOST":{"identitytoken":"i"}}}"#]
    {
        let refused = pull(Answer::endless("200 OK", r#"{"token":""#), login);
        assert!(refused.ends_with(": it is longer than 1 MiB, the most that is read of a token"), "{refused}");
        let refused = pull(Answer::endless("403 Forbidden", "no "), login);
        let why = if login == "{}" { "gives no token without credentials" } else { "refuses the credentials" };
        assert!(refused.contains(&format!(": it {why} (")), "{refused}");
        assert!(refused.len() < 1000, "{}", refused.len());
    }
}

#[test]
fn a_refusal_is_shown_by_its_start() {
    let dir = workshop();
    for start in ["it hurts: ", r#"{"errors":[{"code":"DENIED","message":""#] {
        let server = Server::start(move |path, _| match path.contains("/manifests/") {
            true => Answer::endless("418 I am a teapot", start),
            // Nobody reads what comes with this one.
            false => Answer::endless("200 OK", ""),
        });
        let refused = refusal(build(dir.path(), &server.image(), &[]));
        assert!(refused.contains(&format!(": it answers 418: {start}x")) && refused.len() < 1000, "{refused}");
        assert!(server.sent() < BUFFERS, "{}", server.sent());
    }
}

#[test]
fn headers_and_redirects_come_to_an_end() {
    let dir = workshop();
    let server = Server::start(|path, _| match path.contains("/manifests/") {
        true => Answer { headers: format!("X: {}", "x".repeat(64)), ..Answer::endless("200 OK", "") },
        false => Answer::of("{}"),
    });
    let refused = refusal(build(dir.path(), &server.image(), &[]));
    assert!(refused.contains("pull the manifest: "), "{refused}");
    assert!(server.sent() < BUFFERS * 5, "{}", server.sent());
    let server = Server::start(|path, address| match path.contains("/manifests/") || path == "/again" {
        true => Answer { status: "302 Found", ..Answer::of("") }.with(&format!("Location: http://{address}/again")),
        false => Answer::of("{}"),
    });
    let refused = refusal(build(dir.path(), &server.image(), &[]));
    assert!(refused.contains("redirect"), "{refused}");
    assert_eq!(server.asked("/again"), 10);
}

#[test]
fn an_engine_is_bounded_as_a_registry_is() {
    let dir = workshop();
    let inspected = format!(r#"{{"Id":"{}","Os":"linux","Architecture":"amd64","Size":1}}"#, Digest::of(b""));
    let ask = |answer: Answer, export: Answer| {
        let server = Server::start(move |path, _| match path {
            "/_ping" => Answer::endless("200 OK", "OK"),
            path if path.ends_with("/json") => answer.clone(),
            _ => export.clone(),
        });
        let mut command = build(dir.path(), "docker-daemon:app", &[]);
        command.env("DOCKER_HOST", format!("tcp://{}", server.address));
        let refused = refusal(command);
        assert!(server.sent() < 2 * BUFFERS + 32 * MIB, "{}", server.sent());
        refused
    };
    let refused = ask(Answer::endless("200 OK", r#"{"Id":""#), Answer::default());
    assert!(refused.contains("it is longer than 32 MiB, the most that is read of"), "{refused}");
    let refused = ask(Answer::endless("500 Internal Server Error", r#"{"message":""#), Answer::default());
    assert!(refused.contains("it answers 500 Internal Server Error"), "{refused}");
    let refused = ask(Answer::of(inspected.clone()), Answer::endless("500 Internal Server Error", "no"));
    assert!(refused.contains("it answers 500 Internal Server Error"), "{refused}");
    let refused = ask(Answer::of(inspected), Answer::of(headers(200_000)));
    assert!(
        refused.ends_with("it has more members than any image's archive: is it a tar of files (rootfs:)?"),
        "{refused}"
    );
}

/// An archive of so many empty files.
fn headers(count: usize) -> Vec<u8> {
    let mut header = ::tar::Header::new_gnu();
    header.set_path("a-name-of-usual-length").unwrap();
    header.set_size(0);
    header.set_mode(0o644);
    header.set_cksum();
    header.as_bytes().repeat(count)
}

#[test]
fn archives_and_layouts_are_bounded_too() {
    let dir = workshop();
    let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
    // Three hundred thousand members in some kilobytes.
    let mut bomb = zstd::Encoder::new(File::create(dir.path().join("bomb")).unwrap(), 3).unwrap();
    let many = headers(10_000);
    for _ in 0..30 {
        bomb.write_all(&many).unwrap();
    }
    bomb.finish().unwrap();
    let refused = refusal(build(dir.path(), "docker-archive:bomb", &[]));
    assert!(
        refused.ends_with("it has more members than any image's archive: is it a tar of files (rootfs:)?"),
        "{refused}"
    );
    let long = vec![b' '; 5 << 20];
    write("list", &tar(&[file("manifest.json", &long)]));
    let refused = refusal(build(dir.path(), "docker-archive:list", &[]));
    assert!(refused.ends_with("it is longer than 4 MiB, the most that is read of a list of images"), "{refused}");
    let list = br#"[{"Config":"c","Layers":["l"]}]"#;
    let config = vec![b' '; 33 << 20];
    write("config.tar.gz", &gzip(&tar(&[file("manifest.json", list), file("l", b""), file("c", &config)])));
    let refused = refusal(build(dir.path(), "docker-archive:config.tar.gz", &[]));
    assert!(
        refused.ends_with("it is longer than 32 MiB, the most that is read of an image's configuration"),
        "{refused}"
    );
    // Nothing of a hole of a terabyte is read, let alone hashed.
    support::simple_layout(&dir.path().join("layout"));
    let index: serde_json::Value =
        serde_json::from_slice(&fs::read(dir.path().join("layout/index.json")).unwrap()).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap().to_owned();
    let blob = File::options().write(true).open(dir.path().join("layout/blobs/sha256").join(digest)).unwrap();
    blob.set_len(1 << 40).unwrap();
    let refused = refusal(build(dir.path(), "oci:layout", &[]));
    assert!(refused.ends_with("it is longer than 4 MiB, the most that is read of a manifest"), "{refused}");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn files_that_the_user_names_and_helpers_are_bounded() {
    let dir = workshop();
    support::simple_layout(&dir.path().join("layout"));
    for (option, most) in [("--env-file", 4), ("--init", 512)] {
        // A tape of zeros is refused; init may be as large as a kernel, and is not tried here.
        if option == "--init" {
            File::create(dir.path().join("hole")).unwrap().set_len(1 << 40).unwrap();
        }
        let path = if option == "--init" { "hole" } else { "/dev/zero" };
        let refused = refusal(build(dir.path(), "oci:layout", &[option, path]));
        assert!(refused.contains(&format!("{option} {path}: it is longer than {most} MiB")), "{refused}");
    }
    let server = Server::start(|_, _| Answer { status: "401 Unauthorized", ..Answer::of("") });
    let refused = refusal(build(dir.path(), &server.image(), &["--registry-ca", "/dev/zero"]));
    assert!(refused.contains("trust the certificates in /dev/zero: it is longer than 16 MiB"), "{refused}");
    let docker = dir.path().join("docker");
    fs::create_dir(&docker).unwrap();
    symlink("/dev/zero", docker.join("config.json")).unwrap();
    let pull = || {
        let mut command = build(dir.path(), &server.image(), &[]);
        let path = format!("{}:{}", docker.display(), std::env::var("PATH").unwrap());
        command.env("DOCKER_CONFIG", &docker).env("PATH", path);
        refusal(command)
    };
    let refused = pull();
    assert!(refused.contains("config.json: it is longer than 16 MiB"), "{refused}");
    let helper = docker.join("docker-credential-endless");
    fs::write(&helper, "#!/bin/sh\nexec yes\n").unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    fs::remove_file(docker.join("config.json")).unwrap();
    fs::write(docker.join("config.json"), r#"{"credsStore":"endless"}"#).unwrap();
    let refused = pull();
    assert!(
        refused.contains("read its answer: it is longer than 1 MiB, the most that is read of a helper's answer"),
        "{refused}"
    );
}
