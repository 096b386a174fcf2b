//! The indexes that depmod(8) leaves beside the modules: which module drives what, and what it needs first.

use super::glob;
use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The indexes as they lie beside the modules. They are read when a device asks, and kept for no longer than the
/// boot: in the initramfs they are in memory already.
#[derive(Debug, Default)]
pub struct Texts {
    alias: String,
    dep: String,
    softdep: String,
}

impl Texts {
    /// Reads the indexes in a directory. A kernel without modules has none, and that is fine.
    #[must_use]
    pub fn read(directory: &Path) -> Self {
        let read = |name: &str| fs::read_to_string(directory.join(name)).unwrap_or_default();
        Texts { alias: read("modules.alias"), dep: read("modules.dep"), softdep: read("modules.softdep") }
    }

    /// What they say.
    #[must_use]
    pub fn index(&self) -> Index<'_> {
        Index::parse(&self.alias, &self.dep, &self.softdep)
    }
}

/// modules.alias, modules.dep and modules.softdep, each read when it is first asked. It points into their texts: a
/// boot has no time to copy thousands of lines of which it needs a handful.
#[derive(Debug)]
pub struct Index<'text> {
    aliases: Lazy<'text, Vec<(&'text str, &'text str)>>,
    modules: Lazy<'text, BTreeMap<Cow<'text, str>, Module<'text>>>,
    soft: Lazy<'text, BTreeMap<Cow<'text, str>, &'text str>>,
}

#[derive(Debug)]
struct Lazy<'text, T> {
    text: &'text str,
    read: OnceCell<T>,
}

impl<'text, T> Lazy<'text, T> {
    fn of(text: &'text str) -> Self {
        Lazy { text, read: OnceCell::new() }
    }

    fn get(&self, read: impl FnOnce(&'text str) -> T) -> &T {
        self.read.get_or_init(|| read(self.text))
    }
}

/// A module's file and the files of what it depends on, as modules.dep gives them: relative to the release's
/// directory, and to be loaded from last to first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Module<'text> {
    /// Its own file.
    pub file: &'text str,
    needs: &'text str,
}

impl<'text> Module<'text> {
    /// The files it needs, the farthest last.
    pub fn needs(self) -> impl DoubleEndedIterator<Item = &'text str> {
        self.needs.split_ascii_whitespace()
    }
}

impl<'text> Index<'text> {
    /// The three indexes. A line that is none of their kind is passed over, as kmod does.
    #[must_use]
    pub fn parse(alias: &'text str, dep: &'text str, softdep: &'text str) -> Self {
        Index { aliases: Lazy::of(alias), modules: Lazy::of(dep), soft: Lazy::of(softdep) }
    }

    /// The modules that say they drive `modalias`.
    pub fn candidates(&self, modalias: &str) -> impl Iterator<Item = Cow<'text, str>> {
        let claims = move |(pattern, _): &&(&str, &str)| glob::matches(pattern.as_bytes(), modalias.as_bytes());
        let read = |text: &'text str| {
            text.lines().filter_map(|line| line.strip_prefix("alias ")?.rsplit_once(' ')).collect::<Vec<_>>()
        };
        self.aliases.get(read).iter().filter(claims).map(|(_, module)| canonical(module))
    }

    /// A module by its name.
    #[must_use]
    pub fn module(&self, name: &str) -> Option<Module<'text>> {
        let modules = self.modules.get(|text| {
            let module = |line: &'text str| {
                let (file, needs) = line.split_once(':')?;
                Some((name_of(file), Module { file, needs }))
            };
            text.lines().filter_map(module).collect()
        });
        modules.get(canonical(name).as_ref()).copied()
    }

    /// What should be there before a module though it does not link against it (`softdep … pre:`, modprobe.d(5)).
    /// What comes after a module (`post:`) is not loaded: no driver of a machine asks for it.
    pub fn wanted_before(&self, name: &str) -> impl Iterator<Item = Cow<'text, str>> {
        let soft = self.soft.get(|text| {
            let order = |line: &'text str| {
                let (name, order) = line.strip_prefix("softdep ")?.split_once(' ')?;
                Some((canonical(name), order))
            };
            text.lines().filter_map(order).collect()
        });
        let order = soft.get(name).copied().unwrap_or_default();
        let before = order.split_ascii_whitespace().skip_while(|word| *word != "pre:").skip(1);
        before.take_while(|word| *word != "post:").map(canonical)
    }
}

