//! The devices that a driver is being sought for, or is taking (in the kernel's word, probing), and those that hang in
//! it.
//!
//! The kernel tells when a driver has taken a device (uevent `bind`). It does not tell when none would, nor that one
//! waits for a device that does not answer: both are seen by the time that passes.

use super::devices;
use crate::disks;
use crate::{error, warn};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a device may take to answer its driver, until the console names it. Nothing but the search for the root
/// waits for it any more.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long after its module is loaded a driver may take to begin with a device; one that has not, will not.
const BEGIN: Duration = Duration::from_secs(1);

/// Most devices that are looked after: a machine has fewer disks and cards, and programs can make devices.
const MOST: usize = 1024;

/// The devices of disks and network cards that no driver has taken yet, by their path in /sys.
#[derive(Debug, Default)]
pub(super) struct Probes(BTreeMap<String, Probe>);

#[derive(Debug)]
struct Probe {
    kind: &'static str,
    modalias: String,
    since: Instant,
    /// When its modules were loaded.
    loaded: Option<Instant>,
    /// A driver was seen to be at it.
    is_begun: bool,
    /// The console has named it.
    is_hung: bool,
}

impl Probe {
    /// When it is to be looked at next.
    fn due(&self) -> Option<Instant> {
        match self.loaded {
            _ if self.is_hung => None,
            Some(loaded) if !self.is_begun => Some((loaded + BEGIN).min(self.since + PATIENCE)),
            _ => Some(self.since + PATIENCE),
        }
    }
}

impl Probes {
    /// A device has appeared that some module says it drives.
    pub(super) fn begin(&mut self, devpath: String, kind: &'static str, modalias: &str) {
        if self.0.len() < MOST {
            let modalias = modalias.to_owned();
            let probe = Probe { kind, modalias, since: Instant::now(), loaded: None, is_begun: false, is_hung: false };
            self.0.entry(devpath).or_insert(probe);
        }
    }

    /// A driver has taken a device, or it is gone.
    pub(super) fn end(&mut self, devpath: &str) {
        if let Some(probe) = self.0.remove(devpath).filter(|probe| probe.is_hung) {
            warn!("drivers: the {} {devpath} has answered after {} s", probe.kind, probe.since.elapsed().as_secs());
        }
    }

    /// All modules are loaded that the devices so far need.
    pub(super) fn on_loaded(&mut self) {
        let now = Instant::now();
        for probe in self.0.values_mut() {
            probe.loaded.get_or_insert(now);
        }
    }

    /// Until when a device of a kind may still come, if one may.
    pub(super) fn awaited(&self, kind: &str) -> Option<Instant> {
        self.0.values().filter(|probe| probe.kind == kind).filter_map(Probe::due).max()
    }

    /// When [`Probes::on_time`] wants to be called next.
    pub(super) fn wake(&self) -> Option<Instant> {
        self.0.values().filter_map(Probe::due).min()
    }

    /// Whether a driver is at a device.
    pub(super) fn is_any_begun(&self) -> bool {
        self.0.keys().any(|devpath| driver(devpath).is_some())
    }

    /// Names the devices whose patience is over, and forgets those that no driver wants.
    pub(super) fn on_time(&mut self) {
        let now = Instant::now();
        if self.wake().is_none_or(|wake| now < wake) {
            return;
        }
        self.0.retain(|devpath, probe| {
            if probe.due().is_some_and(|due| now >= due) {
                probe.is_begun = driver(devpath).is_some();
                // Without a driver it is none that hangs: nobody took it, which is told where it matters.
                if !probe.is_begun && (probe.loaded.is_some() || now >= probe.since + PATIENCE) {
                    return false;
                }
                if now >= probe.since + PATIENCE {
                    probe.is_hung = true;
                    let seconds = PATIENCE.as_secs();
                    error!("drivers: {} for {seconds} s", describe(devpath, probe));
                }
            }
            true
        });
    }

    /// The devices of some kinds that drivers are at, for a message, each with a sentence.
    pub(super) fn described(&self, is_meant: impl Fn(&str) -> bool) -> impl Iterator<Item = String> {
        let begun = self.0.iter().filter(move |(devpath, probe)| is_meant(probe.kind) && driver(devpath).is_some());
        begun.map(|(devpath, probe)| describe(devpath, probe))
    }
}

/// `the storage controller pci 0000:00:12.0 [1b36:0010] of the disk nvme1n1 has not answered its driver nvme`
fn describe(devpath: &str, Probe { kind, modalias, .. }: &Probe) -> String {
    let address = devpath.rsplit('/').next().unwrap_or(devpath);
    let bus = link_name(&format!("/sys{devpath}/subsystem")).unwrap_or_default();
    let ids = devices::pci_ids(modalias).map_or_else(String::new, |ids| format!(" [{ids}]"));
    let disks = disks::below(devpath).join(", ");
    let disks = if disks.is_empty() { disks } else { format!(" of the disk {disks}") };
    let driver = driver(devpath).unwrap_or_default();
    format!("the {kind} {bus} {address}{ids}{disks} has not answered its driver {driver}")
}

/// The driver that has a device or is at it.
fn driver(devpath: &str) -> Option<String> {
    link_name(&format!("/sys{devpath}/driver"))
}

/// The last part of what a symbolic link leads to.
fn link_name(path: &str) -> Option<String> {
    let target = fs::read_link(Path::new(path)).ok()?;
    Some(target.file_name()?.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: &str = "/devices/no/such";

    #[test]
    fn a_card_is_awaited_until_a_driver_has_it_or_none_has_begun() {
        let mut probes = Probes::default();
        probes.begin(DEVICE.to_owned(), "network card", "pci:v00001D0Fd0000EC20");
        let first = probes.awaited("network card").unwrap();
        assert!(first > Instant::now() + PATIENCE / 2 && probes.awaited("disk").is_none());
        probes.on_loaded();
        assert!(probes.awaited("network card").unwrap() < first);
        probes.end(DEVICE);
        assert_eq!((probes.awaited("network card"), probes.wake()), (None, None));
    }

    #[test]
    fn a_device_that_no_driver_took_is_forgotten_and_not_told() {
        let mut probes = Probes::default();
        probes.begin(DEVICE.to_owned(), "disk", "virtio:d00000002v00001AF4");
        let long_ago = Instant::now().checked_sub(PATIENCE).unwrap();
        probes.0.get_mut(DEVICE).unwrap().since = long_ago;
        probes.on_time();
        assert!(probes.0.is_empty());
    }
}
