//! Runs a scenario: image, disk, machine, steps.

use super::devices::{self, Device};
use super::step::{Button, End, Http, Step};
use super::{Code, Disks, Scenario};
use crate::console::Console;
use crate::disks::Disk;
use crate::http::Response;
use crate::lab::Lab;
use crate::vm::{Options, Vm};
use anyhow::{Context, Result, bail};
use regex::Regex;
use serde_json::{Value, json};
use std::env;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How long a step may take when it does not say. An emulated machine on a loaded host takes a minute to boot.
const PATIENCE: Duration = Duration::from_secs(180);

/// Pause between two questions to a server in the machine.
const POLL: Duration = Duration::from_millis(200);

/// A directory for the consoles of all machines, also of those that did what they should.
const CONSOLES: &str = "NANOOS_CONSOLES";

/// Runs a scenario to its end.
///
/// # Errors
/// What did not happen, and the machine's whole console.
pub fn run(mut scenario: Scenario, code: Option<Code>, built: &Disks) -> Result<()> {
    if let Some(code) = code {
        (code.prepare)(&mut scenario).context("prepare the scenario")?;
    }
    let forwarded = |step: &Step| step.http.as_ref().filter(|http| http.host.is_none()).map(|http| http.port);
    let asked = scenario.steps.iter().filter_map(forwarded);
    let mut ports: Vec<u16> = asked.chain(scenario.boot.ports.iter().copied()).collect();
    ports.sort_unstable();
    ports.dedup();
    scenario.boot.ports = ports;

    let directory = tempfile::Builder::new().prefix("nanoos-scenario.").tempdir().context("make a directory")?;
    let built = built.get(&scenario).context("make the disk")?;
    let mut root = built.path.clone();
    if let Some(damage) = &scenario.damage {
        root = directory.path().join("damaged.raw");
        fs::copy(&built.path, &root).context("copy the disk")?;
        damage.apply(&root).context("damage the disk")?;
    }
    let create = |plan| Disk::create(plan, directory.path(), &scenario.folder);
    let disks = scenario.disks.iter().map(create).collect::<Result<Vec<_>>>()?;
    // A thread of its own: it may go into a network namespace, from which there is no way back.
    let play = || Stage::set(&scenario, code, &root, &disks)?.play();
    let result = thread::scope(|scope| scope.spawn(play).join());
    let result = result.unwrap_or_else(|_| bail!("the scenario's thread panicked"));
    let disks = || disks.iter().try_for_each(Disk::check);
    result.and_then(|()| disks()).with_context(|| scenario.about.clone())
}

/// What the steps of a scenario act on.
struct Stage<'a> {
    scenario: &'a Scenario,
    code: Option<Code>,
    root: &'a Path,
    options: Options,
    devices: Vec<Device>,
    // In the order of dropping: the machine first.
    vm: Vm,
    lab: Option<Lab>,
    /// Consoles of the boots before this one.
    earlier: Vec<Console>,
}

impl<'a> Stage<'a> {
    fn set(scenario: &'a Scenario, code: Option<Code>, root: &'a Path, disks: &[Disk]) -> Result<Self> {
        let lab = scenario.network.clone().map(Lab::enter).transpose()?;
        let mut options = scenario.boot.clone();
        let devices = devices::all(disks, lab.as_ref().map_or(&[], Lab::nics));
        for device in &devices {
            let goes = scenario.steps.iter().any(|step| step.unplug.as_ref() == Some(&device.name));
            options.qemu.extend(device.arguments(goes));
        }
        if lab.is_some() {
            options.net = Some("none".to_owned());
        }
        if scenario.network.as_ref().is_some_and(|network| network.ec2) {
            options.qemu.extend(devices::ec2());
        }
        let vm = Vm::boot(root, &options)?;
        Ok(Stage { scenario, code, root, options, devices, vm, lab, earlier: Vec::new() })
    }

    /// All steps; whatever happens, the machine is off afterwards.
    fn play(mut self) -> Result<()> {
        let result = self.steps().and_then(|()| self.check_forbidden());
        let mut said = self.lab.as_ref().map(Lab::transcript).unwrap_or_default();
        for console in self.earlier.iter().chain([self.vm.console()]) {
            said += &format!("\nconsole of the machine:\n{}", console.transcript());
        }
        if let Some(directory) = env::var_os(CONSOLES) {
            let name = self.scenario.folder.file_name().unwrap_or_default();
            fs::write(Path::new(&directory).join(name), &said).context("keep the console")?;
        }
        result.map_err(|error| anyhow::anyhow!("{error:#}\n{said}"))
    }

    fn steps(&mut self) -> Result<()> {
        for (index, step) in self.scenario.steps.iter().enumerate() {
            let done = self.perform(step).and_then(|()| self.lab.as_mut().map_or(Ok(()), Lab::check_health));
            done.with_context(|| format!("step {}", index + 1))?;
        }
        Ok(())
    }

