//! Drivers: for every device the machine has, the module that says it drives it.
//!
//! A child of init loads the modules, and the kernel takes the devices beside that (`async_probe`): a device that hangs
//! delays nothing but itself. Once the application runs, the door is closed ([`Drivers::finish`]).

pub mod cmdline;
pub mod devices;
pub mod glob;
pub mod index;
mod insert;
mod loader;
mod lock;
pub mod modprobe;
pub mod plan;
mod probes;

use crate::errand::Errand;
use crate::log::OrWarn;
use crate::{debug, error, info, sys, warn};
use anyhow::Context;
use cmdline::Cmdline;
use devices::{Device, Undriven};
use index::{Index, Texts};
use initramfs::modules::EXPECTED;
use insert::Step;
use loader::Loader;
use plan::Chain;
use probes::Probes;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long after the last module, or the last device that a driver took, the kernel is locked against further modules.
const REST: Duration = Duration::from_secs(1);
/// When it is locked after the launch at the latest, whatever appears meanwhile.
const LONGEST_UNREST: Duration = Duration::from_secs(30);

/// Most modaliases that are remembered: an application that makes devices of its own, by uinput, makes any number.
const MOST_SEEN: usize = 1024;

/// What [`devices::kind`] calls a network card.
const NETWORK_CARD: &str = "network card";

/// File systems of the root: where the kernel has them as modules, they are loaded with the first drivers.
const FILE_SYSTEMS: &[&str] = &["squashfs", "overlay"];

/// The modules of the running kernel, and which of them were loaded.
#[derive(Debug, Default)]
pub struct Drivers {
    directory: PathBuf,
    /// The kernel command line, which has a say in it.
    pub cmdline: Cmdline,
    /// Modaliases that were looked up, and whether a module claims them.
    seen: BTreeMap<String, bool>,
    /// Modules that were handed to the kernel.
    tried: BTreeSet<String>,
    /// Modules that network cards want: their cards are taken in the order of the bus, as their names say it.
    in_order: BTreeSet<String>,
    /// What the kernel refused: the module, and why.
    failed: Vec<(String, String)>,
    loaders: Vec<Loader>,
    probes: Probes,
    lock: Option<Lock>,
    locked: bool,
}

/// That the kernel is to be locked against further modules.
#[derive(Debug)]
struct Lock {
    /// When, if nothing more happens.
    at: Instant,
    /// When in any case.
    at_last: Instant,
}

impl Drivers {
    /// The modules of the running kernel; none of its files is read yet.
    #[must_use]
    pub fn open() -> Self {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let directory = Path::new(initramfs::paths::MODULES).join(release);
        Drivers { directory, cmdline: Cmdline::read(), ..Drivers::default() }
    }

    /// Begins to load what the devices ask for that a boot cannot go on without, and the root's file systems. Devices
    /// that appear by it announce themselves by uevents.
    pub fn coldplug_first(&mut self) {
        self.serve(devices::first(), &missing_file_systems());
    }

    /// Begins to load what all devices ask for that are there now.
    pub fn coldplug(&mut self) {
        self.serve(devices::all(), &[]);
        info!("drivers: {} kinds of devices, {} modules", self.seen.len(), self.tried.len());
    }

    /// More has happened than the kernel could tell: everything is looked at again.
    pub fn on_overflow(&mut self) {
        self.probes = Probes::default();
        self.coldplug();
    }

    fn serve(&mut self, devices: Vec<Device>, file_systems: &[&str]) {
        // Before a module is loaded: from then on a driver may be at them.
        let undriven = |device: &Device| Some((device.devpath_if_undriven()?, device.modalias.clone()));
        let waited_for = devices.iter().filter(|device| devices::kind(&device.modalias).is_some());
        let undriven: Vec<_> = waited_for.filter_map(undriven).collect();
        self.load_for(devices.into_iter().map(|device| device.modalias).collect(), file_systems);
        for (devpath, modalias) in undriven {
            if let Some(kind) = self.kind_if_claimed(&modalias) {
                self.probes.begin(devpath, kind, &modalias);
            }
        }
        self.notice_loaded();
    }

