//! The file that a build ends in: its name and its format.
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

use crate::cache::Cache;
use crate::digest::Digest;
use crate::outfile::{Content, Files, OutFile};
use crate::progress::Progress;
use anyhow::{Context, Result};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

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

    /// Begins the disk. Done first, it tells early that the result can't be written.
    ///
    /// # Errors
    /// As [`Files::write`].
    pub fn begin(&self, files: &mut Files, cache: &Cache) -> Result<Draft> {
        let out = files.write("-o", &self.path, Content::Bytes, cache)?;
        let raw = match self.format {
            // What a VHD has beside the disk is a few bytes behind it.
            Format::Raw | Format::Vhd => out.file().try_clone().context("open the disk")?,
            Format::Qcow2 | Format::Vmdk | Format::TarGz => cache.nameless()?,
        };
        Ok(Draft { raw, out })
    }

    /// Turns the raw disk, whose length is a multiple of [`Format::size_multiple`], into the result.
    ///
    /// # Errors
    /// When it can't be converted or written.
    pub fn finish(&self, draft: Draft, progress: &Progress) -> Result<()> {
        let Draft { raw, out } = draft;
        let convert = match self.format {
            Format::Raw => return out.commit(),
            Format::Vhd => {
                vhd::finish(&raw).context("store the disk as vhd")?;
                return out.commit();
            }
            Format::Qcow2 => qcow2::write,
            Format::Vmdk => vmdk::write,
            Format::TarGz => tar_gz::write,
        };
        progress.step(format!("store the disk as {}", self.format));
        let len = raw.metadata().context("ask for the disk's size")?.len();
        {
            let bar = progress.bytes(self.format.name(), len);
            convert(&raw, out.file(), &bar).with_context(|| format!("store the disk as {}", self.format))?;
        }
        out.commit()
    }
}

/// A disk that is being made: as it is on a machine, and the file that it becomes.
#[derive(Debug)]
pub struct Draft {
    raw: File,
    out: OutFile,
}

impl Draft {
    /// Where the raw disk is written.
    #[must_use]
    pub fn raw(&self) -> &File {
        &self.raw
    }

    /// The file that it becomes.
    #[must_use]
    pub fn out(&self) -> &OutFile {
        &self.out
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
    }

    fn begin(output: &Output, cache: &Path) -> Result<Draft> {
        output.begin(&mut Files::default(), &Cache::open(cache).unwrap())
    }

    #[test]
    fn what_cannot_be_written_is_said_before_any_work() {
        let dir = tempfile::tempdir().unwrap();
        let begin = |path: &str| begin(&Output::new(Some(Path::new(path)), "x", None), dir.path());
        let refused = |path: &str| format!("{:#}", begin(path).unwrap_err());
        assert_eq!(refused("/tmp"), "-o /tmp: this is a directory; name a file");
        assert_eq!(refused("/nowhere/x.raw"), "-o /nowhere/x.raw: there is no directory /nowhere");
        assert!(refused("/proc/x.raw").starts_with("-o /proc/x.raw: create a temporary file in /proc: "));
    }

    #[test]
    fn a_conversion_that_fails_leaves_nothing() {
        let (dir, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (name, format) in [("x.vhd", "vhd"), ("x.vmdk", "vmdk")] {
            let output = Output::new(Some(&dir.path().join(name)), "", None);
            let draft = begin(&output, cache.path()).unwrap();
            // Shorter than a partition table.
            let error = format!("{:#}", output.finish(draft, &Progress::silent()).unwrap_err());
            assert!(error.starts_with(&format!("store the disk as {format}: ")), "{error}");
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        }
    }
}
