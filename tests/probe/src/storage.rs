//! Where writes and swap go.

use std::fs;
use std::io;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Waits for swap, and prints its kind of device and its size in KiB; or that there is none.
pub(crate) fn swap(seconds: &str) -> io::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(seconds.parse().map_err(io::Error::other)?);
    loop {
        let swaps = fs::read_to_string("/proc/swaps")?;
        if let Some(line) = swaps.lines().nth(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            println!("swap {} {} KiB", words[0], words[2]);
            return Ok(());
        }
        if Instant::now() >= deadline {
            println!("no swap");
            return Ok(());
        }
        sleep(Duration::from_millis(100));
    }
}

/// Tries to make a file, and says how that went.
pub(crate) fn write(path: &str) {
    match fs::write(path, "written") {
        Ok(()) => println!("wrote {path}"),
        Err(error) => println!("cannot write {path}: {error}"),
    }
}

/// Prints the options of the mount at a path, and the size that it says it has in MiB.
pub(crate) fn mount(path: &str) -> io::Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    // The last one covers the others.
    let line = mounts.lines().rev().find(|line| line.split(' ').nth(1) == Some(path));
    println!("mount {}", line.unwrap_or("none"));
    Ok(())
}

/// Says whether the kernel knows a file system. mount(2) has it ask for a module first, and fails here in any case.
pub(crate) fn knows(name: &str) {
    let result = nix::mount::mount(None::<&str>, "/", Some(name), nix::mount::MsFlags::empty(), None::<&str>);
    println!("{name} is {}", if result == Err(nix::errno::Errno::ENODEV) { "unknown" } else { "known" });
}
