//! What writes cost, where they are memory.

use crate::report::kernel::{check, set_xattr};
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork};
use std::ffi::CString;
use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};
use std::{io, process};

const MIB: u64 = 1 << 20;
/// How long a file system may take to grow.
const PATIENCE: Duration = Duration::from_secs(10);
const NOBODY: u32 = 65534;
const MODE: u32 = 0o640;

/// Prints how much a file system holds.
pub(crate) fn space(path: &str) -> io::Result<()> {
    let all = statistics(path)?;
    println!("space: {path} {} MiB, {} files", all.f_blocks * all.f_frsize / MIB, all.f_files);
    Ok(())
}

/// Waits, not for ever, until a file system may hold so many files, and prints what it holds.
pub(crate) fn grown(path: &str, files: &str) -> io::Result<()> {
    let files: u64 = files.parse().map_err(io::Error::other)?;
    let deadline = Instant::now() + PATIENCE;
    while statistics(path)?.f_files < files && Instant::now() < deadline {
        sleep(Duration::from_millis(20));
    }
    space(path)
}

/// Gives nobody everything in a directory, with another mode, time and attribute, and says what was written for it.
pub(crate) fn own(path: &str) -> io::Result<()> {
    let before = used(path)?;
    let files = own_tree(Path::new(path))?;
    println!("own: {path}, {files} files, {} MiB written", used(path)?.saturating_sub(before) / MIB);
    Ok(())
}

fn own_tree(path: &Path) -> io::Result<u64> {
    let before = path.symlink_metadata()?;
    if before.is_dir() {
        let mut files = 0;
        for entry in fs::read_dir(path)? {
            files += own_tree(&entry?.path())?;
        }
        std::os::unix::fs::lchown(path, Some(NOBODY), Some(NOBODY))?;
        return Ok(files);
    }
    std::os::unix::fs::lchown(path, Some(NOBODY), Some(NOBODY))?;
    fs::set_permissions(path, Permissions::from_mode(MODE))?;
    File::open(path)?.set_times(FileTimes::new().set_modified(SystemTime::UNIX_EPOCH))?;
    set_xattr(&path.to_string_lossy(), "user.probe", b"1")?;
    let after = path.symlink_metadata()?;
    let expected = (NOBODY, NOBODY, MODE, 0, before.len());
    if (after.uid(), after.gid(), after.mode() & 0o7777, after.mtime(), after.len()) != expected {
        return Err(io::Error::other(format!("{} is now {after:?}", path.display())));
    }
    Ok(1)
}

/// Makes empty files in a directory, and says how many there could be.
pub(crate) fn files(directory: &str, count: &str) -> io::Result<()> {
    let count: u64 = count.parse().map_err(io::Error::other)?;
    fs::create_dir_all(directory)?;
    for number in 0..count {
        if let Err(error) = File::create(format!("{directory}/{number}")) {
            println!("files: {directory} takes {number}, then: {error}");
            return Ok(());
        }
    }
    println!("files: {directory} takes {count}");
    Ok(())
}

/// Has a child take memory and crash, and says what that has written to the working directory.
pub(crate) fn worker(mib: &str) -> io::Result<()> {
    let mib: u64 = mib.parse().map_err(io::Error::other)?;
    let before = used(".")?;
    // SAFETY: this process has one thread.
    match unsafe { fork() }? {
        ForkResult::Child => {
            let memory = vec![1_u8; usize::try_from(mib * MIB).map_err(io::Error::other)?];
            std::hint::black_box(&memory);
            process::abort();
        }
        ForkResult::Parent { child } => {
            let status = waitpid(child, None)?;
            let how =
                if format!("{status:?}").contains(Signal::SIGABRT.as_str()) { "crashed" } else { "did not crash" };
            println!("worker: {how}, {} MiB written", used(".")?.saturating_sub(before) / MIB);
        }
    }
    Ok(())
}

/// Lets core files be as large as the hard limit has it.
pub(crate) fn allow_cores() -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: it is a limit, to read into.
    check(unsafe { libc::getrlimit(libc::RLIMIT_CORE, &raw mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: it is a limit, to read from.
    check(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const limit) })?;
    Ok(())
}

fn used(path: &str) -> io::Result<u64> {
    let all = statistics(path)?;
    Ok((all.f_blocks - all.f_bfree) * all.f_frsize)
}

fn statistics(path: &str) -> io::Result<libc::statvfs> {
    let path = CString::new(path)?;
    // SAFETY: all of its fields are numbers.
    let mut all: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: a string that ends, and room for the answer.
    check(unsafe { libc::statvfs(path.as_ptr(), &raw mut all) })?;
    Ok(all)
}
