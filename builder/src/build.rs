//! The build as a story: from an image that is at hand to a disk.

use crate::cleanup::TempFile;
use crate::disk::{self, Parts};
use crate::flatten::stream::Plan;
use crate::flatten::{Content, Layer, merge, stream};
use crate::kernel::directory::Kernel;
use crate::kernel::modules;
use crate::machine::{self, Options};
use crate::output::Output;
use crate::platform::Platform;
use crate::progress::{Progress, mebibytes};
use crate::source::Container;
use crate::uki::Section;
use crate::{initrd, squash, uki};
use anyhow::{Context, Result, anyhow, ensure};
use std::borrow::Cow;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

/// The largest volume that EBS has, in bytes. Sparse files can claim any size.
const MAX_CONTENT: u64 = 64 << 40;

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

/// flatten → squash → initramfs → UKI → disk. Gives the disk's size in bytes.
///
/// # Errors
/// What the steps answer; nothing is left behind then.
pub fn make(machine: &Machine, disk: TempFile, output: &Output, progress: &Progress) -> Result<u64> {
    let layers = &machine.container.layers;
    let stub = machine.kernel.stub(machine.platform.arch)?;
    let modules = modules::select(&machine.kernel, machine.options.late_modules)?;
    let packing = initrd::packing(&machine.kernel)?;
    let configure = |root| machine::configure(&machine.name, &machine.container.config.config, root, &machine.options);
    for warning in configure(machine.platform.arch.root_type)?.1 {
        progress.warn(warning);
    }

    progress.step(match layers.len() {
        1 => "flatten 1 layer".to_owned(),
        count => format!("flatten {count} layers"),
    });
    let plan = flatten(layers, progress)?;

    let (content, release) = (mebibytes(plan.content_bytes), &machine.kernel.release);
    progress.step(format!("squash {content}, and pack init for Linux {release}"));
    let (root, system) = thread::scope(|scope| {
        let system = scope.spawn(|| initrd::pack_system(&machine.init, release, &modules, packing));
        (squash::squash(&plan, layers, output.directory(), progress), system.join())
    });
    let root = root?;
    let mut initrd = system.map_err(|_| anyhow!("pack init: this is a fault of builder's own"))??;
    let (config, _) = configure(disk::root_guid(&root.digest))?;
    initrd.extend(initrd::pack_configuration(&config, packing)?);

    progress.step(format!("link the kernel image: initramfs {}", mebibytes(initrd.len() as u64)));
    let uki = link(machine, &stub, &initrd)?;

    let (kernel, squashed) = (mebibytes(uki.len() as u64), mebibytes(root.len));
    progress.step(format!("write the disk: kernel image {kernel}, root {squashed}"));
    let root_file = root.file.reopen()?;
    let arch = machine.platform.arch;
    let parts = Parts { arch, uki: &uki, root: &root_file, root_len: root.len, root_digest: root.digest };
    let size = disk::write(&disk.reopen()?, &parts)?;
    output.finish(disk)?;
    Ok(size)
}

/// The layers as one tree, in the order in which it is squashed.
fn flatten(layers: &[Layer], progress: &Progress) -> Result<Plan> {
    let bytes = layers.iter().map(|layer| match &layer.content {
        Content::Blob(blob) => blob.len(),
        Content::Packed(_) => 0,
    });
    let bytes = bytes.sum();
    let merged = merge::merge(layers, &progress.bytes("flatten", bytes))?;
    if !merged.dropped_xattrs.is_empty() {
        let names: Vec<String> = merged.dropped_xattrs.into_iter().collect();
        progress.warn(format!("extended attributes that a squashfs can't hold are left out: {}", names.join(", ")));
    }
    let plan = stream::plan(&merged.tree, source_date_epoch()?);
    ensure!(
        plan.content_bytes <= MAX_CONTENT,
        "the image's files hold {} together, more than a machine's root can: is a layer damaged?",
        mebibytes(plan.content_bytes)
    );
    if SystemTime::UNIX_EPOCH + Duration::from_secs(plan.newest.unsigned_abs()) > SystemTime::now() {
        // The root directory's time can't be told to mksquashfs, and is now at the latest: see squash.rs.
        progress.warn(
            "the image has files from the future, so building it again will give other bytes; SOURCE_DATE_EPOCH helps",
        );
    }
    Ok(plan)
}

/// The kernel, the initramfs and the command line as one program that firmware starts.
fn link(machine: &Machine, stub: &Path, initrd: &[u8]) -> Result<Vec<u8>> {
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("read {}", path.display()));
    let (vmlinuz, os_release) = (read(&machine.kernel.vmlinuz)?, uki::os_release(&machine.kernel.release));
    let sections = [
        Section { name: ".osrel", content: os_release.as_bytes() },
        Section { name: ".cmdline", content: machine.cmdline.as_bytes() },
        Section { name: ".initrd", content: initrd },
        // Last, as other tools have it: a kernel that unpacks itself in place may use the memory behind its section.
        Section { name: ".linux", content: &vmlinuz },
    ];
    uki::add_sections(&read(stub)?, &sections, machine.platform.arch)
        .with_context(|| format!("stub {}", stub.display()))
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
