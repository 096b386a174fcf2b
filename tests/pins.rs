//! A project's base is the same until `builder update` moves its pin, whatever its tag means in a real registry by
//! then.

use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use tests::oci_layout::{Config, Layer, Layout};
use tests::process::tool;
use tests::registry::Registry;
use tests::workspace;

/// The test, for `boot.rs`.
pub(crate) fn run() -> Result<()> {
    let directory = tempfile::Builder::new().prefix("nanoos-pins.").tempdir().context("make a directory")?;
    let registry = Registry::start()?;
    let project = Project { directory: directory.path().join("shop") };
    fs::create_dir(&project.directory)?;
    let base = format!("{}/base:1", registry.url().trim_start_matches("http://"));
    fs::write(project.directory.join("nanoos.toml"), format!("base = \"{base}\"\n"))?;
    fs::write(project.directory.join("Procfile"), "web: /hello\n")?;

    let push = |edition: &str| {
        let layout = directory.path().join(edition);
        write_image(&layout, edition)?;
        registry.push(&layout, "base:1")
    };
    push("first")?;
    let disk = project.create()?;
    ensure!(project.lock()?.contains(&format!("\"{base}\" = \"sha256:")), "nanoos.lock has {}", project.lock()?);
    let pinned = project.lock()?;

    push("second")?;
    ensure!(project.create()? == disk, "another base lies under the machine, though it is pinned");
    ensure!(project.lock()? == pinned, "a build moved the pin: {}", project.lock()?);

    let said = text(&project.builder(&["update"])?);
    let moved = project.lock()?;
    ensure!(moved != pinned, "update left the pin where it was: {said}");
    let digests = |lock: &str| lock.split('"').find(|word| word.starts_with("sha256:")).map(str::to_owned);
    let (from, to) = digests(&pinned).zip(digests(&moved)).context("a lock without a digest")?;
    ensure!(said.contains(&format!("{base}: {from} → {to}")), "update says {said}");
    ensure!(project.create()? != disk, "the moved pin changes nothing");
    let said = text(&project.builder(&["update"])?);
    ensure!(said.contains("is still the newest"), "update says {said}");

    let gone = format!("sha256:{}", "0".repeat(64));
    fs::write(project.directory.join("nanoos.lock"), moved.replace(&to, &gone))?;
    let refused = project.builder(&["create", "-o", "disk.raw"])?;
    let said = text(&refused);
    ensure!(
        !refused.status.success() && said.contains("which nanoos.lock pins (builder update moves the pin)"),
        "a pin that the registry lacks: {said}"
    );
    Ok(())
}

struct Project {
    directory: PathBuf,
}

impl Project {
    fn builder(&self, words: &[&str]) -> Result<Output> {
        let mut command = tool(workspace::builder()?, "nothing: it is the workspace's own")?;
        // Credentials of the person who runs the tests are no part of them.
        command.env("DOCKER_CONFIG", &self.directory).args(words).current_dir(&self.directory);
        command.output().context("start the builder")
    }

    /// The disk that is made of it.
    fn create(&self) -> Result<Vec<u8>> {
        let output = self.builder(&["create", "-o", "disk.raw"])?;
        ensure!(output.status.success(), "builder create: {}", text(&output));
        fs::read(self.directory.join("disk.raw")).context("read the disk")
    }

    fn lock(&self) -> Result<String> {
        fs::read_to_string(self.directory.join("nanoos.lock")).context("read nanoos.lock")
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn write_image(directory: &Path, edition: &str) -> Result<()> {
    fs::create_dir(directory)?;
    let mut layer = Layer::default();
    layer.file("hello", 0o755, &fs::read(workspace::static_program("hello")?)?)?;
    layer.file("edition", 0o644, edition.as_bytes())?;
    let mut layout = Layout::create(directory)?;
    layout.layer(&layer.finish()?[..])?;
    layout.finish(&Config::default())
}
