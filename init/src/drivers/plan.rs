//! In which order modules are loaded: each once, after what it needs; those that need nothing of each other together.

use super::index::{Index, Module, name_of};
use std::collections::{BTreeMap, BTreeSet};

/// Modules to load, by file. Those of one wave may be loaded side by side once the waves before are.
pub type Waves<'text> = Vec<Vec<&'text str>>;

/// Plans the loading of modules by name. What is in `tried` is left out, and what is planned is put into it.
#[must_use]
pub fn plan<'text>(index: &Index<'text>, names: &BTreeSet<String>, tried: &mut BTreeSet<String>) -> Waves<'text> {
    let mut order = Vec::new();
    for name in names {
        collect(index, name, tried, &mut order);
    }
    let mut wave_of: BTreeMap<&str, usize> = BTreeMap::new();
    let mut waves: Waves<'text> = Vec::new();
    for file in order {
        // Whatever it needs stands before it in the order, or is loaded already.
        let name = name_of(file);
        let module = index.module(&name);
        let needed = module.into_iter().flat_map(Module::needs);
        let wished = index.wanted_before(&name).filter_map(|wanted| index.module(&wanted)).map(|module| module.file);
        let after = needed.chain(wished).filter_map(|needed| wave_of.get(needed)).max();
        let wave = after.map_or(0, |after| after + 1);
        wave_of.insert(file, wave);
        match waves.get_mut(wave) {
            Some(files) => files.push(file),
            None => waves.push(vec![file]),
        }
    }
    waves
}

/// The files to load for a module, in order: first what its softdeps name, then what it needs, then itself.
fn collect<'text>(index: &Index<'text>, name: &str, tried: &mut BTreeSet<String>, order: &mut Vec<&'text str>) {
    let Some(module) = index.module(name) else { return };
    // All of them are claimed before any softdep is looked at: a file is collected once, and nothing runs in circles.
    let needs = module.needs().rev().chain([module.file]);
    let files: Vec<_> = needs.filter(|file| tried.insert((*file).to_owned())).collect();
    for file in files {
        for wanted in index.wanted_before(&name_of(file)) {
            collect(index, &wanted, tried, order);
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

    #[test]
    fn modules_are_loaded_dependencies_first_and_each_once() {
        let dep = "a.ko: b.ko c.ko\nb.ko: c.ko\nc.ko:\nsoft.ko: c.ko\n";
        let index = Index::parse("", dep, "softdep b pre: soft a\n");
        let mut tried = BTreeSet::new();
        assert_eq!(plan(&index, &names(&["a"]), &mut tried), [["c.ko"], ["soft.ko"], ["b.ko"], ["a.ko"]]);
        assert!(plan(&index, &names(&["a", "b"]), &mut tried).is_empty());
    }

    #[test]
    fn what_needs_nothing_of_each_other_is_loaded_side_by_side() {
        let dep = "nvme.ko: nvme-core.ko\nnvme-core.ko:\nnet.ko: failover.ko\nfailover.ko:\nrng.ko:\n";
        let waves = plan(&Index::parse("", dep, ""), &names(&["net", "nvme", "rng", "unknown"]), &mut BTreeSet::new());
        assert_eq!(waves, [vec!["failover.ko", "nvme-core.ko", "rng.ko"], vec!["net.ko", "nvme.ko"]]);
    }
}
