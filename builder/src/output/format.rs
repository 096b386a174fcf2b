//! The formats that a disk is stored in, by name and by a file's ending.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// How the disk is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Byte for byte.
    Raw,
    /// QEMU's own.
    Qcow2,
    /// VMware's, as it is sent and imported: streamOptimized.
    Vmdk,
    /// Microsoft's of fixed size, which Azure takes.
    Vhd,
    /// A compressed tar archive with `disk.raw` in it, which Google Cloud takes.
    TarGz,
}

impl Format {
    /// Names of all formats, which are also the endings of their files.
    pub const NAMES: [&str; 5] = ["raw", "qcow2", "vmdk", "vhd", "tar.gz"];

    /// The name, which is also the ending of its files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Format::Raw => "raw",
            Format::Qcow2 => "qcow2",
            Format::Vmdk => "vmdk",
            Format::Vhd => "vhd",
            Format::TarGz => "tar.gz",
        }
    }

    /// The format by a file's ending; raw where that says nothing.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        match name.rsplit_once('.') {
            Some((_, "qcow2")) => Format::Qcow2,
            Some((_, "vmdk")) => Format::Vmdk,
            Some((_, "vhd")) => Format::Vhd,
            Some((_, "tgz")) => Format::TarGz,
            Some((stem, "gz")) if stem.ends_with(".tar") => Format::TarGz,
            _ => Format::Raw,
        }
    }

    /// What the disk's size must be a multiple of, in bytes. The disk is made of this size, as the copy of its partition
    /// table lies at its very end.
    #[must_use]
    pub fn size_multiple(self) -> u64 {
        match self {
            // Any size that has whole sectors would do.
            Format::Raw | Format::Qcow2 => MIB / 2,
            // vSphere counts disks in MiB; Azure refuses others ("Prepare a VHD to upload", "size of the VHD").
            Format::Vmdk | Format::Vhd => MIB,
            // Compute Engine counts disks in GiB ("Manually import boot disks", requirements).
            Format::TarGz => GIB,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no format: it is raw, qcow2, vmdk, vhd or tar.gz")]
pub struct ParseFormatError(String);

impl FromStr for Format {
    type Err = ParseFormatError;

    fn from_str(text: &str) -> Result<Self, ParseFormatError> {
        let all = [Format::Raw, Format::Qcow2, Format::Vmdk, Format::Vhd, Format::TarGz];
        let found = all.into_iter().find(|format| format.name() == text);
        found.ok_or_else(|| ParseFormatError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_goes_by_the_ending() {
        let cases = [
            ("a/b.raw", Format::Raw),
            ("a/b.img", Format::Raw),
            ("a/b", Format::Raw),
            ("a/qcow2", Format::Raw),
            ("a/b.QCOW2", Format::Qcow2),
            ("b.vmdk", Format::Vmdk),
            ("b.vhd", Format::Vhd),
            ("b.tar.gz", Format::TarGz),
            ("b.tgz", Format::TarGz),
            ("b.gz", Format::Raw),
            ("a.vmdk/b", Format::Raw),
        ];
        for (path, format) in cases {
            assert_eq!(Format::of(Path::new(path)), format, "{path}");
        }
    }

    #[test]
    fn every_name_reads_back() {
        for name in Format::NAMES {
            assert_eq!(name.parse::<Format>().map(Format::name), Ok(name));
        }
        let refused = "vdi".parse::<Format>().unwrap_err().to_string();
        assert_eq!(refused, "\"vdi\" is no format: it is raw, qcow2, vmdk, vhd or tar.gz");
    }
}
