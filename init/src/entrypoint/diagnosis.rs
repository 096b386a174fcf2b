//! Why the kernel does not run a program, from the program's own first bytes.

/// As much of a program as says what it needs: the kernel itself reads no more of a `#!` line (BINPRM_BUF_SIZE), and the
/// ELF header and program headers of what linkers make fit in.
pub(super) const HEAD: usize = 1024;

/// ELF's numbers of machines (elf(5), e_machine) that people build images for.
const MACHINES: &[(u16, &str)] = &[
    (3, "32-bit x86"),
    (40, "32-bit ARM"),
    (62, "x86-64"),
    (183, "64-bit ARM"),
    (243, "RISC-V"),
    (22, "s390x"),
    (21, "64-bit POWER"),
    (258, "LoongArch"),
];

/// The interpreter that a script names after `#!`, without its argument.
pub(super) fn interpreter(head: &[u8]) -> Option<String> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    // Only these two separate words: the carriage return of a file with Windows' line ends belongs to the name.
    let name = line.split(|byte| matches!(byte, b' ' | b'\t')).find(|word| !word.is_empty())?;
    Some(String::from_utf8_lossy(name).into_owned())
}

/// The loader that a dynamically linked program names (PT_INTERP of its program headers).
pub(super) fn loader(head: &[u8]) -> Option<String> {
    const PT_INTERP: u32 = 3;
    if !is_64_bit_elf(head) {
        return None;
    }
    let (table, length, count) = (number(head, 32)?, half(head, 54)?, half(head, 56)?);
    let entries = (0..usize::from(count)).map(|entry| table.saturating_add(entry.saturating_mul(length.into())));
    let entry = entries.take_while(|at| *at < head.len()).find(|at| word(head, *at) == Some(PT_INTERP))?;
    let (start, length) = (number(head, entry.saturating_add(8))?, number(head, entry.saturating_add(32))?);
    let name = head.get(start..start.checked_add(length)?)?;
    Some(String::from_utf8_lossy(name.strip_suffix(b"\0").unwrap_or(name)).into_owned())
}

/// What a file is that the kernel calls no program (ENOEXEC).
pub(super) fn not_a_program(head: &[u8]) -> String {
    match half(head, 18).filter(|_| head.starts_with(b"\x7fELF")) {
        Some(machine) => match MACHINES.iter().find(|(number, _)| *number == machine) {
            Some((_, name)) => format!("a program for {name}, and this machine is {}", std::env::consts::ARCH),
            None => format!("a program for a machine that ELF numbers {machine}"),
        },
        None if head.is_empty() => "an empty file".to_owned(),
        None if head.starts_with(b"#!") => match interpreter(head) {
            Some(interpreter) => format!("a script for {interpreter}, which is no program that this machine runs"),
            None => "a script whose first line names no interpreter".to_owned(),
        },
        None => "neither an ELF program nor a script that begins with #!".to_owned(),
    }
}

/// Little-endian, as all machines are that we run on.
fn is_64_bit_elf(head: &[u8]) -> bool {
    head.starts_with(b"\x7fELF\x02\x01")
}

fn half(head: &[u8], at: usize) -> Option<u16> {
    head.get(at..at.checked_add(2)?)?.try_into().map(u16::from_le_bytes).ok()
}

fn word(head: &[u8], at: usize) -> Option<u32> {
    head.get(at..at.checked_add(4)?)?.try_into().map(u32::from_le_bytes).ok()
}

fn number(head: &[u8], at: usize) -> Option<usize> {
    let bytes = head.get(at..at.checked_add(8)?)?.try_into().ok()?;
    usize::try_from(u64::from_le_bytes(bytes)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_script_names_its_interpreter() {
        assert_eq!(interpreter(b"#!/bin/sh\necho"), Some("/bin/sh".to_owned()));
        assert_eq!(interpreter(b"#! /usr/bin/env  python3\n"), Some("/usr/bin/env".to_owned()));
        assert_eq!(interpreter(b"#!/bin/sh\r\n"), Some("/bin/sh\r".to_owned()));
        assert_eq!(interpreter(b"#!\n/bin/sh"), None);
        assert_eq!(interpreter(b"\x7fELF"), None);
    }

    #[test]
    fn a_program_of_this_system_names_its_loader() {
        let program = std::fs::read("/bin/sh").unwrap();
        let loader = loader(&program[..HEAD]).unwrap();
        assert!(loader.starts_with("/lib") && std::path::Path::new(&loader).exists(), "{loader}");
    }

    #[test]
    fn what_is_no_program_here_is_told_apart() {
        let mut arm = b"\x7fELF\x02\x01\x01".to_vec();
        arm.resize(64, 0);
        arm[18] = 183;
        let here = std::env::consts::ARCH;
        assert_eq!(not_a_program(&arm), format!("a program for 64-bit ARM, and this machine is {here}"));
        assert_eq!(not_a_program(b""), "an empty file");
        assert_eq!(not_a_program(b"echo hello\n"), "neither an ELF program nor a script that begins with #!");
        assert_eq!(
            not_a_program(b"#!/bin/data\n"),
            "a script for /bin/data, which is no program that this machine runs"
        );
        assert_eq!(not_a_program(b"#!\n"), "a script whose first line names no interpreter");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let elf = [b"\x7fELF\x02\x01", &bytes[..]].concat();
            for head in [&bytes[..], &elf] {
                let _ = (interpreter(head), loader(head), not_a_program(head));
            }
        }
    }
}
