//! Swap on the ephemeral volume of the image: wiped at every boot, encrypted with a key that only the kernel holds.
//!
//! Nothing that holds data is ever written: a volume becomes swap only if it is the very one that the image names
//! ([`volume`]), and bears our mark at both of its ends or holds nothing but zeros ([`mark`]). In doubt there is no
//! swap: that is an inconvenience, a lost volume is a disaster.
//!
//! To look at a whole blank volume takes seconds. A child of init does it, beside the application and with less right
//! to the processor; the device it makes and what it swaps to are the kernel's, and stay when it ends.

pub mod mapper;
pub mod mark;
pub mod volume;

use crate::drivers::Drivers;
use crate::errand::Errand;
use crate::log::OrWarn;
use crate::sys::block;
use crate::{error, info, warn};
use anyhow::{Context, Result};
use initramfs::image::Swap;
use initramfs::swap_mark;
use mark::{Extent, Ours};
use nix::unistd::Pid;
use rustix::fs::OFlags;
use rustix::process::WaitStatus;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, PipeWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// What a kernel may have as modules that mapping and encrypting need.
const MODULES: &[&str] = &["dm_mod", "dm_crypt", "xts", "ecb", "aesni_intel", "aes_generic"];

/// The least right to the processor that a process can have (setpriority(2)).
const LEAST: i32 = 19;

/// How long disks may take to say whether they are the volume, until the console names the one that does not.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest report: a name for each disk.
const LONGEST: usize = 64 << 10;

/// A page, which is where the header of swap ends (`union swap_header` of `linux/swap.h`).
const PAGE: usize = 4096;

/// What an attempt of the child came to: its exit status.
const ON: i32 = 0;
const ABSENT: i32 = 3;
const REFUSED: i32 = 4;

/// The machine's swap, through its life.
#[derive(Debug)]
pub struct SwapSpace {
    wanted: Option<Swap>,
    state: State,
    /// The child that is at work, until it has found the volume, and when the console is to say that it has not. Its
    /// report names the disks that it asks.
    search: Option<(Errand, Instant)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The application is not running yet, or there is nothing to do any more.
    Idle,
    /// The volume was not there when it was last looked for.
    Absent,
    /// A child is at work. `again`: a disk has appeared since it looked.
    Preparing { child: Pid, again: bool },
    /// In use.
    On,
}

impl SwapSpace {
    /// Swap as the image wants it; nothing happens yet.
    #[must_use]
    pub fn new(wanted: Option<Swap>) -> Self {
        SwapSpace { wanted, state: State::Idle, search: None }
    }

    /// Starts to prepare the swap.
    pub fn begin(&mut self) {
        if self.wanted.is_some() {
            self.look();
        }
    }

