//! `builder`: from a container image to a machine image.

mod cli;
mod demo;

use anyhow::{Context, Result, ensure};
use builder::build::{Machine, make};
use builder::cache::{self, Cache};
use builder::kernel::find;
use builder::output::{Format, Output};
use builder::progress::{Progress, mebibytes, printable};
use builder::source::Fetch;
use builder::source::endpoint::Mirror;
use builder::{cleanup, cmdline, tools};
use clap::Parser;
use cli::{Build, Cli, Command};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("builder: {}", printable(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    cleanup::install()?;
    let progress = Progress::new();
    match cli.command {
        Some(Command::Cache { what }) => cli::cache::run(what.as_ref(), &Cache::open(&cache::directory()?)?),
        Some(Command::Demo { port, kernel }) => demo::run(port, kernel.kernel.as_deref(), &progress),
        None => build(cli.build, &progress),
    }
}

/// resolve → pull → and what [`make`] tells.
fn build(build: Build, progress: &Progress) -> Result<()> {
    let source = build.image.context("no IMAGE given (see --help)")?;
    let output = Output::new(build.output.as_deref(), &source.stem());
    let cmdline = cmdline::cmdline(build.platform.arch, build.kernel_args.as_deref(), build.machine.debug)?;
    let options = build.machine.options();
    // What can be refused is refused before the work that takes time.
    let disk = output.begin()?;
    let mut needs = vec![tools::MKSQUASHFS];
    if output.format == Format::Qcow2 {
        needs.push(tools::QEMU_IMG);
    }
    tools::require(&needs, progress)?;
    let cache = Cache::open(&cache::directory()?)?;

    progress.step(format!("resolve {source} for {}", build.platform));
    let mirrors: Vec<Mirror> = build.registry_mirror.into_iter().filter_map(|mirror| mirror.0).collect();
    let fetch = Fetch {
        platform: build.platform,
        order: &build.image_src,
        registry_ca: build.registry_ca.as_deref(),
        debug: build.machine.debug,
        mirrors: &mirrors,
        cache: &cache,
        progress,
    };
    let container = source.fetch(&fetch)?;
    ensure!(
        build.platform.arch.name == std::env::consts::ARCH,
        "this builder carries init for {} only, not for {}: build on such a machine",
        std::env::consts::ARCH,
        build.platform
    );

    let machine = Machine {
        name: source.to_string(),
        platform: build.platform,
        container,
        options,
        cmdline,
        kernel: find::find(build.kernel.kernel.as_deref(), build.platform.arch, &cache::directory()?, progress)?,
    };
    let size = make(&machine, disk, &output, progress)?;
    progress.step(format!("done: {}, {}", output.path.display(), mebibytes(size)));
    drop(machine);
    cli::cache::trim(&cache, progress);
    Ok(())
}