    /// A device has come or gone, or a driver has taken it. Its module has been looked for by [`Drivers::load_for`].
    pub fn on_device(&mut self, action: &str, devpath: String, modalias: &str) {
        match action {
            "add" => {
                if let Some(kind) = self.kind_if_claimed(modalias) {
                    self.probes.begin(devpath, kind, modalias);
                    // Its module may have been loaded long before.
                    self.notice_loaded();
                }
            }
            "bind" | "remove" => {
                self.probes.end(&devpath);
                self.postpone_lock();
            }
            _ => {}
        }
    }

    /// What a device is for, if a boot may wait for it and a module says that it drives it.
    fn kind_if_claimed(&self, modalias: &str) -> Option<&'static str> {
        devices::kind(modalias).filter(|_| self.seen.get(modalias) == Some(&true))
    }

    /// Begins to load every module that claims one of the devices, each once: more than one may claim it, and the
    /// kernel lets the right one bind. Beside them the modules of file systems.
    pub fn load_for(&mut self, modaliases: BTreeSet<String>, file_systems: &[&str]) {
        if self.seen.len() > MOST_SEEN {
            self.seen.clear();
        }
        let new: Vec<String> = modaliases.into_iter().filter(|modalias| !self.seen.contains_key(modalias)).collect();
        if new.is_empty() && file_systems.is_empty() {
            return;
        }
        let texts = Texts::read(&self.directory);
        let index = texts.index();
        let mut wanted = BTreeSet::new();
        for modalias in new {
            if self.locked {
                self.tell_locked_out(&index, &modalias);
            }
            let names = self.claiming(&index, &modalias);
            for name in &names {
                debug!("drivers: {modalias} wants {name}");
            }
            if devices::kind(&modalias) == Some(NETWORK_CARD) {
                self.in_order.extend(names.iter().cloned());
            }
            self.seen.insert(modalias, !names.is_empty());
            wanted.extend(names);
        }
        if !self.locked {
            wanted.extend(file_systems.iter().flat_map(|name| self.named(&index, &format!("fs-{name}"))));
            self.load(&index, &wanted);
        }
    }

    fn load(&mut self, index: &Index<'_>, names: &BTreeSet<String>) {
        let chains = self.plan(index, names);
        if chains.is_empty() {
            return;
        }
        let loader = Loader::start(&self.directory, &chains, &self.cmdline);
        self.loaders.extend(loader.context("start a process that loads modules").or_warn("drivers"));
    }

    fn plan<'text>(&mut self, index: &Index<'text>, names: &BTreeSet<String>) -> Vec<Chain<'text>> {
        let mut chains = plan::plan(index, names, &mut self.tried);
        for chain in &mut chains {
            let own = chain.files.last().map(|file| index::name_of(file));
            chain.in_order = own.is_some_and(|own| self.in_order.contains(own.as_ref()));
        }
        chains
    }

    /// Loads modules that are asked for by name, or by an alias such as `fs-xfs`, and waits for it; whether there was
    /// any, and all loaded. It is for processes that may wait.
    pub fn load_named(&mut self, names: &[&str]) -> bool {
        let texts = Texts::read(&self.directory);
        let index = texts.index();
        let wanted: BTreeSet<String> = names.iter().flat_map(|name| self.named(&index, name)).collect();
        let is_ok = AtomicBool::new(!wanted.is_empty());
        let chains = self.plan(&index, &wanted);
        insert::insert(&self.directory, &chains, &self.cmdline, |_, step| {
            if let Step::Failed(error) = step {
                warn!("drivers: {error:#}");
                is_ok.store(false, Ordering::Relaxed);
            }
        });
        is_ok.into_inner()
    }

    fn named(&self, index: &Index<'_>, name: &str) -> Vec<String> {
        match index.module(name) {
            Some(module) => vec![index::name_of(module.file).into_owned()],
            None => self.claiming(index, name),
        }
    }

    /// Whether modules are being loaded; one that hangs in it does not count.
    #[must_use]
    pub fn is_loading(&self) -> bool {
        self.loaders.iter().any(|loader| !loader.is_late)
    }

    /// Until when a network card may still appear, if one may: one that a driver is at, or, while there is none, one
    /// that a module may bring.
    #[must_use]
    pub fn network_card_by(&self, has_card: bool) -> Option<Instant> {
        let loading = self.loaders.iter().filter_map(Loader::due).filter(|_| !has_card);
        self.probes.awaited(NETWORK_CARD).into_iter().chain(loading).max()
    }

    /// Whether a driver is still at a device, or a module still loading: what waits for all devices may not end.
    #[must_use]
    pub fn is_any_pending(&self) -> bool {
        self.probes.is_any_begun() || !self.loaders.is_empty()
    }

    /// What to wait on.
    pub fn files(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.loaders.iter().map(|loader| loader.errand.as_fd())
    }

    /// When [`Drivers::on_time`] wants to be called next.
    #[must_use]
    pub fn wake(&self) -> Option<Instant> {
        self.loaders.iter().filter_map(Loader::due).chain(self.probes.wake()).chain(self.lock_due()).min()
    }

    /// Names what hangs.
    pub fn on_time(&mut self) {
        for loader in &mut self.loaders {
            if loader.due().is_some_and(|due| Instant::now() >= due) {
                loader.is_late = true;
                // Those that have started and only wait for their devices are named by these.
                for name in loader.hung() {
                    error!("drivers: module {name} is still loading after {} s", loader::PATIENCE.as_secs());
                }
            }
        }
        self.probes.on_time();
        self.lock_if_due();
    }

    /// Hears of modules that are loaded, or that did not load.
    pub fn on_event(&mut self) {
        self.loaders.iter_mut().for_each(|loader| loader.errand.on_readable());
        let mut is_any_over = false;
        for loader in self.loaders.extract_if(.., |loader| loader.errand.is_over()) {
            for (name, reason) in loader.failed() {
                warn!("drivers: {reason}");
                self.failed.push((name, reason));
            }
            is_any_over = true;
        }
        if is_any_over {
            self.postpone_lock();
        }
        self.notice_loaded();
    }

    fn notice_loaded(&mut self) {
        if self.loaders.is_empty() {
            self.probes.on_loaded();
        }
    }

    /// The children that still load modules, at the end of the machine, which locks nothing any more.
    pub fn take_children(&mut self) -> impl Iterator<Item = Errand> {
        self.lock = None;
        std::mem::take(&mut self.loaders).into_iter().map(|loader| loader.errand)
    }

    /// Begins to load what applications expect of any machine and `further` modules. Unless further ones may be loaded
    /// `late`, for the machine's life, the kernel is locked against them and their files are freed as soon as loading has
    /// come to rest: a driver that is loaded may bring devices that need others.
    pub fn finish(&mut self, further: &[&str], late: bool) {
        let texts = Texts::read(&self.directory);
        let names = EXPECTED.iter().chain(further).map(|name| (*name).to_owned()).collect();
        self.load(&texts.index(), &names);
        let now = Instant::now();
        self.lock = (!late).then(|| Lock { at: now + REST, at_last: now + LONGEST_UNREST });
        // What was looked up before the lock is not told again after it.
        self.failed = Vec::new();
    }

    /// Something has been loaded, or a driver has taken a device: more may follow.
    fn postpone_lock(&mut self) {
        self.lock.iter_mut().for_each(|lock| lock.at = Instant::now() + REST);
    }

    /// When the kernel is to be locked, as things are now.
    fn lock_due(&self) -> Option<Instant> {
        let is_at_rest = !self.is_loading() && self.probes.wake().is_none();
        self.lock.as_ref().map(|lock| if is_at_rest { lock.at.min(lock.at_last) } else { lock.at_last })
    }

    fn lock_if_due(&mut self) {
        if self.lock_due().is_some_and(|due| Instant::now() >= due) {
            self.lock = None;
            // Freeing the files takes its time.
            let child = sys::fork(|| {
                lock::lock(&self.directory);
                0
            });
            self.locked = child.or_warn("drivers").is_some();
        }
    }

    /// Why a disk or a network may be missing, one line each: devices that nobody drives or that do not answer, modules
    /// that did not load.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let texts = Texts::read(&self.directory);
        let index = texts.index();
        let undriven = devices::undriven().into_iter().map(|device| self.complaint(&index, &device));
        let failed = self.failed.iter().map(|(_, reason)| reason.clone());
        undriven.chain(self.probes.described()).chain(failed).collect()
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
}

/// The file systems of the root that the kernel does not know.
#[must_use]
pub fn missing_file_systems() -> Vec<&'static str> {
    let list = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    FILE_SYSTEMS.iter().copied().filter(|name| !lists_file_system(&list, name)).collect()
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
