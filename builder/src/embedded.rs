//! What this program carries inside itself, so that one binary works outside the source tree: init, the example program,
//! and the scripts that build the kernel and boot a machine.

use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A file of the source tree.
#[derive(Debug)]
pub struct File {
    /// Its path below the folder that it belongs to.
    pub path: &'static str,
    /// Whether it may be executed.
    pub executable: bool,
    /// Its bytes.
    pub content: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// Writes files below `directory`.
///
/// # Errors
/// When they can't be written.
pub fn unpack(files: &[File], directory: &Path) -> Result<()> {
    for file in files {
        let path = directory.join(file.path);
        let parent = path.parent().unwrap_or(directory);
        fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        fs::write(&path, file.content).with_context(|| format!("write {}", path.display()))?;
        let mode = if file.executable { 0o755 } else { 0o644 };
        fs::set_permissions(&path, PermissionsExt::from_mode(mode))
            .with_context(|| format!("chmod {}", path.display()))?;
    }
    Ok(())
}
