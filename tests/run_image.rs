//! `builder run`, as people run it: it builds an image or a project and boots it with a port that leads to it, and
//! Ctrl-C ends it without a trace.

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use std::ffi::OsString;
use std::fs;
use std::io::pipe;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};
use tests::console::{Console, Wait};
use tests::oci_layout::{Config, Layer, Layout};
use tests::process::{Group, guarded};
use tests::registry::Registry;
use tests::{bases, http, port, workspace};

/// How long the build and the boot may take together, and the stop: it boots under emulation.
const PATIENCE: Duration = Duration::from_secs(300);
/// Pause between two attempts to talk to the machine: there is nothing to wait on.
const POLL: Duration = Duration::from_millis(200);
/// The port that examples/hello listens at, and every project that says none.
const GUEST_PORT: u16 = 8080;

/// The test of an image, for `boot.rs`.
pub(crate) fn run() -> Result<()> {
    let directory = tempfile::Builder::new().prefix("nanoos-run.").tempdir().context("make a directory")?;
    write_image(&directory.path().join("image"))?;
    runs(directory.path(), &["oci:image", "-w", "64M", "-e", "GREETING=1"], "")?;
    let left = names(directory.path())?;
    ensure!(left == ["image"], "it left files where it was started: {left:?}");
    Ok(())
}

/// The test of a project, for `boot.rs`: what `.env` says reaches the program, and is in no disk.
pub(crate) fn run_project() -> Result<()> {
    let directory = tempfile::Builder::new().prefix("nanoos-run.").tempdir().context("make a directory")?;
    for file in ["package.json", "server.js"] {
        fs::copy(workspace::root().join("examples/node").join(file), directory.path().join(file))?;
    }
    fs::write(directory.path().join(".env"), "# Here only.\nGREETING='Good day'\n")?;
    let registry = Registry::start()?;
    registry.push(&bases::layout("node:18-slim")?, "library/node:18-slim")?;
    let options = [".", "--image-src", "registry", "--registry-mirror", &registry.url()];
    runs(directory.path(), &options, "Good day from Node 18.")?;
    let left = names(directory.path())?;
    let expected = [".env", "nanoos.lock", "package.json", "server.js"];
    ensure!(left == expected, "it left files where it was started: {left:?}");
    Ok(())
}

fn names(directory: &Path) -> Result<Vec<OsString>> {
    let mut names: Vec<_> = fs::read_dir(directory)?.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    Ok(names)
}

/// `builder run` with these words in a directory: its machine's page has these words.
fn runs(directory: &Path, words: &[&str], page: &str) -> Result<()> {
    let temporary = tempfile::Builder::new().prefix("nanoos-tmp.").tempdir().context("make a directory")?;
    let host = port::free()?;
    let (reader, writer) = pipe().context("make a pipe")?;
    let mut command = guarded(workspace::builder()?);
    command.arg("run").args(words).args(["-p", &format!("{host}:{GUEST_PORT}"), "-m", "300"]);
    command.env("TMPDIR", temporary.path()).env("DOCKER_CONFIG", temporary.path()).current_dir(directory);
    command.stdout(writer.try_clone()?).stderr(writer);
    let mut machine = Group::spawn(&mut command)?;
    drop(command);
    let console = Console::collect(reader);
    let result = answers_and_ends(&mut machine, &console, host, page);
    result.map_err(|error| anyhow::anyhow!("{error:#}\n\noutput of builder run:\n{}", console.transcript()))?;
    let left = names(temporary.path())?;
    ensure!(left.is_empty(), "it left files in TMPDIR: {left:?}");
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

fn answers_and_ends(machine: &mut Group, console: &Console, port: u16, page: &str) -> Result<()> {
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
    let body = String::from_utf8_lossy(&response.body);
    ensure!(response.status == 200 && body.contains(page), "it answers {} with {body:?}", response.status);
    machine.signal(Signal::SIGINT);
    let Some(status) = machine.wait_until(Instant::now() + PATIENCE)? else {
        bail!("it still runs {} s after Ctrl-C", PATIENCE.as_secs());
    };
    ensure!(status.success(), "after Ctrl-C it ends with {status}");
    let pressed = console.wait_for(|line| line.contains("pressing the power button"), 0, Instant::now());
    ensure!(matches!(pressed, Wait::Seen(..)), "the power button was not pressed");
    let survivors = machine.survivors();
    ensure!(survivors.is_empty(), "it left processes: {survivors:?}");
    Ok(())
}
