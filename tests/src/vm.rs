//! A machine: started through `qemu/boot.sh`, and gone with the value that stands for it.

use crate::console::{Console, Wait};
use crate::process::{Group, guarded};
use crate::qmp::Qmp;
use crate::{http, port, workspace};
use anyhow::{Context, Result, bail};
use regex::Regex;
use serde::Deserialize;
use serde_json::{Value, json};
use std::fs;
use std::io::pipe;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long QEMU may take to have the machine complete, before its first instruction.
const START: Duration = Duration::from_secs(60);

/// Pause between two attempts where there is nothing to wait on: QEMU's socket, a server in the machine.
const POLL: Duration = Duration::from_millis(100);

/// How often other ports are tried when a process took one just before QEMU could.
const ATTEMPTS: u32 = 5;

/// Lines that no machine may ever write.
const FATAL: &str = r"Kernel panic|panicked at|BUG: |Oops: |init panicked|UEFI Interactive Shell";

/// What a machine is started with; whatever is not said is as `qemu/boot.sh` has it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Options {
    /// `uefi` or `direct`.
    pub firmware: Option<String>,
    /// MiB of memory.
    pub memory: Option<u32>,
    /// Number of processors.
    pub processors: Option<u32>,
    /// MiB of the blank swap volume; none unless said, as looking at every block of it takes a processor that emulates.
    pub swap: Option<u32>,
    /// Options of QEMU's user network, or `none`.
    pub net: Option<String>,
    /// User data.
    pub config: Option<String>,
    /// TCP ports of the machine that the test talks to.
    pub ports: Vec<u16>,
    /// QEMU's own arguments.
    pub qemu: Vec<String>,
}

/// A running machine.
#[derive(Debug)]
pub struct Vm {
    // In the order of dropping: the processes first, their directory last.
    qmp: Qmp,
    group: Group,
    console: Console,
    fatal: Regex,
    /// Index of the first console line that no wait has passed yet.
    next_line: usize,
    /// Pairs of a port of the machine and the port of 127.0.0.1 that leads there.
    ports: Vec<(u16, u16)>,
    _directory: TempDir,
}

impl Vm {
    /// Starts a machine. It belongs to the calling thread, and ends with it.
    ///
    /// # Errors
    /// When `qemu/boot.sh` or QEMU refuse, with what they wrote.
    pub fn boot(disk: &Path, options: &Options) -> Result<Self> {
        for _ in 1..ATTEMPTS {
            match Vm::attempt(disk, options) {
                Err(error) if error.is::<PortTaken>() => {}
                result => return result,
            }
        }
        Vm::attempt(disk, options)
    }

