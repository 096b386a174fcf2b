//! The file system as others see it: mtools reads it, fsck.fat checks it.

use super::*;
use std::path::Path;
use std::process::Command;

fn made(program: &[u8], provenance: &[u8], volume_id: u32) -> Vec<u8> {
    let size = least_size(program.len() as u64, provenance.len() as u64).next_multiple_of(4096);
    let esp = make(&Files { program: ("BOOTX64.EFI", program), provenance }, volume_id, size).unwrap();
    assert_eq!(esp.len() as u64, size);
    esp
}

fn program(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at / 512) as u8 ^ at as u8).collect()
}

fn output(command: &mut Command, package: &str) -> String {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().unwrap_or_else(|_| panic!("{name} is missing: apt-get install {package}"));
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "{name}: {text}");
    text
}

/// fsck.fat lies in a directory that not everybody's PATH has.
fn fsck() -> Command {
    Command::new(if Path::new("/usr/sbin/fsck.fat").exists() { "/usr/sbin/fsck.fat" } else { "fsck.fat" })
}

#[test]
fn other_tools_find_the_program_and_nothing_to_mend() {
    for size in [1, 3 << 20, 7 << 20, 40 << 20] {
        let program = program(size);
        let esp = made(&program, b"{\"version\":1}", 0x1234_ABCD);
        let dir = tempfile::tempdir().unwrap();
        let (image, copy) = (dir.path().join("esp"), dir.path().join("copy"));
        std::fs::write(&image, &esp).unwrap();
        output(fsck().args(["-n", "-v"]).arg(&image), "dosfstools");
        assert_eq!(esp[54..62], *b"FAT16   ");
        output(Command::new("mcopy").arg("-i").arg(&image).arg("::/EFI/BOOT/BOOTX64.EFI").arg(&copy), "mtools");
        assert!(std::fs::read(&copy).unwrap() == program, "the program of {size} bytes came back with other bytes");
        let json = output(Command::new("mtype").arg("-i").arg(&image).arg("::/NANOOS/ORIGIN.JSN"), "mtools");
        assert_eq!((json.trim_end(), json.len()), (r#"{"version":1}"#, 16 * 1024));
        let listing = output(Command::new("mdir").arg("-i").arg(&image).arg("::/EFI/BOOT"), "mtools");
        assert!(listing.contains("1234-ABCD") && listing.contains("1980-01-01"), "{listing}");
    }
}

#[test]
fn the_same_program_gives_the_same_bytes_at_any_time() {
    let made = || made(&program(100_000), b"{}", 1);
    let first = made();
    // FAT's times have a resolution of two seconds.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    assert!(first == made());
}

#[test]
fn what_is_too_large_for_fat16_is_refused() {
    assert!(cluster_size(2 << 30) == MAX_CLUSTER);
    assert_eq!(cluster_size(MIN_SIZE), SECTOR);
    assert_eq!(cluster_size(8 << 20), 2 * SECTOR);
}

#[test]
fn what_does_not_fit_is_an_error() {
    let files = Files { program: ("BOOTX64.EFI", &program(5 << 20)), provenance: b"{}" };
    assert!(make(&files, 1, 5 << 20).unwrap_err().to_string().contains("are needed"));
}
