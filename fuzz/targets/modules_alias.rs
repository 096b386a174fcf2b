//! Indexes of modules, and a device's modalias looked up in them: three texts and the modalias, with NUL between.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nanoos_init::drivers::index::{Index, name_of};

fuzz_target!(|text: &str| {
    let mut parts = text.splitn(4, '\0');
    let mut part = || parts.next().unwrap_or_default();
    let (alias, dep, softdep, modalias) = (part(), part(), part(), part());
    let index = Index::parse(alias, dep, softdep);
    for name in index.candidates(modalias) {
        let _ = index.wanted_before(&name).count();
        if let Some(module) = index.module(&name) {
            let _ = module.needs().map(name_of).count();
        }
    }
});
