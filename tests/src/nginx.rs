//! The nginx image: Debian's packages with the configuration of Docker Hub's image, in layers as a Dockerfile would
//! make them.

use crate::oci_layout::{Config, Layer, Layout};
use crate::{cache, debian};
use anyhow::{Context, Result};
use std::fs::File;
use std::path::{Path, PathBuf};

const CONFIGURATION: &[u8] = include_bytes!("../nginx/nginx.conf");
const ENTRYPOINT: &[u8] = include_bytes!("../nginx/docker-entrypoint.sh");
const PAGE: &[u8] = include_bytes!("../nginx/index.html");

/// An OCI layout with the image, made once and kept in the cache.
///
/// # Errors
/// When mmdebstrap is missing or fails.
pub fn layout() -> Result<PathBuf> {
    // These very files are the recipe.
    let recipe: &[&[u8]] = &[include_bytes!("nginx.rs"), include_bytes!("debian.rs"), CONFIGURATION, ENTRYPOINT, PAGE];
    cache::directory("nginx", recipe, make).context("make the nginx image")
}

fn make(directory: &Path) -> Result<()> {
    let scratch = tempfile::tempdir().context("make a directory")?;
    let base = scratch.path().join("base.tar");
    debian::root("nginx-light", &base)?;
    let mut layout = Layout::create(directory)?;
    layout.layer(File::open(&base).context("open what mmdebstrap wrote")?)?;
    layout.layer(&configuration()?[..])?;
    layout.layer(&page()?[..])?;
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    layout.finish(&Config {
        entrypoint: words(&["/docker-entrypoint.sh"]),
        cmd: words(&["nginx", "-g", "daemon off;"]),
        env: words(&["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]),
        stop_signal: "SIGQUIT".to_owned(),
        ports: words(&["80/tcp"]),
        ..Config::default()
    })
}

/// RUN ln -sf … and two COPY: files over those of the layer below.
fn configuration() -> Result<Vec<u8>> {
    let mut layer = Layer::default();
    layer.file("docker-entrypoint.sh", 0o755, ENTRYPOINT)?;
    layer.file("etc/nginx/nginx.conf", 0o644, CONFIGURATION)?;
    layer.symlink("var/log/nginx/access.log", "/dev/stdout")?;
    layer.symlink("var/log/nginx/error.log", "/dev/stderr")?;
    layer.finish()
}

/// A new page, and RUN rm of the one that Debian's package put there, which takes a whiteout.
fn page() -> Result<Vec<u8>> {
    let mut layer = Layer::default();
    layer.file("var/www/html/index.html", 0o644, PAGE)?;
    layer.file("var/www/html/.wh.index.nginx-debian.html", 0o644, b"")?;
    layer.finish()
}
