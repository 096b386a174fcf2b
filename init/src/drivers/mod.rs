//! Drivers: for every device the machine has, the module that says it drives it.

pub mod glob;
pub mod index;

use crate::log::OrWarn;
use crate::{debug, info};
use anyhow::{Context, Result, anyhow};
use index::Index;
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};

/// Where sysfs lists devices that may ask for a driver: directories of directories with a file `modalias`.
/// Buses have all that sits on them; input devices are a class without a bus.
const DEVICE_LISTS: &[&str] = &["/sys/bus/*/devices", "/sys/class/input"];

/// Buses whose devices no module of a boot drives, and of which a large machine has thousands: blocks of memory, CPUs.
const PASSED_OVER: &[&str] = &["memory", "cpu", "node", "clockevents", "clocksource", "event_source", "workqueue"];

/// The modules of the running kernel, and which of them are loaded.
#[derive(Debug)]
pub struct Drivers {
    directory: PathBuf,
    index: Index<'static>,
    parameters: Parameters,
    seen: BTreeSet<String>,
    tried: BTreeSet<&'static str>,
}

impl Drivers {
    /// Reads the indexes of the running kernel's modules. A kernel without modules has none, and that is fine.
    #[must_use]
    pub fn open() -> Self {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let directory = Path::new(initramfs::paths::MODULES).join(release);
        // The texts are needed for the machine's life, as devices may come at any time.
        let read = |name: &str| &*fs::read_to_string(directory.join(name)).unwrap_or_default().leak();
        let index = Index::parse(read("modules.alias"), read("modules.dep"), read("modules.softdep"));
        let parameters = Parameters(fs::read_to_string("/proc/cmdline").unwrap_or_default());
        Drivers { directory, index, parameters, seen: BTreeSet::new(), tried: BTreeSet::new() }
    }

    /// Loads what the devices ask for that are there now. Those that appear by it announce themselves by uevents.
    pub fn coldplug(&mut self) {
        for modalias in present() {
            self.load_for(&modalias);
        }
        info!("drivers: {} kinds of devices, {} modules loaded", self.seen.len(), self.tried.len());
    }

    /// Loads every module that claims a device, each once: more than one may, and the kernel lets the right one bind.
    pub fn load_for(&mut self, modalias: &str) {
        if !self.seen.insert(modalias.to_owned()) {
            return;
        }
        for name in self.index.candidates(modalias) {
            debug!("drivers: {modalias} wants {name}");
            self.load(&name).or_warn("drivers");
        }
    }

    /// Makes sure that the kernel knows a file system. Mounting would ask for its module too, but through a
    /// modprobe that this machine does not have.
    ///
    /// # Errors
    /// When neither the kernel nor a module has it.
    pub fn file_system(&mut self, name: &str) -> Result<()> {
        let has = || fs::read_to_string("/proc/filesystems").is_ok_and(|list| lists_file_system(&list, name));
        if has() {
            return Ok(());
        }
        self.load_for(&format!("fs-{name}"));
        self.load_for(name);
        has().then_some(()).ok_or_else(|| anyhow!("the kernel has no {name} file system, nor a module for it"))
    }

    fn load(&mut self, name: &str) -> Result<()> {
        let mut order = Vec::new();
        self.collect(name, &mut order);
        for file in order {
            self.insert(file)?;
        }
        Ok(())
    }

    /// The files to load for a module, in order: first what its softdeps name, then what it needs, then itself.
    fn collect(&mut self, name: &str, order: &mut Vec<&'static str>) {
        let Some(module) = self.index.module(name) else { return };
        // All of them are claimed before any softdep is looked at: a file is collected once, and nothing runs in circles.
        let files: Vec<_> = module.needs().rev().chain([module.file]).filter(|file| self.tried.insert(file)).collect();
        for file in files {
            let before: Vec<_> = self.index.wanted_before(&index::name_of(file)).collect();
            for wanted in before {
                self.collect(&wanted, order);
            }
            order.push(file);
        }
    }

