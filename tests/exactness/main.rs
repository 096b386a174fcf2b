//! The root of a machine against what `docker create` and `docker export` make of the same image, name by name: kind,
//! mode, owner, size, content, target, hard links, device numbers, time, extended attributes.
//!
//! [`cases`] are layers by hand, a corner each; the images here are of Debian's packages, of GNU tar's formats, and large.

mod cases;
mod compare;
mod docker;
mod image;
mod machine;
mod snapshot;

use anyhow::{Context, Result, ensure};
use snapshot::Tree;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use tests::oci_layout::{Config, Layer, Layout};
use tests::process::{run, tool};
use tests::{cache, nginx};

/// A name for an image of this very process, so that no other is ever taken for it or removed with it.
fn tag(name: &str) -> String {
    format!("nanoos-exactness/{name}:{}", std::process::id())
}

/// Builds a machine of an archive, has Docker make a container of it, and compares.
fn compare(name: &str, archive: &Path) -> Result<()> {
    let machine = machine::root(archive)?;
    let docker = docker::export(archive, &tag(name))?;
    let found = compare::unexpected(&docker, &machine, &last_words(archive)?);
    let shown = found.iter().take(50).map(String::as_str).collect::<Vec<_>>().join("\n");
    ensure!(found.is_empty(), "{} names differ between docker export and the machine:\n{shown}", found.len());
    println!("{name}: {} names are the same", machine.len());
    Ok(())
}

/// What the layers say of each name, the last layer's word.
fn last_words(archive: &Path) -> Result<Tree> {
    let mut outer = tar::Archive::new(File::open(archive)?);
    let mut layers: BTreeMap<String, Tree> = BTreeMap::new();
    let mut order: Vec<String> = Vec::new();
    for member in outer.entries()? {
        let mut member = member?;
        let name = member.path()?.display().to_string();
        if name == "manifest.json" {
            let manifest: serde_json::Value = serde_json::from_reader(&mut member)?;
            let names = manifest[0]["Layers"].as_array().context("a manifest without layers")?;
            order = names.iter().map(|name| name.as_str().unwrap_or_default().to_owned()).collect();
        } else if name.ends_with(".tar") {
            // The tars with sparse files, which this reader knows not, have no attributes.
            layers.insert(name, snapshot::of_tar(member.by_ref()).unwrap_or_default());
        }
    }
    let mut found = Tree::new();
    for layer in order {
        let tree = layers.remove(&layer).with_context(|| format!("no {layer} in the archive"))?;
        found.extend(tree);
    }
    Ok(found)
}

/// The debian image: an essential Debian with setuid programs, a program with a capability, many hard and symbolic
/// links, and two layers that remove and change.
fn debian() -> Result<std::path::PathBuf> {
    let recipe: &[&[u8]] = &[include_bytes!("main.rs")];
    cache::directory("exactness", recipe, |directory| {
        let scratch = tempfile::tempdir().context("make a directory")?;
        let base = scratch.path().join("base.tar");
        let mut mmdebstrap = tool("mmdebstrap", "mmdebstrap")?;
        mmdebstrap.args(["--variant=essential", "--include=python3-minimal,iputils-ping", "bookworm"]).arg(&base);
        run(&mut mmdebstrap)?;
        let mut layout = Layout::create(directory)?;
        layout.layer(File::open(&base).context("open what mmdebstrap wrote")?)?;
        let mut removal = Layer::default();
        for parent in ["usr", "usr/share", "usr/bin", "var", "var/lib", "var/lib/dpkg"] {
            removal.directory(parent, 0o755)?;
        }
        for gone in ["usr/share/.wh.doc", "usr/share/.wh.man", "usr/bin/.wh.perl", "var/lib/dpkg/.wh..wh..opq"] {
            removal.file(gone, 0o644, b"")?;
        }
        removal.file("var/lib/dpkg/status", 0o644, b"nothing\n")?;
        layout.layer(&removal.finish()?[..])?;
        let mut change = Layer::default();
        for parent in ["usr", "usr/share", "usr/share/doc", "srv", "opt"] {
            change.directory(parent, 0o755)?;
        }
        change.file("usr/share/doc/README", 0o600, b"again\n")?;
        change.symlink("usr/share/locale", "doc")?;
        change.file("srv/app", 0o4755, b"#!/usr/bin/python3\n")?;
        layout.layer(&change.finish()?[..])?;
        layout.finish(&Config { entrypoint: vec!["/srv/app".to_owned()], ..Config::default() })
    })
    .context("make the debian image")
}

