//! The file that a build ends in: its name, its format, and how it appears all at once.

use crate::cleanup::{TempFile, Tool};
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Permissions of the result: everyone may read it, as with other files that compilers make.
const PERMISSIONS: u32 = 0o644;

/// How the disk is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Byte for byte.
    Raw,
    /// QEMU's own.
    Qcow2,
}

impl Format {
    /// What a disk's length must be a multiple of, in bytes.
    #[must_use]
    pub fn size_multiple(self) -> u64 {
        512
    }
}

/// Where the disk goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The file.
    pub path: PathBuf,
    /// How it is stored.
    pub format: Format,
}

impl Output {
    /// The file that the user names, or `NAME.raw` here.
    #[must_use]
    pub fn new(given: Option<&Path>, name: &str) -> Self {
        let path = given.map_or_else(|| PathBuf::from(format!("{name}.raw")), Path::to_owned);
        let is_qcow2 = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("qcow2"));
        Output { format: if is_qcow2 { Format::Qcow2 } else { Format::Raw }, path }
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

    /// Turns the raw disk into the result.
    ///
    /// # Errors
    /// When it can't be converted or written.
    pub fn finish(&self, raw: TempFile) -> Result<()> {
        match self.format {
            Format::Raw => raw.persist(&self.path, PERMISSIONS),
            Format::Qcow2 => {
                let converted = TempFile::new_in(self.directory())?;
                convert(raw.path(), converted.path())?;
                converted.persist(&self.path, PERMISSIONS)
            }
        }
    }
}

fn convert(raw: &Path, qcow2: &Path) -> Result<()> {
    let mut command = Command::new("qemu-img");
    // In order (no -W), which keeps the same disk the same file.
    command.args(["convert", "-f", "raw", "-O", "qcow2"]).arg(raw).arg(qcow2);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut tool = Tool::spawn(&mut command)?;
    let mut words = String::new();
    if let Some(mut stderr) = tool.child().stderr.take() {
        std::io::Read::read_to_string(&mut stderr, &mut words).context("read what qemu-img says")?;
    }
    let status = tool.wait()?;
    if !status.success() {
        bail!("qemu-img convert ended with {status}: {}", words.trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_goes_by_the_name() {
        let output = |given: Option<&str>| Output::new(given.map(Path::new), "nginx");
        assert_eq!(output(None), Output { path: "nginx.raw".into(), format: Format::Raw });
        assert_eq!(output(Some("a/b.qcow2")).format, Format::Qcow2);
        assert_eq!(output(Some("a/b.img")).format, Format::Raw);
        assert_eq!(output(Some("a/b.qcow2")).directory(), Path::new("a"));
        assert_eq!(output(None).directory(), Path::new("."));
    }

    #[test]
    fn what_cannot_be_written_is_said_before_any_work() {
        let refused = |path: &str| format!("{:#}", Output::new(Some(Path::new(path)), "x").begin().unwrap_err());
        assert_eq!(refused("/tmp"), "-o /tmp: this is a directory; name a file");
        assert_eq!(refused("/nowhere/x.raw"), "-o /nowhere/x.raw: there is no directory /nowhere");
        assert!(refused("/proc/x.raw").starts_with("-o /proc/x.raw: create a temporary file in /proc: "));
    }
}
