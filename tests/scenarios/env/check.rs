//! The environment that a program gets is the image's, byte for byte.

use anyhow::{Result, bail, ensure};
use std::time::Duration;
use tests::scenario::{Code, Scenario};
use tests::vm::Vm;

/// For `boot.rs`.
pub(crate) const CODE: Code = Code { prepare, check };

/// Bytes of all entries together.
const TOTAL: usize = 100 * 1024;

/// What Docker adds where the image does not say it.
const ADDED: &[&str] = &["HOME=", "HOSTNAME=", "TERM="];

/// Values that a shell, a kernel command line, or a line-based file would break.
const ODD: &[&str] = &[
    "PATH=/usr/bin:/bin",
    "EMPTY=",
    "EQUALS=a=b==c=",
    "LEADING=  two spaces",
    "TRAILING=two spaces  ",
    "TABS=\ta\t",
    "NEWLINES=first\nsecond\r\n\nlast\n",
    "QUOTES=\"double\" 'single' `back`",
    "BACKSLASHES=\\ \\n \\\\",
    "SHELL_WORDS=$HOME ${HOME} $(id) ; & | > *",
    "UNICODE=Grüße, 世界 🌍 \u{202e}",
    "CONTROL=\u{1}\u{1b}[2J\u{7f}",
    "lower.with-odd/name=1",
    "SAME=first",
    "_=underscore",
];

fn prepare(scenario: &mut Scenario) -> Result<()> {
    let env = &mut scenario.image.env;
    env.extend(ODD.iter().map(|entry| (*entry).to_owned()));
    let used: usize = env.iter().map(String::len).sum();
    // Most of it in one value: the kernel takes up to 128 KiB in one string (MAX_ARG_STRLEN).
    env.push(format!("LONG={}", "long value, ".repeat((TOTAL - used) / 12)));
    Ok(())
}

fn check(vm: &mut Vm, scenario: &Scenario) -> Result<()> {
    let response = vm.wait_for_http(80, "/proc/self/environ", Duration::from_secs(180))?;
    ensure!(response.status == 200, "the probe answers {}", response.status);
    let mut entries = response.body.split(|byte| *byte == 0).filter(|entry| !entry.is_empty());
    for expected in &scenario.image.env {
        loop {
            match entries.next() {
                Some(entry) if entry == expected.as_bytes() => break,
                Some(entry) if is_added(entry) => {}
                Some(entry) => bail!("expected {expected:?}, got {:?}", String::from_utf8_lossy(entry)),
                None => bail!("{expected:?} is missing"),
            }
        }
    }
    match entries.find(|entry| !is_added(entry)) {
        Some(entry) => bail!("{:?} is not the image's", String::from_utf8_lossy(entry)),
        None => Ok(()),
    }
}

fn is_added(entry: &[u8]) -> bool {
    ADDED.iter().any(|name| entry.starts_with(name.as_bytes()))
}
