//! QEMU's arguments for the devices that a scenario adds to a machine.
//!
//! A device that is plugged in or pulled out while the machine runs stands in a PCI Express slot of its own; what it
//! stands for (file, tap) is known to QEMU from the start.

use crate::disks::Disk;
use crate::lab::{Nic, tap};
use serde_json::{Value, json};

/// Where disks before the root disk begin on the bus; qemu/boot.sh puts root and swap at 0x10 and 0x11.
const BEFORE_ROOT: usize = 0x8;
/// Where those behind it begin.
const BEHIND_ROOT: usize = 0x12;
/// Where the slots of network cards begin.
const NETWORK: usize = 0x18;

/// A device: what QEMU is told at its start, and what it takes to plug it in.
#[derive(Debug)]
pub(super) struct Device {
    /// How steps call it.
    pub(super) name: String,
    backend: [String; 2],
    /// The arguments of `-device`, or of the monitor's device_add; without its place.
    properties: Vec<(&'static str, String)>,
    place: usize,
    plugged: bool,
}

/// The devices of disks and of the cards of a lab.
pub(super) fn all(disks: &[Disk], nics: &[Nic]) -> Vec<Device> {
    let mut devices = Vec::new();
    let (mut before, mut behind) = (BEFORE_ROOT.., BEHIND_ROOT..);
    for disk in disks {
        let (name, file) = (&disk.plan.name, disk.path.display());
        let place = if disk.plan.before_root { before.next() } else { behind.next() };
        let options = "if=none,format=raw,cache=unsafe,discard=unmap";
        devices.push(Device {
            name: name.clone(),
            backend: ["-drive".to_owned(), format!("{options},id=drive-{name},file={file}")],
            properties: vec![
                ("driver", "nvme".to_owned()),
                ("id", name.clone()),
                ("drive", format!("drive-{name}")),
                ("serial", disk.serial().to_owned()),
            ],
            place: place.unwrap_or_default(),
            plugged: disk.plan.plugged,
        });
    }
    for (number, nic) in nics.iter().enumerate() {
        let tap = tap(number);
        devices.push(Device {
            name: format!("nic{number}"),
            backend: ["-netdev".to_owned(), format!("tap,id=net{number},ifname={tap},script=no,downscript=no")],
            properties: vec![
                ("driver", "virtio-net-pci".to_owned()),
                ("id", format!("nic{number}")),
                ("netdev", format!("net{number}")),
                ("mac", format!("52:54:00:00:00:{number:02x}")),
                // Firmware must not try to boot from the network.
                ("romfile", String::new()),
            ],
            place: NETWORK + number,
            plugged: nic.plugged,
        });
    }
    devices
}

impl Device {
    /// QEMU's arguments; with a slot where the device comes or goes.
    pub(super) fn arguments(&self, goes: bool) -> Vec<String> {
        let slot = goes || !self.plugged;
        let mut arguments = self.backend.to_vec();
        let place = self.place;
        if slot {
            let port = format!("pcie-root-port,id={},chassis={place},addr={place:#x}", self.slot());
            arguments.extend(["-device".to_owned(), port]);
        }
        if self.plugged {
            let mut words: Vec<String> = self.properties.iter().map(|(key, value)| format!("{key}={value}")).collect();
            words.push(if slot { format!("bus={}", self.slot()) } else { format!("addr={place:#x}") });
            arguments.extend(["-device".to_owned(), words.join(",")]);
        }
        arguments
    }

    /// The monitor's arguments that plug the device into its slot.
    pub(super) fn plug(&self) -> Value {
        let mut arguments = json!({ "bus": self.slot() });
        for (key, value) in &self.properties {
            arguments[*key] = json!(value);
        }
        arguments
    }

    fn slot(&self) -> String {
        format!("slot-{}", self.name)
    }
}

/// What firmware says of a machine of EC2 (DMI's `sys_vendor`).
pub(super) fn ec2() -> Vec<String> {
    vec!["-smbios".to_owned(), "type=1,manufacturer=Amazon EC2,product=m7i.large".to_owned()]
}
