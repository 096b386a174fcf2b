//! The machine's clock beside the host's, which the lab's honest time servers serve.

use anyhow::{Context, Result, ensure};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tests::scenario::{Code, Scenario};
use tests::vm::Vm;

/// For `boot.rs`.
pub(crate) const EC2: Code = Code { prepare, check: |vm, _| check(vm, [172, 31, 0, 20], true) };
/// For `boot.rs`.
pub(crate) const DHCP: Code = Code { prepare, check: |vm, _| check(vm, [10, 1, 0, 20], true) };
/// For `boot.rs`.
pub(crate) const LIARS: Code = Code { prepare, check: |vm, _| check(vm, [10, 1, 0, 20], false) };

/// A machine that follows a server may be off by so much, s.
const TOLERANCE: f64 = 0.5;
/// And one that nobody sets: its clock comes from the hardware's, which counts whole seconds, s.
const TOLERANCE_UNSET: f64 = 1.5;
/// The kernel's flag of a clock that nobody has set (`STA_UNSYNC`, adjtimex(2)).
const UNSYNCHRONIZED: f64 = 64.0;
/// Until when a clock that is followed counts as set: when the kernel changes its hardware clock for a better one, some
/// seconds after its start, it forgets that, and learns it again from the next poll, 16 s later.
const STEERED: Duration = Duration::from_secs(60);
/// Of so many questions the one that was answered fastest counts.
const QUESTIONS: usize = 5;

fn prepare(_: &mut Scenario) -> Result<()> {
    Ok(())
}

fn check(vm: &mut Vm, address: [u8; 4], follows: bool) -> Result<()> {
    let address = SocketAddr::from((IpAddr::from(Ipv4Addr::from(address)), 80));
    let deadline = Instant::now() + STEERED;
    loop {
        let told = look(vm, address, if follows { TOLERANCE } else { TOLERANCE_UNSET })?;
        let unset = (number(&told, "status")? / UNSYNCHRONIZED) as u32 & 1 == 1;
        if unset != follows {
            return Ok(());
        }
        ensure!(follows && Instant::now() < deadline, "the kernel's view of its clock is not as it should be: {told}");
        thread::sleep(Duration::from_secs(1));
    }
}

/// What the machine says of its clock, which is as the host's.
fn look(vm: &mut Vm, address: SocketAddr, tolerance: f64) -> Result<String> {
    let mut best = (f64::INFINITY, 0.0, String::new());
    for _ in 0..QUESTIONS {
        // Until the machine answers at all.
        vm.wait_for_http_at(address, "/clock", Duration::from_secs(180))?;
        let before = now()?;
        let response = vm.wait_for_http_at(address, "/clock", Duration::from_secs(10))?;
        let after = now()?;
        let told = String::from_utf8_lossy(&response.body).into_owned();
        let off = number(&told, "time")? - f64::midpoint(before, after);
        if after - before < best.0 {
            best = (after - before, off, told);
        }
    }
    let (trip, off, told) = best;
    ensure!(off.abs() <= tolerance + trip / 2.0, "the machine's clock is off by {off:.3} s ± {:.3} s", trip / 2.0);
    Ok(told)
}

fn now() -> Result<f64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64())
}

fn number(told: &str, name: &str) -> Result<f64> {
    let mut lines = told.lines().filter_map(|line| line.split_once(' '));
    let value = lines.find(|(known, _)| *known == name).with_context(|| format!("no {name} in {told:?}"))?.1;
    value.parse().with_context(|| format!("{name} is {value}"))
}
