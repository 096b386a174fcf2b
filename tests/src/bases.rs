//! Images that projects are built on, by the names that builder asks for: Debian's packages stand in for those of
//! Docker Hub, which no test reaches.

use crate::oci_layout::{Config, Layer, Layout};
use crate::{cache, debian, nginx};
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::path::{Path, PathBuf};

/// Node's own image has its program in /usr/local/bin, and those of the others differ likewise; what counts is that the
/// image's PATH finds it.
const PATH: &str = "PATH=/usr/local/tomcat/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An OCI layout with the image of this name, such as `node:18-slim`; made once and kept in the cache.
///
/// # Errors
/// When nothing stands in for the name, when mmdebstrap is missing or fails.
pub fn layout(name: &str) -> Result<PathBuf> {
    let packages = match name {
        "node:18-slim" => "nodejs",
        "python:3.11-slim" => "python3,python-is-python3",
        // One image for both: it is the largest, and what Tomcat adds is small.
        "eclipse-temurin:17-jre" | "tomcat:10.1-jre17" => "openjdk-17-jre-headless,tomcat10-user",
        "nginx:stable-alpine" => return nginx::layout(),
        _ => bail!("nothing stands in for the image {name}"),
    };
    let recipe: &[&[u8]] = &[include_bytes!("bases.rs"), include_bytes!("debian.rs"), packages.as_bytes()];
    cache::directory("base", recipe, |directory| make(packages, directory)).with_context(|| format!("make {name}"))
}

fn make(packages: &str, directory: &Path) -> Result<()> {
    let scratch = tempfile::tempdir().context("make a directory")?;
    let base = scratch.path().join("base.tar");
    debian::root(packages, &base)?;
    let mut layout = Layout::create(directory)?;
    layout.layer(File::open(&base).context("open what mmdebstrap wrote")?)?;
    let mut env = vec![PATH.to_owned()];
    if packages.contains("tomcat") {
        layout.layer(&tomcat()?[..])?;
        env.push("CATALINA_HOME=/usr/local/tomcat".to_owned());
    }
    layout.finish(&Config { cmd: vec!["/bin/sh".to_owned()], env, ..Config::default() })
}

/// Debian's Tomcat where Docker Hub's has it.
fn tomcat() -> Result<Vec<u8>> {
    let mut layer = Layer::default();
    for directory in ["bin", "lib"] {
        layer.symlink(&format!("usr/local/tomcat/{directory}"), &format!("/usr/share/tomcat10/{directory}"))?;
    }
    for file in ["catalina.properties", "context.xml", "web.xml"] {
        layer.symlink(&format!("usr/local/tomcat/conf/{file}"), &format!("/usr/share/tomcat10/skel/conf/{file}"))?;
    }
    layer.finish()
}
