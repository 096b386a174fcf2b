//! `builder run`: builds a machine and boots it, in one step.

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
use std::path::Path;

/// The options that mean something to a disk that is built already, by clap's names.
const OF_A_BOOT: &[&str] = &["what", "port", "memory", "smp"];

/// Boots what is named; ends when the machine does.
pub(crate) fn run(run: Run, matches: Option<&ArgMatches>, progress: &Progress) -> Result<()> {
    for port in &run.port {
        port.check_is_free()?;
    }
    let hardware = Hardware { ports: run.port.clone(), memory: run.memory, processors: run.smp, swap: None };
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
    let directory = TempDir::new()?;
    let disk = run.output.unwrap_or_else(|| directory.path().join("disk.raw"));
    let output = Output::new(Some(&disk), "", None);
    let (mut order, mut files) = Order::new(run.what, run.setup)?;
    let subject = Subject::find(&mut order, None, progress)?;
    subject.protect(Vec::new(), &mut order, &mut files);
    let cache = Cache::open(&cache::directory()?)?;
    ensure!(output.format != Format::TarGz, "-o {}: QEMU boots no archive; take another ending", disk.display());
    let unfinished = output.begin(&mut files, &cache)?;
    ensure!(unfinished.out().is_file(), "-o {}: QEMU boots from a file; name one", disk.display());
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

/// A disk is what it is; an option that would change it must not be ignored in silence.
fn refuse_build_options(disk: &Path, matches: Option<&ArgMatches>) -> Result<()> {
    let matches = matches.context("the command line of run is not there")?;
    for id in matches.ids().map(clap::Id::as_str) {
        // Groups of options have ids as well, and clap's name for the command that they belong to.
        let given = matches.value_source(id) == Some(ValueSource::CommandLine);
        if given && !OF_A_BOOT.contains(&id) && id.starts_with(|first: char| first.is_ascii_lowercase()) {
            bail!(
                "--{}: {} is built already; with a disk, run takes -p, -m and --smp only",
                id.replace('_', "-"),
                disk.display()
            );
        }
    }
    Ok(())
}
