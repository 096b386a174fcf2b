//! Every line arrives, in the order of its stream.

use anyhow::{Result, ensure};
use tests::scenario::{Code, Scenario};
use tests::vm::Vm;

/// For `boot.rs`.
pub(crate) const CODE: Code = Code { prepare, check };

fn prepare(_: &mut Scenario) -> Result<()> {
    Ok(())
}

fn check(vm: &mut Vm, _: &Scenario) -> Result<()> {
    let lines = vm.console().lines();
    let numbers = |prefix: &str| -> Vec<u32> {
        lines.iter().filter_map(|line| line.text.strip_prefix(prefix)?.parse().ok()).collect()
    };
    let (errors, others): (Vec<u32>, Vec<u32>) = (1..=5000).partition(|number| number % 10 == 0);
    ensure!(numbers("line ") == others, "lines of standard output are missing or out of order");
    ensure!(numbers("error ") == errors, "lines of standard error are missing or out of order");
    Ok(())
}
