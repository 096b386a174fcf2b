//! What init costs while nothing happens, as the kernel counts it (proc(5), status).

use anyhow::{Context, Result, ensure};
use std::thread;
use std::time::Duration;
use tests::scenario::{Code, Scenario};
use tests::vm::Vm;

/// For `boot.rs`.
pub(crate) const CODE: Code = Code { prepare: |_| Ok(()), check };

/// KiB of memory that init may have in use.
const MOST_RESIDENT: u64 = 2048;

/// What belongs to the boot, such as the swap that a child prepares and the clock that is set, is over after this.
const SETTLED: Duration = Duration::from_secs(90);

/// How long nothing may wake init.
const QUIET: Duration = Duration::from_secs(10);

fn check(vm: &mut Vm, _: &Scenario) -> Result<()> {
    let mut wakes = || -> Result<u64> {
        let (wakes, resident) = (field(vm, "voluntary_ctxt_switches:")?, field(vm, "VmRSS:")?);
        println!("init: {wakes} wake-ups, {resident} KiB");
        ensure!(resident <= MOST_RESIDENT, "init has {resident} KiB in use");
        Ok(wakes)
    };
    // A timer of minutes may end in one span of ten seconds, not in every one.
    let mut before = wakes()?;
    for _ in 0..SETTLED.as_secs() / QUIET.as_secs() {
        thread::sleep(QUIET);
        let now = wakes()?;
        if now == before {
            return Ok(());
        }
        before = now;
    }
    anyhow::bail!("init was awake in every ten seconds of {} s", SETTLED.as_secs())
}

fn field(vm: &mut Vm, name: &str) -> Result<u64> {
    let status = vm.wait_for_http(80, "/proc/1/status", Duration::from_secs(180))?;
    let status = String::from_utf8_lossy(&status.body).into_owned();
    let value = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
    value.trim().trim_end_matches(" kB").parse().with_context(|| format!("{name} {value}"))
}
