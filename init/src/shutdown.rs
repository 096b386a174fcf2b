//! The way down: the application asked to stop, everything else ended, everything written.

use crate::entrypoint::systemd;
use crate::errand::in_child;
use crate::log::OrWarn;
use crate::machine::Machine;
use crate::root::Root;
use crate::{cgroup, error, info, swap, sys, unmount, warn};
use anyhow::{Context, Result};
use initramfs::image::Image;
use initramfs::signal;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::process::WaitStatus;
use std::time::{Duration, Instant};

/// What is left of the grace after a second press of the button: somebody is in a hurry.
const HURRY: Duration = Duration::from_secs(1);
/// What the processes that outlive the application get between SIGTERM and SIGKILL. It is not theirs to ask for more.
const REST: Duration = Duration::from_secs(2);
/// How long processes get to die of SIGKILL. One that hangs in the kernel is left behind.
const DEATH: Duration = Duration::from_secs(5);
/// How long swapping may take to end. Whatever lies there is lost with the power anyway.
const SWAP_OFF: Duration = Duration::from_secs(10);
/// How long disks and servers get to take what is written, and no longer: a network file system whose server is gone
/// would keep the machine on for ever. EC2 cuts the power three to four minutes after it asked.
const WRITE_OUT: Duration = Duration::from_secs(60);
/// What file systems get of it to be unmounted; the rest is sync(2)'s, for what is written to disks without one.
const UNMOUNT: Duration = Duration::from_secs(50);
/// What sync(2) gets where a driver is still at a device: it waits for every disk that is still looked at, without end.
/// What is mounted is written before, and what the kernel still holds for other disks is on its way by then.
const SYNC_BESIDE_PENDING: Duration = Duration::from_secs(5);
/// How long a slow console gets to show the last lines, the first half of it all of them.
const LAST_LINES: Duration = Duration::from_secs(2);
/// What a serial line of 115,200 baud shows in half of that.
const LAST_BYTES: usize = 8 << 10;

/// Every process but init and the kernel's (kill(2)).
const EVERYBODY: Pid = Pid::from_raw(-1);

/// Asks the application to stop as its image says, and kills it when its time is up.
pub fn stop(machine: &mut Machine, entrypoint: Pid, image: &Image) {
    machine.ignore_further_requests();
    let number = image.stop_signal.unwrap_or_else(|| systemd::stop_signal(entrypoint));
    let name = signal::name(number.into());
    info!("power: {name} to the application, {} s to stop", image.stop_timeout);
    ask(entrypoint, number).or_warn("power");
    if !image.pid1 {
        // A PID 1 ends the others itself. Nobody else does: a shell that runs `A=1 program` passes no signal on. They come
        // after it, so that it does not go on as if one of them had ended by itself.
        let others = cgroup::processes().into_iter().filter(|process| *process != entrypoint);
        others.for_each(|process| {
            // It may have ended meanwhile.
            let _ = ask(process, number);
        });
    }
    let asked = Instant::now();
    let mut deadline = asked + Duration::from_secs(image.stop_timeout.into());
    while !has_ended(machine, number, image) && Instant::now() < deadline {
        // A further request comes as an error: it is in `presses` as well, and ends nothing that is not ending.
        let _ = machine.turn(Some(deadline));
        // The first one brought us here.
        if machine.presses > 1 {
            deadline = deadline.min(Instant::now() + HURRY);
        }
    }
    match machine.ended() {
        Some(_) if !has_ended(machine, number, image) => {
            let seconds = asked.elapsed().as_secs();
            error!("processes of the application did not stop within {seconds} s of {name}: killing them");
        }
        Some(status) => info!("power: the application {} after {} ms", describe(status), asked.elapsed().as_millis()),
        None => {
            error!("the application did not stop within {} s of {name}: killing it", asked.elapsed().as_secs());
            let _ = kill(entrypoint, Signal::SIGKILL);
        }
    }
}

fn ask(process: Pid, number: u8) -> Result<()> {
    sys::kill(process, number).with_context(|| format!("send {} to process {process}", signal::name(number.into())))?;
    // A stopped process would hear it when it goes on, which nobody else will see to.
    kill(process, Signal::SIGCONT).with_context(|| format!("continue process {process}"))
}