#[test]
fn an_image_of_nginx_is_the_same() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    compare("nginx", &image::of_layout(&nginx::layout()?, scratch.path(), &tag("nginx"))?)
}

#[test]
fn an_image_of_debian_with_capabilities_and_removals_is_the_same() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    compare("debian", &image::of_layout(&debian()?, scratch.path(), &tag("debian"))?)
}

#[test]
fn every_format_of_gnu_tar_is_the_same() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let tree = scratch.path().join("tree");
    fs::create_dir(&tree)?;
    fs::write(tree.join("file"), "content")?;
    fs::hard_link(tree.join("file"), tree.join("hard"))?;
    std::os::unix::fs::symlink("file", tree.join("symbolic"))?;
    let sparse = File::create(tree.join("sparse"))?;
    for run in 0..40 {
        sparse.write_all_at(&[7; 5000], run * 65536)?;
    }
    let mut layers = Vec::new();
    for format in ["v7", "ustar"] {
        layers.push(image::gnu_tar(&tree, format, &[&format!("--format={format}")])?);
    }
    fs::write(tree.join("n".repeat(200)), "long")?;
    fs::hard_link(tree.join("n".repeat(200)), tree.join("m".repeat(220)))?;
    std::os::unix::fs::symlink("t".repeat(300), tree.join("to-long"))?;
    for (name, options) in [
        ("gnu", &["--format=gnu"][..]),
        ("pax-0.0", &["--format=pax", "--sparse", "--hole-detection=raw", "--sparse-version=0.0"]),
        ("pax-0.1", &["--format=pax", "--sparse", "--hole-detection=raw", "--sparse-version=0.1"]),
        ("pax-1.0", &["--format=pax", "--sparse", "--hole-detection=raw", "--sparse-version=1.0"]),
    ] {
        layers.push(image::gnu_tar(&tree, name, options)?);
    }
    compare("formats", &image::archive(scratch.path(), &tag("formats"), &layers)?)
}

/// GNU tar's own, older format of sparse files: Docker refuses it, and the builder reads it.
#[test]
fn old_sparse_files_are_what_they_were() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let tree = scratch.path().join("tree");
    fs::create_dir(&tree)?;
    let sparse = File::create(tree.join("sparse"))?;
    for run in 0..40 {
        sparse.write_all_at(&[7; 5000], run * 65536)?;
    }
    let layer = image::gnu_tar(&tree, "old", &["--format=gnu", "--sparse", "--hole-detection=raw"])?;
    ensure!(layer.len() < 40 * 16384, "tar found no holes");
    let archive = image::archive(scratch.path(), &tag("old-sparse"), &[layer])?;
    let refusal = docker::export(&archive, &tag("old-sparse")).err().context("Docker takes it")?;
    ensure!(format!("{refusal:#}").contains("unhandled tar header type 83"), "{refusal:#}");
    let (machine, expected) = (machine::root(&archive)?, snapshot::of_directory(&tree)?);
    let found = &machine[&b"old/sparse"[..]].what;
    ensure!(*found == expected[&b"sparse"[..]].what, "{machine:?}");
    Ok(())
}

#[test]
fn a_file_of_more_than_4_gib_is_the_same() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let tree = scratch.path().join("tree");
    fs::create_dir(&tree)?;
    let file = File::create(tree.join("large"))?;
    file.write_all_at(b"start", 0)?;
    file.write_all_at(b"end", 4 << 30)?;
    let layer = image::gnu_tar(&tree, "large", &["--format=pax", "--sparse"])?;
    ensure!(layer.len() < 1 << 20, "tar found no holes");
    compare("large", &image::archive(scratch.path(), &tag("large"), &[layer])?)
}

#[test]
fn a_hundred_thousand_small_files_are_the_same() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let directories = (0..100).map(|number| format!("d many/{number} mode=755"));
    let files = (0..100_000).map(|number| format!("f many/{}/{number} uid={}", number % 100, number % 1000));
    let entries: Vec<String> = std::iter::once("d many mode=755".to_owned()).chain(directories).chain(files).collect();
    let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
    let removals: Vec<String> = (0..100).map(|number| format!("f many/7/.wh.{}", number * 100 + 7)).collect();
    let removals = ["d many mode=755", "d many/7 mode=755"].into_iter().chain(removals.iter().map(String::as_str));
    let layers = [image::layer("", &entries)?, image::layer("", &removals.collect::<Vec<_>>())?];
    compare("many", &image::archive(scratch.path(), &tag("many"), &layers)?)
}
