//! Images of real container engines: Docker's daemon, and podman's service on a socket of the test's own.

#[path = "support/part.rs"]
mod part;
mod support;

use builder::digest::Digest;
use part::{Part, run};
use std::fs;
use std::path::Path;
use std::process::Command;
use support::{builder, file, kernel, refusal, stderr, succeed, tar};

/// A directory with a kernel and a tar of a small root, part of which is too large to be kept in memory.
fn workshop() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    kernel(&dir.path().join("kernel"));
    let large: Vec<u8> = (0..2_000_000u32).flat_map(u32::to_le_bytes).collect();
    fs::write(dir.path().join("root.tar"), tar(&[file("app", b"#!/bin/true\n"), file("large", &large)])).unwrap();
    dir
}

fn build(dir: &Path, image: &str, more: &[&str]) -> Command {
    builder(dir, &[&[image, "--kernel", "kernel", "-o", "x.raw"], more].concat())
}

/// An image in Docker's daemon that goes with the test.
struct Image(String);

impl Image {
    fn import(dir: &Path, name: &str) -> Self {
        let name = format!("nanoos-test-{name}-{}:latest", std::process::id());
        run(dir, "docker.io", &["docker", "import", "--change", r#"CMD ["/app"]"#, "root.tar", &name]);
        Image(name)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rmi", "--force", &self.0]).output();
    }
}

#[test]
fn the_docker_daemons_image_is_exported_once() {
    let dir = workshop();
    let image = Image::import(dir.path(), "plain");
    let id = run(dir.path(), "docker.io", &["docker", "image", "inspect", "--format", "{{.Id}}", &image.0]);
    let exports = |name: &str| stderr(&succeed(build(dir.path(), name, &[]))).matches("  export ").count();
    // Its name alone finds it in the daemon, before any registry is asked.
    assert_eq!(exports(&image.0), 1);
    let disk = fs::read(dir.path().join("x.raw")).unwrap();
    assert_eq!(exports(&format!("docker-daemon:{}", image.0)), 0);
    assert_eq!(exports(&format!("docker-daemon:{id}")), 0);
    assert!(fs::read(dir.path().join("x.raw")).unwrap() == disk);
    // The same image as docker save writes it, and as skopeo makes an OCI layout of it.
    run(dir.path(), "docker.io", &["docker", "save", "--output", "saved.tar", &image.0]);
    for form in ["oci:layout:v1", "oci-archive:archive.tar:v1", "docker-archive:copied.tar:app:v1"] {
        run(dir.path(), "skopeo", &["skopeo", "copy", "--quiet", "docker-archive:saved.tar", form]);
    }
    let built = |form: &str| {
        succeed(build(dir.path(), form, &[]));
        fs::read(dir.path().join("x.raw")).unwrap()
    };
    for form in ["docker-archive:saved.tar", "docker-archive:copied.tar"] {
        assert!(built(form) == disk, "{form} gives another disk");
    }
    // As an OCI image its configuration is written anew, so it has another identity; but the same files.
    let layout = built("oci:layout:v1");
    assert!(built("oci-archive:archive.tar") == layout);
    let root = |disk: &[u8]| {
        fs::write(dir.path().join("y.raw"), disk).unwrap();
        builder::inspect::inspect(&dir.path().join("y.raw")).unwrap().provenance.parts.root
    };
    assert_eq!(root(&layout), root(&disk));
    assert_eq!(
        refusal(build(dir.path(), "oci-archive:saved.tar", &[])),
        "builder: oci-archive:saved.tar: it has no index.json, so it is no OCI layout: use docker-archive:"
    );
}

#[test]
fn an_image_for_another_platform_is_passed_over_and_named() {
    let dir = workshop();
    let image = Image(format!("nanoos-test-other-{}:latest", std::process::id()));
    let layer = tar(&[file("app", b"#!/bin/true\n")]);
    let config = format!(
        r#"{{"architecture":"arm64","os":"linux","config":{{"Cmd":["/app"]}},"rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
        Digest::of(&layer)
    );
    let manifest = format!(r#"[{{"Config":"c.json","RepoTags":["{}"],"Layers":["l.tar"]}}]"#, image.0);
    let archive = [("l.tar", &layer[..]), ("c.json", config.as_bytes()), ("manifest.json", manifest.as_bytes())];
    fs::write(dir.path().join("other.tar"), tar(&archive.map(|(name, content)| file(name, content)))).unwrap();
    run(dir.path(), "docker.io", &["docker", "load", "--input", "other.tar"]);
    let refused = refusal(build(dir.path(), &image.0, &["--image-src", "daemon"]));
    let name = format!("docker.io/library/{}", image.0);
    assert_eq!(
        refused,
        format!("builder: {name}: the Docker daemon has {name} for linux/arm64 only, not for linux/amd64")
    );
}

#[test]
fn an_engine_that_is_not_there_is_told_if_nothing_else_has_the_image() {
    let dir = workshop();
    fs::write(dir.path().join("no.sock"), "").unwrap();
    let mut command = build(dir.path(), "docker-daemon:app", &[]);
    command.env("DOCKER_HOST", format!("unix://{}/no.sock", dir.path().display()));
    let refused = refusal(command);
    let start =
        format!("builder: docker-daemon:app: the Docker daemon at {}/no.sock does not answer: ", dir.path().display());
    assert!(refused.starts_with(&start) && refused.contains("refused"), "{refused}");
    let mut command = build(dir.path(), "podman:app", &[]);
    command.env("CONTAINER_HOST", format!("unix://{}/nowhere.sock", dir.path().display()));
    let expected = format!(
        "builder: podman:app: podman does not run here: there is no socket {}/nowhere.sock",
        dir.path().display()
    );
    assert_eq!(refusal(command), expected);
    let mut command = build(dir.path(), "127.0.0.1:1/app", &["--image-src", "daemon,registry"]);
    command.env("DOCKER_HOST", "tcp://127.0.0.1:1");
    let refused = refusal(command);
    assert!(refused.starts_with("builder: 127.0.0.1:1/app:latest: http://127.0.0.1:1: "), "{refused}");
    assert!(refused.contains("; the Docker daemon at tcp://127.0.0.1:1 does not answer: "), "{refused}");
}

#[test]
fn podmans_image_is_exported_once() {
    let dir = workshop();
    let store = tempfile::tempdir().unwrap();
    let at = |name: &str| store.path().join(name).display().to_string();
    let (root, runroot, socket) = (at("root"), at("runroot"), at("podman.sock"));
    let podman = ["podman", "--root", &root, "--runroot", &runroot, "--storage-driver", "vfs"];
    let import =
        [&podman[..], &["import", "--quiet", "--change", r#"CMD ["/app"]"#, "root.tar", "app:latest"]].concat();
    run(dir.path(), "podman", &import);
    let mut service = Command::new(podman[0]);
    service.args(&podman[1..]).args(["system", "service", "--time", "0", &format!("unix://{socket}")]);
    let _service = Part::start(&mut service, "podman", || Path::new(&socket).exists());
    let exports = |name: &str, more: &[&str]| {
        let mut command = build(dir.path(), name, more);
        command.env("CONTAINER_HOST", format!("unix://{socket}")).env("DOCKER_HOST", "tcp://127.0.0.1:1");
        stderr(&succeed(command)).matches("  export ").count()
    };
    // What podman imports without a registry's name is its own.
    assert_eq!(exports("app", &["--image-src", "daemon,podman"]), 1);
    assert_eq!(exports("podman:localhost/app", &[]), 0);
}
