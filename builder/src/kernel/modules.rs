//! Which kernel modules a machine carries: those it may need to find its disk and its network and what applications
//! expect of any kernel, with what these need themselves; or all of the kernel's, where modules may be loaded late.

use super::directory::Kernel;
use super::indexes::{self, Dependencies};
use crate::bounded::{PROGRAM, SETTINGS};
use crate::compression::Compression;
use anyhow::{Context, Result, bail};
use initramfs::modules::EXPECTED;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

/// Modules that machines need, by the start of their path below `kernel/`. The machines are EC2's (Nitro and Xen), QEMU's,
/// and those of other clouds and hypervisors that boot the same disk.
const NEEDED: &[&str] = &[
    // Disks
    "drivers/nvme/host/",
    "drivers/block/virtio_blk",
    "drivers/block/xen-blkfront",
    "drivers/scsi/scsi_mod",
    "drivers/scsi/sd_mod",
    "drivers/scsi/virtio_scsi",
    "drivers/scsi/vmw_pvscsi",
    "drivers/scsi/hv_storvsc",
    "drivers/ata/libata",
    "drivers/ata/libahci",
    "drivers/ata/ahci.",
    "drivers/ata/ata_piix",
    "drivers/ata/ata_generic",
    // The root, and what later lies between it and the disk
    "fs/squashfs/",
    "fs/overlayfs/",
    "drivers/md/dm-mod",
    "drivers/md/dm-crypt",
    "drivers/md/dm-verity",
    // The network
    "drivers/net/virtio_net",
    "drivers/net/net_failover",
    "drivers/net/ethernet/amazon/",
    "drivers/net/ethernet/google/",
    "drivers/net/ethernet/intel/e1000",
    "drivers/net/ethernet/intel/igb",
    "drivers/net/ethernet/intel/ixgbevf/",
    "drivers/net/ethernet/realtek/8139",
    "drivers/net/vmxnet3/",
    "drivers/net/hyperv/",
    "drivers/net/xen-netfront",
    "net/packet/af_packet.",
    // The buses that these hang on
    "drivers/virtio/",
    "drivers/hv/hv_vmbus",
    "drivers/pci/hotplug/",
    "drivers/pci/controller/pci-hyperv",
    // The power button, keyboards behind which it may hide, randomness, clocks, the watchdog, TPMs
    "drivers/acpi/button",
    "drivers/input/evdev",
    "drivers/char/hw_random/",
    "drivers/char/tpm/",
    "drivers/ptp/",
    "drivers/watchdog/i6300esb",
    "drivers/platform/x86/pvpanic",
    "drivers/misc/pvpanic/",
];

/// Modules that the ones above ask the kernel for by name when they start, which no dependency index tells.
const ASKED_BY_NAME: &[&str] = &[
    // crc32c and the ciphers of dm-crypt, where a kernel has them as modules
    "crc32c",
    "crc32c_generic",
    "crc32c-intel",
    "crc32c_intel",
    "aesni-intel",
    "aesni_intel",
    "aes-ce-blk",
    "xts",
    "essiv",
    "cryptd",
    "zstd_decompress",
];

/// Largest module that is read, in bytes once decompressed; the largest of Debian's (amdgpu) has 30 MB.
const MAX_MODULE: u64 = 256 << 20;

/// The modules to pack, and the indexes to find them by, as paths below `/lib/modules/RELEASE/`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Modules by path, decompressed, and index files.
    pub files: BTreeMap<String, Vec<u8>>,
    /// How many of the files are modules.
    pub modules: usize,
    /// Whether they may be loaded for the machine's life.
    pub late: bool,
}

/// zstd's level for modules that are packed compressed: they are small, and read from memory.
const ZSTD_LEVEL: i32 = 19;

