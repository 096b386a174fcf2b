//! Takes all there is: memory, space, processes.

use nix::unistd::{ForkResult, fork};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::process;
use std::thread;
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;
/// How often the orphans are counted.
const POLL: Duration = Duration::from_millis(5);
/// Processes that come and go beside the orphans, at most; a few of a thousand orphans do not matter.
const STRANGERS: usize = 50;
/// How long it may take until they are gone.
const PATIENCE: Duration = Duration::from_secs(120);

/// Takes memory, and touches it, until the kernel ends it.
pub(crate) fn memory() -> ! {
    let mut taken = Vec::new();
    loop {
        taken.push(vec![1_u8; MIB]);
    }
}

/// Writes a file until it may not be longer, says so, and removes it.
pub(crate) fn fill(path: &str) -> io::Result<()> {
    let mut file = File::create(path)?;
    let block = vec![1; MIB];
    let mut written = 0;
    let error = loop {
        match file.write(&block) {
            Ok(count) => written += count,
            Err(error) => break error,
        }
    };
    println!("fill: {path} takes {} MiB, then: {error}", written / MIB);
    drop(file);
    fs::remove_file(path)
}

/// How many children of its own the probe reaps to know how long that takes on this machine.
const CHILDREN: usize = 2000;

/// Leaves many children to PID 1, has them end all at once, and says how long it took until they were reaped: of the
/// time that a parent takes for as many which does nothing else.
pub(crate) fn orphans(count: &str) -> io::Result<()> {
    let count: usize = count.parse().map_err(io::Error::other)?;
    let yardstick = children(CHILDREN)?;
    let before = processes()?;
    let (mut ready, mut orphan_s_ready) = io::pipe()?;
    let (mut gate, gate_keeper) = io::pipe()?;
    // SAFETY: this process has one thread.
    if let ForkResult::Child = unsafe { fork() }? {
        drop(gate_keeper);
        for _ in 0..count {
            // SAFETY: as above.
            if let ForkResult::Child = unsafe { fork() }? {
                let _ = orphan_s_ready.write_all(&[0]);
                drop(orphan_s_ready);
                let _ = gate.read(&mut [0]); // until nobody holds its other end
                process::exit(0);
            }
        }
        process::exit(0);
    }
    drop(gate);
    drop(orphan_s_ready);
    let mut bytes = vec![0; count];
    ready.read_exact(&mut bytes)?;
    println!("orphans: {count} wait");
    let start = Instant::now();
    drop(gate_keeper);
    // Their parent is a zombie of ours, and the kernel may have started threads of its own meanwhile.
    while processes()? > before + STRANGERS {
        if start.elapsed() > PATIENCE {
            return Err(io::Error::other(format!("{} processes are left", processes()?)));
        }
        thread::sleep(POLL);
    }
    let took = start.elapsed();
    let (each, at_best) = (took.as_micros() / count.max(1) as u128, yardstick.as_micros() / CHILDREN as u128);
    println!("orphans: {count} ended and reaped within {} ms, {each} us each", took.as_millis());
    println!("orphans: {} percent of what a parent takes, {at_best} us each", each * 100 / at_best.max(1));
    Ok(())
}

/// How long it takes until so many children of this process have ended at once, and are reaped.
fn children(count: usize) -> io::Result<Duration> {
    let (mut gate, gate_keeper) = io::pipe()?;
    for _ in 0..count {
        // SAFETY: this process has one thread.
        if let ForkResult::Child = unsafe { fork() }? {
            drop(gate_keeper);
            let _ = gate.read(&mut [0]); // until nobody holds its other end
            process::exit(0);
        }
    }
    let start = Instant::now();
    drop(gate_keeper);
    for _ in 0..count {
        nix::sys::wait::wait()?;
    }
    Ok(start.elapsed())
}

/// The number of all processes, zombies too: the fourth field of /proc/loadavg is `RUNNING/ALL` (proc(5)).
fn processes() -> io::Result<usize> {
    let text = fs::read_to_string("/proc/loadavg")?;
    let all = text.split([' ', '/']).nth(4).and_then(|all| all.parse().ok());
    all.ok_or_else(|| io::Error::other("/proc/loadavg is not as expected"))
}

/// Every process makes more of itself, for ever.
pub(crate) fn fork_bomb() -> ! {
    println!("fork-bomb: lit");
    loop {
        // SAFETY: this process has one thread. A failure is what a bomb meets in the end; it goes on.
        let _ = unsafe { fork() };
    }
}
