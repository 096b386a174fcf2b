//! The file that a build ends in: its name, its format, and how it appears all at once.
//!
//! Every format is written here, by no other program's help, as a stream with bounded memory, and depends on the disk's
//! bytes alone: the same disk gives the same file, whenever and wherever.

mod format;
mod grains;
mod ordered;
mod qcow2;
mod tar_gz;
mod vhd;
mod vmdk;

pub use format::{Format, ParseFormatError};

use crate::cleanup::TempFile;
use crate::digest::Digest;
use crate::progress::Progress;
use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Permissions of the result: everyone may read it, as with other files that compilers make.
const PERMISSIONS: u32 = 0o644;

/// Deflate's effort. The root is compressed already, so more of it makes nothing smaller; but level 1 knows fixed codes
/// only, which make such bytes a twentieth larger.
const DEFLATE_LEVEL: u32 = 2;

/// Bytes at a disk's start that tell it from any other: the protective MBR and the header of the partition table, whose
/// identities are derived from everything that is on the disk.
const IDENTITY: usize = 1024;

/// Where the disk goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The file.
    pub path: PathBuf,
    /// How it is stored.
    pub format: Format,
}

impl Output {
    /// The file that the user names, or `NAME.FORMAT` here. The format is the one that the user names, else the one of
    /// the file's ending.
    #[must_use]
    pub fn new(given: Option<&Path>, name: &str, format: Option<Format>) -> Self {
        match given {
            Some(path) => Output { format: format.unwrap_or_else(|| Format::of(path)), path: path.to_owned() },
            None => {
                let format = format.unwrap_or(Format::Raw);
                Output { path: PathBuf::from(format!("{name}.{format}")), format }
            }
        }
    }

    /// The directory of the file, where temporary files can be renamed to it.
    #[must_use]
    pub fn directory(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        }
    }

    /// A temporary file beside the result. Made first, it tells early that the result can't be written.
    ///
    /// # Errors
    /// When the result is a directory, or none can be written there.
    pub fn begin(&self) -> Result<TempFile> {
        let shown = self.path.display();
        ensure!(!self.path.is_dir(), "-o {shown}: this is a directory; name a file");
        // A rename would put a file in the place of a device, which may be /dev/null or a disk.
        ensure!(!self.path.exists() || self.path.is_file(), "-o {shown}: this is a device or a pipe; name a file");
        let directory = self.directory();
        ensure!(directory.is_dir(), "-o {shown}: there is no directory {}", directory.display());
        TempFile::new_in(directory).with_context(|| format!("-o {shown}"))
    }

    /// Turns the raw disk, whose length is a multiple of [`Format::size_multiple`], into the result.
    ///
    /// # Errors
    /// When it can't be converted or written.
    pub fn finish(&self, raw: TempFile, progress: &Progress) -> Result<()> {
        let convert = match self.format {
            Format::Raw => return raw.persist(&self.path, PERMISSIONS),
            // The disk and a few bytes behind it.
            Format::Vhd => {
                vhd::finish(&raw.reopen()?).context("store the disk as vhd")?;
                return raw.persist(&self.path, PERMISSIONS);
            }
            Format::Qcow2 => qcow2::write,
            Format::Vmdk => vmdk::write,
            Format::TarGz => tar_gz::write,
        };
        progress.step(format!("store the disk as {}", self.format));
        let disk = raw.reopen()?;
        let len = disk.metadata().context("ask for the disk's size")?.len();
        let converted = TempFile::new_in(self.directory())?;
        let bar = progress.bytes(self.format.name(), len);
        convert(&disk, &converted.reopen()?, &bar).with_context(|| format!("store the disk as {}", self.format))?;
        converted.persist(&self.path, PERMISSIONS)
    }
}

/// An identity for the disk in the format `what`, derived from what is on it.
fn identity(disk: &File, what: &str) -> io::Result<Digest> {
    let mut bytes = [0; IDENTITY];
    disk.read_exact_at(&mut bytes, 0)?;
    Ok(Digest::of(&[format!("NanoOS {what}").as_bytes(), &bytes].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_goes_by_the_format_and_the_format_by_the_name() {
        let output = |given: Option<&str>, format| Output::new(given.map(Path::new), "nginx", format);
        assert_eq!(output(None, None), Output { path: "nginx.raw".into(), format: Format::Raw });
        assert_eq!(output(None, Some(Format::TarGz)).path, Path::new("nginx.tar.gz"));
        assert_eq!(output(Some("a/b.qcow2"), None).format, Format::Qcow2);
        assert_eq!(output(Some("a/b.qcow2"), Some(Format::Vhd)).format, Format::Vhd);
        assert_eq!(output(Some("a/b.qcow2"), None).directory(), Path::new("a"));
        assert_eq!(output(None, None).directory(), Path::new("."));
    }

    #[test]
    fn what_cannot_be_written_is_said_before_any_work() {
        let refused = |path: &str| format!("{:#}", Output::new(Some(Path::new(path)), "x", None).begin().unwrap_err());
        assert_eq!(refused("/tmp"), "-o /tmp: this is a directory; name a file");
        assert_eq!(refused("/nowhere/x.raw"), "-o /nowhere/x.raw: there is no directory /nowhere");
        assert!(refused("/proc/x.raw").starts_with("-o /proc/x.raw: create a temporary file in /proc: "));
    }

    #[test]
    fn a_conversion_that_fails_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let output = Output::new(Some(&dir.path().join("x.vhd")), "", None);
        let raw = output.begin().unwrap();
        // Shorter than a partition table.
        let error = format!("{:#}", output.finish(raw, &Progress::silent()).unwrap_err());
        assert!(error.starts_with("store the disk as vhd: "), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
