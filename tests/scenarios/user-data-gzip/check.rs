//! Has the metadata service tell the folder's file `user-data`, which need not be text.

use anyhow::{Context, Result};
use tests::scenario::{Code, Scenario};

/// For `boot.rs`.
pub(crate) const CODE: Code = Code { prepare, check: |_, _| Ok(()) };

fn prepare(scenario: &mut Scenario) -> Result<()> {
    let command = format!("lab imds {}", scenario.folder.join("user-data").display());
    let network = scenario.network.as_mut().context("a scenario without a network")?;
    network.servers.get_mut("imds").context("a network without a metadata service")?.command = command;
    Ok(())
}
