//! The architectures that programs can be for, and what ld.so calls things on each.

use object::elf;
use std::fmt;
use std::str::FromStr;

/// An architecture that machines are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// 64-bit x86.
    X86_64,
    /// 64-bit ARM.
    Aarch64,
}

impl Architecture {
    /// The kernel's name, which is also what ld.so's `$PLATFORM` and musl call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Architecture::X86_64 => "x86_64",
            Architecture::Aarch64 => "aarch64",
        }
    }

    /// The architecture of an ELF header's `e_machine`.
    pub(crate) fn of_elf(machine: elf::Machine) -> Option<Self> {
        match machine {
            elf::EM_X86_64 => Some(Architecture::X86_64),
            elf::EM_AARCH64 => Some(Architecture::Aarch64),
            _ => None,
        }
    }

    /// Names of the subdirectories of `glibc-hwcaps`, the best first (glibc, sysdeps/*/dl-hwcaps_subdirs.c).
    pub(crate) fn hwcaps(self) -> &'static [&'static str] {
        match self {
            Architecture::X86_64 => &["x86-64-v4", "x86-64-v3", "x86-64-v2"],
            Architecture::Aarch64 => &[],
        }
    }

    /// Directories of which a distribution compiles some into its ld.so, in this order.
    pub(crate) fn directories(self) -> &'static [&'static str] {
        match self {
            Architecture::X86_64 => {
                &["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"]
            }
            Architecture::Aarch64 => {
                &["/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"]
            }
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Architecture {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "x86_64" | "amd64" => Ok(Architecture::X86_64),
            "aarch64" | "arm64" => Ok(Architecture::Aarch64),
            _ => Err(format!("{name:?} is neither x86_64 nor aarch64")),
        }
    }
}