    fn attempt(disk: &Path, options: &Options) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("nanoos-vm.").tempdir().context("make a directory")?;
        let ports =
            options.ports.iter().map(|guest| Ok((*guest, port::free()?))).collect::<Result<Vec<(u16, u16)>>>()?;
        let socket = directory.path().join("qmp");
        let (reader, writer) = pipe().context("make a pipe")?;
        let mut command = guarded(workspace::root().join("qemu/boot.sh"));
        command.arg(disk).arg("--monitor").arg(&socket).env("TMPDIR", directory.path());
        if let Some(config) = &options.config {
            let file = directory.path().join("config");
            fs::write(&file, config).context("write the user data")?;
            command.arg("--config").arg(file);
        }
        arguments(&mut command, options, &ports);
        command.stdout(writer.try_clone().context("clone a pipe")?).stderr(writer);
        let mut group = Group::spawn(&mut command)?;
        drop(command); // and with it our end of the pipe: the console ends with the machine
        let console = Console::collect(reader);
        let qmp = connect(&socket, &mut group, &console)?;
        let fatal = Regex::new(FATAL)?;
        Ok(Vm { qmp, group, console, fatal, next_line: 0, ports, _directory: directory })
    }

    /// Waits for a console line that matches, after the last one that was waited for, and gives its text.
    ///
    /// # Errors
    /// When the machine ends, breaks, or the time is over before.
    pub fn wait_for_line(&mut self, pattern: &Regex, patience: Duration) -> Result<String> {
        let wanted = |line: &str| pattern.is_match(line) || self.fatal.is_match(line);
        match self.console.wait_for(wanted, self.next_line, Instant::now() + patience) {
            Wait::Seen(index, line) if pattern.is_match(&line.text) => {
                self.next_line = index + 1;
                Ok(line.text)
            }
            Wait::Seen(_, line) => bail!("waiting for a line that matches {pattern}, the machine broke: {}", line.text),
            Wait::Ended => bail!("the machine ended without a line that matches {pattern}"),
            Wait::TimedOut => bail!("no line that matches {pattern} within {} s", patience.as_secs()),
        }
    }

    /// Waits for console lines that match, one for each pattern, in any order, after the last one that was waited for.
    ///
    /// # Errors
    /// As [`Vm::wait_for_line`].
    pub fn wait_for_lines(&mut self, patterns: &[Regex], patience: Duration) -> Result<()> {
        let (deadline, from) = (Instant::now() + patience, self.next_line);
        let mut last = from;
        for pattern in patterns {
            self.next_line = from;
            self.wait_for_line(pattern, deadline.saturating_duration_since(Instant::now()))?;
            last = last.max(self.next_line);
        }
        self.next_line = last;
        Ok(())
    }

    /// Asks the web server at a port of the machine until it answers, whatever it answers.
    ///
    /// # Errors
    /// When the machine ends or the time is over before; when [`Options::ports`] lacks the port.
    pub fn wait_for_http(&mut self, port: u16, path: &str, patience: Duration) -> Result<http::Response> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.host_port(port)?));
        self.wait_for_http_at(address, path, patience)
    }

    /// The same at an address of the machine in a lab's network.
    ///
    /// # Errors
    /// When the machine ends or the time is over before.
    pub fn wait_for_http_at(&mut self, address: SocketAddr, path: &str, patience: Duration) -> Result<http::Response> {
        let deadline = Instant::now() + patience;
        loop {
            // QEMU takes the connection itself, and drops it while nobody listens in the machine.
            let error = match http::get_from(address, path) {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            if let Some(status) = self.group.status()? {
                bail!("the machine ended ({status}) before {address} answered");
            }
            self.check_health()?;
            if Instant::now() >= deadline {
                return Err(error.context(format!("no answer from {address} within {} s", patience.as_secs())));
            }
            thread::sleep(POLL);
        }
    }

    /// The port of 127.0.0.1 that leads to this port of the machine.
    ///
    /// # Errors
    /// When [`Options::ports`] lacks it.
    pub fn host_port(&self, guest: u16) -> Result<u16> {
        let found = self.ports.iter().find(|(known, _)| *known == guest);
        found.map(|(_, host)| *host).with_context(|| format!("the machine was started without its port {guest}"))
    }

    /// Presses the power button, once.
    ///
    /// # Errors
    /// When QEMU is gone.
    pub fn press_power_button(&mut self) -> Result<()> {
        self.qmp.execute("system_powerdown", &json!({})).context("press the power button")?;
        Ok(())
    }

    /// Presses the three keys, once.
    ///
    /// # Errors
    /// When QEMU is gone.
    pub fn press_ctrl_alt_del(&mut self) -> Result<()> {
        let keys = ["ctrl", "alt", "delete"].map(|key| json!({ "type": "qcode", "data": key }));
        self.qmp.execute("send-key", &json!({ "keys": keys })).context("press ctrl-alt-del")?;
        Ok(())
    }

    /// QEMU's monitor, for whatever else a test does to a machine.
    pub fn qmp(&mut self) -> &mut Qmp {
        &mut self.qmp
    }

    /// Waits until the machine has switched itself off.
    ///
    /// # Errors
    /// When it does not within this time, or ends in another way.
    pub fn wait_for_power_off(&mut self, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            self.check_health()?;
            match self.group.wait_until(deadline.min(Instant::now() + POLL))? {
                Some(status) if status.success() => return self.check_health(),
                Some(status) => bail!("the machine did not switch itself off: boot.sh ended with {status}"),
                None if Instant::now() >= deadline => bail!("the machine is still on after {} s", patience.as_secs()),
                None => {}
            }
        }
    }

    /// Waits until the machine has reset itself.
    ///
    /// # Errors
    /// When it does not within this time, or ends.
    pub fn wait_for_reset(&mut self, patience: Duration) -> Result<()> {
        let by_itself = |event: &Value| event["event"] == "RESET" && event["data"]["guest"] == true;
        self.qmp.wait_for_event(by_itself, patience).context("wait for the machine to reset itself")?;
        self.check_health()
    }

    /// What the machine has written so far.
    #[must_use]
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// Fails when the machine wrote a line that none may ever write.
    fn check_health(&self) -> Result<()> {
        match self.console.wait_for(|line| self.fatal.is_match(line), 0, Instant::now()) {
            Wait::Seen(_, line) => bail!("the machine broke: {}", line.text),
            Wait::Ended | Wait::TimedOut => Ok(()),
        }
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("console of the machine:\n{}", self.console.transcript());
        }
    }
}

