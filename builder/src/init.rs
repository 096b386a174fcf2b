//! PID 1 of a machine: the init that this program carries, or another.

use crate::bounded::PROGRAM;
use crate::embedded;
use crate::platform::Platform;
use anyhow::{Context, Result, ensure};
use object::Endianness;
use object::elf::{ET_DYN, ET_EXEC, FileHeader64, PT_INTERP};
use object::read::elf::{FileHeader, ProgramHeader};
use std::borrow::Cow;
use std::path::Path;

/// The init in `given`, else the one that this program carries.
///
/// # Errors
/// When the file is no static program for the platform, or this program carries none for it.
pub fn choose(given: Option<&Path>, platform: Platform) -> Result<Cow<'static, [u8]>> {
    let Some(path) = given else {
        ensure!(
            platform.arch.name == std::env::consts::ARCH,
            "this builder carries init for {} only, not for {platform}: build on such a machine, or name one with --init FILE",
            std::env::consts::ARCH
        );
        return Ok(embedded::INIT.into());
    };
    let shown = path.display();
    let bytes = PROGRAM.read_file(path).with_context(|| format!("--init {shown}"))?;
    check(&bytes, platform).with_context(|| format!("--init {shown}"))?;
    Ok(bytes.into())
}

/// Whether the kernel could run it in an initramfs, where nothing else is.
fn check(bytes: &[u8], platform: Platform) -> Result<()> {
    ensure!(bytes.starts_with(b"\x7fELF"), "it is not a program (an ELF file)");
    let header = FileHeader64::<Endianness>::parse(bytes).ok().filter(|header| header.is_class_64());
    let header = header.context("it is not a 64-bit program")?;
    let endian = header.endian().ok().filter(|endian| *endian == Endianness::Little);
    let endian = endian.context("it is not a little-endian program")?;
    let (machine, wanted) = (header.e_machine(endian).0, platform.arch.elf_machine);
    ensure!(
        machine == wanted,
        "it is a program for another processor than {platform} has (ELF machine {machine}, not {wanted})"
    );
    ensure!(matches!(header.e_type(endian), ET_EXEC | ET_DYN), "it is not a program but another kind of ELF file");
    let segments = header.program_headers(endian, bytes).context("it is damaged")?;
    ensure!(!segments.is_empty(), "it is not a program but another kind of ELF file");
    ensure!(
        segments.iter().all(|segment| segment.p_type(endian) != PT_INTERP),
        "it is linked dynamically, and there are no libraries where init runs: link it statically"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_static_programs_of_the_platform_will_do() {
        let [amd64, arm64] = ["linux/amd64", "linux/arm64"].map(|name| name.parse::<Platform>().unwrap());
        let refused = |bytes: &[u8], platform| format!("{:#}", check(bytes, platform).unwrap_err());
        let host = Platform::host();
        check(embedded::INIT, host).unwrap();
        let other = if host == amd64 { arm64 } else { amd64 };
        assert!(refused(embedded::INIT, other).starts_with("it is a program for another processor than linux/"));
        assert_eq!(refused(b"#!/bin/sh\n", host), "it is not a program (an ELF file)");
        assert_eq!(refused(&embedded::INIT[..40], host), "it is not a 64-bit program");
        // The test itself is linked dynamically.
        let itself = std::fs::read("/proc/self/exe").unwrap();
        assert!(refused(&itself, host).starts_with("it is linked dynamically, "));
    }

    #[test]
    fn a_machine_of_another_architecture_needs_another_init() {
        let platform = if cfg!(target_arch = "x86_64") { "linux/arm64" } else { "linux/amd64" };
        let refused = choose(None, platform.parse().unwrap()).unwrap_err().to_string();
        assert!(refused.ends_with(": build on such a machine, or name one with --init FILE"), "{refused}");
    }
}
