//! Drivers: for every device the machine has, the module that says it drives it.
//!
//! Modules are loaded on all processors, by threads that end before anything else goes on: init has one thread again
//! when it forks. Once the application runs, the door is closed ([`Drivers::finish`]).

pub mod cmdline;
pub mod devices;
pub mod glob;
pub mod index;
mod insert;
mod lock;
pub mod modprobe;
pub mod plan;

use crate::log::OrWarn;
use crate::{debug, error, info, sys, warn};
use anyhow::{Result, anyhow};
use cmdline::Cmdline;
use devices::Undriven;
use index::{Index, Texts};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Most modaliases that are remembered: an application that makes devices of its own, by uinput, makes any number.
const MOST_SEEN: usize = 1024;

/// The modules of the running kernel, and which of them were loaded.
#[derive(Debug, Default)]
pub struct Drivers {
    directory: PathBuf,
    /// The kernel command line, which has a say in it.
    pub cmdline: Cmdline,
    /// Modaliases that were looked up.
    seen: BTreeSet<String>,
    /// Files of modules that were handed to the kernel.
    tried: BTreeSet<String>,
    /// What the kernel refused: the module, and why.
    failed: Vec<(String, String)>,
    locked: bool,
}

impl Drivers {
    /// The modules of the running kernel; none of its files is read yet.
    #[must_use]
    pub fn open() -> Self {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let directory = Path::new(initramfs::paths::MODULES).join(release);
        Drivers { directory, cmdline: Cmdline::read(), ..Drivers::default() }
    }

    /// Loads what the devices ask for that a boot cannot go on without. Those that appear by it announce themselves by
    /// uevents.
    pub fn coldplug_first(&mut self) {
        self.load_for(devices::first_modaliases());
    }

    /// Loads what all devices ask for that are there now.
    pub fn coldplug(&mut self) {
        self.load_for(devices::modaliases());
        info!("drivers: {} kinds of devices, {} modules loaded", self.seen.len(), self.tried.len());
    }

    /// Loads every module that claims one of the devices, each once: more than one may claim it, and the kernel lets the
    /// right one bind.
    pub fn load_for(&mut self, modaliases: BTreeSet<String>) {
        if self.seen.len() > MOST_SEEN {
            self.seen.clear();
        }
        let new: Vec<String> = modaliases.into_iter().filter(|modalias| self.seen.insert(modalias.clone())).collect();
        if new.is_empty() {
            return;
        }
        let texts = Texts::read(&self.directory);
        let index = texts.index();
        if self.locked {
            new.iter().for_each(|modalias| self.tell_locked_out(&index, modalias));
            return;
        }
        let mut wanted = BTreeSet::new();
        for modalias in &new {
            for name in self.claiming(&index, modalias) {
                debug!("drivers: {modalias} wants {name}");
                wanted.insert(name);
            }
        }
        self.load(&index, &wanted);
    }

    /// Loads modules that are asked for by name, or by an alias such as `fs-xfs`; whether there was any, and all loaded.
    pub fn load_named(&mut self, names: &[&str]) -> bool {
        let texts = Texts::read(&self.directory);
        let index = texts.index();
        let mut wanted = BTreeSet::new();
        for name in names {
            match index.module(name) {
                Some(module) => wanted.extend([index::name_of(module.file).into_owned()]),
                None => wanted.extend(self.claiming(&index, name)),
            }
        }
        let failed_before = self.failed.len();
        self.load(&index, &wanted);
        !wanted.is_empty() && self.failed.len() == failed_before
    }

    /// Makes sure that the kernel knows a file system.
    ///
    /// # Errors
    /// When neither the kernel nor a module has it.
    pub fn file_system(&mut self, name: &str) -> Result<()> {
        let has = || fs::read_to_string("/proc/filesystems").is_ok_and(|list| lists_file_system(&list, name));
        if has() || (self.load_named(&[&format!("fs-{name}"), name])) && has() {
            return Ok(());
        }
        Err(anyhow!("the kernel has no {name} file system, nor a module for it"))
    }

    /// Has the machine's modules as they are for good: loads what applications expect of any machine, and then locks the
    /// kernel against further ones and frees their files. With `late` modules may come as long as the machine runs.
    ///
    /// A child does it, beside the application that has just started.
    pub fn finish(&mut self, late: bool) {
        let work = || {
            lock::finish(self, late);
            0
        };
        let child = sys::fork(work).or_warn("drivers");
        self.locked = child.is_some() && !late;
        // What was looked up before the lock is not told again after it.
        self.failed = Vec::new();
    }

    /// Why a disk or a network may be missing, one line each: devices that nobody drives, modules that did not load.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let texts = Texts::read(&self.directory);
        let index = texts.index();
        let undriven = devices::undriven().into_iter().map(|device| self.complaint(&index, &device));
        let failed = self.failed.iter().map(|(_, reason)| reason.clone());
        undriven.chain(failed).collect()
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
    fn tell_locked_out(&self, index: &Index<'_>, modalias: &str) {
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

    /// The modules that claim an alias, without those that the user forbids.
    fn claiming(&self, index: &Index<'_>, alias: &str) -> Vec<String> {
        let allowed = index.candidates(alias).filter(|name| !self.cmdline.blacklists(name));
        allowed.map(Cow::into_owned).collect()
    }

    fn load(&mut self, index: &Index<'_>, names: &BTreeSet<String>) {
        let waves = plan::plan(index, names, &mut self.tried);
        for (file, error) in insert::insert(&self.directory, &waves, &self.cmdline) {
            let reason = format!("{error:#}");
            warn!("drivers: {reason}");
            self.failed.push((index::name_of(&file).into_owned(), reason));
        }
    }
}

/// Whether /proc/filesystems, `[nodev]<TAB>NAME` a line, has a name.
fn lists_file_system(list: &str, name: &str) -> bool {
    list.lines().any(|line| line.rsplit('\t').next() == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_are_found_with_and_without_a_device() {
        let list = "nodev\tsysfs\nnodev\ttmpfs\n\text4\n";
        assert!(lists_file_system(list, "tmpfs") && lists_file_system(list, "ext4"));
        assert!(!lists_file_system(list, "ext"));
    }

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
