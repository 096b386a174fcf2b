//! What is said at the end of a build.

use crate::qemu::Forward;
use anyhow::{Context, Result};
use builder::build::Machine;
use builder::manifest::RunConfig;
use builder::output::Output;
use builder::progress::Progress;
use serde::Serialize;
use std::io::Write;
use std::path::Path;

/// A port of a program that is none of the system's, for one that is: Linux lets only root have those below.
const UNPRIVILEGED: u16 = 1024;
/// Added to a privileged port: 80 becomes 8080, and 443 becomes 8443.
const SHIFT: u16 = 8000;

/// The result, as --json has it.
#[derive(Debug, Serialize)]
pub(crate) struct Built {
    /// Where it lies.
    path: String,
    format: String,
    /// In bytes.
    size: u64,
    /// Digest of the image's configuration, Docker's image ID.
    image: String,
    /// Digest of the image's manifest, where it has one.
    manifest: Option<String>,
    platform: String,
    /// The kernel's release.
    kernel: String,
    /// Seconds.
    elapsed: f64,
    warnings: Vec<String>,
}

impl Built {
    pub(crate) fn new(machine: &Machine, output: &Output, size: u64, progress: &Progress) -> Self {
        Built {
            path: output.path.display().to_string(),
            format: output.format.to_string(),
            size,
            image: machine.container.id.to_string(),
            manifest: machine.container.manifest.map(|digest| digest.to_string()),
            platform: machine.platform.to_string(),
            kernel: machine.kernel.release.clone(),
            elapsed: (progress.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
            warnings: progress.warnings(),
        }
    }

    pub(crate) fn json(&self) -> Result<String> {
        serde_json::to_string(self).context("write the result as JSON")
    }
}

/// Writes to standard output. A reader that had enough is no failure.
pub(crate) fn print(text: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("write the result to standard output")
        }
        _ => Ok(()),
    }
}

/// The command that boots a disk here, with its ports at hand.
pub(crate) fn how_to_boot(disk: &Path, config: &RunConfig) -> String {
    let mut words = vec!["builder run".to_owned(), path_word(disk)];
    words.extend(forwards(config).iter().map(|port| format!("-p {port}")));
    words.join(" ")
}

/// Ports of this machine for those that the image exposes (`80/tcp`).
fn forwards(config: &RunConfig) -> Vec<Forward> {
    let forward = |exposed: &String| {
        let (port, protocol) = exposed.split_once('/').unwrap_or((exposed, "tcp"));
        let guest: u16 = port.parse().ok().filter(|port| *port > 0)?;
        let host = if guest < UNPRIVILEGED { guest + SHIFT } else { guest };
        matches!(protocol, "tcp" | "udp").then_some(Forward { host, guest, udp: protocol == "udp" })
    };
    config.exposed_ports.keys().filter_map(forward).collect()
}

/// A path as a shell takes it, and `builder` takes it for a path.
pub(super) fn path_word(path: &Path) -> String {
    let path = path.display().to_string();
    shell_word(&if path.starts_with(['/', '.']) { path } else { format!("./{path}") })
}

/// A word as a shell takes it.
pub(super) fn shell_word(word: &str) -> String {
    if is_plain(word) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// Whether a word means itself to every shell.
pub(super) fn is_plain(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+:@,=%".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_boots_a_disk_can_be_pasted_into_a_shell() {
        let ports = ["80/tcp", "443", "53/udp", "9000/tcp", "7/sctp", "0/tcp", "a"];
        let exposed_ports = ports.iter().map(|port| ((*port).to_owned(), serde_json::json!({}))).collect();
        let config = RunConfig { exposed_ports, ..RunConfig::default() };
        assert_eq!(
            how_to_boot(Path::new("nginx.raw"), &config),
            "builder run ./nginx.raw -p 8443:443 -p 8053:53/udp -p 8080:80 -p 9000:9000"
        );
        let odd = how_to_boot(Path::new("/a b/it's.raw"), &RunConfig::default());
        assert_eq!(odd, r"builder run '/a b/it'\''s.raw'");
    }
}
