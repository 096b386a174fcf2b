//! From a scenario's image to its disk, by the real builder.

use super::{Base, Scenario};
use crate::oci_layout::{Config, Layer, Layout};
use crate::process::{run, tool};
use crate::registry::Registry;
use crate::{nginx, workspace};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Makes the disk in a directory that exists, and gives its path.
pub(super) fn make(scenario: &Scenario, directory: &Path) -> Result<PathBuf> {
    let disk = directory.join("disk.raw");
    let mut command = tool(workspace::builder()?, "nothing: it is the workspace's own")?;
    // Whoever runs the tests has registry credentials of their own; they are no part of a test.
    command.env("DOCKER_CONFIG", directory);
    command.arg("-o").arg(&disk).args(&scenario.build.options);
    match scenario.image.from {
        Base::Scratch => {
            let layout = directory.join("image");
            write_image(scenario, &layout)?;
            run(command.arg(format!("oci:{}", layout.display())))?;
        }
        Base::Nginx => {
            let registry = Registry::start()?;
            registry.push(&nginx::layout()?, "library/nginx:latest")?;
            command.args(["--registry-mirror", &registry.url(), "nginx"]);
            run(&mut command)?;
        }
    }
    Ok(disk)
}

/// One program in an empty root, and whatever the folder's `root` holds.
fn write_image(scenario: &Scenario, layout: &Path) -> Result<()> {
    let image = &scenario.image;
    fs::create_dir(layout).context("make a directory for the image")?;
    let mut layer = Layer::default();
    if !image.program.is_empty() {
        let program = workspace::static_program(&image.program)?;
        let content = fs::read(program).with_context(|| format!("read {}", program.display()))?;
        layer.file(&image.program, 0o755, &content)?;
    }
    let root = scenario.folder.join("root");
    if root.is_dir() {
        layer.tree(&root)?;
    }
    let mut layout = Layout::create(layout)?;
    layout.layer(&layer.finish()?[..])?;
    layout.finish(&Config {
        entrypoint: image.entrypoint.clone(),
        cmd: image.cmd.clone(),
        env: image.env.clone(),
        user: image.user.clone(),
        cwd: image.cwd.clone(),
        stop_signal: image.stop_signal.clone(),
        ports: Vec::new(),
    })
}
