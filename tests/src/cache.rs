//! What is expensive to make and depends on known inputs only is made once for all test runs.

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// A directory that `make` fills, unless it did so before from the same inputs. Several test runs may ask at once;
/// one that breaks off leaves nothing.
///
/// # Errors
/// Those of `make`; when the cache cannot be written.
pub fn directory(name: &str, inputs: &[&[u8]], make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let all = root()?.join("test-images");
    directory_in(&all, name, inputs, make)
}

fn directory_in(all: &Path, name: &str, inputs: &[&[u8]], make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let path = all.join(format!("{name}-{}", key(inputs)));
    if path.is_dir() {
        return Ok(path);
    }
    fs::create_dir_all(all).with_context(|| format!("make {}", all.display()))?;
    let unfinished = tempfile::Builder::new().prefix(".unfinished-").tempdir_in(all).context("make a directory")?;
    make(unfinished.path())?;
    match fs::rename(unfinished.path(), &path) {
        Ok(()) => drop(unfinished.keep()),
        // Another run was faster; the inputs are the same, and so is what it made.
        Err(_) if path.is_dir() => {}
        Err(error) => return Err(error).with_context(|| format!("move to {}", path.display())),
    }
    Ok(path)
}

/// NanoOS's cache, `$NANOOS_CACHE` or `~/.cache/nanoos`.
fn root() -> Result<PathBuf> {
    match env::var_os("NANOOS_CACHE") {
        Some(path) => Ok(path.into()),
        None => Ok(Path::new(&env::var_os("HOME").context("HOME is not set")?).join(".cache/nanoos")),
    }
}

fn key(inputs: &[&[u8]]) -> String {
    let mut digest = Sha256::new();
    for input in inputs {
        digest.update((input.len() as u64).to_le_bytes()); // so that no two lists run together to the same bytes
        digest.update(input);
    }
    digest.finalize().iter().take(8).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    #[test]
    fn the_same_inputs_are_made_once() {
        let all = tempfile::tempdir().unwrap();
        let mut times = 0;
        let mut make = |inputs: &[&[u8]]| {
            directory_in(all.path(), "x", inputs, |path| {
                times += 1;
                Ok(fs::write(path.join("file"), "content")?)
            })
            .unwrap()
        };
        let first = make(&[b"a", b"b"]);
        assert_eq!(make(&[b"a", b"b"]), first);
        assert_ne!(make(&[b"ab", b""]), first);
        assert_eq!(fs::read_to_string(first.join("file")).unwrap(), "content");
        assert_eq!(times, 2);
    }

    #[test]
    fn what_fails_leaves_nothing() {
        let all = tempfile::tempdir().unwrap();
        assert!(directory_in(all.path(), "x", &[], |_| bail!("no")).is_err());
        assert_eq!(fs::read_dir(all.path()).unwrap().count(), 0);
    }
}
