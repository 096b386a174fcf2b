//! `builder`: from a container image to a machine image.

mod cli;
mod demo;

use anyhow::{Context, Result, anyhow};
use builder::cache::{self, Cache};
use builder::cleanup;
use builder::disk::{self, Parts};
use builder::flatten::{merge, stream};
use builder::initrd::Packing;
use builder::kernel::directory::Kernel;
use builder::kernel::{find, modules};
use builder::machine::{self, Options};
use builder::output::{Format, Output};
use builder::platform::Platform;
use builder::progress::{Progress, mebibytes};
use builder::source::{Container, Fetch};
use builder::uki::Section;
use builder::{cmdline, embedded, initrd, squash, tools, uki};
use clap::Parser;
use cli::{Build, Cli, Command};
use initramfs::image::OnExit;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, SystemTime};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("builder: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    cleanup::install()?;
    let progress = Progress::new();
    match cli.command {
        Some(Command::Demo { port, kernel }) => demo::run(port, kernel.kernel.as_deref(), &progress),
        None => build(cli.build, &progress),
    }
}

/// resolve → pull → and what [`machine`] tells.
fn build(build: Build, progress: &Progress) -> Result<()> {
    let source = build.image.context("no IMAGE given (see --help)")?;
    let output = Output::new(build.output.as_deref(), &source.stem());
    let cmdline = cmdline::cmdline(build.platform.arch, build.kernel_args.as_deref(), build.debug)?;
    let mut needs = vec![tools::MKSQUASHFS];
    if output.format == Format::Qcow2 {
        needs.push(tools::QEMU_IMG);
    }
    tools::require(&needs, progress)?;
    let cache = Cache::open(&cache::directory()?)?;

    progress.step(format!("resolve {source} for {}", build.platform));
    let fetch = Fetch { platform: build.platform, mirrors: &build.registry_mirror, cache: &cache, progress };
    let container = source.fetch(&fetch)?;

    let on_exit = if build.reboot { OnExit::Reboot } else { OnExit::PowerOff };
    let machine = Machine {
        name: source.to_string(),
        platform: build.platform,
        container,
        options: Options { on_exit, debug: build.debug },
        cmdline,
        kernel: find::find(build.kernel.kernel.as_deref(), build.platform.arch, &cache::directory()?, progress)?,
    };
    let size = make(&machine, &output, progress)?;
    progress.step(format!("done: {}, {}", output.path.display(), mebibytes(size)));
    Ok(())
}

/// Everything that a machine is made of.
struct Machine {
    name: String,
    platform: Platform,
    container: Container,
    options: Options,
    cmdline: String,
    kernel: Kernel,
}

/// flatten → squash → initramfs → UKI → disk. Gives the disk's size in bytes.
fn make(machine: &Machine, output: &Output, progress: &Progress) -> Result<u64> {
    let arch = machine.platform.arch;
    let layers = &machine.container.layers;
    // What can be refused is refused before the work that takes time.
    let disk = output.begin()?;
    let stub_path = machine.kernel.stub(arch)?;
    let configure = |root| machine::configure(&machine.name, &machine.container.config.config, root, machine.options);
    for warning in configure(arch.root_type)?.1 {
        progress.warn(warning);
    }

    progress.step(format!("flatten {} layers", layers.len()));
    let bytes = layers.iter().map(|layer| layer.blob.len()).sum();
    let merged = merge::merge(layers, &progress.bytes("flatten", bytes))?;
    if !merged.dropped_xattrs.is_empty() {
        let names: Vec<String> = merged.dropped_xattrs.into_iter().collect();
        progress.warn(format!("extended attributes that a squashfs can't hold are left out: {}", names.join(", ")));
    }
    let plan = stream::plan(&merged.tree, source_date_epoch()?);
    if SystemTime::UNIX_EPOCH + Duration::from_secs(plan.newest.unsigned_abs()) > SystemTime::now() {
        // The root directory's time can't be told to mksquashfs, and is now at the latest: see squash.rs.
        progress.warn(
            "the image has files from the future, so building it again will give other bytes; SOURCE_DATE_EPOCH helps",
        );
    }

    let what = format!("squash {}, and pack init for Linux {}", mebibytes(plan.content_bytes), machine.kernel.release);
    progress.step(what);
    let packing = initrd::packing(&machine.kernel)?;
    let (root, system) = thread::scope(|scope| {
        let system = scope.spawn(|| pack_system(&machine.kernel, packing));
        let root = squash::squash(&plan, layers, output.directory(), progress);
        (root, system.join())
    });
    let root = root?;
    let mut initrd = system.map_err(|_| anyhow!("pack init: this is a fault of builder's own"))??;
    let (config, _) = configure(disk::root_guid(&root.digest))?;
    initrd.extend(initrd::pack_configuration(&config, packing)?);

    progress.step(format!("link the kernel image: initramfs {}", mebibytes(initrd.len() as u64)));
    let read = |path: &std::path::Path| std::fs::read(path).with_context(|| format!("read {}", path.display()));
    let (stub, vmlinuz) = (read(&stub_path)?, read(&machine.kernel.vmlinuz)?);
    let os_release = uki::os_release(&machine.kernel.release);
    let sections = [
        Section { name: ".osrel", content: os_release.as_bytes() },
        Section { name: ".cmdline", content: machine.cmdline.as_bytes() },
        Section { name: ".initrd", content: &initrd },
        // Last, as other tools have it: a kernel that unpacks itself in place may use the memory behind its section.
        Section { name: ".linux", content: &vmlinuz },
    ];
    let uki = uki::add_sections(&stub, &sections, arch).with_context(|| format!("stub {}", stub_path.display()))?;

    progress.step(format!(
        "write the disk: kernel image {}, root {}",
        mebibytes(uki.len() as u64),
        mebibytes(root.len)
    ));
    let root_file = root.file.reopen()?;
    let parts = Parts { arch, uki: &uki, root: &root_file, root_len: root.len, root_digest: root.digest };
    let size = disk::write(&disk.reopen()?, &parts)?;
    output.finish(disk)?;
    Ok(size)
}

/// The part of the initramfs that is the same for every image.
fn pack_system(kernel: &Kernel, packing: Packing) -> Result<Vec<u8>> {
    initrd::pack_system(embedded::INIT, &kernel.release, &modules::select(kernel)?, packing)
}

/// The latest time that the image may tell, if the environment says so (reproducible-builds.org, "SOURCE_DATE_EPOCH").
fn source_date_epoch() -> Result<Option<i64>> {
    let Some(value) = std::env::var_os("SOURCE_DATE_EPOCH").filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let seconds = value.to_str().and_then(|text| text.parse::<u32>().ok());
    let seconds = seconds
        .with_context(|| format!("SOURCE_DATE_EPOCH={} is not a number of seconds since 1970", value.display()))?;
    Ok(Some(i64::from(seconds)))
}
