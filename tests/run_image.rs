//! `builder run`, as people run it: it builds an image and boots it with a port that leads to it, and Ctrl-C ends it without
//! a trace.

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use std::fs;
use std::io::pipe;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};
use tests::console::{Console, Wait};
use tests::oci_layout::{Config, Layer, Layout};
use tests::process::{Group, guarded};
use tests::{http, port, workspace};

/// How long the build and the boot may take together, and the stop: it boots under emulation.
const PATIENCE: Duration = Duration::from_secs(300);
/// Pause between two attempts to talk to the machine: there is nothing to wait on.
const POLL: Duration = Duration::from_millis(200);
/// The port that examples/hello listens at.
const GUEST_PORT: u16 = 8080;

/// The test, for `boot.rs`.
pub(crate) fn run() -> Result<()> {
    let directory = tempfile::Builder::new().prefix("nanoos-run.").tempdir().context("make a directory")?;
    let (image, temporary) = (directory.path().join("image"), directory.path().join("tmp"));
    fs::create_dir_all(&temporary)?;
    write_image(&image)?;
    let host = port::free()?;
    let (reader, writer) = pipe().context("make a pipe")?;
    let mut command = guarded(workspace::builder()?);
    command.arg("run").arg(format!("oci:{}", image.display()));
    command.args(["-p", &format!("{host}:{GUEST_PORT}"), "-m", "300", "-w", "64M", "-e", "GREETING=1"]);
    command.env("TMPDIR", &temporary).current_dir(directory.path());
    command.stdout(writer.try_clone()?).stderr(writer);
    let mut machine = Group::spawn(&mut command)?;
    drop(command);
    let console = Console::collect(reader);
    let result = answers_and_ends(&mut machine, &console, host, &temporary);
    result.map_err(|error| anyhow::anyhow!("{error:#}\n\noutput of builder run:\n{}", console.transcript()))?;
    let mut names: Vec<_> = fs::read_dir(directory.path())?.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    ensure!(names == ["image", "tmp"], "it left files where it was started: {names:?}");
    Ok(())
}

/// One layer with the example program in it.
fn write_image(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory)?;
    let mut layer = Layer::default();
    layer.file("hello", 0o755, &fs::read(workspace::static_program("hello")?)?)?;
    let mut layout = Layout::create(directory)?;
    layout.layer(&layer.finish()?[..])?;
    layout.finish(&Config { entrypoint: vec!["/hello".to_owned()], ..Config::default() })
}

fn answers_and_ends(machine: &mut Group, console: &Console, port: u16, temporary: &Path) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let response = loop {
        if let Ok(response) = http::get(port, "/") {
            break response;
        }
        if let Some(status) = machine.status()? {
            bail!("it ended with {status} before the machine answered");
        }
        ensure!(Instant::now() < deadline, "the machine does not answer within {} s", PATIENCE.as_secs());
        sleep(POLL);
    };
    ensure!(response.status == 200, "it answers {}", response.status);
    machine.signal(Signal::SIGINT);
    let Some(status) = machine.wait_until(Instant::now() + PATIENCE)? else {
        bail!("it still runs {} s after Ctrl-C", PATIENCE.as_secs());
    };
    ensure!(status.success(), "after Ctrl-C it ends with {status}");
    let pressed = console.wait_for(|line| line.contains("pressing the power button"), 0, Instant::now());
    ensure!(matches!(pressed, Wait::Seen(..)), "the power button was not pressed");
    let survivors = machine.survivors();
    ensure!(survivors.is_empty(), "it left processes: {survivors:?}");
    let files: Vec<_> = fs::read_dir(temporary)?.flatten().map(|entry| entry.file_name()).collect();
    ensure!(files.is_empty(), "it left files in TMPDIR: {files:?}");
    Ok(())
}