    /// The modules that it may need.
    #[must_use]
    pub fn modules(&self) -> &'static [&'static str] {
        if self.wanted.is_some() { MODULES } else { &[] }
    }

    /// A disk has appeared: it may be the one.
    pub fn on_disk(&mut self) {
        match &mut self.state {
            State::Absent => self.look(),
            // The child may have listed the disks before.
            State::Preparing { again, .. } => *again = true,
            State::Idle | State::On => {}
        }
    }

    /// The machine ends. Gives a child that is at work; what it has begun to mark is still nobody's.
    pub fn stop(&mut self) -> Option<Pid> {
        self.wanted = None;
        self.search = None;
        match self.state {
            State::Preparing { child, .. } => Some(child),
            _ => None,
        }
    }

    /// When [`SwapSpace::on_time`] wants to be called.
    #[must_use]
    pub fn wake(&self) -> Option<Instant> {
        self.search.as_ref().map(|(_, due)| *due)
    }

    /// Names a disk that does not say whether it is the swap volume.
    pub fn on_time(&mut self) {
        let Some((mut search, _)) = self.search.take_if(|(_, due)| Instant::now() >= *due) else { return };
        search.on_readable();
        if !search.is_over() {
            let report = String::from_utf8_lossy(search.report());
            let disk = report.lines().next_back().unwrap_or("a module that it needs");
            error!("swap: {disk} has not answered for {} s: the volume is not found yet", PATIENCE.as_secs());
        }
    }

    /// Takes note of the end of a child, if it was this one's. Gives whether there is swap now that was not before.
    pub fn on_end(&mut self, ended: Pid, status: WaitStatus) -> bool {
        let (State::Preparing { child, again }, Some(swap)) = (self.state, &self.wanted) else { return false };
        if ended != child {
            return false;
        }
        self.search = None;
        self.state = match status.exit_status() {
            Some(ON) => State::On,
            Some(ABSENT) if again => {
                self.look();
                return false;
            }
            Some(ABSENT) => {
                warn!("swap: no volume says that it is {}: the machine runs without swap", swap.device);
                State::Absent
            }
            // The child has said why.
            _ => State::Idle,
        };
        self.state == State::On
    }

    fn look(&mut self) {
        let Some(swap) = &self.wanted else { return };
        let child =
            Errand::start(LONGEST, |pipe| attempt(swap, pipe)).context("start a process for it").or_warn("swap");
        self.state = child.as_ref().map_or(State::Idle, |child| State::Preparing { child: child.pid, again: false });
        self.search = child.map(|child| (child, Instant::now() + PATIENCE));
    }
}

/// In the child: the whole way from a volume to swap. It tells the disks that it asks, and that it has found the
/// volume.
fn attempt(swap: &Swap, mut asked: PipeWriter) -> i32 {
    // In init's group it would have more right to the processor than the application, however nice it is.
    crate::cgroup::leave_init();
    let start = Instant::now();
    // A volume that appears later finds them loaded: the child that closes the door to modules loads them before.
    Drivers::open().load_named(MODULES);
    // Init misses nothing but a name if it hears of none.
    let found = volume::find(&swap.device, |disk| drop(writeln!(asked, "{disk}")));
    drop(asked);
    let found = match found {
        Ok(None) => return ABSENT,
        Ok(Some(volume)) => Ok(volume),
        Err(error) => Err(error),
    };
    let outcome = found.and_then(|volume| {
        let name = volume.display();
        prepare(&volume, swap).with_context(|| format!("{name} is left as it is"))?;
        info!("swap: on {name} after {} ms", start.elapsed().as_millis());
        Ok(())
    });
    match outcome {
        Ok(()) => ON,
        Err(error) => {
            error!("swap: {error:#}: the machine runs without swap");
            REFUSED
        }
    }
}

fn prepare(volume: &Path, swap: &Swap) -> Result<()> {
    rustix::process::setpriority_process(None, LEAST).context("be nice").or_warn("swap");
    let extent = volume::examine(volume, swap.bytes)?;
    mark(volume, extent)?;
    let device = mapper::map(volume, swap.bytes, swap.encrypted)?;
    let outcome = swap_to(&device, volume, extent, swap.encrypted);
    if outcome.is_err() {
        mapper::unmap();
    }
    outcome
}

fn swap_to(device: &Path, volume: &Path, extent: Extent, encrypted: bool) -> Result<()> {
    // Between the mark and the mapping the volume was nobody's for a moment. It is the mapping's now.
    examine_content(&open(volume, OFlags::DIRECT)?, extent, &mut Aligned::new())?;
    let length = extent.named.saturating_sub(2 * swap_mark::AREA);
    let write = || -> Result<()> {
        let file = File::options().write(true).open(device).context("open it")?;
        if !encrypted {
            block::zero_out(&file, 0, length).context("wipe it")?;
        }
        file.write_all_at(&header(length), 0).context("write the header of swap")?;
        file.sync_all().context("write the header of swap")
    };
    write().with_context(|| device.display().to_string())?;
    let path = CString::new(device.as_os_str().as_bytes())?;
    block::swap_on(&path).with_context(|| format!("swap to {}", device.display()))
}

