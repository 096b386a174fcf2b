//! Drivers: for every device the machine has, the module that says it drives it.
//!
//! A child of init loads the modules, and the kernel takes the devices beside that (`async_probe`): a device that hangs
//! delays nothing but itself. Once the application runs, the door is closed ([`Drivers::finish`]).

pub mod cmdline;
mod complaints;
pub mod devices;
pub mod glob;
pub mod index;
mod insert;
mod loader;
mod lock;
pub mod modprobe;
pub mod plan;
mod probes;

use crate::log::OrWarn;
use crate::{debug, error, info, warn};
use anyhow::Context;
use cmdline::Cmdline;
use devices::Device;
use index::{Index, Texts};
use initramfs::modules::EXPECTED;
use insert::Step;
use loader::Loader;
use lock::Lock;
use nix::unistd::Pid;
use plan::Chain;
use probes::Probes;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

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
    /// The indexes, kept until the application runs: most devices appear before.
    texts: Option<Texts>,
    is_launched: bool,
    loaders: Vec<Loader>,
    probes: Probes,
    lock: Lock,
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
                self.lock.postpone();
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
        let texts = self.take_texts();
        let index = texts.index();
        let mut wanted = BTreeSet::new();
        for modalias in new {
            if matches!(self.lock, Lock::Locked(_)) {
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
        if self.lock.is_open() {
            wanted.extend(file_systems.iter().flat_map(|name| self.named(&index, &format!("fs-{name}"))));
            self.load(&index, &wanted);
        }
        self.texts = Some(texts).filter(|_| !self.is_launched);
    }

    fn take_texts(&mut self) -> Texts {
        self.texts.take().unwrap_or_else(|| Texts::read(&self.directory))
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

    /// What may still bring a disk, each with a sentence: a device that a driver is at, a module that is loading.
    pub fn pending_disks(&self) -> impl Iterator<Item = String> {
        let hung = self.loaders.iter().flat_map(Loader::hung).map(|name| format!("module {name} is still loading"));
        self.probes.described(|kind| kind != NETWORK_CARD).chain(hung)
    }

    /// What to wait on.
    pub fn files(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.loaders.iter().map(|loader| loader.errand.as_fd())
    }

    /// When [`Drivers::on_time`] wants to be called next.
    #[must_use]
    pub fn wake(&self) -> Option<Instant> {
        self.loaders
            .iter()
            .filter_map(Loader::due)
            .chain(self.probes.wake())
            .chain(self.lock.due(self.is_at_rest()))
            .min()
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
        self.lock.lock_if_due(self.is_at_rest(), &self.directory);
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
            self.lock.postpone();
        }
        self.notice_loaded();
    }

    fn notice_loaded(&mut self) {
        if self.loaders.is_empty() {
            self.probes.on_loaded();
        }
    }

    /// The machine ends: nothing more is loaded or locked. Gives the children that still do either.
    pub fn end(&mut self) -> impl Iterator<Item = Pid> {
        let lock = match std::mem::replace(&mut self.lock, Lock::MachineEnds) {
            Lock::Locked(child) => Some(child),
            _ => None,
        };
        std::mem::take(&mut self.loaders).into_iter().map(|loader| loader.errand.pid).chain(lock)
    }

    /// Begins to load what applications expect of any machine and `further` modules. Unless further ones may be loaded
    /// `late`, for the machine's life, the kernel is locked against them and their files are freed as soon as loading has
    /// come to rest.
    pub fn finish(&mut self, further: &[&str], late: bool) {
        self.is_launched = true;
        let texts = self.take_texts();
        let names = EXPECTED.iter().chain(further).map(|name| (*name).to_owned()).collect();
        self.load(&texts.index(), &names);
        if !late {
            self.lock.close_at_rest();
        }
        // What was looked up before the lock is not told again after it.
        self.failed = Vec::new();
    }

    fn is_at_rest(&self) -> bool {
        !self.is_loading() && self.probes.wake().is_none()
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
}