/// Selects from a kernel's modules; all of them if they may be loaded `late`.
///
/// # Errors
/// When the indexes are missing or a module can't be read.
pub fn select(kernel: &Kernel, late: bool) -> Result<Selection> {
    let Some(directory) = &kernel.modules else {
        if kernel.has("CONFIG_MODULES")? && kernel.stub.is_none() {
            bail!("kernel {}: it can load modules, but there are none in lib/modules/{0}", kernel.release);
        }
        return Ok(Selection::default());
    };
    let index = |name: &str| read_index(directory, name, &kernel.release);
    let dependencies = Dependencies::parse(&index("modules.dep")?)
        .map_err(|line| anyhow::anyhow!("{}: {line:?} is not a line of it", directory.join("modules.dep").display()))?;
    let soft = optional_index(directory, "modules.softdep")?;
    let at_boot = closure(&dependencies, &indexes::soft_dependencies(&soft));
    // What a boot needs is packed as it is loaded. The rest lies in memory for the machine's life: compressed, where the
    // kernel can read it so.
    let compresses = late && kernel.has("CONFIG_MODULE_DECOMPRESS")? && kernel.has("CONFIG_MODULE_COMPRESS_ZSTD")?;
    let wanted = if late { dependencies.modules().map(str::to_owned).collect() } else { at_boot.clone() };
    let packed_name = |path: &str| match plain_name(path) {
        plain if compresses && !at_boot.contains(path) => format!("{plain}.zst"),
        plain => plain.to_owned(),
    };
    let mut selection = Selection { modules: wanted.len(), late, ..Selection::default() };
    for path in &wanted {
        let module = || -> Result<_> {
            let content = read_module(&directory.join(path))?;
            let packed = packed_name(path);
            let is_plain = !packed.ends_with(".zst");
            Ok((packed, if is_plain { content } else { zstd::encode_all(&content[..], ZSTD_LEVEL)? }))
        };
        let (packed, content) = module().with_context(|| format!("read module {path}"))?;
        selection.files.insert(packed, content);
    }
    let names: BTreeSet<String> = wanted.iter().map(|path| indexes::module_name(path)).collect();
    let mut put = |name: &str, text: String| selection.files.insert(name.to_owned(), text.into_bytes());
    put("modules.dep", dependencies.of(&wanted, packed_name));
    put("modules.alias", indexes::only_modules(&index("modules.alias")?, &names));
    put("modules.softdep", indexes::only_soft(&soft, &names));
    // Whole: they say what needs no module, which is what a loader wants to know of the others.
    for name in ["modules.builtin", "modules.builtin.modinfo"] {
        let path = directory.join(name);
        if path.exists() {
            let content = SETTINGS.read_file(&path).with_context(|| format!("read {}", path.display()))?;
            selection.files.insert(name.to_owned(), content);
        }
    }
    Ok(selection)
}

/// The modules of the table with everything that they depend on, hard or soft, as paths of the index.
fn closure(dependencies: &Dependencies, soft: &BTreeMap<String, Vec<String>>) -> BTreeSet<String> {
    let by_name: BTreeMap<String, &str> =
        dependencies.modules().map(|path| (indexes::module_name(path), path)).collect();
    let needed = dependencies.modules().filter(|path| {
        let below = path.strip_prefix("kernel/").unwrap_or(path);
        NEEDED.iter().any(|start| below.starts_with(start))
    });
    let asked = ASKED_BY_NAME.iter().chain(EXPECTED).filter_map(|name| by_name.get(&name.replace('-', "_")).copied());
    let mut ahead: Vec<&str> = needed.chain(asked).collect();
    let mut wanted = BTreeSet::new();
    while let Some(path) = ahead.pop() {
        if !wanted.insert(path.to_owned()) {
            continue;
        }
        ahead.extend(dependencies.needs(path));
        let soft = soft.get(&indexes::module_name(path)).into_iter().flatten();
        ahead.extend(soft.filter_map(|name| by_name.get(name).copied()));
    }
    wanted
}

/// `x.ko.xz` as `x.ko`: modules are packed decompressed, since the initramfs is compressed as a whole.
fn plain_name(path: &str) -> &str {
    [".xz", ".zst", ".gz"].iter().find_map(|ending| path.strip_suffix(ending)).unwrap_or(path)
}

fn read_module(path: &Path) -> Result<Vec<u8>> {
    let stored = PROGRAM.read_file(path)?;
    let mut plain = Vec::new();
    let compression = Compression::sniff(&stored);
    let reader: Box<dyn Read> = match compression {
        Compression::Xz => Box::new(liblzma::read::XzDecoder::new(&stored[..])),
        other => other.decompress(&stored[..])?,
    };
    reader.take(MAX_MODULE + 1).read_to_end(&mut plain)?;
    anyhow::ensure!(plain.len() as u64 <= MAX_MODULE, "it is larger than any module");
    anyhow::ensure!(plain.starts_with(b"\x7fELF"), "it is not an ELF file");
    Ok(plain)
}

fn read_index(directory: &Path, name: &str, release: &str) -> Result<String> {
    let path = directory.join(name);
    SETTINGS.read_text(&path).with_context(|| {
        // lib/modules/RELEASE or usr/lib/modules/RELEASE: depmod -b takes what is above lib.
        let base = directory.ancestors().nth(3).unwrap_or(directory);
        format!("read {} (if it is missing: depmod -b {} {release})", path.display(), base.display())
    })
}

fn optional_index(directory: &Path, name: &str) -> Result<String> {
    let path = directory.join(name);
    if !path.exists() {
        return Ok(String::new());
    }
    SETTINGS.read_text(&path).with_context(|| format!("read {}", path.display()))
}

#[cfg(test)]
mod tests;