    fn perform(&mut self, step: &Step) -> Result<()> {
        let patience = step.within.map_or(PATIENCE, Duration::from_secs);
        if let Some(pattern) = &step.console {
            self.vm.wait_for_line(&Regex::new(pattern)?, patience)?;
        }
        if let Some(patterns) = &step.consoles {
            let patterns = patterns.iter().map(|pattern| Regex::new(pattern)).collect::<Result<Vec<_>, _>>()?;
            self.vm.wait_for_lines(&patterns, patience)?;
        }
        if let Some(http) = &step.http {
            self.wait_for_answer(http, Instant::now() + patience)?;
        }
        if step.check == Some(true) {
            let code = self.code.context("the scenario has no check.rs that boot.rs knows")?;
            (code.check)(&mut self.vm, self.scenario)?;
        }
        match step.press {
            Some(Button::PowerButton) => self.vm.press_power_button()?,
            Some(Button::CtrlAltDel) => self.vm.press_ctrl_alt_del()?,
            None => {}
        }
        self.network(step, patience)?;
        self.hardware(step, patience)?;
        match step.end {
            Some(End::PowerOff) => self.vm.wait_for_power_off(patience)?,
            Some(End::Reboot) => self.vm.wait_for_reset(patience)?,
            None => {}
        }
        if step.boot == Some(true) {
            self.options.config = step.config.clone().or(self.options.config.take());
            let next = Vm::boot(self.root, &self.options)?;
            self.earlier.push(std::mem::replace(&mut self.vm, next).console().clone());
        }
        Ok(())
    }

    /// Asks until the answer is the wanted one: what it tells of may take its time.
    fn wait_for_answer(&mut self, http: &Http, deadline: Instant) -> Result<()> {
        loop {
            let patience = deadline.saturating_duration_since(Instant::now());
            let response = match http.host {
                Some(host) => self.vm.wait_for_http_at(SocketAddr::new(host, http.port), &http.path, patience)?,
                None => self.vm.wait_for_http(http.port, &http.path, patience)?,
            };
            match compare(http, &response) {
                Err(_) if Instant::now() < deadline => thread::sleep(POLL),
                result => return result,
            }
        }
    }

    /// Steps that act on the network.
    fn network(&mut self, step: &Step, patience: Duration) -> Result<()> {
        let Some(lab) = &mut self.lab else {
            let Step { start, stop, server, run, cut, mend, .. } = step;
            let needs =
                [start.is_some(), stop.is_some(), server.is_some(), run.is_some(), cut.is_some(), mend.is_some()];
            return if needs.contains(&true) { bail!("the scenario has no [network]") } else { Ok(()) };
        };
        if let Some(name) = &step.start {
            lab.start(name)?;
        }
        if let Some(name) = &step.stop {
            lab.stop(name)?;
        }
        if let Some(server) = &step.server {
            lab.wait_for_line(&server.name, &Regex::new(&server.says)?, patience)?;
        }
        if let Some(run) = &step.run {
            lab.run(&run.command, &Regex::new(&run.prints)?, patience)?;
        }
        for (nic, up) in [(&step.cut, false), (&step.mend, true)] {
            if let Some(nic) = nic {
                self.vm.qmp().execute("set_link", &json!({ "name": nic, "up": up }))?;
            }
        }
        Ok(())
    }

    /// Steps that plug something in or pull it out.
    fn hardware(&mut self, step: &Step, patience: Duration) -> Result<()> {
        let Some(name) = step.plug.as_ref().or(step.unplug.as_ref()) else { return Ok(()) };
        let device = self.devices.iter().find(|device| device.name == *name);
        let device = device.with_context(|| format!("the scenario has no disk or network card {name}"))?;
        if step.plug.is_some() {
            self.vm.qmp().execute("device_add", &device.plug())?;
            return Ok(());
        }
        self.vm.qmp().execute("device_del", &json!({ "id": name }))?;
        // The kernel has to let go of it first.
        let gone = |event: &Value| event["event"] == "DEVICE_DELETED" && event["data"]["device"] == name.as_str();
        self.vm.qmp().wait_for_event(gone, patience).with_context(|| format!("wait until {name} is gone"))
    }

    fn check_forbidden(&self) -> Result<()> {
        for pattern in &self.scenario.forbidden {
            let pattern = Regex::new(pattern)?;
            let mut lines = self.earlier.iter().chain([self.vm.console()]).flat_map(Console::lines);
            if let Some(line) = lines.find(|line| pattern.is_match(&line.text)) {
                bail!("the console may have no line that matches {pattern}: {}", line.text);
            }
        }
        Ok(())
    }
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
