//! What the console says of devices without a driver.

use super::devices::{self, Undriven};
use super::index::{self, Index, Texts};
use super::{Drivers, glob};
use crate::error;
use std::fs;
use std::path::Path;

impl Drivers {
    /// Why a disk or a network may be missing, one line each: devices that nobody drives or that do not answer, modules
    /// that did not load.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let texts = Texts::read(&self.directory);
        let index = texts.index();
        let undriven = devices::undriven().into_iter().map(|device| self.complaint(&index, &device));
        let failed = self.failed.iter().map(|(_, reason)| reason.clone());
        undriven.chain(self.probes.described(|_| true)).chain(failed).collect()
    }

    fn complaint(&self, index: &Index<'_>, device: &Undriven) -> String {
        let Undriven { kind, address, modalias } = device;
        let ids = devices::pci_ids(modalias).map_or_else(String::new, |ids| format!(" [{ids}]"));
        let candidates: Vec<_> = index.candidates(modalias).collect();
        let why = match candidates.as_slice() {
            [] => "no module for it is packed".to_owned(),
            [name, ..] if self.cmdline.blacklists(name) => format!("{name} is blacklisted on the command line"),
            [name, ..] if self.failed.iter().any(|(failed, _)| failed == name) => format!("{name} did not load"),
            [name, ..] => format!("{name} did not take it"),
        };
        format!("no driver for the {kind} {address}{ids}: {why} ({modalias})")
    }

    /// A device that was plugged in needs a module that may no longer be loaded.
    pub(super) fn tell_locked_out(&self, index: &Index<'_>, modalias: &str) {
        let missing = |name: &str| !Path::new("/sys/module").join(name).exists();
        let candidates: Vec<_> = index.candidates(modalias).collect();
        let what = devices::kind(modalias).unwrap_or("device");
        if let Some(module) = candidates.iter().find(|name| missing(name)) {
            error!(
                "drivers: {what} {modalias} needs {module}, and no more modules may be loaded: build with --late-modules"
            );
        } else if candidates.is_empty() && devices::kind(modalias).is_some() && !self.is_built_in(modalias) {
            error!("drivers: no driver for the {what} that was plugged in: no module for it is packed ({modalias})");
        }
    }

    fn is_built_in(&self, modalias: &str) -> bool {
        let modinfo = fs::read_to_string(self.directory.join("modules.builtin.modinfo")).unwrap_or_default();
        index::built_in_aliases(&modinfo).any(|pattern| glob::matches(pattern.as_bytes(), modalias.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_without_driver_is_told_with_its_ids_and_the_reason() {
        let modalias = "pci:v00001000d00000012sv00000000sd00001000bc01sc00i00";
        let device = Undriven {
            kind: "storage controller",
            address: "pci 0000:00:04.0".to_owned(),
            modalias: modalias.to_owned(),
        };
        let told = |drivers: &Drivers, alias: &str| drivers.complaint(&Index::parse(alias, "", ""), &device);
        let drivers = Drivers::default();
        let start = "no driver for the storage controller pci 0000:00:04.0 [1000:0012]: ";
        assert_eq!(told(&drivers, ""), format!("{start}no module for it is packed ({modalias})"));
        let alias = "alias pci:v00001000d00000012sv*sd*bc*sc*i* sym53c8xx\n";
        assert_eq!(told(&drivers, alias), format!("{start}sym53c8xx did not take it ({modalias})"));
        let failed = vec![("sym53c8xx".to_owned(), "load module".to_owned())];
        let drivers = Drivers { failed, ..Drivers::default() };
        assert_eq!(told(&drivers, alias), format!("{start}sym53c8xx did not load ({modalias})"));
    }
}