    fn insert(&self, file: &str) -> Result<()> {
        let path = self.directory.join(file);
        let module = fs::File::open(&path).with_context(|| format!("open module {}", path.display()))?;
        let parameters = self.parameters.of(&index::name_of(file));
        match rustix::system::finit_module(&module, &parameters, 0) {
            // EEXIST: it is loaded, or built into the kernel. ENODEV: its device is not here after all.
            Ok(()) | Err(Errno::EXIST | Errno::NODEV) => Ok(()),
            Err(errno) => Err(errno).with_context(|| format!("load module {}", path.display())),
        }
    }
}

/// The modaliases of all devices that sysfs lists.
fn present() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for list in DEVICE_LISTS {
        match list.split_once("/*") {
            Some((parent, below)) => {
                let passed_over = |bus: &PathBuf| PASSED_OVER.iter().any(|name| bus.ends_with(name));
                for bus in entries(Path::new(parent)).filter(|bus| !passed_over(bus)) {
                    collect_modaliases(&bus.join(below.trim_start_matches('/')), &mut found);
                }
            }
            None => collect_modaliases(Path::new(list), &mut found),
        }
    }
    found
}

fn collect_modaliases(list: &Path, found: &mut BTreeSet<String>) {
    for device in entries(list) {
        if let Ok(modalias) = fs::read_to_string(device.join("modalias")) {
            found.insert(modalias.trim_end().to_owned());
        }
    }
}

/// What a directory of sysfs holds; nothing where the kernel was built without it.
fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// Whether /proc/filesystems, `[nodev]<TAB>NAME` a line, has a name.
fn lists_file_system(list: &str, name: &str) -> bool {
    list.lines().any(|line| line.rsplit('\t').next() == Some(name))
}

/// The kernel command line, which carries parameters of modules as `module.parameter=value`: the kernel applies
/// those of built-in code only, and leaves the rest to whoever loads the module.
#[derive(Debug)]
struct Parameters(String);

impl Parameters {
    fn of(&self, module: &str) -> CString {
        let mine: Vec<&str> = self
            .0
            .split_whitespace()
            .filter_map(|word| {
                let (name, parameter) = word.split_once('.')?;
                // `a.b=c.d`: the first dot is the one that ends the module's name.
                (!name.contains('=') && name.replace('-', "_") == module).then_some(parameter)
            })
            .collect();
        // The command line cannot hold a NUL.
        CString::new(mine.join(" ")).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_gets_the_parameters_that_the_command_line_has_for_it() {
        let parameters =
            Parameters("quiet nvme-core.io_timeout=4294967295 root=a.b nvme_core.multipath=N x.y=1\n".to_owned());
        assert_eq!(parameters.of("nvme_core").to_str(), Ok("io_timeout=4294967295 multipath=N"));
        assert_eq!(parameters.of("root").to_str(), Ok(""));
    }

    #[test]
    fn file_systems_are_found_with_and_without_a_device() {
        let list = "nodev\tsysfs\nnodev\ttmpfs\n\text4\n";
        assert!(lists_file_system(list, "tmpfs") && lists_file_system(list, "ext4"));
        assert!(!lists_file_system(list, "ext"));
    }

    #[test]
    fn modules_are_loaded_dependencies_first_and_each_once() {
        let dep = "a.ko: b.ko c.ko\nb.ko: c.ko\nc.ko:\nsoft.ko: c.ko\n";
        let mut drivers = Drivers {
            directory: PathBuf::new(),
            index: Index::parse("", dep, "softdep b pre: soft a\n"),
            parameters: Parameters(String::new()),
            seen: BTreeSet::new(),
            tried: BTreeSet::new(),
        };
        let mut order = Vec::new();
        drivers.collect("a", &mut order);
        assert_eq!(order, ["c.ko", "soft.ko", "b.ko", "a.ko"]);
        order.clear();
        drivers.collect("b", &mut order);
        assert!(order.is_empty());
    }
}
