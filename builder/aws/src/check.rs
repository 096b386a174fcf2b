//! What a launch check waits for, and whether it is there.

use crate::account::Session;
use crate::failure::{Failure, Kind};
use crate::instance::state;
use crate::retry::Patience;
use anyhow::{Result, bail};
use aws_sdk_ec2::types::{Instance, InstanceStateName};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Lines of a console that are quoted, and characters of each.
const QUOTED_LINES: usize = 20;
const QUOTED_WIDTH: usize = 160;

/// What shows that an instance is up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// A line of its console that contains this.
    Console(String),
    /// A TCP port that takes connections, at its public address, or where it has none at its private one.
    Port(u16),
}

impl FromStr for Check {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':') {
            Some(("console", line)) if !line.trim().is_empty() && !line.contains(['\n', '\r']) => {
                Ok(Check::Console(line.to_owned()))
            }
            Some(("tcp", port)) => match port.parse::<u16>() {
                Ok(port) if port != 0 => Ok(Check::Port(port)),
                _ => bail!("{port:?} is no TCP port: it is a number from 1 to 65535, as in tcp:80"),
            },
            _ => bail!("{text:?} is no check: tcp:PORT waits for a port, console:TEXT for a line of the console"),
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Check::Console(text) => write!(f, "a line with {text:?} on the console"),
            Check::Port(port) => write!(f, "TCP port {port}"),
        }
    }
}

impl Check {
    /// What shows that the instance is up; `None` where nothing does yet.
    pub(crate) async fn look(
        &self,
        session: &Session,
        id: &str,
        instance: Option<&Instance>,
    ) -> Result<Option<String>, Failure> {
        match self {
            Check::Console(text) => {
                let console = console(session, id).await?;
                let line = console.lines().find(|line| line.contains(text.as_str()));
                Ok(line.map(|line| format!("console: {}", clean(line))))
            }
            Check::Port(port) => {
                let Some(address) = instance.and_then(address) else { return Ok(None) };
                let address = SocketAddr::new(address, *port);
                let connected = timeout(session.timing.connect, TcpStream::connect(address)).await;
                Ok(matches!(connected, Ok(Ok(_))).then(|| format!("{address} takes connections")))
            }
        }
    }
}

/// Where an instance is reached. It has its public address when it runs, if it gets one: before that the private one may be anybody's
/// in the network of whoever asks.
fn address(instance: &Instance) -> Option<IpAddr> {
    if state(instance) != Some(&InstanceStateName::Running) {
        return None;
    }
    let candidates = [&instance.public_ip_address, &instance.ipv6_address, &instance.private_ip_address];
    candidates.into_iter().flatten().find_map(|address| address.parse().ok())
}

/// What an instance has written to its console; nothing where it is not told yet.
pub(crate) async fn console(session: &Session, id: &str) -> Result<String, Failure> {
    let ask = |latest: Option<bool>| move || session.ec2.get_console_output().instance_id(id).set_latest(latest).send();
    let (action, patience) = ("ec2:GetConsoleOutput", Patience::just_made(&session.timing));
    let answer = match session.call(action, patience, ask(Some(true))).await {
        // A type that is not on Nitro tells only what it has kept.
        Err(failure) if failure.kind == Kind::Refused => session.call(action, patience, ask(None)).await?,
        answer => answer?,
    };
    let text: String = answer.output.unwrap_or_default().split_whitespace().collect();
    match STANDARD.decode(text) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) => Err(Failure::unexpected(action, &session.region, format!("the output is no base64: {error}"))),
    }
}

/// The last lines of a console, for an error.
pub(crate) fn last_lines(console: &str) -> String {
    let lines: Vec<String> = console.lines().map(clean).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        return "its console is empty".to_owned();
    }
    let last = &lines[lines.len().saturating_sub(QUOTED_LINES)..];
    format!("the last lines of its console:\n  {}", last.join("\n  "))
}

/// A line without what would move a terminal's cursor, or colour it.
fn clean(line: &str) -> String {
    let mut clean = String::new();
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' && characters.next_if_eq(&'[').is_some() {
            // A control sequence ends with a letter or the like (ECMA-48, section 5.4).
            while characters.next().is_some_and(|part| !('@'..='~').contains(&part)) {}
        } else if !character.is_control() {
            clean.push(character);
        } else if character == '\t' {
            clean.push(' ');
        }
    }
    clean.trim_end().chars().take(QUOTED_WIDTH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_a_port_or_a_line() {
        let parse = |text: &str| text.parse::<Check>();
        assert_eq!(parse("tcp:80").unwrap(), Check::Port(80));
        assert_eq!(parse("console:ready: go").unwrap(), Check::Console("ready: go".to_owned()));
        assert_eq!(parse("tcp:80").unwrap().to_string(), "TCP port 80");
        for bad in ["", "80", "tcp:", "tcp:0", "tcp:65536", "tcp:-1", "udp:1", "console:", "console: ", "console:a\nb"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_console_is_quoted_by_its_last_lines_without_what_a_terminal_obeys() {
        assert_eq!(last_lines("\r\n\n"), "its console is empty");
        let console: String = (0..30).map(|line| format!("\u{1b}[1;31mline {line}\u{1b}[0m\r\n")).collect();
        let text = last_lines(&console);
        assert!(text.starts_with("the last lines of its console:\n  line 10\n  line 11\n"), "{text}");
        assert!(text.ends_with("\n  line 29"), "{text}");
        assert_eq!(clean("a\tb\u{7}\u{1b}[2Jc"), "a bc");
    }
}
