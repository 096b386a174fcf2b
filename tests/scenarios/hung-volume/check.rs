//! A volume that takes nothing more: QEMU throttles its writes to a byte a second.

use anyhow::{Context, Result};
use serde_json::json;
use tests::scenario::{Code, Scenario};
use tests::vm::Vm;

/// For `boot.rs`.
pub(crate) const CODE: Code = Code { prepare: |_| Ok(()), check };

fn check(vm: &mut Vm, _: &Scenario) -> Result<()> {
    let limits =
        json!({ "device": "drive-hung", "bps": 0, "bps_rd": 0, "bps_wr": 1, "iops": 0, "iops_rd": 0, "iops_wr": 0 });
    vm.qmp().execute("block_set_io_throttle", &limits).context("throttle the volume")?;
    Ok(())
}
