//! Which modules are loaded, and in which order: for each that is wanted, what it needs and then itself.

use super::index::{Index, name_of};
use std::collections::BTreeSet;

/// A module that is wanted, with all that it needs.
#[derive(Debug, PartialEq, Eq)]
pub struct Chain<'text> {
    /// The files to load, one after the other; the last is the module's own. Several chains may name the same file.
    pub files: Vec<&'text str>,
    /// Whether the devices of the module are taken in their order.
    pub in_order: bool,
}

/// Plans the loading of modules by name. Chains may be loaded side by side. What is in `tried` is left out, and what is
/// planned is put into it.
#[must_use]
pub fn plan<'text>(index: &Index<'text>, names: &BTreeSet<String>, tried: &mut BTreeSet<String>) -> Vec<Chain<'text>> {
    let mut chains = Vec::new();
    for name in names.iter().filter(|name| index.module(name).is_some()) {
        if tried.insert(name.clone()) {
            let mut files = Vec::new();
            collect(index, name, &mut BTreeSet::new(), &mut files);
            chains.push(Chain { files, in_order: false });
        }
    }
    chains
}

/// The files to load for a module, in order: first what its softdeps name, then what it needs, then itself.
fn collect<'text>(index: &Index<'text>, name: &str, collected: &mut BTreeSet<&'text str>, order: &mut Vec<&'text str>) {
    let Some(module) = index.module(name) else { return };
    // All of them are claimed before any softdep is looked at: a file is collected once, and nothing runs in circles.
    let needs = module.needs().rev().chain([module.file]);
    let files: Vec<_> = needs.filter(|file| collected.insert(file)).collect();
    for file in files {
        for wanted in index.wanted_before(&name_of(file)) {
            collect(index, &wanted, collected, order);
        }
        order.push(file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn files<'text>(chains: &[Chain<'text>]) -> Vec<Vec<&'text str>> {
        chains.iter().map(|chain| chain.files.clone()).collect()
    }

    #[test]
    fn modules_are_loaded_dependencies_first_and_each_once() {
        let dep = "a.ko: b.ko c.ko\nb.ko: c.ko\nc.ko:\nsoft.ko: c.ko\n";
        let index = Index::parse("", dep, "softdep b pre: soft a\n");
        let mut tried = BTreeSet::new();
        assert_eq!(files(&plan(&index, &names(&["a"]), &mut tried)), [["c.ko", "soft.ko", "b.ko", "a.ko"]]);
        assert!(plan(&index, &names(&["a"]), &mut tried).is_empty());
    }

    #[test]
    fn every_module_has_a_chain_of_its_own_so_that_none_waits_for_another() {
        let dep = "nvme.ko: nvme-core.ko\nnvme-core.ko:\nnet.ko: failover.ko\nfailover.ko:\nrng.ko:\n";
        let chains = plan(&Index::parse("", dep, ""), &names(&["net", "nvme", "rng", "unknown"]), &mut BTreeSet::new());
        assert_eq!(files(&chains), [vec!["failover.ko", "net.ko"], vec!["nvme-core.ko", "nvme.ko"], vec!["rng.ko"]]);
    }
}
