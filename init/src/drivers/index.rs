//! The indexes that depmod(8) leaves beside the modules: which module drives what, and what it needs first.

use super::glob;
use std::collections::BTreeMap;

/// modules.alias, modules.dep and modules.softdep, read.
#[derive(Debug, Default)]
pub struct Index {
    aliases: Vec<(String, String)>,
    modules: BTreeMap<String, Module>,
    soft: BTreeMap<String, Vec<String>>,
}

/// A module's file and the files of what it depends on, as modules.dep gives them: relative to the release's
/// directory, and to be loaded from last to first.
#[derive(Debug, PartialEq, Eq)]
pub struct Module {
    /// Its own file.
    pub file: String,
    /// The files it needs, the farthest last.
    pub needs: Vec<String>,
}

impl Index {
    /// Reads the three indexes. A line that is none of their kind is passed over, as kmod does.
    #[must_use]
    pub fn parse(alias: &str, dep: &str, softdep: &str) -> Self {
        let aliases = alias.lines().filter_map(|line| {
            let (pattern, module) = line.strip_prefix("alias ")?.rsplit_once(' ')?;
            Some((pattern.to_owned(), canonical(module)))
        });
        let modules = dep.lines().filter_map(|line| {
            let (file, needs) = line.split_once(':')?;
            let needs = needs.split_whitespace().map(str::to_owned).collect();
            Some((name_of(file), Module { file: file.to_owned(), needs }))
        });
        let soft = softdep.lines().filter_map(parse_softdep);
        Index { aliases: aliases.collect(), modules: modules.collect(), soft: soft.collect() }
    }

    /// The modules that say they drive `modalias`; a module's own name is an alias of it too.
    pub fn candidates<'a>(&'a self, modalias: &'a str) -> impl Iterator<Item = &'a str> {
        let by_name = self.modules.get_key_value(&canonical(modalias)).map(|(name, _)| name.as_str());
        let by_alias = self
            .aliases
            .iter()
            .filter(move |(pattern, _)| glob::matches(pattern.as_bytes(), modalias.as_bytes()))
            .map(|(_, module)| module.as_str());
        by_name.into_iter().chain(by_alias)
    }

    /// A module by its name.
    #[must_use]
    pub fn module(&self, name: &str) -> Option<&Module> {
        self.modules.get(name)
    }

    /// What should be there before a module though it does not link against it (`softdep … pre:`, modprobe.d(5)).
    #[must_use]
    pub fn wanted_before(&self, name: &str) -> &[String] {
        self.soft.get(name).map_or(&[], Vec::as_slice)
    }
}

/// `softdep NAME pre: A B post: C`: the names before `post:`. What comes after a module is not loaded here, as no
/// driver of a machine asks for it.
fn parse_softdep(line: &str) -> Option<(String, Vec<String>)> {
    let mut words = line.strip_prefix("softdep ")?.split_whitespace();
    let name = canonical(words.next()?);
    let before = words.skip_while(|word| *word != "pre:").skip(1).take_while(|word| *word != "post:");
    Some((name, before.map(canonical).collect()))
}

/// A module's name from its file: without directories and endings.
#[must_use]
pub fn name_of(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    canonical(base.split_once(".ko").map_or(base, |(name, _)| name))
}

/// To the kernel `-` and `_` are the same in a module's name.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
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
        assert_eq!(module.needs, ["kernel/net/core/failover.ko", "kernel/drivers/net/net_failover.ko"]);
        assert_eq!(index.wanted_before("virtio_net"), ["ptp", "pps_core"]);
        assert!(index.wanted_before("odd").is_empty());
    }

    #[test]
    fn names_are_the_same_with_dash_and_underscore_and_whatever_the_file_is_packed_with() {
        let index = Index::parse(ALIAS, DEP, SOFTDEP);
        assert_eq!(index.candidates("nvme-core").collect::<Vec<_>>(), ["nvme_core"]);
        assert_eq!(name_of("kernel/drivers/nvme/host/nvme-core.ko.xz"), "nvme_core");
    }

    proptest! {
        #[test]
        fn no_index_makes_the_reader_panic(alias in ".*", dep in ".*", softdep in ".*", modalias in ".*") {
            let index = Index::parse(&alias, &dep, &softdep);
            let _ = index.candidates(&modalias).count();
        }
    }
}
