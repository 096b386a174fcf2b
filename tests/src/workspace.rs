//! This workspace's own products: the builder, and small static programs.

use crate::process::guarded;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;

/// The root of the source tree.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"))
}

/// The builder: `NANOOS_BUILDER` names an installed one to test; otherwise the workspace's is built, once. And the
/// kernel, which the builder would build silently in the first test that needs it.
///
/// # Errors
/// When one of them does not build.
pub fn builder() -> Result<&'static Path> {
    static BUILDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let result = BUILDER.get_or_init(|| match env::var_os("NANOOS_BUILDER") {
        Some(path) => Ok(path.into()),
        None => build_kernel().and_then(|()| build_builder()).map_err(|error| format!("{error:#}")),
    });
    result.as_deref().map_err(|error| anyhow::Error::msg(error.clone()))
}

/// Takes ten minutes where the cache lacks it; its progress is for whoever waits.
fn build_kernel() -> Result<()> {
    let mut command = guarded(root().join("kernel/build.sh"));
    let status = command.stdout(Stdio::null()).status().context("start kernel/build.sh")?;
    if !status.success() {
        bail!("kernel/build.sh: {status}");
    }
    Ok(())
}

/// What `cargo test` tells a test about its own package. Build scripts of some crates (ring's) see it change and build
/// everything above them anew: once here, and again in the next build by hand.
const OUTER_CARGO: &[&str] = &["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_NAME", "CARGO_TARGET_TMPDIR"];

fn build_builder() -> Result<PathBuf> {
    let mut cargo = guarded(env!("CARGO"));
    for (name, _) in env::vars_os() {
        if OUTER_CARGO.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            cargo.env_remove(name);
        }
    }
    let output = cargo
        .args(["build", "--package", "builder", "--message-format", "json-render-diagnostics"])
        .current_dir(root())
        .stderr(Stdio::inherit())
        .output()
        .context("start cargo")?;
    if !output.status.success() {
        bail!("cargo build --package builder: {}", output.status);
    }
    executable(&output.stdout, "builder").context("cargo built no program called builder")
}

/// Path of the program in cargo's messages.
fn executable(messages: &[u8], name: &str) -> Option<PathBuf> {
    messages.split(|byte| *byte == b'\n').find_map(|line| {
        let message: Value = serde_json::from_slice(line).ok()?;
        let is_it = message["target"]["name"] == name && message["target"]["kind"][0] == "bin";
        is_it.then(|| message["executable"].as_str().map(PathBuf::from)).flatten()
    })
}

/// A directory with Debian's stock cloud kernel, for `--kernel`.
///
/// # Errors
/// When it cannot be downloaded.
pub fn stock_kernel() -> Result<&'static Path> {
    static KERNEL: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let result = KERNEL.get_or_init(|| fetch_stock_kernel().map_err(|error| format!("{error:#}")));
    result.as_deref().map_err(|error| anyhow::Error::msg(error.clone()))
}

fn fetch_stock_kernel() -> Result<PathBuf> {
    builder()?; // the EFI stub is of our kernel's directory
    let output = guarded(root().join("tests/stock-kernel")).stderr(Stdio::inherit()).output();
    let output = output.context("start tests/stock-kernel")?;
    if !output.status.success() {
        bail!("tests/stock-kernel: {}", output.status);
    }
    Ok(String::from_utf8(output.stdout).context("read what tests/stock-kernel wrote")?.trim_end().into())
}

/// A static program of the workspace, by its package's name, for an otherwise empty root.
///
/// # Errors
/// When it does not build, or there is none of this name.
pub fn static_program(package: &str) -> Result<&'static Path> {
    /// All of them: one build costs less than several.
    const PACKAGES: &[&str] = &["nanoos-init", "hello", "probe"];
    static PROGRAMS: OnceLock<Result<BTreeMap<String, PathBuf>, String>> = OnceLock::new();
    let programs = PROGRAMS.get_or_init(|| build_static(PACKAGES).map_err(|error| format!("{error:#}"))).as_ref();
    let programs = programs.map_err(|error| anyhow::Error::msg(error.clone()))?;
    let path = programs.get(package).map(PathBuf::as_path);
    path.with_context(|| format!("{package} is not among the static programs {PACKAGES:?}"))
}

fn build_static(packages: &[&str]) -> Result<BTreeMap<String, PathBuf>> {
    let mut command = guarded(root().join("init/build.sh"));
    command.arg("--target-dir").arg(root().join("target/static")).args(packages);
    let output = command.stderr(Stdio::inherit()).output().context("start init/build.sh")?;
    if !output.status.success() {
        bail!("init/build.sh: {}", output.status);
    }
    let table = String::from_utf8(output.stdout).context("read what init/build.sh wrote")?;
    Ok(table
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(name, path)| (name.to_owned(), path.into()))
        .collect())
}
