//! Packs the initramfs: the machine's configuration, and init with the modules that a machine may need.
//!
//! These are two archives, one behind the other, which the kernel unpacks into one tree
//! (Documentation/driver-api/early-userspace/buffer-format.rst). The first is small, differs from image to image and stands near the
//! start of the EFI program, so that little else changes with it; it is not compressed, so that its length can be told before the
//! root's identity is known. The second is large, compressed, and the same for every image: the cache keeps it.

use crate::cache::{Cache, Kind};
use crate::digest::{Digest, Hasher};
use crate::kernel::directory::Kernel;
use crate::kernel::modules::Selection;
use anyhow::{Context, Result};
use flate2::GzBuilder;
use initramfs::cpio::Archive;
use initramfs::image::Image;
use initramfs::paths;
use std::io::{self, Read, Write};

/// zstd's level. Of 3.5 MB, level 9 makes 1.05 MB in 0.06 s and 19 makes 0.95 MB in 1.1 s, which are worth it where every boot reads
/// the result and the second processor would idle. The kernel unpacks every level equally fast.
const ZSTD_LEVEL: i32 = 19;

/// How the initramfs is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Zstandard.
    Zstd,
    /// gzip, which every distribution's kernel reads.
    Gzip,
}

/// The best packing that a kernel can undo.
///
/// # Errors
/// When the kernel's configuration can't be read.
pub fn packing(kernel: &Kernel) -> Result<Packing> {
    Ok(if kernel.has("CONFIG_RD_ZSTD")? { Packing::Zstd } else { Packing::Gzip })
}

/// The second archive, from the cache if it has it: packing costs a second of a processor.
///
/// # Errors
/// As [`pack_system`]; when the cache can't be read or written.
pub fn system(init: &[u8], release: &str, modules: &Selection, packing: Packing, cache: &Cache) -> Result<Vec<u8>> {
    let key = key(init, release, modules, packing);
    // One that can't be read is as good as none.
    if let Ok(Some(file)) = cache.derived(Kind::Initramfs, &key) {
        let mut bytes = Vec::new();
        file.take(MAX_ARCHIVE).read_to_end(&mut bytes).context("read an initramfs of the cache")?;
        // Its digest stands before it; what was damaged is made anew.
        if let Some((digest, archive)) = bytes.split_first_chunk::<32>()
            && Digest::of(archive).bytes() == digest
        {
            return Ok(archive.to_vec());
        }
    }
    let archive = pack_system(init, release, modules, packing)?;
    let draft = cache.derive(Kind::Initramfs, &key)?;
    let mut file = draft.file();
    let written = file.write_all(Digest::of(&archive).bytes()).and_then(|()| file.write_all(&archive));
    written.context("write an initramfs into the cache")?;
    draft.finish()?;
    Ok(archive)
}

/// Largest archive that is read from the cache, in bytes: with all of a distribution's modules it has some 100 MiB.
const MAX_ARCHIVE: u64 = 1 << 30;

/// A digest of everything that the second archive depends on.
fn key(init: &[u8], release: &str, modules: &Selection, packing: Packing) -> Digest {
    let mut hasher = Hasher::default();
    let how = format!("initramfs 2 {packing:?} {ZSTD_LEVEL} {} {release}", modules.late);
    let files = modules.files.iter().flat_map(|(path, content)| [path.as_bytes(), content]);
    for part in [how.as_bytes(), init].into_iter().chain(files) {
        // With their lengths, so that no two lists run together to the same bytes.
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finish()
}

/// The second archive: init, the devices that it starts with, the modules.
///
/// # Errors
/// When something is too large for the format.
pub fn pack_system(init: &[u8], release: &str, modules: &Selection, packing: Packing) -> Result<Vec<u8>> {
    let cpio = || -> io::Result<Vec<u8>> {
        let mut archive = Archive::new(Vec::new());
        // The kernel opens it as init's standard input and output before init has mounted anything.
        archive.character_device("/dev/console", 0o600, (5, 1))?;
        // Where no console opens, init starts with these three closed, and Rust's runtime ends the process unless it can open
        // this instead (library/std/src/sys/pal/unix/mod.rs, sanitize_standard_fds).
        archive.character_device("/dev/null", 0o666, (1, 3))?;
        archive.file(paths::INIT, 0o755, init)?;
        // Only where it may be asked for the machine's life: at boot init loads what is needed before anybody asks.
        if modules.late {
            archive.symlink(paths::MODPROBE, paths::INIT)?;
        }
        for (path, content) in &modules.files {
            archive.file(&format!("{}/{release}/{path}", paths::MODULES), 0o644, content)?;
        }
        archive.finish()
    };
    let cpio = cpio().context("pack the initramfs")?;
    compress(&cpio, packing).context("compress the initramfs")
}

/// Bytes of which the first archive has a multiple, so that few changes of the configuration move what follows.
const CONFIGURATION_STEP: usize = 4096;

/// The first archive: the machine's configuration. Its length depends on that alone, not on which root it names.
///
/// # Errors
/// When the configuration is none that init would take.
pub fn pack_configuration(machine: &Image) -> Result<Vec<u8>> {
    let json = machine.to_json().context("write the machine's configuration")?;
    let cpio = || -> io::Result<Vec<u8>> {
        let mut archive = Archive::new(Vec::new());
        // It may hold secrets of the image's environment.
        archive.file(paths::IMAGE_JSON, 0o600, &json)?;
        archive.finish()
    };
    let mut cpio = cpio().context("pack the machine's configuration")?;
    // The kernel passes over zeros between archives.
    cpio.resize(cpio.len().next_multiple_of(CONFIGURATION_STEP), 0);
    Ok(cpio)
}

fn compress(cpio: &[u8], packing: Packing) -> io::Result<Vec<u8>> {
    match packing {
        Packing::Zstd => {
            let mut encoder = zstd::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
            // The kernel checks it and says which, rather than unpacking garbage.
            encoder.include_checksum(true)?;
            encoder.set_pledged_src_size(Some(cpio.len() as u64))?;
            encoder.write_all(cpio)?;
            encoder.finish()
        }
        Packing::Gzip => {
            let builder = GzBuilder::new().mtime(0);
            let mut encoder = builder.write(Vec::new(), flate2::Compression::best());
            encoder.write_all(cpio)?;
            encoder.finish()
        }
    }
}

#[cfg(test)]
mod tests;
