//! Whether a machine of our own kernel drives what instances of EC2, and QEMU's machines, have: each device by the
//! modalias that sysfs gives of it, looked up in what the kernel has and what an image packs of it, by the code by which
//! init looks it up.
//!
//! The kernel is the one that `kernel/build.sh` keeps in the cache. A machine that lacks it fails these tests.

use builder::cache;
use builder::embedded;
use builder::kernel::directory::Kernel;
use builder::kernel::find;
use builder::kernel::modules::select;
use builder::platform::Platform;
use nanoos_init::drivers::glob;
use nanoos_init::drivers::index::{Index, built_in_aliases, canonical, name_of};
use object::{Object, ObjectSection};
use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::Path;

/// Devices, and the driver that each must have. A modalias of PCI names vendor, device, their subsystem, and the class
/// (0200 Ethernet, 010802 NVMe). The ids are those of the drivers' sources; of EC20 and 8061 people have shown what `lspci`
/// tells on instances, with 0000:0000 or the device's own ids as subsystem, and the others are written as if they did likewise.
const DEVICES: &[(&str, &str)] = &[
    // Elastic Network Adapter: physical and virtual function, each without and with low-latency queues
    // (drivers/net/ethernet/amazon/ena/ena_pci_id_tbl.h).
    ("pci:v00001D0Fd00000EC2sv00001D0Fsd00000EC2bc02sc00i00", "ena"),
    ("pci:v00001D0Fd00001EC2sv00001D0Fsd00001EC2bc02sc00i00", "ena"),
    ("pci:v00001D0Fd0000EC20sv00000000sd00000000bc02sc00i00", "ena"),
    ("pci:v00001D0Fd0000EC20sv00001D0Fsd0000EC20bc02sc00i00", "ena"),
    ("pci:v00001D0Fd0000EC21sv00001D0Fsd0000EC21bc02sc00i00", "ena"),
    // EBS.
    ("pci:v00001D0Fd00008061sv00001D0Fsd00008061bc01sc08i02", "nvme"),
    ("pci:v00001D0Fd00008061sv00001D0Fsd00000000bc01sc08i02", "nvme"),
    ("pci:v00001D0Fd00000065sv00001D0Fsd00000065bc01sc08i02", "nvme"),
    ("pci:v00001D0Fd00000061sv00001D0Fsd00000061bc01sc08i02", "nvme"),
    // Instance store.
    ("pci:v00001D0Fd0000CD00sv00001D0Fsd0000CD00bc01sc08i02", "nvme"),
    ("pci:v00001D0Fd0000CD01sv00001D0Fsd0000CD01bc01sc08i02", "nvme"),
    ("pci:v00001D0Fd0000CD02sv00001D0Fsd0000CD02bc01sc08i02", "nvme"),
    // A disk with ids that nobody has seen yet has its class all the same.
    ("pci:v00001D0Fd0000FFFFsv00001D0Fsd0000FFFFbc01sc08i02", "nvme"),
    // NitroTPM speaks by a command response buffer (ACPI id MSFT0101).
    ("acpi:MSFT0101:", "tpm_crb"),
    // QEMU's NVMe; its virtio devices on PCI, of old and of new kind, and what sits on them.
    ("pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02", "nvme"),
    ("pci:v00001AF4d00001000sv00001AF4sd00000001bc02sc00i00", "virtio_pci"),
    ("pci:v00001AF4d00001041sv00001AF4sd00001100bc02sc00i00", "virtio_pci"),
    ("virtio:d00000001v00001AF4", "virtio_net"),
    ("virtio:d00000002v00001AF4", "virtio_blk"),
    ("virtio:d00000003v00001AF4", "virtio_console"),
    ("virtio:d00000004v00001AF4", "virtio_rng"),
    ("virtio:d00000005v00001AF4", "virtio_balloon"),
    ("virtio:d00000008v00001AF4", "virtio_scsi"),
];

/// What the kernel has a driver for that is packed only with `--late-modules`: no boot needs a second console.
const PACKED_LATE: &str = "virtio:d00000003v00001AF4";

/// The serial port of Graviton (drivers/tty/serial/8250/8250_pci.c).
const AMAZON_SERIAL: &str = "pci:v00001D0Fd00008250sv00000000sd00000000bc07sc00i03";

/// Drivers of PCI devices that our kernel has built in, and the table in it that says which devices they take. Linux 6.12's
/// modules.builtin.modinfo has no aliases of devices.
const BUILT_IN_PCI: &[(&str, &str)] = &[("virtio_pci", "virtio_pci_id_table")];

/// The same of virtio. Their tables are all called `id_table`, so what they say stands here; every boot in QEMU has the card.
const BUILT_IN_VIRTIO: &[(&str, &str)] = &[("virtio_net", "virtio:d00000001v*")];

/// What a machine has to find its drivers by.
struct Drivers {
    alias: String,
    dep: String,
    /// Aliases of what is built in.
    built_in: Vec<BuiltIn>,
}