/// Makes sure that the volume may be written to, and marks it where it is blank.
fn mark(volume: &Path, extent: Extent) -> Result<()> {
    // O_EXCL: nobody has mounted it or uses it in a device of their own, nor may while this looks at it.
    let file = open(volume, OFlags::EXCL | OFlags::DIRECT)?;
    let mut memory = Aligned::new();
    if examine_content(&file, extent, &mut memory)? == Ours::Marked {
        return Ok(());
    }
    for start in swap_mark::areas(extent.named) {
        let buffer = memory.buffer()?;
        buffer.copy_from_slice(&swap_mark::area(start, extent.named));
        file.write_all_at(buffer, start).context("mark it")?;
    }
    file.sync_all().context("mark it")
}

fn examine_content(file: &File, extent: Extent, memory: &mut Aligned) -> Result<Ours> {
    mark::check(extent, memory.buffer()?, |offset, buffer| file.read_exact_at(buffer, offset))
}

/// O_DIRECT: what is on the volume, and not what somebody remembers; nor is the memory filled with it.
fn open(volume: &Path, flags: OFlags) -> Result<File> {
    let is_exclusive = flags.contains(OFlags::EXCL);
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    let file = File::options().read(true).write(is_exclusive).custom_flags(flags).open(volume);
    file.with_context(|| if is_exclusive { "open it alone" } else { "open it" })
}

/// Memory for such reads and writes, which go by whole blocks.
struct Aligned(Vec<u8>);

impl Aligned {
    fn new() -> Self {
        Aligned(vec![0; mark::CHUNK + swap_mark::BLOCK])
    }

    fn buffer(&mut self) -> Result<&mut [u8]> {
        let start = self.0.as_ptr().align_offset(swap_mark::BLOCK);
        let aligned = self.0.get_mut(start..).and_then(|rest| rest.get_mut(..mark::CHUNK));
        aligned.context("no memory that is aligned to blocks")
    }
}

/// The first page of a swap device (mkswap(8)): its version, its last page, and the signature at the end.
fn header(length: u64) -> [u8; PAGE] {
    const SIGNATURE: &[u8] = b"SWAPSPACE2";
    let mut page = [0; PAGE];
    let last_page = u32::try_from(length / PAGE as u64).unwrap_or(u32::MAX).saturating_sub(1);
    let parts =
        [(1024, &1u32.to_ne_bytes()[..]), (1028, &last_page.to_ne_bytes()), (PAGE - SIGNATURE.len(), SIGNATURE)];
    for (at, bytes) in parts {
        page.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
    }
    page
}

/// Whether the machine swaps, to the volume or to whatever the application has made of its own.
#[must_use]
pub fn is_on() -> bool {
    std::fs::read_to_string("/proc/swaps").is_ok_and(|swaps| swaps.lines().count() > 1)
}

/// Swaps no more, wherever the machine swaps to. This may take as long as reading everything back.
pub fn off() {
    let swaps = std::fs::read_to_string("/proc/swaps").unwrap_or_default();
    for device in swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next()) {
        let off = CString::new(device).map_err(io::Error::other).and_then(|path| block::swap_off(&path));
        off.with_context(|| format!("swap to {device} no more")).or_warn("swap");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_appears_while_a_child_looks_is_not_missed() {
        let child = Pid::from_raw(i32::MAX);
        let wanted = Swap { device: "xvdb".to_owned(), bytes: 1 << 30, encrypted: true };
        let mut swap = SwapSpace::new(Some(wanted));
        swap.state = State::Preparing { child, again: false };
        swap.on_disk();
        assert_eq!(swap.state, State::Preparing { child, again: true });
    }

    #[test]
    fn the_header_is_what_mkswap_writes() {
        let page = header(1022 << 20);
        assert_eq!(page[1024..1028], [1, 0, 0, 0]);
        assert_eq!(page[1028..1032], (1022u32 * 256 - 1).to_ne_bytes());
        assert_eq!(&page[4086..], b"SWAPSPACE2");
        assert!(page[..1024].iter().all(|byte| *byte == 0));
    }
}
