//! The kernel command line, as far as it speaks of modules and of what the user asks of init.

use super::index::canonical;
use std::fs;
use std::time::Duration;

/// How long anything may be waited for at the most, seconds: nobody means more.
const LONGEST_WAIT: u64 = 3600;

/// The kernel command line. It carries parameters of modules as `module.parameter=value`: the kernel applies those of
/// built-in code only, and leaves the rest to whoever loads the module.
#[derive(Debug, Default)]
pub struct Cmdline(String);

impl Cmdline {
    /// That of the running kernel.
    #[must_use]
    pub fn read() -> Self {
        Cmdline(fs::read_to_string("/proc/cmdline").unwrap_or_default())
    }

    /// One with this text.
    #[cfg(test)]
    pub(super) fn of(text: &str) -> Self {
        Cmdline(text.to_owned())
    }

    /// The parameters of a module, as finit_module(2) takes them.
    #[must_use]
    pub fn parameters_of(&self, module: &str) -> String {
        let mine = words(&self.0).filter_map(|word| {
            let (name, parameter) = word.split_once('.')?;
            // `a.b=c.d`: the first dot is the one that ends the module's name.
            (!name.contains('=') && canonical(name) == module).then_some(parameter)
        });
        mine.collect::<Vec<_>>().join(" ")
    }

    /// Whether `modprobe.blacklist=` names a module (modprobe(8)): no device brings it in then. What another module
    /// needs, and what is asked for by its name, is loaded all the same.
    #[must_use]
    pub fn blacklists(&self, module: &str) -> bool {
        let lists = words(&self.0).filter_map(|word| word.strip_prefix("modprobe.blacklist="));
        lists.flat_map(|list| list.split(',')).any(|name| canonical(name) == module)
    }

    /// `nanoos.disk_wait=SECONDS`: how long the user wants the disk with the root to be waited for.
    #[must_use]
    pub fn disk_wait(&self) -> Option<Duration> {
        self.wait("nanoos.disk_wait=")
    }

    /// `nanoos.metadata_wait=SECONDS`: how long the user wants the instance's metadata to be waited for.
    #[must_use]
    pub fn metadata_wait(&self) -> Option<Duration> {
        self.wait("nanoos.metadata_wait=")
    }

    fn wait(&self, parameter: &str) -> Option<Duration> {
        let value = words(&self.0).filter_map(|word| word.strip_prefix(parameter)).next_back()?;
        value.parse().ok().map(|seconds: u64| Duration::from_secs(seconds.min(LONGEST_WAIT)))
    }
}

/// The words of a command line; white space between double quotes belongs to the word (next_arg in the kernel's
/// lib/cmdline.c).
fn words(line: &str) -> impl DoubleEndedIterator<Item = &str> {
    let mut quoted = false;
    let mut words: Vec<&str> = Vec::new();
    let ends = line.char_indices().filter(move |(_, character)| {
        quoted ^= *character == '"';
        !quoted && character.is_ascii_whitespace()
    });
    let mut start = 0;
    for end in ends.map(|(at, _)| at).chain([line.len()]) {
        words.extend(line.get(start..end).filter(|word| !word.is_empty()));
        start = end + 1;
    }
    words.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cmdline(text: &str) -> Cmdline {
        Cmdline::of(text)
    }

    #[test]
    fn a_module_gets_the_parameters_that_the_command_line_has_for_it() {
        let cmdline = cmdline("quiet nvme-core.io_timeout=4294967295 root=a.b nvme_core.multipath=N x.y=\"1 2\" x.z\n");
        assert_eq!(cmdline.parameters_of("nvme_core"), "io_timeout=4294967295 multipath=N");
        assert_eq!(cmdline.parameters_of("root"), "");
        assert_eq!(cmdline.parameters_of("x"), "y=\"1 2\" z");
    }

    #[test]
    fn modules_are_blacklisted_by_either_spelling_and_by_several_lists() {
        let cmdline = cmdline("modprobe.blacklist=virtio-rng,evdev quiet modprobe.blacklist=tpm_tis\n");
        let blacklisted: Vec<_> =
            ["virtio_rng", "evdev", "tpm_tis", "tpm", "quiet"].map(|name| cmdline.blacklists(name)).into();
        assert_eq!(blacklisted, [true, true, true, false, false]);
    }

    #[test]
    fn the_last_word_on_the_wait_counts_and_nonsense_is_none() {
        assert_eq!(cmdline("nanoos.disk_wait=5 nanoos.disk_wait=7").disk_wait(), Some(Duration::from_secs(7)));
        assert_eq!(cmdline("nanoos.disk_wait=99999999").disk_wait(), Some(Duration::from_secs(LONGEST_WAIT)));
        assert_eq!(cmdline("nanoos.disk_wait=soon").disk_wait(), None);
        assert_eq!(cmdline("quiet").disk_wait(), None);
        let both = cmdline("nanoos.metadata_wait=3 nanoos.disk_wait=5");
        assert_eq!(
            (both.metadata_wait(), both.disk_wait()),
            (Some(Duration::from_secs(3)), Some(Duration::from_secs(5)))
        );
    }

    proptest! {
        #[test]
        fn no_command_line_makes_the_reader_panic(line in ".*") {
            let cmdline = Cmdline(line);
            let _ = (cmdline.parameters_of("x"), cmdline.blacklists("x"), cmdline.disk_wait());
        }
    }
}
