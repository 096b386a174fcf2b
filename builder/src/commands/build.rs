//! `builder IMAGE`: the disk image, or an image of EC2.

use super::dry_run;
#[cfg(feature = "aws")]
use super::ec2::{self, Ec2};
use super::report::{Built, how_to_boot, print};
use crate::cli::{self, Build};
use crate::order::{Order, inputs};
use anyhow::{Context, Result, bail};
use builder::build::make_image;
use builder::cache::{self, Cache};
use builder::destination::{self, Account, Destination, Surroundings, Wanted};
use builder::outfile::{Content, Files, OutFile};
use builder::output::{Format, Output};
use builder::progress::{Progress, mebibytes};
use builder::provenance::Provenance;
use builder::source::Source;
use std::io::Write;
use std::path::Path;

/// Decides where the result goes.
pub(crate) fn build(build: Build, progress: &Progress) -> Result<()> {
    let source = build.image.clone().context("no IMAGE given (see --help)")?;
    let only_of_ec2 = build.publishing.only_of_ec2();
    let file = build.output.as_ref().map(|_| "-o").or_else(|| build.format.map(|_| "--format"));
    if let (Some(file), Some(option)) = (file, only_of_ec2) {
        bail!("{file} asks for a disk image, and {option} is for an image of EC2: leave out one of them");
    }
    let wanted = Wanted {
        file: file.is_some(),
        quiet: build.report.quiet,
        ec2: only_of_ec2.is_some(),
        regions: &build.publishing.access.region,
        profile: build.publishing.access.profile.as_deref(),
    };
    match destination::find(&wanted, &Surroundings::of_process())? {
        Destination::Disk => build_disk(build, source, progress),
        Destination::Ec2(account) => build_image(build, source, account, progress),
    }
}

/// resolve → pull → and what [`make_image`] tells.
fn build_disk(build: Build, source: Source, progress: &Progress) -> Result<()> {
    let name = build.publishing.name.as_ref().map_or_else(|| source.stem(), |name| name.replace('/', "-"));
    let output = Output::new(build.output.as_deref(), &name, build.format);
    let mut files = inputs(&source, &build.setup);
    let order = Order::new(source, build.setup)?;
    let cache = Cache::open(&cache::directory()?)?;
    if build.dry_run {
        files.may_write("-o", &output.path, Content::Bytes)?;
        let what = format!("{}, {}", output.path.display(), output.format);
        return dry_run::tell(&order, &what, &cache, progress);
    }
    // What can be refused is refused before the work that takes time.
    let disk = output.begin(&mut files, &cache)?;
    let (is_file, is_stdout) = (disk.out().is_file(), disk.out().is_stdout());
    let provenance = begin_provenance(build.provenance.as_deref(), &mut files, &cache)?;
    if build.report.json {
        files.prints("--json")?;
    } else if build.report.quiet && !is_stdout {
        files.prints("-q")?;
    }
    let container = order.fetch(&cache, progress)?;
    let machine = order.machine(container, progress)?;
    let mut made = make_image(&machine, disk, &output, &cache, progress)?;
    made.provenance.image.manifest = machine.container.manifest;
    finish_provenance(provenance, &made.provenance)?;

    let len = made.layout.len;
    progress.step(format!("done: {}, {}", output.path.display(), mebibytes(len)));
    if is_file && output.format != Format::TarGz && machine.platform.arch.name == "x86_64" {
        progress.line(&format!("To boot it here: {}", how_to_boot(&output.path, &machine.container.config.config)));
    }
    #[cfg(feature = "aws")]
    if is_file && output.format == Format::Raw {
        progress.line(&format!("To make an AMI of it: builder publish {}", output.path.display()));
    }
    if build.report.json {
        print(format!("{}\n", Built::new(&machine, &output, len, progress).json()?).as_bytes())?;
    }
    if build.report.quiet && !is_stdout {
        print(format!("{}\n", output.path.display()).as_bytes())?;
    }
    drop(machine); // and with it what it holds of the cache
    cli::cache::trim(&cache, progress);
    Ok(())
}

/// The same into a file without a name, and from there to EC2.
#[cfg(feature = "aws")]
fn build_image(build: Build, source: Source, account: Account, progress: &Progress) -> Result<()> {
    let wishes = ec2::publish::Wishes::new(&build.publishing)?;
    let (label, repository) = (source.label(), source.repository());
    let mut files = inputs(&source, &build.setup);
    if let Some(file) = &account.authorities {
        files.reads("the certificates that are trusted", file);
    }
    let order = Order::new(source, build.setup)?;
    ec2::publish::volume_size(order.options.swap.as_ref().map_or(0, |swap| swap.bytes))?;
    let cache = Cache::open(&cache::directory()?)?;
    if build.dry_run {
        let regions: Vec<String> = account.regions.iter().map(ToString::to_string).collect();
        let regions = if build.publishing.all_regions { "every region".to_owned() } else { regions.join(", ") };
        return dry_run::tell(&order, &format!("AMI in {regions}"), &cache, progress);
    }
    let provenance = begin_provenance(build.provenance.as_deref(), &mut files, &cache)?;
    if build.report.json || build.report.quiet {
        files.prints(if build.report.json { "--json" } else { "-q" })?;
    }
    let ec2 = Ec2::open(account, build.publishing.all_regions, progress)?;
    wishes.check(&ec2)?;
    let container = order.fetch(&cache, progress)?;
    let machine = order.machine(container, progress)?;
    let file = cache.nameless()?;
    let mut made = builder::build::make(&machine, &file, 1, true, &cache, progress)?;
    let blocks = builder::blocks::complete(&file, &made.layout.extents(), std::mem::take(&mut made.blocks))?;
    made.provenance.image.manifest = machine.container.manifest;
    let disk = ec2::publish::Disk { file, blocks, provenance: &made.provenance, source: label, repository };
    drop(machine); // and with it what it holds of the cache
    cli::cache::trim(&cache, progress);
    ec2.publish(disk, &wishes, &build.report)?;
    finish_provenance(provenance, &made.provenance)
}

#[cfg(not(feature = "aws"))]
fn build_image(_: Build, _: Source, _: Account, _: &Progress) -> Result<()> {
    bail!("this builder was built without its feature aws, and makes no images of EC2: -o FILE builds a disk image")
}

fn begin_provenance(path: Option<&Path>, files: &mut Files, cache: &Cache) -> Result<Option<OutFile>> {
    path.map(|path| files.write("--provenance", path, Content::Text, cache)).transpose()
}

fn finish_provenance(file: Option<OutFile>, provenance: &Provenance) -> Result<()> {
    let Some(file) = file else { return Ok(()) };
    file.file().write_all(&provenance.to_json()?).context("write what the disk is made of")?;
    file.commit()
}
