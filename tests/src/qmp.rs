//! QEMU's machine protocol (QMP): JSON, line by line, over a Unix socket.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long QEMU may take to answer; its main loop is never blocked for long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection that is ready for commands.
#[derive(Debug)]
pub struct Qmp {
    stream: BufReader<UnixStream>,
    /// Events that came while an answer was awaited, the first one first.
    events: VecDeque<Value>,
}

impl Qmp {
    /// Connects and leaves negotiation mode. QEMU listens early, but answers only when the machine is complete.
    ///
    /// # Errors
    /// When QEMU does not listen there (yet), or does not answer.
    pub fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).with_context(|| format!("connect to {}", socket.display()))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut qmp = Qmp { stream: BufReader::new(stream), events: VecDeque::new() };
        let greeting = qmp.read()?;
        if greeting.get("QMP").is_none() {
            bail!("QEMU greets with {greeting}");
        }
        qmp.execute("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Runs a command and gives what it returns.
    ///
    /// # Errors
    /// QEMU's own words when it refuses.
    pub fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let request = json!({"execute": command, "arguments": arguments});
        writeln!(self.stream.get_mut(), "{request}").with_context(|| format!("send {command} to QEMU"))?;
        loop {
            let mut answer = self.read().with_context(|| format!("wait for QEMU's answer to {command}"))?;
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = answer.get("error") {
                bail!("QEMU refuses {command}: {error}");
            }
            self.events.push_back(answer); // they come at any time
        }
    }

    /// Waits for an event that is wanted; what came before it is forgotten.
    ///
    /// # Errors
    /// When QEMU ends or the time is over before.
    pub fn wait_for_event(&mut self, wanted: impl Fn(&Value) -> bool, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            let event = match self.events.pop_front() {
                Some(event) => event,
                None => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    // Zero would mean forever.
                    self.stream.get_ref().set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
                    let event = self.read();
                    self.stream.get_ref().set_read_timeout(Some(PATIENCE))?;
                    event?
                }
            };
            if wanted(&event) {
                return Ok(());
            }
        }
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).context("read from QEMU")? == 0 {
            bail!("QEMU closed the connection");
        }
        serde_json::from_str(&line).with_context(|| format!("QEMU wrote {line:?}"))
    }
}
