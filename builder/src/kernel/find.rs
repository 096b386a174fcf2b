//! Finds the kernel to boot: the one that was asked for, the one in the cache, or one that is built now.

use super::directory::Kernel;
use crate::cleanup::{TempDir, Tool};
use crate::embedded;
use crate::platform::Arch;
use crate::progress::Progress;
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Exit status of `kernel/build.sh --print-dir` when the cache has no kernel.
const NOT_BUILT: i32 = 3;

/// The kernel in `given`, else our own, built now if it isn't yet.
///
/// # Errors
/// When the directory has none, or the build fails.
pub fn find(given: Option<&Path>, arch: &Arch, cache: &Path, progress: &Progress) -> Result<Kernel> {
    match given {
        Some(directory) => foreign(directory, arch, cache),
        None => own(arch, cache, progress),
    }
}

/// The same, but for one that would have to be built first: `None`.
///
/// # Errors
/// When the directory has no kernel, or the cache can't be looked at.
pub fn at_hand(given: Option<&Path>, arch: &Arch, cache: &Path) -> Result<Option<Kernel>> {
    match given {
        Some(directory) => foreign(directory, arch, cache).map(Some),
        None => Script::unpack(cache)?.cached(arch)?.map(|directory| Kernel::open(&directory)).transpose(),
    }
}

/// A kernel that the user names. One without an EFI stub borrows that of our own kernel, where that is built.
fn foreign(directory: &Path, arch: &Arch, cache: &Path) -> Result<Kernel> {
    let mut kernel = Kernel::open(directory)?;
    if kernel.stub.is_none()
        && let Some(own) = Script::unpack(cache)?.cached(arch)?
    {
        kernel.stub = Kernel::open(&own)?.stub;
    }
    Ok(kernel)
}

fn own(arch: &Arch, cache: &Path, progress: &Progress) -> Result<Kernel> {
    let script = Script::unpack(cache)?;
    let directory = match script.cached(arch)? {
        Some(directory) => directory,
        None => {
            progress.step("build the kernel: this happens once and takes 6 to 12 minutes on two processors");
            script.build(arch)?
        }
    };
    Kernel::open(&directory)
}

/// `kernel/build.sh` with everything that it reads, out of this program.
struct Script {
    directory: TempDir,
    cache: PathBuf,
}

impl Script {
    fn unpack(cache: &Path) -> Result<Self> {
        let directory = TempDir::new()?;
        embedded::unpack(embedded::KERNEL, directory.path()).context("unpack the kernel's build script")?;
        Ok(Script { directory, cache: cache.to_owned() })
    }

    fn command(&self, arch: &Arch) -> Command {
        let mut command = Command::new("bash");
        command.arg(self.directory.path().join("build.sh")).args(["--arch", arch.kernel]);
        command.env("NANOOS_CACHE", &self.cache).stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }

    /// The kernel's directory if it is built.
    fn cached(&self, arch: &Arch) -> Result<Option<PathBuf>> {
        let output = self.command(arch).arg("--print-dir").output().context("start bash (apt-get install bash)")?;
        if output.status.code() == Some(NOT_BUILT) {
            return Ok(None);
        }
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            bail!("look for the kernel in the cache: {complaint}");
        }
        printed_directory(&output.stdout).map(Some)
    }

    fn build(&self, arch: &Arch) -> Result<PathBuf> {
        let mut command = self.command(arch);
        command.stderr(Stdio::inherit());
        let mut tool = Tool::spawn(&mut command)?;
        let mut output = Vec::new();
        if let Some(mut stdout) = tool.child().stdout.take() {
            std::io::Read::read_to_end(&mut stdout, &mut output).context("read what kernel/build.sh says")?;
        }
        let status = tool.wait()?;
        ensure!(
            status.success(),
            "build the kernel: kernel/build.sh ended with {status} (its messages are above); --kernel DIR takes another kernel"
        );
        printed_directory(&output)
    }
}

fn printed_directory(stdout: &[u8]) -> Result<PathBuf> {
    let text = String::from_utf8_lossy(stdout);
    let directory = PathBuf::from(text.trim_end_matches('\n'));
    ensure!(directory.is_dir(), "kernel/build.sh printed {text:?}, which is not a directory");
    Ok(directory)
}
