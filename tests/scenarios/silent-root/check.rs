//! A root disk that answers nothing any more: QEMU throttles it to a byte a second.

use anyhow::{Context, Result};
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};
use tests::scenario::{Code, Scenario};
use tests::vm::Vm;

/// For `boot.rs`: it answers nothing.
pub(crate) const CODE: Code = Code { prepare: |_| Ok(()), check: |vm, _| throttle(vm, 1) };
/// For `boot.rs`: it answers nothing, and from the second check on as ever.
pub(crate) const SLOW: Code = Code { prepare: |_| Ok(()), check: silence_and_wake };

fn silence_and_wake(vm: &mut Vm, _: &Scenario) -> Result<()> {
    static IS_SILENT: AtomicBool = AtomicBool::new(false);
    let was_silent = IS_SILENT.fetch_xor(true, Ordering::Relaxed);
    throttle(vm, u32::from(!was_silent))
}

/// Bytes a second; 0: without a limit.
fn throttle(vm: &mut Vm, bytes: u32) -> Result<()> {
    let limits =
        json!({ "device": "root", "bps": 0, "bps_rd": bytes, "bps_wr": 0, "iops": 0, "iops_rd": 0, "iops_wr": 0 });
    vm.qmp().execute("block_set_io_throttle", &limits).context("throttle the root disk")?;
    Ok(())
}
