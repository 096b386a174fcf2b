//! A real registry on loopback, with its storage in a temporary directory.

use crate::process::{Group, guarded, run, tool};
use crate::{http, port};
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long the registry may take to answer after its start.
const START: Duration = Duration::from_secs(30);

/// Pause between two questions whether it answers.
const POLL: Duration = Duration::from_millis(50);

/// How often another port is tried when a process took one just before the registry could.
const ATTEMPTS: u32 = 5;

/// A registry that runs as long as this value lives.
#[derive(Debug)]
pub struct Registry {
    // In the order of dropping: the process first, its storage last.
    _group: Group,
    port: u16,
    _directory: TempDir,
}

impl Registry {
    /// Starts an empty registry.
    ///
    /// # Errors
    /// When docker-registry is missing or does not start, with what it wrote.
    pub fn start() -> Result<Self> {
        run(tool("docker-registry", "docker-registry")?.arg("--version"))?;
        let mut result = Registry::attempt();
        for _ in 1..ATTEMPTS {
            match &result {
                Err(error) if error.to_string().contains("address already in use") => result = Registry::attempt(),
                _ => break,
            }
        }
        result
    }

    fn attempt() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("nanoos-registry.").tempdir().context("make a directory")?;
        let (port, config, log) = (port::free()?, directory.path().join("config.yml"), directory.path().join("log"));
        fs::write(&config, configuration(port, &directory.path().join("storage"))).context("configure a registry")?;
        let output = File::create(&log).context("make a registry's log")?;
        let mut command = guarded("docker-registry");
        command.arg("serve").arg(&config).stdout(output.try_clone()?).stderr(output);
        let mut group = Group::spawn(&mut command)?;
        let deadline = Instant::now() + START;
        while http::get(port, "/v2/").map_or(0, |response| response.status) != 200 {
            let ended = group.status()?.is_some();
            if ended || Instant::now() >= deadline {
                bail!("docker-registry does not answer:\n{}", fs::read_to_string(&log).unwrap_or_default());
            }
            thread::sleep(POLL);
        }
        Ok(Registry { _group: group, port, _directory: directory })
    }

    /// Where the registry answers, as a mirror is named: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Pushes the image of an OCI layout under a name such as `library/nginx:latest`.
    ///
    /// # Errors
    /// When skopeo is missing or fails, with what it wrote.
    pub fn push(&self, layout: &Path, name: &str) -> Result<()> {
        let mut skopeo = tool("skopeo", "skopeo")?;
        skopeo.args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"]);
        skopeo.arg(format!("oci:{}:latest", layout.display()));
        skopeo.arg(format!("docker://127.0.0.1:{}/{name}", self.port));
        run(&mut skopeo).with_context(|| format!("push {name}"))?;
        Ok(())
    }
}

/// JSON is YAML, and takes care of every character in the path.
fn configuration(port: u16, storage: &Path) -> String {
    serde_json::json!({
        "version": "0.1",
        "log": { "level": "warn", "accesslog": { "disabled": true } },
        "storage": { "filesystem": { "rootdirectory": storage } },
        "http": { "addr": format!("127.0.0.1:{port}") },
    })
    .to_string()
}
