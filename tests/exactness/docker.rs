//! The Docker Engine: what it makes of an image. Nothing stays in it.

use crate::snapshot::{self, Tree};
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::{Command, Stdio};
use tests::process::{run, tool};

fn docker() -> Result<Command> {
    tool("docker", "docker.io, and start dockerd")
}

/// The tree of a container that is made of the image in a docker-archive, and never started; or why there is none.
pub(crate) fn export(archive: &Path, tag: &str) -> Result<Tree> {
    let image = Image(tag);
    let file = std::fs::File::open(archive).context("open the archive")?;
    run(docker()?.args(["load", "--quiet"]).stdin(file))?;
    let id = run(docker()?.args(["create", image.0, "/never-started"]))?;
    let container = Container(String::from_utf8(id)?.trim_end().to_owned());
    let mut export =
        docker()?.args(["export", &container.0]).stdout(Stdio::piped()).spawn().context("docker export")?;
    let tree = snapshot::of_tar(export.stdout.take().context("docker export has no output")?);
    let status = export.wait().context("docker export")?;
    if !status.success() {
        bail!("docker export: {status}");
    }
    tree
}

/// Removed, with what is in it, however the test ends.
struct Image<'a>(&'a str);

impl Drop for Image<'_> {
    fn drop(&mut self) {
        // An image that was refused is not there to be removed.
        let _ = docker().and_then(|mut docker| run(docker.args(["rmi", "--force", self.0])));
    }
}

struct Container(String);

impl Drop for Container {
    fn drop(&mut self) {
        if let Err(error) = docker().and_then(|mut docker| run(docker.args(["rm", "--force", &self.0]))) {
            eprintln!("a container stays behind: {error:#}");
        }
    }
}
