//! Packs the initramfs: init and the modules that a machine may need, and the machine's configuration.
//!
//! These are two archives, one behind the other, each compressed by itself, which the kernel unpacks into one tree
//! (Documentation/driver-api/early-userspace/buffer-format.rst). The first is large and the same for every image, so it can be packed
//! while the root is squashed; the second needs the root's identity.

use crate::kernel::directory::Kernel;
use crate::kernel::modules::Selection;
use anyhow::{Context, Result};
use flate2::GzBuilder;
use initramfs::cpio::Archive;
use initramfs::image::Image;
use initramfs::paths;
use std::io::{self, Write};

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

/// The first archive: init, the console, the modules.
///
/// # Errors
/// When something is too large for the format.
pub fn pack_system(init: &[u8], release: &str, modules: &Selection, packing: Packing) -> Result<Vec<u8>> {
    let cpio = || -> io::Result<Vec<u8>> {
        let mut archive = Archive::new(Vec::new());
        // The kernel opens it as init's standard input and output before init has mounted anything.
        archive.character_device("/dev/console", 0o600, (5, 1))?;
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

/// The second archive: the machine's configuration.
///
/// # Errors
/// When the configuration is none that init would take.
pub fn pack_configuration(machine: &Image, packing: Packing) -> Result<Vec<u8>> {
    let json = machine.to_json().context("write the machine's configuration")?;
    let cpio = || -> io::Result<Vec<u8>> {
        let mut archive = Archive::new(Vec::new());
        // It may hold secrets of the image's environment.
        archive.file(paths::IMAGE_JSON, 0o600, &json)?;
        archive.finish()
    };
    let cpio = cpio().context("pack the machine's configuration")?;
    compress(&cpio, packing).context("compress the machine's configuration")
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
