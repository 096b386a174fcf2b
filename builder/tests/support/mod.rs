//! What the tests of whole steps share: layers by hand, and images made of them.
#![allow(dead_code, missing_docs)] // each test uses its part

use builder::blob::Blob;
use builder::cache::Cache;
use builder::digest::Digest;
use builder::flatten::merge::{self, Merged};
use builder::flatten::{Content, Layer};
use builder::pack;
use builder::progress::Progress;
use builder::tarball::writer::Writer;
use builder::tarball::{Attributes, Entry, Kind};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A time that every entry has unless a test says otherwise: 2023-11-14.
pub(crate) const MTIME: i64 = 1_700_000_000;

/// An entry with plain attributes.
pub(crate) fn entry(path: impl AsRef<[u8]>, kind: Kind, mode: u32) -> Entry {
    let attributes = Attributes { mode, uid: 0, gid: 0, mtime: MTIME };
    Entry { path: path.as_ref().to_vec(), kind, attributes, size: 0, xattrs: Vec::new() }
}

pub(crate) fn directory(path: &str) -> (Entry, Vec<u8>) {
    (entry(path, Kind::Directory, 0o755), Vec::new())
}

pub(crate) fn file(path: &str, content: &[u8]) -> (Entry, Vec<u8>) {
    let size = content.len() as u64;
    (Entry { size, ..entry(path, Kind::File, 0o644) }, content.to_vec())
}

/// The tar of a layer.
pub(crate) fn tar(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (entry, content) in entries {
        writer.append(entry, &content[..]).unwrap();
    }
    writer.finish().unwrap()
}

/// Packs layers and merges them; what goes wrong is told as the user would see it.
pub(crate) fn merged(layers: &[Layer]) -> Result<Merged, String> {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    let mut packed = pack::pack(layers, &cache, &Progress::silent()).map_err(|error| format!("{error:#}"))?;
    merge::merge(&mut packed).map_err(|error| format!("{:#}", anyhow::Error::new(error)))
}

pub(crate) fn layer(name: &str, tar: Vec<u8>) -> Layer {
    let diff_id = Some(Digest::of(&tar));
    Layer { name: name.to_owned(), content: Content::Blob(Blob::Memory(tar.into())), digest: None, diff_id }
}

/// An OCI layout in `directory` of an image with these layers (media type and bytes) and this `config` object.
pub(crate) fn layout(directory: &Path, layers: &[(&str, Vec<u8>)], diff_ids: &[Digest], config: &str) {
    fs::create_dir_all(directory.join("blobs/sha256")).unwrap();
    let put = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        fs::write(directory.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        (digest, bytes.len())
    };
    let diff_ids: Vec<String> = diff_ids.iter().map(|digest| format!("\"{digest}\"")).collect();
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{config},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
        diff_ids.join(",")
    );
    let descriptor = |media_type: &str, (digest, size): (Digest, usize), more: &str| {
        format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}{more}}}"#)
    };
    let config = descriptor("application/vnd.oci.image.config.v1+json", put(config.as_bytes()), "");
    let layers: Vec<String> = layers.iter().map(|(media_type, bytes)| descriptor(media_type, put(bytes), "")).collect();
    let manifest = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{}]}}"#, layers.join(","));
    let tag = r#","annotations":{"org.opencontainers.image.ref.name":"latest"}"#;
    let manifest = descriptor("application/vnd.oci.image.manifest.v1+json", put(manifest.as_bytes()), tag);
    fs::write(directory.join("index.json"), format!(r#"{{"schemaVersion":2,"manifests":[{manifest}]}}"#)).unwrap();
    fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

pub(crate) const PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";

/// A layout of one plain layer with a program in it.
pub(crate) fn simple_layout(directory: &Path) {
    let tar = tar(&[file("app", b"#!/bin/true\n"), directory_of_many_files()]);
    let id = Digest::of(&tar);
    layout(directory, &[(PLAIN, tar)], &[id], r#"{"Entrypoint":["/app"]}"#);
}

fn directory_of_many_files() -> (Entry, Vec<u8>) {
    file("data", &(0..300_000u32).flat_map(u32::to_le_bytes).collect::<Vec<u8>>())
}

/// A directory that looks like a kernel's, with systemd's stub. It does not boot; nothing here boots it.
pub(crate) fn kernel(directory: &Path) -> PathBuf {
    const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";
    fs::create_dir_all(directory).unwrap();
    fs::copy(STUB, directory.join("stub.efi"))
        .unwrap_or_else(|_| panic!("{STUB} is missing: apt-get install systemd-boot-efi"));
    fs::write(directory.join("vmlinuz"), [0x4D; 100_000]).unwrap();
    fs::write(directory.join("config"), "CONFIG_RD_ZSTD=y\n").unwrap();
    fs::write(directory.join("manifest.json"), r#"{"release":"6.12.0"}"#).unwrap();
    directory.to_owned()
}

/// The command in `directory`, with nothing of the user's environment that could matter.
pub(crate) fn builder(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_builder"));
    command.current_dir(directory).args(arguments);
    command.env("NANOOS_CACHE", directory.join("cache")).env("NANOOS_NO_INSTALL", "1");
    command.env("DOCKER_CONFIG", directory.join("no-docker")).env("HOME", directory);
    command.env_remove("XDG_RUNTIME_DIR").env_remove("XDG_CONFIG_HOME").env_remove("REGISTRY_AUTH_FILE");
    for name in [
        "SOURCE_DATE_EPOCH",
        "NANOOS_REGISTRY_MIRROR",
        "NANOOS_REGISTRY_CA",
        "NANOOS_CACHE_SIZE",
        "DOCKER_HOST",
        "CONTAINER_HOST",
        "http_proxy",
        "HTTP_PROXY",
        "https_proxy",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
        "no_proxy",
        "NO_PROXY",
    ] {
        command.env_remove(name);
    }
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    command
}

/// The last line on standard error of a command that must fail with status 1.
#[track_caller]
pub(crate) fn refusal(mut command: Command) -> String {
    let output = command.output().unwrap();
    let words = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{words}");
    words.lines().last().unwrap_or_default().to_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a command that must succeed.
#[track_caller]
pub(crate) fn succeed(mut command: Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    output
}

/// Names in a directory, sorted.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