struct BuiltIn {
    /// The driver; unknown where modules.builtin.modinfo has the alias.
    driver: Option<String>,
    alias: String,
}

impl Drivers {
    /// What an image with this kernel packs.
    fn packed(kernel: &Kernel) -> Self {
        let packed = select(kernel, false).unwrap();
        Self::of(&kernel.vmlinuz, |name| String::from_utf8(packed.files[name].clone()).unwrap())
    }

    /// All that this kernel has.
    fn all(kernel: &Kernel) -> Self {
        let directory = kernel.modules.as_ref().unwrap();
        Self::of(&kernel.vmlinuz, |name| fs::read_to_string(directory.join(name)).unwrap())
    }

    fn of(vmlinuz: &Path, index: impl Fn(&str) -> String) -> Self {
        let (listed, modinfo) = (index("modules.builtin"), index("modules.builtin.modinfo"));
        let listed: BTreeSet<_> = listed.lines().map(name_of).collect();
        let named = |driver: &str, alias: String| BuiltIn { driver: Some(driver.to_owned()), alias };
        let told = built_in_aliases(&modinfo).map(|alias| BuiltIn { driver: None, alias: alias.to_owned() });
        let mut built_in: Vec<BuiltIn> = told.collect();
        for (driver, table) in BUILT_IN_PCI.iter().filter(|(driver, _)| listed.contains(*driver)) {
            built_in.extend(pci_table(vmlinuz, table).into_iter().map(|alias| named(driver, alias)));
        }
        let virtio = BUILT_IN_VIRTIO.iter().filter(|(driver, _)| listed.contains(*driver));
        built_in.extend(virtio.map(|(driver, alias)| named(driver, (*alias).to_owned())));
        Drivers { alias: index("modules.alias"), dep: index("modules.dep"), built_in }
    }

    /// Whether the driver takes a device: a module that init would load, with a file, or what is built in.
    fn drives(&self, modalias: &str, driver: &str) -> bool {
        let index = Index::parse(&self.alias, &self.dep, "");
        let is_packed = |name: &str| name == driver && index.module(name).is_some();
        let takes = |built_in: &BuiltIn| {
            built_in.driver.as_deref().is_none_or(|name| canonical(name) == driver)
                && glob::matches(built_in.alias.as_bytes(), modalias.as_bytes())
        };
        index.candidates(modalias).any(|name| is_packed(&name)) || self.built_in.iter().any(takes)
    }

    /// The devices of the list that their driver does not take.
    fn undriven(&self) -> Vec<&'static str> {
        let undriven = DEVICES.iter().filter(|(modalias, driver)| !self.drives(modalias, driver));
        undriven.map(|(modalias, _)| *modalias).collect()
    }
}

/// Our own kernel for x86-64.
fn kernel() -> Kernel {
    let platform: Platform = "linux/amd64".parse().unwrap();
    let kernel = find::at_hand(None, platform.arch, &cache::directory().unwrap()).unwrap();
    kernel.expect(
        "NanoOS's kernel is not built yet, and this is a test of it: run kernel/build.sh (6 to 12 minutes, once)",
    )
}

/// What a driver's table of PCI devices in the kernel says, as aliases (scripts/mod/file2alias.c makes them of modules).
fn pci_table(vmlinuz: &Path, table: &str) -> Vec<String> {
    /// `struct pci_device_id` of a 64-bit kernel: six numbers of 32 bits, then what is the driver's own.
    const ENTRY: usize = 40;
    const ANY: u32 = u32::MAX;
    let map = fs::read_to_string(vmlinuz.with_file_name("System.map")).unwrap();
    let symbol = |line: &str| line.strip_suffix(table)?.strip_suffix(' ')?.split(' ').next().map(str::to_owned);
    let address = map.lines().find_map(symbol).unwrap_or_else(|| panic!("System.map has no {table}"));
    let address = u64::from_str_radix(&address, 16).unwrap();
    let elf = unpacked(vmlinuz);
    let elf = object::File::parse(&elf[..]).unwrap();
    let section =
        elf.sections().find(|section| (section.address()..section.address() + section.size()).contains(&address));
    let section = section.unwrap_or_else(|| panic!("{table} lies in no section of the kernel"));
    let bytes = &section.data().unwrap()[(address - section.address()) as usize..];
    let field = |letters: &str, number: u32, width: usize| match number {
        ANY => format!("{letters}*"),
        number => format!("{letters}{number:0width$X}"),
    };
    let mut aliases = Vec::new();
    for entry in bytes.chunks_exact(ENTRY) {
        let number = |at: usize| u32::from_le_bytes(entry[4 * at..4 * at + 4].try_into().unwrap());
        let [vendor, device, subvendor, subdevice, class, mask] = std::array::from_fn(number);
        if [vendor, subvendor, mask] == [0; 3] {
            return aliases;
        }
        let ids = [field("v", vendor, 8), field("d", device, 8), field("sv", subvendor, 8), field("sd", subdevice, 8)];
        let class = match mask {
            0 => "bc*sc*i*".to_owned(),
            0xff_ffff => format!("bc{:02X}sc{:02X}i{:02X}*", class >> 16, class >> 8 & 0xff, class & 0xff),
            _ => panic!("{table} has an entry for a part of a class ({mask:#x}), which this test can't read"),
        };
        aliases.push(format!("pci:{}{class}", ids.concat()));
    }
    panic!("{table} does not end");
}

