//! What must not outlive this program: temporary files and running tools. Guards remove them on every ordinary way out,
//! and [`install`] does on Ctrl-C, SIGTERM and SIGHUP, where no guard runs.

use anyhow::{Context, Result};
use project::packing::UNFINISHED;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tempfile::NamedTempFile;

/// Exit status of a program that Ctrl-C ended, by the shells' convention: 128 and the signal's number.
const INTERRUPTED: i32 = 130;
/// Between SIGTERM and SIGKILL: a tool of ours has removed its temporary files by then.
const GRACE: Duration = Duration::from_secs(5);
/// Between two looks at whether a tool has ended.
const POLL: Duration = Duration::from_millis(20);

struct Registry {
    paths: BTreeSet<PathBuf>,
    tools: BTreeSet<i32>,
    /// A tool that decides what Ctrl-C means, and with which this program ends.
    foreground: Option<i32>,
    /// What else is to be done, by a number.
    acts: BTreeMap<u64, Act>,
    next_act: u64,
}

/// Something that is done when this program is interrupted.
type Act = Box<dyn FnOnce() + Send>;

static REGISTRY: Mutex<Registry> = Mutex::new(Registry {
    paths: BTreeSet::new(),
    tools: BTreeSet::new(),
    foreground: None,
    acts: BTreeMap::new(),
    next_act: 0,
});

/// The registry, whatever happened to the thread that held it last: its sets are whole between any two calls.
fn registry() -> MutexGuard<'static, Registry> {
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes Ctrl-C, SIGTERM and SIGHUP stop the tools and remove the temporary files before they end this program.
///
/// # Errors
/// When the handler can't be set up, as when it is called twice.
pub fn install() -> Result<()> {
    ctrlc::set_handler(|| {
        // Held until the end, so that no other thread starts anything meanwhile.
        let mut registry = registry();
        if let Some(tool) = registry.foreground {
            signal(tool, Signal::INT);
            return;
        }
        for tool in &registry.tools {
            signal(*tool, Signal::TERM);
        }
        for path in &registry.paths {
            remove(path);
        }
        for (_, act) in std::mem::take(&mut registry.acts) {
            act();
        }
        std::process::exit(INTERRUPTED);
    })
    .context("set up the handling of Ctrl-C")
}

fn signal(tool: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(tool) {
        // It may have ended by itself in this moment, which is as good.
        let _ = kill_process(pid, signal);
    }
}

fn remove(path: &Path) {
    // There is nobody left to tell: this runs while the program ends.
    let _ = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
}

/// Has something done when this program is interrupted, as long as what this returns lives. It must come to an end, and use none of
/// this module's guards: they wait for it.
#[must_use]
pub fn on_interrupt(act: impl FnOnce() + Send + 'static) -> OnInterrupt {
    let mut registry = registry();
    let number = registry.next_act;
    registry.next_act += 1;
    registry.acts.insert(number, Box::new(act));
    OnInterrupt(number)
}

/// What [`on_interrupt`] was told; dropped, it is not done any more.
#[derive(Debug)]
pub struct OnInterrupt(u64);

impl Drop for OnInterrupt {
    fn drop(&mut self) {
        registry().acts.remove(&self.0);
    }
}

/// A file with a temporary name, removed unless it is given its own. Only its owner may read and write it, if the umask lets
/// even that.
#[derive(Debug)]
pub struct TempFile(Option<NamedTempFile>, PathBuf);

impl TempFile {
    /// An empty file in `directory`, from where it can be renamed without copying.
    ///
    /// # Errors
    /// When it can't be created there.
    pub fn new_in(directory: &Path) -> Result<Self> {
        let mut registry = registry();
        let file = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempfile_in(directory)
            .with_context(|| format!("create a temporary file in {}", directory.display()))?;
        let path = file.path().to_owned();
        registry.paths.insert(path.clone());
        Ok(TempFile(Some(file), path))
    }

