//! `builder run`: builds a machine and boots it, in one step.

use super::dotenv::Configuration;
use super::subject::{Subject, announce};
use crate::cli::grammar::{self, Found, Named};
use crate::cli::{self, Run};
use crate::order::Order;
use crate::qemu::{self, Hardware};
use anyhow::{Context, Result, bail, ensure};
use builder::build::make_image;
use builder::cache::{self, Cache};
use builder::cleanup::TempDir;
use builder::output::{Format, Output};
use builder::platform::Platform;
use builder::progress::Progress;
use builder::tools;
use clap::ArgMatches;
use clap::parser::ValueSource;
use initramfs::image::UserData;
use std::fs;
use std::path::Path;

/// The options that mean something to a disk that is built already, by clap's names.
const OF_A_BOOT: &[&str] = &["what", "port", "memory", "smp", "config"];

/// Boots what is named; ends when the machine does.
pub(crate) fn run(run: Run, matches: Option<&ArgMatches>, progress: &Progress) -> Result<()> {
    for port in &run.port {
        port.check_is_free()?;
    }
    // Before the work that takes time. It may be a pipe, so that it is not opened here.
    if let Some(file) = &run.config {
        fs::metadata(file).with_context(|| format!("--config {}", file.display()))?;
    }
    let hardware = Hardware {
        ports: run.port.clone(),
        memory: run.memory,
        processors: run.smp,
        config: run.config.clone(),
        swap: None,
    };
    if let Named::Path(path) = &run.what
        && let Found::Disk(disk) = grammar::look(path)?
    {
        refuse_build_options(&disk, matches)?;
        tools::require(&[tools::QEMU, tools::OVMF], progress)?;
        return qemu::boot(&disk, &hardware, progress, || {});
    }
    build_and_boot(run, hardware, progress)
}

fn build_and_boot(run: Run, hardware: Hardware, progress: &Progress) -> Result<()> {
    ensure!(
        run.setup.platform == Platform { arch: &builder::platform::ARCHES[0] },
        "--platform {}: QEMU is started for linux/amd64 only; builder without run builds the disk",
        run.setup.platform
    );
    ensure!(
        hardware.config.is_none() || run.setup.machine.user_data != UserData::Never,
        "--config: with --user-data never the machine takes none; leave one of them out"
    );
    let configuration = dotenv(&run, progress)?;
    let config = configuration.as_ref().map(Configuration::path).or(hardware.config);
    let hardware = Hardware { config, ..hardware };
    let directory = TempDir::new()?;
    let disk = run.output.unwrap_or_else(|| directory.path().join("disk.raw"));
    let output = Output::new(Some(&disk), "", None);
    let (mut order, mut files) = Order::new(run.what, run.setup)?;
    let subject = Subject::find(&mut order, None, progress)?;
    subject.protect(&[&disk], Vec::new(), &mut order, &mut files);
    let cache = Cache::open(&cache::directory()?)?;
    ensure!(output.format != Format::TarGz, "-o {}: QEMU boots no archive; take another ending", disk.display());
    let refusal = || format!("-o {}: QEMU boots from a file; name one", disk.display());
    // To open a pipe would wait for who reads it.
    ensure!(disk.metadata().map_or(true, |there| there.is_file()), refusal());
    let unfinished = output.begin(&mut files, &cache)?;
    ensure!(unfinished.out().is_file(), refusal());
    subject.project.iter().for_each(|project| announce(project, "a machine in QEMU", progress));
    tools::require(&[tools::QEMU, tools::OVMF], progress)?;
    let swap = order.options.swap.as_ref().map_or(0, |swap| swap.bytes >> 20);
    let container = order.fetch(&cache, progress)?;
    let machine = order.machine(container, progress)?;
    make_image(&machine, unfinished, &output, &cache, progress)?;
    drop(machine);
    cli::cache::trim(&cache, progress);
    qemu::boot(&output.path, &Hardware { swap: Some(swap), ..hardware }, progress, || {})
}

/// What a project's `.env` says, for a machine that takes it and that nothing else is said to.
fn dotenv(run: &Run, progress: &Progress) -> Result<Option<Configuration>> {
    match run.what.path() {
        Some(path) if path.is_dir() && run.config.is_none() && run.setup.machine.user_data != UserData::Never => {
            Configuration::of(path, progress)
        }
        _ => Ok(None),
    }
}

/// A disk is what it is; an option that would change it must not be ignored in silence.
fn refuse_build_options(disk: &Path, matches: Option<&ArgMatches>) -> Result<()> {
    let matches = matches.context("the command line of run is not there")?;
    for id in matches.ids().map(clap::Id::as_str) {
        // Groups of options have ids as well, and clap's name for the command that they belong to.
        let given = matches.value_source(id) == Some(ValueSource::CommandLine);
        if given && !OF_A_BOOT.contains(&id) && id.starts_with(|first: char| first.is_ascii_lowercase()) {
            bail!(
                "--{}: {} is built already; with a disk, run takes -p, -m, --smp and --config only",
                id.replace('_', "-"),
                disk.display()
            );
        }
    }
    Ok(())
}
