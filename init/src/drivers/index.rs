//! The indexes that depmod(8) leaves beside the modules: which module drives what, and what it needs first.

use super::glob;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// modules.alias, modules.dep and modules.softdep, read. It points into their texts: a boot has no time to copy
/// thousands of lines of which it needs a handful.
#[derive(Debug, Default)]
pub struct Index<'text> {
    aliases: Vec<(&'text str, &'text str)>,
    modules: BTreeMap<Cow<'text, str>, Module<'text>>,
    soft: BTreeMap<Cow<'text, str>, &'text str>,
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
    /// Reads the three indexes. A line that is none of their kind is passed over, as kmod does.
    #[must_use]
    pub fn parse(alias: &'text str, dep: &'text str, softdep: &'text str) -> Self {
        let aliases = alias.lines().filter_map(|line| line.strip_prefix("alias ")?.rsplit_once(' '));
        let modules = dep.lines().filter_map(|line| {
            let (file, needs) = line.split_once(':')?;
            Some((name_of(file), Module { file, needs }))
        });
        let soft = softdep.lines().filter_map(|line| {
            let (name, order) = line.strip_prefix("softdep ")?.split_once(' ')?;
            Some((canonical(name), order))
        });
        Index { aliases: aliases.collect(), modules: modules.collect(), soft: soft.collect() }
    }

    /// The modules that say they drive `modalias`; a module's own name is an alias of it too.
    #[must_use]
    pub fn candidates(&self, modalias: &str) -> Vec<Cow<'text, str>> {
        let by_name = self.modules.get_key_value(canonical(modalias).as_ref()).map(|(name, _)| name.clone());
        let claims = |(pattern, _): &&(&str, &str)| glob::matches(pattern.as_bytes(), modalias.as_bytes());
        let by_alias = self.aliases.iter().filter(claims).map(|(_, module)| canonical(module));
        by_name.into_iter().chain(by_alias).collect()
    }

    /// A module by its name.
    #[must_use]
    pub fn module(&self, name: &str) -> Option<Module<'text>> {
        self.modules.get(name).copied()
    }

    /// What should be there before a module though it does not link against it (`softdep … pre:`, modprobe.d(5)).
    /// What comes after a module (`post:`) is not loaded: no driver of a machine asks for it.
    pub fn wanted_before(&self, name: &str) -> impl Iterator<Item = Cow<'text, str>> {
        let order = self.soft.get(name).copied().unwrap_or_default();
        let before = order.split_ascii_whitespace().skip_while(|word| *word != "pre:").skip(1);
        before.take_while(|word| *word != "post:").map(canonical)
    }
}

/// A module's name from its file: without directories and endings.
#[must_use]
pub fn name_of(file: &str) -> Cow<'_, str> {
    let base = file.rsplit('/').next().unwrap_or(file);
    canonical(base.split_once(".ko").map_or(base, |(name, _)| name))
}

/// To the kernel `-` and `_` are the same in a module's name.
fn canonical(name: &str) -> Cow<'_, str> {
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
        assert_eq!(index.candidates("virtio:d00000001v00001AF4"), ["virtio_net"]);
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
        assert_eq!(index.candidates("nvme-core"), ["nvme_core"]);
        assert_eq!(name_of("kernel/drivers/nvme/host/nvme-core.ko.xz"), "nvme_core");
    }

    proptest! {
        #[test]
        fn no_index_makes_the_reader_panic(alias in ".*", dep in ".*", softdep in ".*", modalias in ".*") {
            let index = Index::parse(&alias, &dep, &softdep);
            let _ = index.candidates(&modalias);
        }
    }
}