/// Whether the application is over. A program that ends by itself counts as all of it, as under Docker. One that dies of
/// the stop signal, as a shell does that waits for another program, has not seen to the others, which may be at their end.
fn has_ended(machine: &Machine, number: u8, image: &Image) -> bool {
    let died = |status: WaitStatus| status.terminating_signal() == Some(number.into());
    machine.ended().is_some_and(|status| image.pid1 || !died(status) || !cgroup::is_populated())
}

/// How a process ended, for a message.
#[must_use]
pub fn describe(status: WaitStatus) -> String {
    /// In the status that wait(2) gives: it left a core file.
    const DUMPED_CORE: i32 = 0x80;
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (_, Some(number)) => {
            let core = if status.as_raw() & DUMPED_CORE == 0 { "" } else { " and dumped core" };
            format!("was killed by {}{core}", signal::name(number))
        }
        _ => format!("ended ({:#x})", status.as_raw()),
    }
}

/// Ends every process but init, unmounts and writes out what is mounted, and lets the console finish.
pub fn finish(machine: &mut Machine) {
    machine.ignore_further_requests();
    let is_any_pending = machine.drivers.is_any_pending();
    // Init's own children are deaf to SIGTERM, as init is.
    machine.abandon_all();
    end_rest(machine);
    if swap::is_on() {
        // A file that is swapped to keeps its file system from being unmounted.
        in_child("swap", SWAP_OFF, || {
            swap::off();
            Ok(())
        });
    }
    // Without a root nothing was written.
    if let Some(root) = &machine.root {
        write_out(root, is_any_pending);
    }
    show_last_lines(machine);
}

fn write_out(root: &Root, is_any_pending: bool) {
    let start = Instant::now();
    // A moment longer than it may take itself: it names what hangs.
    let unmounted = in_child("unmount", UNMOUNT + HURRY, || unmount::all(root, UNMOUNT));
    let rest = WRITE_OUT.saturating_sub(start.elapsed());
    let rest = if is_any_pending { rest.min(SYNC_BESIDE_PENDING) } else { rest };
    let synced = in_child("sync", rest, || {
        rustix::fs::sync();
        Ok(())
    });
    if unmounted && !synced && is_any_pending {
        warn!("power: sync waits for a device that does not answer");
    } else if !(unmounted && synced) {
        let seconds = start.elapsed().as_secs();
        error!("file systems are still not written after {seconds} s: the machine ends all the same");
    }
}

/// SIGTERM and, a moment later, SIGKILL to whatever the application left running.
fn end_rest(machine: &mut Machine) {
    // ESRCH: nobody is left, as usual.
    if kill(EVERYBODY, Signal::SIGTERM) == Err(Errno::ESRCH) {
        return;
    }
    let _ = kill(EVERYBODY, Signal::SIGCONT);
    let rest = if machine.presses > 1 { Duration::ZERO } else { REST };
    // An error is a further request to end the machine: no more patience.
    if matches!(machine.wait_until_alone(Instant::now() + rest), Ok(true)) {
        return;
    }
    cgroup::kill_all();
    let _ = kill(EVERYBODY, Signal::SIGKILL);
    let deadline = Instant::now() + DEATH;
    while Instant::now() < deadline {
        if matches!(machine.wait_until_alone(deadline), Ok(true)) {
            return;
        }
    }
    warn!("power: processes are left that SIGKILL does not end");
}

/// Has the console show what the application wrote, as far as it can in a short time: the power goes with the rest.
pub fn show_last_lines(machine: &mut Machine) {
    let start = Instant::now();
    machine.console.finish();
    wait_for_console(machine, start + LAST_LINES / 2);
    if !machine.console.is_idle() {
        machine.console.keep_last(LAST_BYTES);
        wait_for_console(machine, start + LAST_LINES);
    }
    // What the terminal has taken it has not sent yet.
    if let Some(console) = machine.console.file() {
        in_child("console", LAST_LINES, || rustix::termios::tcdrain(console).context("wait for the console"));
    }
}

fn wait_for_console(machine: &mut Machine, deadline: Instant) {
    while !machine.console.is_idle() && Instant::now() < deadline {
        // A request to end the machine is being met already.
        let _ = machine.turn(Some(deadline));
    }
}

/// Writes out what file systems hold, within a few seconds: for an init that cannot go on.
pub fn sync() {
    in_child("sync", DEATH, || {
        rustix::fs::sync();
        Ok(())
    });
}
