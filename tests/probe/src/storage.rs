//! Where writes and swap go.

use std::fs;
use std::io;
use std::path::Path;
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

/// Mounts the ext4 of an NVMe disk, known by its serial number, in a directory that is made for it.
pub(crate) fn attach(serial: &str, path: &str) -> io::Result<()> {
    let is_it = |disk: &fs::DirEntry| {
        let known = fs::read_to_string(disk.path().join("device/serial"));
        known.is_ok_and(|known| known.trim() == serial)
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    let disk = loop {
        match fs::read_dir("/sys/block")?.flatten().find(is_it) {
            Some(disk) => break disk,
            None if Instant::now() >= deadline => return Err(io::Error::other("no such disk")),
            // Programs do not wait for it: its driver may still be at it.
            None => sleep(Duration::from_millis(100)),
        }
    };
    let device = Path::new("/dev").join(disk.file_name());
    fs::create_dir(path)?;
    nix::mount::mount(Some(&device), path, Some("ext4"), nix::mount::MsFlags::empty(), None::<&str>)?;
    Ok(())
}

/// Says whether the kernel knows a file system. mount(2) has it ask for a module first, and fails here in any case.
pub(crate) fn knows(name: &str) {
    let result = nix::mount::mount(None::<&str>, "/", Some(name), nix::mount::MsFlags::empty(), None::<&str>);
    println!("{name} is {}", if result == Err(nix::errno::Errno::ENODEV) { "unknown" } else { "known" });
}
