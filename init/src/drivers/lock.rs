//! The end of module loading: once the machine runs, what it needs is loaded, and nobody shall bring in more.

use crate::info;
use crate::log::OrWarn;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// Where the kernel keeps the name of the program that loads modules; empty, it asks nobody.
const MODPROBE: &str = "/proc/sys/kernel/modprobe";
/// Whether modules may be loaded; it goes to 1 and never back.
const MODULES_DISABLED: &str = "/proc/sys/kernel/modules_disabled";

/// Has the kernel load nothing more, and frees the modules' files. Nothing of it is fatal: the machine runs already.
pub(super) fn lock(modules: &Path) {
    // A kernel without modules has neither file.
    for (file, value) in [(MODULES_DISABLED, "1\n"), (MODPROBE, "\n")] {
        if Path::new(file).exists() {
            fs::write(file, value).with_context(|| format!("write to {file}")).or_warn("drivers");
        }
    }
    let freed = remove_modules(&modules.join("kernel")).or_warn("drivers").unwrap_or_default();
    info!("drivers: no more modules from here on, {} KiB of them freed", freed >> 10);
}

/// Removes what is in a directory of the initramfs, whose files are memory, and says how many bytes that were. The
/// indexes, beside it, stay: they tell which module a later device would have wanted.
fn remove_modules(directory: &Path) -> Result<u64> {
    let mut freed = 0;
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        entries => entries.with_context(|| format!("list {}", directory.display()))?,
    };
    for entry in entries.flatten() {
        let path = entry.path();
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => freed += remove_modules(&path)?,
            Ok(metadata) => {
                fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
                freed += metadata.len();
            }
            Err(_) => {}
        }
    }
    Ok(freed)
}
