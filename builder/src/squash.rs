//! Makes the root file system: the merged tree as a squashfs, through mksquashfs(1).

use crate::cleanup::{TempFile, Tool};
use crate::digest::Digest;
use crate::flatten::Layer;
use crate::flatten::stream::{Plan, StreamError, stream};
use crate::progress::Progress;
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

/// zstd's level. Measured on 160 MB of Debian's files with two processors: level 3 takes 0.6 s and gives 53 MB, 9 takes 1.6 s for
/// 52 MB, 15 (mksquashfs' own) takes 9.3 s for 49 MB. Reading is equally fast at every level.
const LEVEL: &str = "9";
/// Bytes of a data block.
const BLOCK: &str = "128K";
/// Bytes that are handed to mksquashfs at once: a Linux pipe's default capacity.
const PIPE: usize = 64 * 1024;

/// A squashfs in a temporary file.
#[derive(Debug)]
pub struct Squashed {
    /// The file.
    pub file: TempFile,
    /// Its length in bytes.
    pub len: u64,
    /// Its digest.
    pub digest: Digest,
}

/// Squashes the planned tree into a temporary file in `directory`.
///
/// # Errors
/// When a layer can't be read, or mksquashfs fails, with its own words.
pub fn squash(plan: &Plan, layers: &[Layer], directory: &Path, progress: &Progress) -> Result<Squashed> {
    let file = TempFile::new_in(directory)?;
    let mut tool = Tool::spawn(&mut mksquashfs(file.path(), plan.newest))?;
    let stderr = tool.child().stderr.take().context("mksquashfs has no standard error")?;
    let words = thread::spawn(move || last_words(stderr));
    let stdin = tool.child().stdin.take().context("mksquashfs has no standard input")?;
    let bar = progress.bytes("squash", plan.content_bytes);
    let streamed = stream(plan, layers, BufWriter::with_capacity(PIPE, stdin), &bar)
        .and_then(|mut pipe| pipe.flush().map_err(StreamError::Write));
    if let Err(StreamError::Layer(error)) = streamed {
        return Err(error.into()); // dropping the tool ends it
    }
    let status = tool.wait()?;
    let words = words.join().unwrap_or_default();
    if !status.success() {
        bail!("mksquashfs ended with {status}: {words}");
    }
    // It ended well and yet did not read to the end: not a thing that it does.
    streamed.context("hand the tree to mksquashfs")?;
    drop(bar);
    let squashed = File::open(file.path()).context("open the squashfs")?;
    let len = squashed.metadata().context("read the squashfs")?.len();
    let digest = Digest::of_reader(squashed).context("read the squashfs")?;
    Ok(Squashed { file, len, digest })
}

/// Every option that keeps the bytes a function of the tree alone is given here, and none is left to the environment.
///
/// `newest` is the latest time in the tree. As SOURCE_DATE_EPOCH it becomes the time of the file system and, since later
/// times are cut to it and no others are, that of the root directory, which would otherwise be now: mksquashfs 4.5 takes no root
/// directory from a tar, and ignores `-root-time` with one.
fn mksquashfs(out: &Path, newest: i64) -> Command {
    let mut command = Command::new("mksquashfs");
    command.arg("-").arg(out);
    command.args(["-tar", "-noappend", "-no-progress", "-quiet", "-no-recovery"]);
    command.args(["-comp", "zstd", "-Xcompression-level", LEVEL, "-b", BLOCK]);
    // The export table is for NFS servers.
    command.arg("-no-exports");
    // Why it is 0755 and root's, flatten's documentation tells.
    command.args(["-root-mode", "0755", "-root-uid", "0", "-root-gid", "0"]);
    command.env("SOURCE_DATE_EPOCH", newest.to_string());
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// The last lines of what a tool says, on one line. All of it is read, so that the tool never waits for us.
fn last_words(mut stderr: impl Read) -> String {
    const KEPT: usize = 4096;
    let mut kept = Vec::new();
    let mut buffer = [0; KEPT];
    loop {
        match stderr.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                kept.extend_from_slice(&buffer[..read]);
                kept.drain(..kept.len().saturating_sub(KEPT));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break, // its exit status tells the rest
        }
    }
    let text = String::from_utf8_lossy(&kept);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(3)..].join("; ")
}
