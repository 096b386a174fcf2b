//! What devices sysfs lists: what they ask for, and which of them nobody drives.

use rustix::fs::{Mode, OFlags};
use std::fs;
use std::path::{Path, PathBuf};

/// Where sysfs lists devices that may ask for a driver: directories of directories with a file `modalias`.
/// Buses have all that sits on them; input devices are a class without a bus.
const BUSES: &str = "/sys/bus";
const INPUT: &str = "/sys/class/input";

/// Buses whose devices no module of a boot drives, and of which a large machine has thousands: blocks of memory, CPUs.
const PASSED_OVER: &[&str] = &["memory", "cpu", "node", "clockevents", "clocksource", "event_source", "workqueue"];

/// Buses that disks and network cards of a machine hang on, or what they hang on does.
const FIRST: &[&str] = &["pci", "virtio", "scsi", "xen", "vmbus"];

/// What on these buses is of no use to a boot, by what its modalias begins with: randomness, memory that is given back.
const CAN_WAIT: &[&str] = &["virtio:d00000004v", "virtio:d00000005v"];

/// How much of a modalias is read: sysfs gives no more than a page at once.
const PAGE: usize = 4096;

/// What a device is for, by what its modalias begins with. Those of PCI have their class in the middle: see [`kind`].
const KINDS: &[(&str, &str)] = &[
    ("virtio:d00000001v", "network card"),
    ("virtio:d00000002v", "disk"),
    ("virtio:d00000008v", "storage controller"),
    ("scsi:t-0x00", "disk"),
    ("xen:vif", "network card"),
    ("xen:vbd", "disk"),
    // The interfaces of Hyper-V's storage and network (include/linux/hyperv.h), as vmbus writes GUIDs.
    ("vmbus:d96361baa104294db60572e2ffb1dc7f", "storage controller"),
    ("vmbus:635161f83edfc546913ff2d2f965ed0e", "network card"),
];

/// A device of the kind that a boot waits for, without a driver.
#[derive(Debug, PartialEq, Eq)]
pub struct Undriven {
    /// What it is for.
    pub kind: &'static str,
    /// Its bus and its name there: `pci 0000:00:04.0`.
    pub address: String,
    /// What modules.alias is matched against.
    pub modalias: String,
}

/// A device that may ask for a driver.
#[derive(Debug, PartialEq, Eq)]
pub struct Device {
    /// Where sysfs lists it.
    pub path: PathBuf,
    /// What modules.alias is matched against.
    pub modalias: String,
}

impl Device {
    /// Its path below /sys, as uevents give it, if it has no driver.
    #[must_use]
    pub fn devpath_if_undriven(&self) -> Option<String> {
        if self.path.join("driver").exists() {
            return None;
        }
        // A link as `../../../devices/pci0000:00/0000:00:10.0`.
        let target = fs::read_link(&self.path).ok()?;
        Some(format!("/{}", target.to_str()?.trim_start_matches("../")))
    }
}

/// The devices that a boot cannot go on without.
#[must_use]
pub fn first() -> Vec<Device> {
    let devices = FIRST.iter().flat_map(|bus| entries(&Path::new(BUSES).join(bus).join("devices")));
    let can_wait = |device: &Device| CAN_WAIT.iter().any(|start| device.modalias.starts_with(start));
    devices.filter_map(device).filter(|device| !can_wait(device)).collect()
}

/// All devices that there are.
#[must_use]
pub fn all() -> Vec<Device> {
    let input = entries(Path::new(INPUT));
    buses().flat_map(|bus| entries(&bus.join("devices"))).chain(input).filter_map(device).collect()
}

fn device(path: PathBuf) -> Option<Device> {
    Some(Device { modalias: modalias(&path)?, path })
}

/// The disks, controllers and network cards that no driver has taken.
#[must_use]
pub fn undriven() -> Vec<Undriven> {
    let mut found = Vec::new();
    for bus in buses() {
        for device in entries(&bus.join("devices")).filter(|device| !device.join("driver").exists()) {
            let Some(modalias) = modalias(&device) else { continue };
            let name =
                |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if let Some(kind) = kind(&modalias) {
                found.push(Undriven { kind, address: format!("{} {}", name(&bus), name(&device)), modalias });
            }
        }
    }
    found.sort_by(|a, b| a.address.cmp(&b.address));
    found
}

/// What a device is for, if a boot may wait for it.
#[must_use]
pub fn kind(modalias: &str) -> Option<&'static str> {
    // pci:v00001000d00000012sv00000000sd00001000bc01sc00i00: bc is the base class (PCI Code and ID Assignment, 1.1).
    if let Some(pci) = modalias.strip_prefix("pci:") {
        return match pci.rsplit_once("bc").map(|(_, class)| class.get(..2)) {
            Some(Some("01")) => Some("storage controller"),
            Some(Some("02")) => Some("network card"),
            _ => None,
        };
    }
    KINDS.iter().find(|(start, _)| modalias.starts_with(start)).map(|(_, kind)| *kind)
}

/// Vendor and device of a PCI device as lspci writes them, `1000:0012`: what people look up.
#[must_use]
pub fn pci_ids(modalias: &str) -> Option<String> {
    let ids = modalias.strip_prefix("pci:v0000")?;
    let (vendor, device) = (ids.get(..4)?, ids.get(4..)?.strip_prefix("d0000")?.get(..4)?);
    Some(format!("{vendor}:{device}").to_ascii_lowercase())
}

fn buses() -> impl Iterator<Item = PathBuf> {
    entries(Path::new(BUSES)).filter(|bus| !PASSED_OVER.iter().any(|name| bus.ends_with(name)))
}

fn modalias(device: &Path) -> Option<String> {
    // Without std::fs, whose three further system calls count where there are hundreds of devices.
    let file = rustix::fs::open(device.join("modalias"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut text = [0; PAGE];
    let length = rustix::io::read(&file, &mut text[..]).ok()?;
    let modalias = std::str::from_utf8(text.get(..length)?).ok()?;
    Some(modalias.trim_end().to_owned()).filter(|modalias| !modalias.is_empty())
}

/// What a directory of sysfs holds; nothing where the kernel was built without it.
fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn disks_and_network_cards_are_known_by_what_they_say() {
        for (modalias, expected) in [
            ("pci:v00001000d00000012sv00000000sd00001000bc01sc00i00", Some("storage controller")),
            ("pci:v00001D0Fd0000EC20sv00001D0Fsd0000EC20bc02sc00i00", Some("network card")),
            ("pci:v00008086d00002918sv00001AF4sd00001100bc06sc01i00", None),
            ("virtio:d00000001v00001AF4", Some("network card")),
            ("virtio:d00000004v00001AF4", None),
            ("acpi:PNP0C0C:", None),
            ("pci:", None),
        ] {
            assert_eq!(kind(modalias), expected, "{modalias}");
        }
        assert_eq!(pci_ids("pci:v00001D0Fd0000EC20sv00001D0Fsd0000EC20bc02sc00i00").as_deref(), Some("1d0f:ec20"));
        assert_eq!(pci_ids("virtio:d00000001v00001AF4"), None);
    }

    proptest! {
        #[test]
        fn no_modalias_makes_the_reader_panic(modalias in ".*", rest in ".*") {
            for modalias in [modalias, format!("pci:{rest}"), format!("pci:v0000{rest}")] {
                let _ = (kind(&modalias), pci_ids(&modalias));
            }
        }
    }
}