/// The aliases in modules.builtin.modinfo, `MODULE.KEY=VALUE` entries ended by a NUL each: what is built into the
/// kernel drives them.
pub fn built_in_aliases(modinfo: &str) -> impl Iterator<Item = &str> {
    modinfo.split('\0').filter_map(|entry| entry.split_once('.')?.1.strip_prefix("alias="))
}

/// A module's name from its file: without directories and endings.
#[must_use]
pub fn name_of(file: &str) -> Cow<'_, str> {
    let base = file.rsplit('/').next().unwrap_or(file);
    canonical(base.split_once(".ko").map_or(base, |(name, _)| name))
}

/// To the kernel `-` and `_` are the same in a module's name.
#[must_use]
pub fn canonical(name: &str) -> Cow<'_, str> {
    if name.contains('-') { name.replace('-', "_").into() } else { name.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALIAS: &str = "# Aliases extracted from modules themselves.\nalias virtio:d00000001v* virtio_net\nalias fs-squashfs squashfs\nalias pci:v0000144Dd*sv*sd*bc01sc08i02* nvme\n";
    const DEP: &str = "kernel/drivers/net/virtio_net.ko: kernel/net/core/failover.ko kernel/drivers/net/net_failover.ko\nkernel/drivers/nvme/host/nvme-core.ko.xz:\n";
    const SOFTDEP: &str =
        "# Soft dependencies\nsoftdep virtio-net pre: ptp pps-core post: late\nsoftdep odd post: late\n";

    #[test]
    fn a_card_finds_its_module_with_all_it_needs() {
        let index = Index::parse(ALIAS, DEP, SOFTDEP);
        assert_eq!(index.candidates("virtio:d00000001v00001AF4").collect::<Vec<_>>(), ["virtio_net"]);
        let module = index.module("virtio_net").unwrap();
        assert_eq!(
            module.needs().collect::<Vec<_>>(),
            ["kernel/net/core/failover.ko", "kernel/drivers/net/net_failover.ko"]
        );
        assert_eq!(index.wanted_before("virtio_net").collect::<Vec<_>>(), ["ptp", "pps_core"]);
        assert_eq!(index.wanted_before("odd").count(), 0);
    }

    #[test]
    fn names_are_the_same_with_dash_and_underscore_and_whatever_the_file_is_packed_with() {
        let index = Index::parse(ALIAS, DEP, SOFTDEP);
        assert_eq!(index.module("nvme-core"), index.module("nvme_core"));
        assert_eq!(index.module("nvme_core").unwrap().file, "kernel/drivers/nvme/host/nvme-core.ko.xz");
        assert_eq!(name_of("kernel/drivers/nvme/host/nvme-core.ko.xz"), "nvme_core");
    }

    #[test]
    fn what_is_built_in_says_what_it_drives() {
        let modinfo = "nvme.file=drivers/nvme/host/nvme\0nvme.alias=pci:v*d*sv*sd*bc01sc08i02*\0fuse.alias=fs-fuse\0";
        assert_eq!(built_in_aliases(modinfo).collect::<Vec<_>>(), ["pci:v*d*sv*sd*bc01sc08i02*", "fs-fuse"]);
    }

    proptest! {
        #[test]
        fn no_index_makes_the_reader_panic(alias in ".*", dep in ".*", softdep in ".*", modalias in ".*") {
            let index = Index::parse(&alias, &dep, &softdep);
            let _ = index.candidates(&modalias).count();
        }
    }
}
