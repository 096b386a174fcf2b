//! The program that the kernel starts when it wants a module by name: `/sbin/modprobe` of the initramfs is init itself.
//!
//! A program that opens a socket of some family, mounts some file system or makes some kind of link has the kernel ask
//! for it as `modprobe -q -- NAME` (kernel/module/kmod.c), in the kernel's own root, the initramfs.

use super::Drivers;
use crate::log;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

/// Runs as modprobe if that is what this process was started as, and gives its exit status.
pub fn asked(mut arguments: impl Iterator<Item = OsString>) -> Option<i32> {
    let called = arguments.next()?;
    (Path::new(&called).file_name()? == "modprobe").then(|| {
        log::open();
        let arguments: Vec<String> = arguments.filter_map(|argument| argument.into_string().ok()).collect();
        i32::from(!wanted(&arguments).is_some_and(load))
    })
}

/// The name of the module, from the arguments that the kernel gives; `None` for any others.
fn wanted(arguments: &[String]) -> Option<&str> {
    let names: Vec<&String> = arguments.iter().filter(|argument| !matches!(argument.as_str(), "-q" | "--")).collect();
    match names.as_slice() {
        [name] if !name.starts_with('-') => Some(name),
        _ => None,
    }
}

/// Loads a module by its name or by an alias. What is built into the kernel is there already.
fn load(name: &str) -> bool {
    let mut drivers = Drivers::open();
    drivers.load_named(&[name]) || is_builtin(&drivers.directory, name)
}

fn is_builtin(directory: &Path, name: &str) -> bool {
    let list = fs::read_to_string(directory.join("modules.builtin")).unwrap_or_default();
    list.lines().any(|file| super::index::name_of(file) == super::index::canonical(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kernel_s_way_of_asking_is_understood() {
        let name = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            wanted(&words).map(str::to_owned)
        };
        assert_eq!(name(&["-q", "--", "fs-xfs"]).as_deref(), Some("fs-xfs"));
        assert_eq!(name(&["-r", "xfs"]), None);
        assert_eq!(name(&["-q", "--"]), None);
    }

    #[test]
    fn a_process_of_another_name_is_not_modprobe() {
        assert_eq!(asked(["/init".into()].into_iter()), None);
        assert_eq!(asked([].into_iter()), None);
    }
}
