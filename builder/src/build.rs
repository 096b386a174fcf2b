//! The build as a story: from an image that is at hand to a disk.

use crate::blocks::{Block, Hashing};
use crate::bounded::PROGRAM;
use crate::cache::Cache;
use crate::digest::Digest;
use crate::disk::{self, Layout, SparseWriter};
use crate::esp::Files;
use crate::flatten::merge;
use crate::initrd;
use crate::kernel::directory::Kernel;
use crate::kernel::modules;
use crate::machine::{self, Options};
use crate::output::{Draft, Output};
use crate::pack::{self, Packed};
use crate::platform::Platform;
use crate::progress::{Progress, mebibytes};
use crate::provenance::{self, ImageOf, KernelOf, Part, Parts, Provenance};
use crate::source::Container;
use crate::squashfs::Squashfs;
use crate::uki::{self, Section};
use anyhow::{Context, Result, anyhow};
use initramfs::guid::Guid;
use initramfs::image::Image;
use std::borrow::Cow;
use std::fs::File;
use std::path::Path;
use std::thread;

/// Everything that a machine is made of.
#[derive(Debug)]
pub struct Machine {
    /// What messages call the image.
    pub name: String,
    /// What it runs on.
    pub platform: Platform,
    /// The image.
    pub container: Container,
    /// What the user decided.
    pub options: Options,
    /// The kernel's command line.
    pub cmdline: String,
    /// The kernel.
    pub kernel: Kernel,
    /// PID 1, a static program.
    pub init: Cow<'static, [u8]>,
}

/// A disk that was made.
#[derive(Debug)]
pub struct Made {
    /// Where things lie on it.
    pub layout: Layout,
    /// Its whole blocks that the root fills, by ascending index; none where they were not asked for.
    pub blocks: Vec<Block>,
    /// What it is made of.
    pub provenance: Provenance,
}

/// pack → merge → initramfs → lay out → squash → link → disk.
///
/// The disk is written into `file`, which is empty; its length is a multiple of `multiple`. With `hash` the digests of its blocks are
/// computed on the way.
///
/// # Errors
/// What the steps answer.
pub fn make(
    machine: &Machine,
    file: &File,
    multiple: u64,
    hash: bool,
    cache: &Cache,
    progress: &Progress,
) -> Result<Made> {
    let layers = &machine.container.layers;
    let (_, warnings) = machine.configure(machine.platform.arch.root_type)?;
    for warning in warnings {
        progress.warn(warning);
    }
    let boot = Boot::gather(machine)?;

    progress.step(match layers.len() {
        1 => "pack 1 layer".to_owned(),
        count => format!("pack {count} layers"),
    });
    let (packed, system) = thread::scope(|scope| {
        let system = scope.spawn(|| boot.system(cache));
        (pack::pack(layers, cache, progress), system.join())
    });
    let mut packed = packed?;
    let system = system.map_err(|_| anyhow!("pack init: this is a fault of builder's own"))??;
    let root = root(&mut packed, cache, progress)?;

    // The program's length does not depend on which root it names, so a disk's layout is known before its content.
    let draft = boot.link(machine, &machine.configure(machine.platform.arch.root_type)?.0, &system)?;
    let unknown = Part { digest: machine.container.id, bytes: root.len() };
    let provenance = draft.provenance(machine, unknown)?.to_json()?.len() as u64;
    let layout = Layout::new(draft.program.len() as u64, provenance, root.len(), multiple);

    let (program, squashed) = (mebibytes(draft.program.len() as u64), mebibytes(root.len()));
    progress.step(format!("write the disk: Linux {} and init {program}, root {squashed}", machine.kernel.release));
    file.set_len(layout.len).context("make room for the disk")?;
    let mut blocks = Vec::new();
    let digest = {
        let bar = progress.bytes("write", root.len());
        let out = SparseWriter::new(file, layout.root_start);
        if hash {
            root.write(Hashing::new(out, layout.root_start, &mut blocks), |bytes| bar.add(bytes))?
        } else {
            root.write(out, |bytes| bar.add(bytes))?
        }
    };
    let (config, _) = machine.configure(disk::root_guid(&digest))?;
    let linked = boot.link(machine, &config, &system)?;
    let provenance = linked.provenance(machine, Part { digest, bytes: root.len() })?;
    let json = provenance.to_json()?;
    let files = Files { program: (machine.platform.arch.efi_file, &linked.program), provenance: &json };
    disk::write(file, &layout, machine.platform.arch, &files, &digest)?;
    Ok(Made { layout, blocks, provenance })
}