/// The kernel as an ELF file, which lies in a bzImage compressed by zstd (Documentation/arch/x86/boot.rst: setup_sects,
/// payload_offset, payload_length).
fn unpacked(vmlinuz: &Path) -> Vec<u8> {
    let image = fs::read(vmlinuz).unwrap();
    let number = |at: usize| u32::from_le_bytes(image[at..at + 4].try_into().unwrap()) as usize;
    let start = (usize::from(image[0x1f1]) + 1) * 512 + number(0x248);
    let payload = &image[start..start + number(0x24c)];
    let mut elf = Vec::new();
    // Behind the frame stands its length.
    zstd::Decoder::with_buffer(payload).unwrap().single_frame().read_to_end(&mut elf).unwrap();
    elf
}

#[test]
fn the_kernel_drives_what_instances_and_qemu_have() {
    assert_eq!(Drivers::all(&kernel()).undriven(), [""; 0]);
}

#[test]
fn an_image_packs_the_drivers_of_what_instances_and_qemu_have() {
    assert_eq!(Drivers::packed(&kernel()).undriven(), [PACKED_LATE]);
}

/// The devices that nothing drives once `change` has taken something from a kernel that drives them all.
fn undriven_after(change: impl FnOnce(&mut Drivers)) -> Vec<&'static str> {
    let mut drivers = Drivers::all(&kernel());
    change(&mut drivers);
    drivers.undriven()
}

fn devices_of(driver: &str) -> Vec<&'static str> {
    DEVICES.iter().filter(|(_, name)| *name == driver).map(|(modalias, _)| *modalias).collect()
}

fn without(text: &str, is_out: impl Fn(&str) -> bool) -> String {
    text.lines().filter(|line| !is_out(line)).flat_map(|line| [line, "\n"]).collect()
}

#[test]
fn a_kernel_without_ena_is_found_out() {
    let ena = devices_of("ena");
    assert_eq!(undriven_after(|drivers| drivers.alias = without(&drivers.alias, |line| line.ends_with(" ena"))), ena);
    // An alias leads nowhere if the module is not there.
    assert_eq!(undriven_after(|drivers| drivers.dep = without(&drivers.dep, |line| line.contains("/ena.ko:"))), ena);
}

#[test]
fn a_kernel_without_nvme_or_without_its_class_is_found_out() {
    let gone = undriven_after(|drivers| drivers.alias = without(&drivers.alias, |line| line.ends_with(" nvme")));
    assert_eq!(gone, devices_of("nvme"));
    // The ids that the table has are still taken; ids that it has not are taken for their class alone.
    let is_class = |line: &str| line.ends_with("bc01sc08i02* nvme");
    let gone = undriven_after(|drivers| drivers.alias = without(&drivers.alias, is_class));
    assert_eq!(gone, ["pci:v00001D0Fd0000FFFFsv00001D0Fsd0000FFFFbc01sc08i02"]);
}

/// The console of Graviton. An arm64 kernel needs another compiler, so what leads to it is looked at: the driver takes the
/// device, and the arm64 kernel is asked to have the driver built in, which the console is to have from the start.
/// `kernel/check.sh` fails the build of a kernel in which a request did not take.
#[test]
fn the_arm64_kernel_is_asked_for_the_serial_port_of_graviton() {
    // The driver is a module on x86-64, of the same source: its aliases are those of the driver anywhere.
    let modules = kernel().modules.unwrap();
    let alias = fs::read_to_string(modules.join("modules.alias")).unwrap();
    let index = Index::parse(&alias, "", "");
    assert!(index.candidates(AMAZON_SERIAL).any(|name| name == "8250_pci"), "8250_pci does not take {AMAZON_SERIAL}");

    let is_read = |path: &str| {
        let fragment = path.strip_prefix("fragments/").filter(|_| path.ends_with(".config"));
        fragment.is_some_and(|name| !name.contains('/') || name.starts_with("arm64/"))
    };
    let fragments = embedded::KERNEL.iter().filter(|file| is_read(file.path));
    let requests: BTreeSet<&str> =
        fragments.flat_map(|file| std::str::from_utf8(file.content).unwrap().lines()).collect();
    for request in ["CONFIG_SERIAL_8250=y", "CONFIG_SERIAL_8250_CONSOLE=y", "CONFIG_SERIAL_8250_PCI=y"] {
        assert!(requests.contains(request), "no fragment asks for {request} on arm64");
    }
}
