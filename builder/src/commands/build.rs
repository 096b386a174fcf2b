//! `builder IMAGE`: the disk image, or an image of EC2.

use super::dry_run;
#[cfg(feature = "aws")]
use super::ec2::{self, Ec2};
use super::report::{Built, how_to_boot, print};
use super::subject::{Subject, announce};
use crate::cli::grammar::Named;
use crate::cli::project::To;
use crate::cli::{self, Making};
use crate::order::Order;
use anyhow::{Context, Result, bail};
use builder::application::dotenv;
use builder::bounded;
use builder::build::make_image;
use builder::cache::{self, Cache};
use builder::destination::{self, Account, Destination, Surroundings, Wanted};
use builder::outfile::{Content, Files, OutFile};
use builder::output::{Format, Output};
use builder::progress::{Progress, mebibytes};
use builder::provenance::Provenance;
use builder::source::Source;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Decides where the result goes.
pub(crate) fn build(named: Named, making: Making, progress: &Progress) -> Result<()> {
    let publishing = &making.publishing;
    let to = |place: To, option: &'static str| (making.to == Some(place)).then_some(option);
    let file = making.output.as_ref().map(|_| "-o").or_else(|| making.format.map(|_| "--format"));
    let file = file.or_else(|| to(To::File, "--to file"));
    let ec2 = to(To::Ec2, "--to ec2").or(making.typed.only_of_ec2);
    if let (Some(file), Some(option)) = (file, ec2) {
        bail!("{file} asks for a disk image, and {option} is for an image of EC2: leave out one of them");
    }
    let wanted = Wanted {
        file: file.is_some(),
        quiet: making.report.quiet,
        ec2: ec2.is_some(),
        regions: &publishing.access.region,
        profile: publishing.access.profile.as_deref(),
    };
    match destination::find(&wanted, &Surroundings::of_process())? {
        Destination::Disk => build_disk(named, making, progress),
        Destination::Ec2(account) => build_image(named, making, account, progress),
    }
}

/// resolve → pull → and what [`make_image`] tells.
fn build_disk(named: Named, mut making: Making, progress: &Progress) -> Result<()> {
    let name = making.project_name();
    let (mut order, mut files) = Order::new(named, making.setup)?;
    let subject = Subject::find(&mut order, name, progress)?;
    let name = making.publishing.name.as_ref().unwrap_or(&subject.name).replace('/', "-");
    let output = Output::new(making.output.as_deref(), &name, making.format);
    let provenance = making.provenance.as_deref();
    let written: Vec<&Path> = provenance.into_iter().chain([output.path.as_path()]).collect();
    subject.protect(&written, earlier(Some(&output), provenance), &mut order, &mut files);
    let cache = Cache::open(&cache::directory()?)?;
    let what = format!("{}, {}", output.path.display(), output.format);
    if making.dry_run {
        files.may_write("-o", &output.path, Content::Bytes)?;
        provenance.map_or(Ok(()), |path| files.may_write("--provenance", path, Content::Text))?;
        return dry_run::tell(&order, &subject, &what, &cache, progress);
    }
    subject.project.iter().for_each(|project| announce(project, &what, progress));
    // What can be refused is refused before the work that takes time.
    let disk = output.begin(&mut files, &cache)?;
    let (is_file, is_stdout) = (disk.out().is_file(), disk.out().is_stdout());
    let provenance = begin_provenance(making.provenance.as_deref(), &mut files, &cache)?;
    if making.report.json {
        files.prints("--json")?;
    } else if making.report.quiet && !is_stdout {
        files.prints("-q")?;
    }
    let container = order.fetch(&cache, progress)?;
    let variables = with_variables(&order.source);
    let machine = order.machine(container, progress)?;
    let mut made = make_image(&machine, disk, &output, &cache, progress)?;
    made.provenance.image.manifest = machine.container.manifest;
    finish_provenance(provenance, &made.provenance)?;

    let len = made.layout.len;
    progress.step(format!("done: {}, {}", output.path.display(), mebibytes(len)));
    if is_file && output.format != Format::TarGz && machine.platform.arch.name == "x86_64" {
        let config = &machine.container.config.config;
        progress.line(&format!("To boot it here: {}", how_to_boot(&output.path, config)));
        // The disk has none of that.
        if let Some(project) = variables {
            let command = how_to_boot(&project, config);
            progress.line(&format!("With what its {} says: {command}, and the same options", dotenv::FILE));
        }
    }
    #[cfg(feature = "aws")]
    if is_file && output.format == Format::Raw {
        progress.line(&format!("To make an AMI of it: builder publish {}", output.path.display()));
    }
    if making.report.json {
        print(format!("{}\n", Built::new(&machine, &output, len, progress).json()?).as_bytes())?;
    }
    if making.report.quiet && !is_stdout {
        print(format!("{}\n", output.path.display()).as_bytes())?;
    }
    drop(machine); // and with it what it holds of the cache
    cli::cache::trim(&cache, progress);
    Ok(())
}