/// As [`make`], into a disk image: nothing is left behind when it fails.
///
/// # Errors
/// What the steps answer.
pub fn make_image(
    machine: &Machine,
    draft: Draft,
    output: &Output,
    cache: &Cache,
    progress: &Progress,
) -> Result<Made> {
    let made = make(machine, draft.raw(), output.format.size_multiple(), false, cache, progress)?;
    output.finish(draft, progress)?;
    Ok(made)
}

impl Machine {
    /// The configuration with this root, and what the user should know of it.
    fn configure(&self, root: Guid) -> Result<(Image, Vec<String>)> {
        machine::configure(&self.name, &self.container.config.config, root, &self.options)
    }
}

/// The root file system of the packed layers.
fn root<'a>(packed: &'a mut [Packed], cache: &Cache, progress: &Progress) -> Result<Squashfs<'a>> {
    let merged = merge::merge(packed)?;
    if !merged.dropped_xattrs.is_empty() {
        let names: Vec<String> = merged.dropped_xattrs.into_iter().collect();
        progress.warn(format!(
            "extended attributes that a squashfs can't hold, or an overlay takes for its own, are left out: {}",
            names.join(", ")
        ));
    }
    Squashfs::new(&merged.tree, packed, source_date_epoch()?, cache.nameless()?)
}

/// What a machine boots with, beside its configuration.
struct Boot<'a> {
    kernel: &'a Kernel,
    init: &'a [u8],
    stub: Vec<u8>,
    vmlinuz: Vec<u8>,
    modules: modules::Selection,
    packing: initrd::Packing,
}

impl<'a> Boot<'a> {
    fn gather(machine: &'a Machine) -> Result<Self> {
        let read = |path: &Path| PROGRAM.read_file(path).with_context(|| format!("read {}", path.display()));
        let kernel = &machine.kernel;
        Ok(Boot {
            kernel,
            init: &machine.init,
            stub: read(&kernel.stub(machine.platform.arch)?)?,
            vmlinuz: read(&kernel.vmlinuz)?,
            modules: modules::select(kernel, machine.options.late_modules)?,
            packing: initrd::packing(kernel)?,
        })
    }

    fn system(&self, cache: &Cache) -> Result<Vec<u8>> {
        initrd::system(self.init, &self.kernel.release, &self.modules, self.packing, cache)
    }

    /// The kernel, the initramfs and the command line as one program that firmware starts.
    fn link(&self, machine: &Machine, config: &Image, system: &[u8]) -> Result<Linked<'_>> {
        let mut initramfs = initrd::pack_configuration(config)?;
        initramfs.extend_from_slice(system);
        let os_release = uki::os_release(&self.kernel.release);
        let sections = [
            Section { name: ".osrel", content: os_release.as_bytes() },
            Section { name: ".cmdline", content: machine.cmdline.as_bytes() },
            Section { name: ".initrd", content: &initramfs },
            // Last, as other tools have it: a kernel that unpacks itself in place may use the memory behind its section.
            Section { name: ".linux", content: &self.vmlinuz },
        ];
        let program = uki::add_sections(&self.stub, &sections, machine.platform.arch)
            .with_context(|| format!("link the EFI stub and kernel {}", self.kernel.release))?;
        Ok(Linked { boot: self, initramfs: Part::of(&initramfs), options: provenance::options(config)?, program })
    }
}

/// An EFI program and what went into it.
struct Linked<'a> {
    boot: &'a Boot<'a>,
    initramfs: Part,
    options: serde_json::Value,
    program: Vec<u8>,
}

impl Linked<'_> {
    fn provenance(&self, machine: &Machine, root: Part) -> Result<Provenance> {
        let config = match &self.boot.kernel.config {
            Some(path) => {
                let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
                Some(Digest::of_reader(file).with_context(|| format!("read {}", path.display()))?)
            }
            None => None,
        };
        Ok(Provenance {
            version: provenance::VERSION,
            builder: env!("CARGO_PKG_VERSION").to_owned(),
            image: ImageOf::of(&machine.container),
            project: machine.container.config.config.project.as_ref().and_then(|project| project.origin.clone()),
            platform: machine.platform.to_string(),
            kernel: KernelOf { release: self.boot.kernel.release.clone(), config },
            init: Digest::of(self.boot.init),
            cmdline: machine.cmdline.clone(),
            options: self.options.clone(),
            parts: Parts {
                root,
                efi_program: Part::of(&self.program),
                vmlinuz: Part::of(&self.boot.vmlinuz),
                initramfs: self.initramfs,
                efi_stub: Part::of(&self.boot.stub),
            },
        })
    }
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
