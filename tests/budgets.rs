//! What SPECIFICATION.md promises of sizes, measured on what the builder really writes.

use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::process::Command;
use tests::oci_layout::{Config, Layer, Layout};
use tests::process::{run, tool};
use tests::workspace;

const MIB: u64 = 1 << 20;
/// Where the EFI system partition begins on every disk (docs/image-format.md).
const ESP_OFFSET: u64 = 32 * 1024;

/// The EFI program of a disk made from an image with one small file.
fn efi_program(directory: &Path) -> Result<std::path::PathBuf> {
    let mut layer = Layer::default();
    layer.file("hello", 0o755, &fs::read(workspace::static_program("hello")?)?)?;
    let mut layout = Layout::create(&directory.join("image"))?;
    layout.layer(&layer.finish()?[..])?;
    layout.finish(&Config { entrypoint: vec!["/hello".to_owned()], ..Config::default() })?;
    let disk = directory.join("disk.raw");
    let image = format!("oci:{}", directory.join("image").display());
    run(tool(workspace::builder()?, "nothing: it is the workspace's own")?.arg("-o").arg(&disk).arg(image))?;

    let program = directory.join("program.efi");
    let esp = format!("{}@@{ESP_OFFSET}", disk.display());
    run(tool("mcopy", "mtools")?.args(["-i", &esp, "::/EFI/BOOT/BOOTX64.EFI"]).arg(&program))?;
    Ok(program)
}

fn size(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path).with_context(|| format!("look at {}", path.display()))?.len())
}

#[test]
fn the_efi_program_takes_6_mib_and_the_kernel_in_it_5() {
    let directory = tempfile::tempdir().unwrap();
    let program = efi_program(directory.path()).unwrap();
    let kernel = directory.path().join("linux");
    let mut objcopy = Command::new("objcopy");
    run(objcopy.args(["-O", "binary", "--only-section=.linux"]).arg(&program).arg(&kernel)).unwrap();
    let (program, kernel) = (size(&program).unwrap(), size(&kernel).unwrap());
    println!("EFI program {program} bytes, kernel {kernel} bytes");
    assert!(program <= 6 * MIB, "{program}");
    assert!(kernel > MIB && kernel <= 5 * MIB, "{kernel}");
}

#[test]
fn init_takes_one_mib_with_musl() {
    let init = workspace::static_program("nanoos-init").unwrap();
    let bytes = size(init).unwrap();
    println!("init {bytes} bytes at {}", init.display());
    // glibc costs another 1 MiB; the promise is for musl, and CI has it.
    let limit = if init.to_string_lossy().contains("-musl/") { MIB } else { 2 * MIB };
    assert!(bytes <= limit, "{bytes}");
    assert!(std::env::var_os("CI").is_none() || limit == MIB, "CI builds init with musl");
}
