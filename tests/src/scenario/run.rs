//! Runs a scenario: image, disk, machine, steps.

use super::{Button, Code, End, Http, Scenario, Step, disk};
use crate::http::Response;
use crate::vm::Vm;
use anyhow::{Context, Result, bail};
use regex::Regex;
use std::time::Duration;

/// How long a step may take when it does not say. An emulated machine on a loaded host takes a minute to boot.
const PATIENCE: Duration = Duration::from_secs(180);

/// Runs a scenario to its end.
///
/// # Errors
/// What did not happen, and the machine's whole console.
pub fn run(mut scenario: Scenario, code: Option<Code>) -> Result<()> {
    if let Some(code) = code {
        (code.prepare)(&mut scenario).context("prepare the scenario")?;
    }
    let asked = scenario.steps.iter().filter_map(|step| step.http.as_ref().map(|http| http.port));
    let mut ports: Vec<u16> = asked.chain(scenario.boot.ports.iter().copied()).collect();
    ports.sort_unstable();
    ports.dedup();
    scenario.boot.ports = ports;

    let directory = tempfile::Builder::new().prefix("nanoos-scenario.").tempdir().context("make a directory")?;
    let disk = disk::make(&scenario, directory.path()).context("make the disk")?;
    let mut vm = Vm::boot(&disk, &scenario.boot)?;
    let result = steps(&mut vm, &scenario, code).and_then(|()| check_forbidden(&vm, &scenario));
    result.map_err(|error| {
        let (about, console) = (&scenario.about, vm.console().transcript());
        anyhow::anyhow!("{about}\n{error:#}\n\nconsole of the machine:\n{console}")
    })
}

fn steps(vm: &mut Vm, scenario: &Scenario, code: Option<Code>) -> Result<()> {
    for (index, step) in scenario.steps.iter().enumerate() {
        perform(vm, scenario, code, step).with_context(|| format!("step {}", index + 1))?;
    }
    Ok(())
}

fn perform(vm: &mut Vm, scenario: &Scenario, code: Option<Code>, step: &Step) -> Result<()> {
    let patience = step.within.map_or(PATIENCE, Duration::from_secs);
    if let Some(pattern) = &step.console {
        vm.wait_for_line(&Regex::new(pattern)?, patience)?;
    }
    if let Some(http) = &step.http {
        compare(http, &vm.wait_for_http(http.port, &http.path, patience)?)?;
    }
    if step.check == Some(true) {
        let code = code.context("the scenario has no check.rs that boot.rs knows")?;
        (code.check)(vm, scenario)?;
    }
    match step.press {
        Some(Button::PowerButton) => vm.press_power_button()?,
        None => {}
    }
    match step.end {
        Some(End::PowerOff) => vm.wait_for_power_off(patience)?,
        None => {}
    }
    Ok(())
}

fn compare(expected: &Http, response: &Response) -> Result<()> {
    let body = String::from_utf8_lossy(&response.body);
    if response.status != expected.status || !body.contains(&expected.contains) {
        bail!(
            "GET {} answers {} with {body:?}; expected {} with {:?} in it",
            expected.path,
            response.status,
            expected.status,
            expected.contains
        );
    }
    Ok(())
}

fn check_forbidden(vm: &Vm, scenario: &Scenario) -> Result<()> {
    for pattern in &scenario.forbidden {
        let pattern = Regex::new(pattern)?;
        if let Some(line) = vm.console().lines().iter().find(|line| pattern.is_match(&line.text)) {
            bail!("the console may have no line that matches {pattern}: {}", line.text);
        }
    }
    Ok(())
}