/// Another process listens on a port that was free a moment ago.
#[derive(Debug)]
struct PortTaken;

impl std::fmt::Display for PortTaken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("other processes keep taking the ports that were free")
    }
}

impl std::error::Error for PortTaken {}

fn arguments(command: &mut Command, options: &Options, ports: &[(u16, u16)]) {
    for (guest, host) in ports {
        command.arg("-p").arg(format!("{host}:{guest}"));
    }
    let named = [
        ("--firmware", options.firmware.clone()),
        ("-m", options.memory.map(|memory| memory.to_string())),
        ("--smp", options.processors.map(|processors| processors.to_string())),
        ("--swap", Some(options.swap.unwrap_or(0).to_string())),
        ("--net", options.net.clone()),
    ];
    for (name, value) in named {
        if let Some(value) = value {
            command.arg(name).arg(value);
        }
    }
    command.arg("--").args(&options.qemu);
}

/// Waits until QEMU answers, which is when every device and port is set up.
fn connect(socket: &Path, group: &mut Group, console: &Console) -> Result<Qmp> {
    let deadline = Instant::now() + START;
    loop {
        // An error means "not yet"; if it means more, the process ends or the time runs out.
        if let Ok(qmp) = Qmp::connect(socket) {
            return Ok(qmp);
        }
        if let Some(status) = group.wait_until(Instant::now() + POLL)? {
            let _ = console.wait_for(|_| false, 0, Instant::now() + Duration::from_secs(1)); // until its end
            let said = console.transcript();
            if said.contains("is in use on this machine") || said.contains("Could not set up host forwarding rule") {
                return Err(PortTaken.into());
            }
            bail!("the machine did not start: boot.sh ended with {status}\n{said}");
        }
        if Instant::now() >= deadline {
            bail!("QEMU did not come up within {} s\n{}", START.as_secs(), console.transcript());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_data_that_no_machine_takes_are_refused_before_it_starts() {
        let directory = tempfile::tempdir().unwrap();
        let disk = directory.path().join("disk.qcow2");
        fs::write(&disk, b"QFI\xfb").unwrap();
        let refusal = |config: &Path| {
            let mut command = guarded(workspace::root().join("qemu/boot.sh"));
            let output = command.arg(&disk).arg("--config").arg(config).output().unwrap();
            assert_eq!(output.status.code(), Some(1));
            String::from_utf8(output.stderr).unwrap()
        };
        let config = directory.path().join("config");
        for (bytes, expected) in
            [(16_385, "longer than 16 KB, the most that a machine takes"), (99_999, "longer than 16 KB")]
        {
            fs::write(&config, vec![b'#'; bytes]).unwrap();
            let refused = refusal(&config);
            assert!(refused.contains(&format!("boot.sh: --config {}: {expected}", config.display())), "{refused}");
        }
        let refused = refusal(directory.path());
        assert!(refused.contains(": no file that you may read"), "{refused}");
        // QEMU is started with as much as there may be, and finds that this is no disk.
        fs::write(&config, [b'#'; 16_384]).unwrap();
        let refused = refusal(&config);
        assert!(refused.contains("qemu-system-x86_64: ") && !refused.contains("--config"), "{refused}");
    }
}
