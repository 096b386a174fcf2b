//! Plugs in a disk behind another driver than the root's.

use anyhow::{Context, Result};
use serde_json::json;
use tests::scenario::{Code, Scenario};
use tests::vm::Vm;

/// For `boot.rs`.
pub(crate) const CODE: Code = Code { prepare: |_| Ok(()), check };

fn check(vm: &mut Vm, _: &Scenario) -> Result<()> {
    let disk = json!({ "driver": "virtio-blk-pci", "id": "late", "drive": "late", "bus": "slot" });
    vm.qmp().execute("device_add", &disk).context("plug in the disk")?;
    Ok(())
}