    /// Where it lies for now.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.1
    }

    /// The open file once more. All that this gives share one place in the file.
    ///
    /// # Errors
    /// When there can be no more open files.
    pub fn file(&self) -> Result<File> {
        let file = self.0.as_ref().context("the temporary file has its name already")?;
        file.as_file().try_clone().with_context(|| format!("open {}", self.1.display()))
    }

    /// Gives it its name in one step, once its content is on the disk.
    ///
    /// # Errors
    /// When the content can't be written out or the file not be renamed.
    pub fn persist(self, path: &Path) -> Result<()> {
        if let Some(file) = &self.0 {
            file.as_file().sync_all().with_context(|| format!("write out {}", path.display()))?;
        }
        self.rename(path)
    }

    /// As [`TempFile::persist`], for what is verified when it is read: it is not waited for the disk.
    ///
    /// # Errors
    /// When the file can't be renamed.
    pub fn rename(mut self, path: &Path) -> Result<()> {
        let Some(file) = self.0.take() else { return Ok(()) };
        file.persist(path)
            .map_err(|error| error.error)
            .with_context(|| format!("rename a temporary file to {}", path.display()))?;
        Ok(())
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        drop(self.0.take());
        registry().paths.remove(&self.1);
    }
}

/// A directory that is removed with all that is in it.
#[derive(Debug)]
pub struct TempDir(tempfile::TempDir);

impl TempDir {
    /// An empty directory in the system's place for temporary files.
    ///
    /// # Errors
    /// When it can't be created there.
    pub fn new() -> Result<Self> {
        let mut registry = registry();
        let dir = tempfile::Builder::new().prefix("nanoos-").tempdir().context("create a temporary directory")?;
        registry.paths.insert(dir.path().to_owned());
        Ok(TempDir(dir))
    }

    /// An empty directory in `directory`, which is made where it is missing.
    ///
    /// # Errors
    /// When it can't be created there.
    pub fn new_in(directory: &Path) -> Result<Self> {
        let shown = || format!("create a temporary directory in {}", directory.display());
        std::fs::create_dir_all(directory).with_context(shown)?;
        let mut registry = registry();
        let dir = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(directory).with_context(shown)?;
        registry.paths.insert(dir.path().to_owned());
        Ok(TempDir(dir))
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        registry().paths.remove(self.0.path());
    }
}

/// A running tool, ended when this is dropped.
#[derive(Debug)]
pub struct Tool(Child);

impl Tool {
    /// Starts a tool.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let mut registry = registry();
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().with_context(|| format!("start {name}"))?;
        registry.tools.insert(child.id().cast_signed());
        Ok(Tool(child))
    }

    /// Starts a tool that decides what Ctrl-C means from now on, while this program only waits for it. Each Ctrl-C,
    /// SIGTERM or SIGHUP is handed on to it as one Ctrl-C: it gets a process group of its own, so that the terminal does
    /// not send it a second one.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn spawn_in_charge(command: &mut Command) -> Result<Self> {
        let tool = Tool::spawn(command.process_group(0))?;
        registry().foreground = Some(tool.0.id().cast_signed());
        Ok(tool)
    }

    /// Its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When the system can't tell.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let status = self.0.wait().context("wait for a tool");
        self.forget();
        status
    }

    /// The same, for so long at most; `None` if it still runs then.
    ///
    /// # Errors
    /// When the system can't tell.
    pub fn wait_until(&mut self, deadline: Instant) -> Result<Option<ExitStatus>> {
        loop {
            let status = self.0.try_wait().context("wait for a tool")?;
            if status.is_some() {
                // Its number may become another program's now, which Ctrl-C is not to end.
                self.forget();
                return Ok(status);
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            // Its end is no event that std can wait for with a deadline.
            std::thread::sleep(POLL);
        }
    }

    fn forget(&self) {
        let id = self.0.id().cast_signed();
        let mut registry = registry();
        registry.tools.remove(&id);
        if registry.foreground == Some(id) {
            registry.foreground = None;
        }
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            signal(self.0.id().cast_signed(), Signal::TERM);
            if !matches!(self.wait_until(Instant::now() + GRACE), Ok(Some(_))) {
                // Helpers are the user's, and may ignore SIGTERM.
                let _ = self.0.kill();
                let _ = self.0.wait();
            }
        }
        self.forget();
    }
}
