//! From an image to an AMI by the whole command, against moto; what it took is read back block by block, compared, and boots.
//!
//! Of RegisterImage moto keeps little but the name: builder/tests/ec2.rs has the rest, against a stand-in that is strict.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;
use tests::moto::{Moto, REGION};
use tests::oci_layout::Layer;
use tests::process::{run as run_tool, tool};
use tests::registry::Registry;
use tests::vm::{Options, Vm};
use tests::{bases, nginx, workspace};

/// How long a boot may take, and the stop: under emulation.
const PATIENCE: Duration = Duration::from_secs(300);

const GIB: u64 = 1 << 30;

/// The test, for `boot.rs`.
pub(crate) fn run() -> Result<()> {
    let directory = tempfile::Builder::new().prefix("nanoos-publish.").tempdir().context("make a directory")?;
    let image = nginx::layout()?;
    let moto = Moto::start()?;
    let shop = Shop { moto: &moto, directory: directory.path() };

    let first = shop.publish(&image)?;
    ensure!(first["found"] == false && first["parent"].is_null(), "the first of all is told as {first}");
    let id = text(&first["image"])?;
    let seen = moto.image(id)?;
    ensure!(seen["Name"] == first["name"] && seen["State"] == "available", "moto tells {seen}");
    ensure!(text(&seen["Description"])?.starts_with("NanoOS: "), "moto tells {seen}");
    let volume = directory.path().join("volume.raw");
    let blocks = moto.read_back(text(&first["snapshot"])?, &volume)?;
    ensure!(blocks as u64 * (512 << 10) == first["sent"].as_u64().context("bytes")?, "{blocks} blocks of {first}");
    compare(&volume, &shop.disk(&image)?)?;
    boot(&volume, "<h1>Welcome to nginx!</h1>").context("boot the volume")?;

    let snapshots = moto.snapshots()?;
    let again = shop.builder(&["-q", "--tag", "service=web"], &image)?;
    ensure!(again == format!("{id}\n"), "the same again is {again:?}, and not {id}");
    ensure!(moto.snapshots()? == snapshots, "the same again made a snapshot");
    // moto's RegisterImage drops all tags; whoever finds the image without them, by its description, puts them back.
    let tag = serde_json::json!({ "Key": "service", "Value": "web" });
    let seen = moto.image(id)?;
    ensure!(seen["Tags"].as_array().is_some_and(|tags| tags.contains(&tag)), "moto tells {seen}");

    // Of the same name: of another repository it would be built upon nothing.
    let versions = directory.path().join("changed");
    fs::create_dir(&versions).context("make a directory")?;
    let changed = versions.join(image.file_name().context("an image without a name")?);
    add_page(&image, &changed)?;
    let second = shop.publish(&changed)?;
    ensure!(second["found"] == false && second["image"] != id, "the changed one is told as {second}");
    ensure!(second["parent"] == first["snapshot"], "the changed one is not built upon the first: {second}");
    let sent = |published: &Value| published["sent"].as_u64().context("bytes");
    ensure!(sent(&second)? * 20 <= sent(&first)?, "a changed top layer sends more than 5 %: {second} after {first}");
    // A volume of EBS has its parent's blocks where the snapshot has none. moto knows nothing of parents, so the child's are laid
    // over the parent's here.
    moto.read_back(text(&second["snapshot"])?, &volume)?;
    compare(&volume, &shop.disk(&changed)?)?;
    boot(&volume, "the second edition").context("boot the volume upon a parent")
}

/// Blocks of EBS that a changed line of a project's code may cost: its files' own, the squashfs' tables, the kernel's
/// command line with the root's digest, and both partition tables. Docs name what it is.
const BLOCKS_OF_A_CHANGE: u64 = 8;

/// The test of a project, for `boot.rs`: a change of code sends little.
pub(crate) fn run_project() -> Result<()> {
    let directory = tempfile::Builder::new().prefix("nanoos-publish.").tempdir().context("make a directory")?;
    let project = directory.path().join("flask");
    run_tool(tool("cp", "coreutils")?.arg("-a").arg(workspace::root().join("examples/flask")).arg(&project))?;
    let registry = Registry::start()?;
    registry.push(&bases::layout("python:3.11-slim")?, "library/python:3.11-slim")?;
    let moto = Moto::start()?;
    let publish = || -> Result<Value> {
        let mut command = tool(workspace::builder()?, "nothing: it is the workspace's own")?;
        moto.serve(&mut command);
        command.env("DOCKER_CONFIG", directory.path()).current_dir(&project);
        command.args(["create", "--to", "ec2", "--json", "--image-src", "registry", "--registry-mirror"]);
        let told = String::from_utf8(run_tool(command.arg(registry.url()))?).context("read what builder wrote")?;
        let mut told: Value = serde_json::from_str(&told).with_context(|| format!("read {told:?}"))?;
        Ok(told["regions"][REGION].take())
    };
    let first = publish()?;
    let code = fs::read_to_string(project.join("app.py"))?;
    fs::write(project.join("app.py"), code.replace("Hello", "Good day"))?;
    let second = publish()?;
    ensure!(second["parent"] == first["snapshot"], "the changed one is not built upon the first: {second}");
    let sent = second["sent"].as_u64().context("bytes")? / (512 << 10);
    println!("a changed line sends {sent} blocks of 512 KiB; the first build sent {} bytes", first["sent"]);
    ensure!(sent <= BLOCKS_OF_A_CHANGE, "a changed line of code sends {sent} blocks: {second}");
    Ok(())
}

