//! `builder demo`, as a newcomer runs it: it prints where the machine answers, and Ctrl-C ends it without a trace.

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use regex::Regex;
use std::fs;
use std::io::pipe;
use std::path::Path;
use std::time::{Duration, Instant};
use tests::console::{Console, Wait};
use tests::process::{Group, guarded};
use tests::{http, port, workspace};

/// How long the build and the boot may take together, and the stop: it boots under emulation.
const PATIENCE: Duration = Duration::from_secs(300);

/// The test, for `boot.rs`.
pub(crate) fn run() -> Result<()> {
    let directory = tempfile::Builder::new().prefix("nanoos-demo.").tempdir().context("make a directory")?;
    let (reader, writer) = pipe().context("make a pipe")?;
    let mut command = guarded(workspace::builder()?);
    command.args(["demo", "--port", &port::free()?.to_string()]).env("TMPDIR", directory.path());
    command.stdout(writer.try_clone()?).stderr(writer);
    let mut demo = Group::spawn(&mut command)?;
    drop(command);
    let console = Console::collect(reader);
    let result = answers_and_ends(&mut demo, &console, directory.path());
    result.map_err(|error| anyhow::anyhow!("{error:#}\n\noutput of builder demo:\n{}", console.transcript()))
}

fn answers_and_ends(demo: &mut Group, console: &Console, directory: &Path) -> Result<()> {
    // Another port than the one asked for if that was taken meanwhile.
    let url = Regex::new(r"^http://localhost:([0-9]+)/$")?;
    let Wait::Seen(_, line) = console.wait_for(|line| url.is_match(line), 0, Instant::now() + PATIENCE) else {
        bail!("it printed no URL within {} s", PATIENCE.as_secs());
    };
    let port = url.captures(&line.text).context("a URL without a port")?[1].parse()?;
    let response = http::get(port, "/")?;
    ensure!(response.status == 200, "it answers {}", response.status);
    let page = String::from_utf8_lossy(&response.body);
    ensure!(page.contains("Hello from NanoOS"), "it answers {page}");

    demo.signal(Signal::SIGINT);
    let Some(status) = demo.wait_until(Instant::now() + PATIENCE)? else {
        bail!("it still runs {} s after Ctrl-C", PATIENCE.as_secs());
    };
    ensure!(status.success(), "after Ctrl-C it ends with {status}");
    let survivors = demo.survivors();
    ensure!(survivors.is_empty(), "it left processes: {survivors:?}");
    let files: Vec<_> = fs::read_dir(directory)?.flatten().map(|entry| entry.file_name()).collect();
    ensure!(files.is_empty(), "it left files in TMPDIR: {files:?}");
    Ok(())
}
