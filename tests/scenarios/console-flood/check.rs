//! The console does not slow a program down.

use anyhow::{Context, Result, ensure};
use regex::Regex;
use std::time::Duration;
use tests::scenario::{Code, Scenario};
use tests::vm::Vm;

/// For `boot.rs`.
pub(crate) const CODE: Code = Code { prepare, check };

/// An emulated machine on a loaded host may not write 50 MB/s into a file either: then the console must be about as fast.
const AT_50_MB_PER_S: u64 = 3000;

fn prepare(_: &mut Scenario) -> Result<()> {
    Ok(())
}

fn check(vm: &mut Vm, _: &Scenario) -> Result<()> {
    let result = Regex::new(r"^flood: 150 MB: file (\d+) ms, console (\d+) ms$")?;
    let line = vm.wait_for_line(&result, Duration::from_secs(180))?;
    let times = result.captures(&line).context("the line matched before")?;
    let (file, console): (u64, u64) = (times[1].parse()?, times[2].parse()?);
    println!("{line}");
    ensure!(console <= file.max(AT_50_MB_PER_S) * 3 / 2, "the console slows the program down: {line}");
    Ok(())
}
