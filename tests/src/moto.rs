//! moto, the stand-in for AWS of others: what it understands is not what we think that AWS does. It runs in a virtual environment
//! of Python's, with boto3 to ask it.

use crate::process::{Group, guarded, run, tool};
use crate::{cache, http, port, workspace};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Where the tests publish.
pub const REGION: &str = "us-east-1";

/// How long it may take to answer after its start: Python reads the models of all that AWS does.
const START: Duration = Duration::from_secs(120);

/// Pause between two questions whether it answers.
const POLL: Duration = Duration::from_millis(100);

/// How often another port is tried when a process took one just before moto could.
const ATTEMPTS: u32 = 5;

/// What is installed, in the versions that are named there.
const REQUIREMENTS: &str = include_str!("../moto/requirements.txt");

/// A server that runs as long as this value lives.
#[derive(Debug)]
pub struct Moto {
    // In the order of dropping: the process first, its log last.
    _group: Group,
    port: u16,
    python: PathBuf,
    _directory: TempDir,
}

impl Moto {
    /// Starts one that knows of nothing yet.
    ///
    /// # Errors
    /// When it cannot be installed, or does not start, with what it wrote.
    pub fn start() -> Result<Self> {
        let python = environment()?.join("bin/python");
        let mut result = Moto::attempt(&python);
        for _ in 1..ATTEMPTS {
            match &result {
                Err(error) if error.to_string().contains("in use by another program") => {
                    result = Moto::attempt(&python);
                }
                _ => break,
            }
        }
        result
    }

    fn attempt(python: &Path) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("nanoos-moto.").tempdir().context("make a directory")?;
        let (port, log) = (port::free()?, directory.path().join("log"));
        let output = File::create(&log).context("make moto's log")?;
        let mut command = guarded(python);
        command.args(["-m", "moto.server", "-p", &port.to_string()]);
        command.stdout(output.try_clone()?).stderr(output);
        let mut group = Group::spawn(&mut command)?;
        let deadline = Instant::now() + START;
        while http::get(port, "/moto-api/").map_or(0, |response| response.status) != 200 {
            let ended = group.status()?.is_some();
            if ended || Instant::now() >= deadline {
                bail!("moto does not answer:\n{}", fs::read_to_string(&log).unwrap_or_default());
            }
            thread::sleep(POLL);
        }
        Ok(Moto { _group: group, port, python: python.to_owned(), _directory: directory })
    }

    /// Has a command talk to it, and to no AWS, whatever whoever runs the tests has set up.
    pub fn serve(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
            command.env_remove(name);
        }
        command.env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.port));
        command.env("AWS_ACCESS_KEY_ID", "testing").env("AWS_SECRET_ACCESS_KEY", "testing");
        command.env("AWS_REGION", REGION).env("AWS_DEFAULT_REGION", REGION);
        command.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
    }

    /// What EC2 tells of an image.
    ///
    /// # Errors
    /// When there is none of this id.
    pub fn image(&self, id: &str) -> Result<Value> {
        let mut images = self.ask(&["image", id])?;
        let image = images.get_mut(0).map(Value::take);
        image.with_context(|| format!("there is no image {id}"))
    }

    /// The ids of the snapshots that builder made.
    ///
    /// # Errors
    /// When moto refuses.
    pub fn snapshots(&self) -> Result<Value> {
        self.ask(&["snapshots"])
    }

    /// Lays the blocks of a snapshot over what a file holds, which becomes as long as a volume, and gives their number.
    ///
    /// # Errors
    /// When a block is not what moto tells of it; when the file can't be written.
    pub fn read_back(&self, snapshot: &str, file: &Path) -> Result<usize> {
        let file = file.to_str().context("a path that is not UTF-8")?;
        let blocks = self.ask(&["volume", snapshot, file])?;
        Ok(blocks.as_array().context("no list of blocks")?.len())
    }

    fn ask(&self, question: &[&str]) -> Result<Value> {
        let mut command = tool(&self.python, "python3-venv")?;
        command.arg(script("client.py")).args(question);
        self.serve(&mut command);
        serde_json::from_slice(&run(&mut command)?).context("read what client.py wrote")
    }
}

fn script(name: &str) -> PathBuf {
    workspace::root().join("tests/moto").join(name)
}

/// The virtual environment, made once for each version of what is in it, and of Python.
fn environment() -> Result<PathBuf> {
    let python = || tool("python3", "python3 python3-venv");
    let version = run(python()?.args(["-c", "import sys; print(sys.executable, sys.version)"]))?;
    let pinned =
        REQUIREMENTS.lines().find_map(|line| line.strip_prefix("moto")?.split_once("==")).context("no moto")?;
    cache::directory(&format!("moto-{}", pinned.1), &[REQUIREMENTS.as_bytes(), &version], |directory| {
        // Debian has it in a package of its own.
        if run(python()?.args(["-c", "import ensurepip, venv"])).is_err() {
            bail!("Python's venv is missing: apt-get install python3-venv");
        }
        run(python()?.args(["-m", "venv"]).arg(directory))?;
        // Not bin/pip: it names the directory that this one is renamed from in the end.
        let mut pip = tool(directory.join("bin/python"), "python3-venv")?;
        pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--requirement"]);
        run(pip.arg(script("requirements.txt")))
            .context("install moto from PyPI, which takes a network or a mirror (pip.conf)")?;
        Ok(())
    })
    .context("make a virtual environment with moto")
}
