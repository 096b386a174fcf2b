//! The machines that images are made for, and what each of their architectures calls things: one table.

use initramfs::guid::{self, Guid};
use std::fmt;
use std::str::FromStr;

/// What differs between architectures. Nothing else in this crate knows one by name.
#[derive(Debug, PartialEq, Eq)]
pub struct Arch {
    /// The kernel's and Rust's name.
    pub name: &'static str,
    /// What kernel/build.sh calls it: as the kernel's own `ARCH`, but for x86.
    pub kernel: &'static str,
    /// Go's name, which OCI images use.
    pub oci: &'static str,
    /// Type GUID of the root partition (Discoverable Partitions Specification).
    pub root_type: Guid,
    /// The file that firmware starts from the ESP when nothing else is configured (UEFI specification, 3.5.1.1).
    pub efi_file: &'static str,
    /// Machine field of a PE header (PE format, "Machine Types").
    pub pe_machine: u16,
    /// Machine field of an ELF header (System V ABI, "ELF header").
    pub elf_machine: u16,
    /// What `console=` needs so that messages reach the serial console of EC2 and of QEMU alike.
    pub console: &'static str,
    /// systemd's EFI stub, as Debian's systemd-boot-efi installs it.
    pub systemd_stub: &'static str,
    /// The program that emulates a whole machine.
    pub qemu: &'static str,
}

/// Every architecture that images can be built for.
pub const ARCHES: &[Arch] = &[
    Arch {
        name: "x86_64",
        kernel: "x86_64",
        oci: "amd64",
        root_type: guid::ROOT_X86_64_TYPE,
        efi_file: "BOOTX64.EFI",
        pe_machine: 0x8664,
        elf_machine: 62,
        console: "ttyS0,115200n8",
        systemd_stub: "/usr/lib/systemd/boot/efi/linuxx64.efi.stub",
        qemu: "qemu-system-x86_64",
    },
    Arch {
        name: "aarch64",
        kernel: "arm64",
        oci: "arm64",
        root_type: guid::ROOT_ARM64_TYPE,
        efi_file: "BOOTAA64.EFI",
        pe_machine: 0xAA64,
        elf_machine: 183,
        // EC2's Graviton has a 16550 on PCI (ttyS0); QEMU's virt machine a PL011. The kernel's SPCR table names the
        // right one by itself, so the command line only has to not name a wrong one.
        console: "ttyS0,115200n8",
        systemd_stub: "/usr/lib/systemd/boot/efi/linuxaa64.efi.stub",
        qemu: "qemu-system-aarch64",
    },
];

/// An operating system and architecture, as `--platform` and image indexes name them. The system is always Linux.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Platform {
    /// The architecture.
    pub arch: &'static Arch,
}

impl Platform {
    /// The platform of the machine that this program runs on; x86-64 where it has none of the table.
    #[must_use]
    pub fn host() -> Self {
        let arch = ARCHES.iter().find(|arch| arch.name == std::env::consts::ARCH).unwrap_or(&ARCHES[0]);
        Platform { arch }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "linux/{}", self.arch.oci)
    }
}

impl fmt::Debug for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A platform that no machine image can be made for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("platform {0:?} is not supported: choose one of {list}", list = supported())]
pub struct ParsePlatformError(String);

fn supported() -> String {
    ARCHES.iter().map(|arch| format!("linux/{}", arch.oci)).collect::<Vec<_>>().join(", ")
}

impl FromStr for Platform {
    type Err = ParsePlatformError;

    /// `linux/amd64`, `linux/x86_64`, or with a variant that adds nothing: `linux/arm64/v8`.
    fn from_str(text: &str) -> Result<Self, ParsePlatformError> {
        let name = text.strip_prefix("linux/").unwrap_or_default();
        let name = if name == "arm64/v8" { "arm64" } else { name };
        let arch = ARCHES.iter().find(|arch| name == arch.oci || name == arch.name);
        arch.map(|arch| Platform { arch }).ok_or_else(|| ParsePlatformError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_known_by_both_of_their_names() {
        for text in ["linux/amd64", "linux/x86_64", "linux/arm64", "linux/arm64/v8"] {
            assert!(text.parse::<Platform>().is_ok(), "{text}");
        }
        let refused = "windows/amd64".parse::<Platform>().unwrap_err().to_string();
        assert_eq!(refused, "platform \"windows/amd64\" is not supported: choose one of linux/amd64, linux/arm64");
    }
}