/// The same into a file without a name, and from there to EC2.
#[cfg(feature = "aws")]
fn build_image(named: Named, mut making: Making, account: Account, progress: &Progress) -> Result<()> {
    let name = making.project_name();
    let wishes = ec2::publish::Wishes::new(&making.publishing)?;
    let (mut order, mut files) = Order::new(named, making.setup)?;
    if let Some(file) = &account.authorities {
        files.reads("the certificates that are trusted", file);
    }
    ec2::publish::volume_size(order.options.swap.as_ref().map_or(0, |swap| swap.bytes))?;
    let subject = Subject::find(&mut order, name, progress)?;
    let written = making.provenance.as_deref();
    subject.protect(written.as_slice(), earlier(None, written), &mut order, &mut files);
    let cache = Cache::open(&cache::directory()?)?;
    let regions: Vec<String> = account.regions.iter().map(ToString::to_string).collect();
    let regions = if making.publishing.all_regions { "every region".to_owned() } else { regions.join(", ") };
    let what = format!("AMI in {regions}");
    if making.dry_run {
        return dry_run::tell(&order, &subject, &what, &cache, progress);
    }
    subject.project.iter().for_each(|project| announce(project, &what, progress));
    let provenance = begin_provenance(making.provenance.as_deref(), &mut files, &cache)?;
    if making.report.json || making.report.quiet {
        files.prints(if making.report.json { "--json" } else { "-q" })?;
    }
    let (source, repository) = (subject.label(&order.source), subject.repository(&order.source));
    let ec2 = Ec2::open(account, making.publishing.all_regions, progress)?;
    wishes.check(&ec2)?;
    let container = order.fetch(&cache, progress)?;
    let machine = order.machine(container, progress)?;
    let file = cache.nameless()?;
    let mut made = builder::build::make(&machine, &file, 1, true, &cache, progress)?;
    let blocks = builder::blocks::complete(&file, &made.layout.extents(), std::mem::take(&mut made.blocks))?;
    made.provenance.image.manifest = machine.container.manifest;
    let disk = ec2::publish::Disk { file, blocks, provenance: &made.provenance, source, repository };
    drop(machine); // and with it what it holds of the cache
    cli::cache::trim(&cache, progress);
    ec2.publish(disk, &wishes, &making.report)?;
    finish_provenance(provenance, &made.provenance)
}

#[cfg(not(feature = "aws"))]
fn build_image(_: Named, _: Making, _: Account, _: &Progress) -> Result<()> {
    bail!("this builder was built without its feature aws, and makes no images of EC2: -o FILE builds a disk image")
}

/// The directory of a project that has variables for its machines here.
fn with_variables(source: &Source) -> Option<PathBuf> {
    let Source::Local(local) = source else { return None };
    local.path.join(dotenv::FILE).is_file().then(|| local.path.clone())
}

/// Files that an earlier run wrote, by what they are: a project may hold them, and other disks are known by their bytes.
fn earlier(output: Option<&Output>, provenance: Option<&Path>) -> Vec<PathBuf> {
    let archive = output.filter(|output| output.format == Format::TarGz).map(|output| output.path.clone());
    // To read a pipe would wait for who writes it.
    let provenance = provenance.filter(|path| path.is_file()).filter(|path| {
        let json = bounded::SETTINGS.read_file(path).ok();
        json.is_some_and(|json| serde_json::from_slice::<Provenance>(&json).is_ok())
    });
    archive.into_iter().chain(provenance.map(Path::to_owned)).collect()
}

fn begin_provenance(path: Option<&Path>, files: &mut Files, cache: &Cache) -> Result<Option<OutFile>> {
    path.map(|path| files.write("--provenance", path, Content::Text, cache)).transpose()
}

fn finish_provenance(file: Option<OutFile>, provenance: &Provenance) -> Result<()> {
    let Some(file) = file else { return Ok(()) };
    file.file().write_all(&provenance.to_json()?).context("write what the disk is made of")?;
    file.commit()
}
