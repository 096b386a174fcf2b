//! A tar of files that is the whole root: what `docker export`, debootstrap and other tools make. It has no configuration, so
//! what the machine runs is the user's to say.

use super::Container;
use crate::blob::Blob;
use crate::compression::sniff_reader;
use crate::digest::Digest;
use crate::flatten::{Content, Layer};
use crate::manifest::ImageConfig;
use anyhow::{Context, Result, bail, ensure};
use std::io;
use std::path::Path;

/// Reads the root from a tar, compressed as layers may be or not.
///
/// # Errors
/// When there is no such file, or it is empty. Whether it is a tar shows when it is merged.
pub(super) fn read(tar: &Path) -> Result<Container> {
    ensure!(!tar.is_dir(), "a directory, not a tar: pack it with tar --numeric-owner -C {} -c .", tar.display());
    let blob = match Blob::open(tar) {
        Ok(blob) => blob,
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!("no such file"),
        Err(error) => return Err(error).context("open the tar"),
    };
    ensure!(!blob.is_empty(), "an empty file, not a tar");
    // A compression that can't be read is told before any work.
    sniff_reader(blob.reader()).and_then(|found| found.decompress(blob.reader())).context("read the tar")?;
    // Its identity is what it holds, as an image's is. No tool gives it another.
    let id = Digest::of_reader(blob.reader()).context("read the tar")?;
    let name = tar.file_name().map_or_else(|| tar.display().to_string(), |name| name.to_string_lossy().into_owned());
    let layer = Layer { name, content: Content::Blob(blob), digest: None, diff_id: None };
    Ok(Container { id, pin: None, manifest: None, config: ImageConfig::default(), layers: vec![layer] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tar_is_an_image_of_one_layer_without_a_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("root.tar.gz");
        let refused = || format!("{:#}", read(&path).unwrap_err());
        assert_eq!(refused(), "no such file");
        std::fs::write(&path, "").unwrap();
        assert_eq!(refused(), "an empty file, not a tar");
        std::fs::write(&path, b"\xfd7zXZ\0").unwrap();
        assert!(refused().starts_with("read the tar: compressed with xz"), "{}", refused());
        std::fs::write(&path, [0; 1024]).unwrap();
        let container = read(&path).unwrap();
        assert_eq!((container.layers[0].name.as_str(), container.config), ("root.tar.gz", ImageConfig::default()));
        assert_eq!(container.id, Digest::of(&[0; 1024]));
        assert!(
            format!("{:#}", read(dir.path()).unwrap_err()).starts_with("a directory, not a tar: pack it with tar ")
        );
    }
}
