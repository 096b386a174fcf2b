//! The builder: what is in the root of the machine that it makes of an image.

use crate::snapshot::{self, Tree};
use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tests::process::{run, tool};
use tests::workspace;

/// Bytes of a sector, in which sgdisk counts.
const SECTOR: u64 = 512;

/// The root of the machine that the builder makes of a docker-archive, as two readers of squashfs tell it; or the
/// builder's own words.
pub(crate) fn root(archive: &Path) -> Result<Tree> {
    let scratch = tempfile::tempdir().context("make a directory")?;
    let disk = scratch.path().join("disk.raw");
    let image = format!("docker-archive:{}", archive.display());
    let mut builder = tool(workspace::builder()?, "nothing: it is the workspace's own")?;
    builder.env_remove("SOURCE_DATE_EPOCH").arg("--kernel");
    run(builder.arg(kernel(scratch.path())?).arg("-o").arg(&disk).arg(image))?;
    let squashfs = scratch.path().join("root.squashfs");
    cut_out(&disk, &squashfs)?;

    let mut sqfs2tar = tool("sqfs2tar", "squashfs-tools-ng")?;
    let mut child = sqfs2tar.arg("--no-skip").arg(&squashfs).stdout(Stdio::piped()).spawn().context("sqfs2tar")?;
    let tree = snapshot::of_tar(child.stdout.take().context("sqfs2tar has no output")?)?;
    ensure!(child.wait().context("sqfs2tar")?.success(), "sqfs2tar failed");

    let unpacked = scratch.path().join("unpacked");
    run(tool("unsquashfs", "squashfs-tools")?.args(["-quiet", "-no-progress", "-dest"]).arg(&unpacked).arg(&squashfs))?;
    let other = snapshot::of_directory(&unpacked)?;
    let differing = crate::compare::differences(&tree, &other);
    ensure!(differing.is_empty(), "sqfs2tar and unsquashfs differ:\n{}", differing.join("\n"));
    Ok(tree)
}

/// A kernel to build with: nothing boots here, and a small one is packed sooner than ours.
fn kernel(directory: &Path) -> Result<PathBuf> {
    const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";
    let kernel = directory.join("kernel");
    fs::create_dir(&kernel)?;
    fs::copy(STUB, kernel.join("stub.efi")).with_context(|| format!("{STUB}: apt-get install systemd-boot-efi"))?;
    fs::write(kernel.join("vmlinuz"), [0x4D; 4096])?;
    fs::write(kernel.join("config"), "CONFIG_RD_ZSTD=y\n")?;
    fs::write(kernel.join("manifest.json"), r#"{"release":"6.12.0"}"#)?;
    Ok(kernel)
}

/// Copies the root partition, the second one, out of a disk.
fn cut_out(disk: &Path, to: &Path) -> Result<()> {
    let text = String::from_utf8(run(tool("sgdisk", "gdisk")?.arg("--info=2").arg(disk))?)?;
    let sector = |key: &str| -> Result<u64> {
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next());
        value.with_context(|| format!("sgdisk tells no {key:?}:\n{text}"))?.parse().context("a sector's number")
    };
    let (first, last) = (sector("First sector:")?, sector("Last sector:")?);
    let mut disk = File::open(disk).context("open the disk")?;
    disk.seek(SeekFrom::Start(first * SECTOR)).context("read the disk")?;
    io::copy(&mut disk.take((last + 1 - first) * SECTOR), &mut File::create(to)?).context("cut out the root")?;
    Ok(())
}