/// Where images become AMIs.
struct Shop<'a> {
    moto: &'a Moto,
    directory: &'a Path,
}

impl Shop<'_> {
    /// What --json tells of the region.
    fn publish(&self, image: &Path) -> Result<Value> {
        let told = self.builder(&["--json", "--tag", "service=web"], image)?;
        let mut told: Value = serde_json::from_str(&told).with_context(|| format!("read {told:?}"))?;
        ensure!(told["warnings"] == serde_json::json!([]), "it warns: {told}");
        Ok(told["regions"][REGION].take())
    }

    /// The disk of an image, for comparison.
    fn disk(&self, image: &Path) -> Result<File> {
        let path = self.directory.join("disk.raw");
        self.builder(&["-o", path.to_str().context("a path that is not UTF-8")?], image)?;
        let disk = File::open(&path).context("open the disk")?;
        fs::remove_file(&path).context("remove the disk")?;
        Ok(disk)
    }

    /// Runs the builder of an image and gives what it wrote to standard output.
    fn builder(&self, options: &[&str], image: &Path) -> Result<String> {
        let mut command = tool(workspace::builder()?, "nothing: it is the workspace's own")?;
        self.moto.serve(&mut command);
        // Whoever runs the tests has registry credentials of their own; they are no part of a test.
        command.env("DOCKER_CONFIG", self.directory).current_dir(self.directory);
        command.args(options).arg(format!("oci:{}", image.display()));
        String::from_utf8(run_tool(&mut command)?).context("read what builder wrote")
    }
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().with_context(|| format!("{value} is no text"))
}

/// The image with another page in one more layer.
fn add_page(image: &Path, changed: &Path) -> Result<()> {
    run_tool(tool("cp", "coreutils")?.arg("-r").args([image, changed]))?;
    let mut layer = Layer::default();
    layer.file("var/www/html/index.html", 0o644, b"<h1>Here is the second edition</h1>\n")?;
    let tar = changed.with_extension("tar");
    fs::write(&tar, layer.finish()?).context("write a layer")?;
    let mut umoci = tool("umoci", "umoci")?;
    run_tool(umoci.args(["raw", "add-layer", "--image"]).arg(format!("{}:latest", changed.display())).arg(&tar))?;
    Ok(())
}

/// A volume has the whole disk, and zeros up to the end of its last GiB.
fn compare(volume: &Path, disk: &File) -> Result<()> {
    let volume = File::open(volume).context("open the volume")?;
    let (size, length) = (volume.metadata()?.len(), disk.metadata()?.len());
    ensure!(size == length.next_multiple_of(GIB), "a volume of {size} bytes for a disk of {length}");
    let (mut there, mut here) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    for offset in (0..size).step_by(here.len()) {
        here.fill(0);
        let of_disk = usize::try_from(length.saturating_sub(offset))?.min(here.len());
        disk.read_exact_at(&mut here[..of_disk], offset).context("read the disk")?;
        volume.read_exact_at(&mut there, offset).context("read the volume")?;
        let differs = here.iter().zip(&there).position(|(here, there)| here != there);
        ensure!(differs.is_none(), "the volume differs from the disk {} bytes behind {offset}", differs.unwrap_or(0));
    }
    Ok(())
}

/// Boots a volume through UEFI until nginx serves a page, then presses the power button.
fn boot(volume: &Path, page: &str) -> Result<()> {
    let options = Options { firmware: Some("uefi".to_owned()), ports: vec![80], ..Options::default() };
    let mut vm = Vm::boot(volume, &options)?;
    let result = serve_and_end(&mut vm, page);
    result.map_err(|error| anyhow::anyhow!("{error:#}\n\nconsole of the machine:\n{}", vm.console().transcript()))
}

fn serve_and_end(vm: &mut Vm, page: &str) -> Result<()> {
    let response = vm.wait_for_http(80, "/", PATIENCE)?;
    let body = String::from_utf8_lossy(&response.body);
    ensure!(response.status == 200 && body.contains(page), "it answers {}: {body}", response.status);
    vm.press_power_button()?;
    vm.wait_for_power_off(PATIENCE)
}
