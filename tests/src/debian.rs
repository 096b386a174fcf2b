//! Roots of Debian's packages, for images as people pull them.

use crate::process::{run, tool};
use anyhow::Result;
use std::path::Path;

/// The release whose packages the images hold.
const SUITE: &str = "bookworm";

/// What no program of the tests reads. Java's package links manual pages into a directory that must be there.
const LEFT_OUT: &[&str] = &["/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/man/*/*"];

/// Writes a tar of a root with the essential packages and these, separated by commas.
///
/// # Errors
/// When mmdebstrap is missing or fails.
pub fn root(packages: &str, tar: &Path) -> Result<()> {
    let mut mmdebstrap = tool("mmdebstrap", "mmdebstrap")?;
    mmdebstrap.args(["--variant=essential", &format!("--include={packages}")]);
    mmdebstrap.args(LEFT_OUT.iter().map(|pattern| format!("--dpkgopt=path-exclude={pattern}")));
    run(mmdebstrap.arg(SUITE).arg(tar))?;
    Ok(())
}
