//! Standard output and error, as they reach the console.

use nix::errno::Errno;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, Write, stderr, stdout};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

/// Lines that are written at once, and the pause after them: some 25 KB a second, which a serial line under emulation takes.
const BURST: u32 = 20;
const PAUSE: Duration = Duration::from_millis(10);

/// What a program that logs a lot writes at once.
const BLOCK: usize = 64 << 10;
const LINE: usize = 64;
/// The rate that must hold, in bytes per second, and for how long.
const RATE: usize = 50_000_000;
const SECONDS: usize = 3;

/// Writes numbered lines, every tenth to standard error, and an end without a newline.
pub(crate) fn lines(count: &str) -> io::Result<()> {
    let count: u32 = count.parse().map_err(io::Error::other)?;
    for number in 1..=count {
        match number % 10 {
            0 => writeln!(stderr(), "error {number}")?,
            _ => writeln!(stdout(), "line {number}")?,
        }
        if number % BURST == 0 {
            thread::sleep(PAUSE);
        }
    }
    write!(stdout(), "no newline after this")?;
    stdout().flush()
}

/// Writes the same blocks of lines to a file in memory and to a console that stands still, each at 50 MB/s as far as it
/// goes, and says how long each took.
pub(crate) fn flood() -> io::Result<()> {
    let line = format!("{}\n", "x".repeat(LINE - 1));
    let block = line.repeat(BLOCK / LINE).into_bytes();
    let path = "/dev/shm/flood";
    let to_file = write_blocks(File::create(path)?, &block)?;
    fs::remove_file(path)?;
    // Not through the standard library's buffer of lines.
    let console = OpenOptions::new().write(true).open("/dev/console")?;
    flow(&console, nix::libc::TCOOFF)?;
    let to_console = write_blocks(OpenOptions::new().write(true).open("/dev/stdout")?, &block)?;
    flow(&console, nix::libc::TCOON)?;
    println!("flood: {} MB: file {to_file} ms, console {to_console} ms", RATE * SECONDS / 1_000_000);
    Ok(())
}

/// Has a terminal stand still, or go on (tcflow(3)). An emulated serial line is fast, and costs the processor more than it
/// costs a real one: at full speed it would be what is measured.
fn flow(terminal: &File, action: i32) -> io::Result<()> {
    // SAFETY: tcflow(3) takes two numbers.
    Ok(Errno::result(unsafe { nix::libc::tcflow(terminal.as_raw_fd(), action) }).map(drop)?)
}

fn write_blocks(mut file: File, block: &[u8]) -> io::Result<u128> {
    let start = Instant::now();
    let mut written = 0;
    while written < RATE * SECONDS {
        let due = Duration::from_micros((written / (RATE / 1_000_000)) as u64);
        thread::sleep(due.saturating_sub(start.elapsed()));
        let _ = file.rewind(); // a file stays small; a pipe has no start to go back to
        file.write_all(block)?;
        written += block.len();
    }
    Ok(start.elapsed().as_millis())
}

/// Opens a file for writing, as a shell's `>` does, and writes a line.
pub(crate) fn print(path: &str, text: &[&str]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).truncate(true).open(path)?;
    file.write_all(format!("{}\n", text.join(" ")).as_bytes())
}

/// Opens a file for writing, as a shell's `>>` does, and writes a line.
pub(crate) fn append(path: &str, text: &[&str]) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).open(path)?;
    writeln!(file, "{}", text.join(" "))
}

/// Writes this many MiB of nothing over a disk, into the kernel's memory: to the disk itself they go later.
pub(crate) fn dirty(path: &str, mib: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    let mib: usize = mib.parse().map_err(io::Error::other)?;
    for _ in 0..mib {
        file.write_all(&[1; 1 << 20])?;
    }
    // Closed, it would be written out.
    std::mem::forget(file);
    Ok(())
}
