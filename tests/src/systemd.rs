//! An image whose program is systemd: Debian's packages, and a target that takes no time. tini is in it as well, and a
//! shell.

use crate::oci_layout::{Config, Layer, Layout};
use crate::{cache, debian};
use anyhow::{Context, Result};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Units, by their names.
const UNITS: &[(&str, &[u8])] = &[
    ("test.target", include_bytes!("../systemd/test.target")),
    ("test.service", include_bytes!("../systemd/test.service")),
    ("poweroff.service", include_bytes!("../systemd/poweroff.service")),
];

/// An OCI layout with the image, made once and kept in the cache.
///
/// # Errors
/// When mmdebstrap is missing or fails.
pub fn layout() -> Result<PathBuf> {
    // These very files are the recipe.
    let mut recipe: Vec<&[u8]> = vec![include_bytes!("systemd.rs"), include_bytes!("debian.rs")];
    recipe.extend(UNITS.iter().map(|(_, content)| *content));
    cache::directory("systemd", &recipe, make).context("make the image of systemd")
}

fn make(directory: &Path) -> Result<()> {
    let scratch = tempfile::tempdir().context("make a directory")?;
    let base = scratch.path().join("base.tar");
    debian::root("systemd-sysv,tini", &base)?;
    let mut layout = Layout::create(directory)?;
    layout.layer(File::open(&base).context("open what mmdebstrap wrote")?)?;
    layout.layer(&units()?[..])?;
    layout.finish(&Config { cmd: vec!["/usr/sbin/init".to_owned()], ..Config::default() })
}

fn units() -> Result<Vec<u8>> {
    let mut layer = Layer::default();
    for (name, content) in UNITS {
        layer.file(&format!("etc/systemd/system/{name}"), 0o644, content)?;
    }
    layer.symlink("etc/systemd/system/default.target", "test.target")?;
    layer.finish()
}
