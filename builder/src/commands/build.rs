//! `builder IMAGE`: the disk image.

use super::dry_run;
use super::report::{Built, how_to_boot, print};
use crate::cli::{self, Build, Publishing};
use crate::order::Order;
use anyhow::{Context, Result, bail, ensure};
use builder::build::make;
use builder::cache::{self, Cache};
use builder::cleanup::TempFile;
use builder::destination::{self, Destination, Region, Surroundings, Wanted};
use builder::output::{Format, Output};
use builder::progress::{Progress, mebibytes};
use builder::source::Source;
use std::io::Write;
use std::path::Path;

/// resolve → pull → and what [`make`] tells.
pub(crate) fn build(build: Build, progress: &Progress) -> Result<()> {
    let source = build.image.context("no IMAGE given (see --help)")?;
    let output = Output::new(build.output.as_deref(), &stem(&source, &build.publishing), build.format);
    let wanted = Wanted {
        output: build.output.as_deref(),
        quiet: build.report.quiet,
        regions: &build.publishing.region,
        profile: build.publishing.profile.as_deref(),
    };
    check_tags(&build.publishing)?;
    match destination::find(&wanted, &Surroundings::of_process())? {
        Destination::Disk => {}
        Destination::Ec2(account) if account.asked => bail!(
            "publishing to EC2 ({}) comes with a later version of builder; -o FILE builds the disk image",
            list(&account.regions)
        ),
        Destination::Ec2(_) => progress.step(format!(
            "there are AWS credentials, but publishing to EC2 comes with a later version: the disk image goes to {}",
            output.path.display()
        )),
    }
    let order = Order::new(source, build.setup)?;
    let cache = Cache::open(&cache::directory()?)?;
    // What can be refused is refused before the work that takes time.
    let disk = output.begin()?;
    if build.dry_run {
        return dry_run::tell(&order, &output, &cache, progress);
    }
    let provenance = build.provenance.as_deref().map(|path| beside(path, &output.path)).transpose()?;
    let container = order.fetch(&cache, progress)?;
    let machine = order.machine(container, progress)?;
    let mut made = make(&machine, disk, &output, &cache, progress)?;
    if let Some((file, path)) = provenance {
        let shown = path.display();
        made.provenance.image.manifest = machine.container.manifest;
        file.reopen()?.write_all(&made.provenance.to_json()?).with_context(|| format!("--provenance {shown}"))?;
        file.persist(path, 0o644)?;
    }

    progress.step(format!("done: {}, {}", output.path.display(), mebibytes(made.len)));
    if output.format != Format::TarGz && machine.platform.arch.name == "x86_64" {
        progress.line(&format!("To boot it here: {}", how_to_boot(&output.path, &machine.container.config.config)));
    }
    if build.report.json {
        print(format!("{}\n", Built::new(&machine, &output, made.len, progress).json()?).as_bytes())?;
    }
    if build.report.quiet {
        print(format!("{}\n", output.path.display()).as_bytes())?;
    }
    drop(machine); // and with it what it holds of the cache
    cli::cache::trim(&cache, progress);
    Ok(())
}

/// A temporary file beside one that will be written, which tells early that it can't be.
fn beside<'a>(path: &'a Path, disk: &Path) -> Result<(TempFile, &'a Path)> {
    let directory = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    let shown = path.display();
    ensure!(!path.is_dir(), "--provenance {shown}: this is a directory; name a file");
    // A rename would put a file in the place of a device.
    ensure!(!path.exists() || path.is_file(), "--provenance {shown}: this is a device or a pipe; name a file");
    ensure!(path != disk, "--provenance {shown}: the disk image is written there; name another file");
    Ok((TempFile::new_in(directory).with_context(|| format!("--provenance {shown}"))?, path))
}

/// What the file is called that nobody names.
fn stem(source: &Source, publishing: &Publishing) -> String {
    publishing.name.as_ref().map_or_else(|| source.stem(), |name| name.replace('/', "-"))
}

/// EC2 takes each key once.
fn check_tags(publishing: &Publishing) -> Result<()> {
    let tags = &publishing.tag;
    for (at, (key, _)) in tags.iter().enumerate() {
        if tags[..at].iter().any(|(earlier, _)| earlier == key) {
            bail!("--tag {key}: a tag has one value, and this one is given two");
        }
    }
    Ok(())
}

fn list(regions: &[Region]) -> String {
    regions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
