//! PID 1 of a NanoOS machine. This file is the story of a boot; the steps are in the library.

use anyhow::{Context, Result, anyhow, ensure};
use initramfs::image::{Image, OnExit};
use initramfs::paths::IMAGE_JSON;
use nanoos_init::cgroup::{self, Cgroups};
use nanoos_init::drivers::modprobe;
use nanoos_init::entrypoint;
use nanoos_init::errand::Errand;
use nanoos_init::log::{self, OrWarn, timed};
use nanoos_init::machine::Machine;
use nanoos_init::power::{self, Asked};
use nanoos_init::root::Root;
use nanoos_init::user_data::Source;
use nanoos_init::{error, info, memory, mounts, rcu, restarts, shutdown, user_data};
use nix::sys::signal::Signal;
use rustix::process::WaitStatus;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long the disk with the image may take to appear. EBS volumes are attached before the machine starts; a disk
/// that is not there after this is not coming. `nanoos.disk_wait=SECONDS` on the kernel command line takes its place.
const DISK_PATIENCE: Duration = Duration::from_secs(30);
/// The same while one is still at it: an NVMe controller may take 127.5 s until it is ready (CAP.TO, 8 bits of 500
/// ms: NVM Express Base Specification, 3.1.4.1), and its disk is read then.
const SLOW_DISK_PATIENCE: Duration = Duration::from_secs(180);
/// The kernel does not tell when a driver gives a device up: so often it is looked for.
const LOOK: Duration = Duration::from_secs(1);
/// How long the disk with the root may take to answer until the console names it; mounting it is waited for without
/// end.
const ROOT_PATIENCE: Duration = Duration::from_secs(10);
/// A sentence that says why the root cannot be mounted, with a path in it.
const LONGEST_WORDS: usize = 8 << 10;

fn main() {
    if let Some(status) = modprobe::asked(std::env::args_os()) {
        std::process::exit(status);
    }
    if std::process::id() != 1 {
        eprintln!(
            "nanoos-init is PID 1 of a NanoOS machine; on a running system it would take over its mounts and network."
        );
        std::process::exit(2);
    }
    on_panic();
    let cause = machine_life().err();
    match cause.as_ref().map(|cause| (cause, cause.downcast_ref::<Asked>())) {
        Some((_, Some(Asked(how)))) => power::end(*how),
        Some((cause, None)) => error!("{cause:#}"),
        None => {}
    }
    power::end(on_exit())
}

/// What the image wants the machine to do at its end, once that is known.
static ON_EXIT: OnceLock<OnExit> = OnceLock::new();

/// Without a configuration there is no telling; off is the end that costs nothing.
fn on_exit() -> OnExit {
    ON_EXIT.get().copied().unwrap_or(OnExit::PowerOff)
}

/// From the first mount to the last process.
fn machine_life() -> Result<()> {
    mounts::early()?;
    log::open();
    rcu::hurry();
    info!("init {} starts", env!("CARGO_PKG_VERSION"));
    let mut image = read_image()?;
    let _ = ON_EXIT.set(image.on_exit);
    log::set_debug(image.debug);

    let mut machine = Machine::listen(&image)?;
    timed("drivers", || machine.coldplug())?;
    let outcome = run(&mut machine, &mut image);
    let outcome = hold_back(&mut machine, outcome, image.on_exit);
    shutdown::finish(&mut machine);
    outcome
}

/// What the machine is for: the application in its root, from its start to its end.
fn run(machine: &mut Machine, image: &mut Image) -> Result<()> {
    let partition = timed("disk", || find_root(machine, image))?;
    machine.root = Some(timed("root", || mount_root(machine, &partition, image)).context("boot")?);
    machine.cgroups = machine.root.as_ref().and_then(|root| Cgroups::contain(root).or_warn("cgroups"));
    let source = user_data::source(image);
    if image.wait_network || source == Source::Service {
        timed("network", || wait_for_network(machine))?;
    }
    user_data::configure(machine, image, source)?;

    let entrypoint = timed("launch", || entrypoint::launch(machine, image))?;
    machine.settle()?;
    rcu::relax();
    memory::prefer_an_end_to_thrashing(false);
    machine.swap.begin();
    cgroup::protect_init();
    machine.drivers.finish(machine.swap.modules(), image.late_modules);
    let asked = loop {
        if let Err(asked) = machine.turn(None) {
            break asked;
        }
        if let Some(status) = machine.ended() {
            // In this order: the program's last words, then how it ended.
            shutdown::show_last_lines(machine);
            return tell_end(machine, image, status);
        }
    };
    shutdown::stop(machine, entrypoint, image);
    Err(asked)
}

/// An application that cannot stay up must not have the machine reboot as fast as it can.
fn hold_back(machine: &mut Machine, outcome: Result<()>, on_exit: OnExit) -> Result<()> {
    let is_asked = outcome.as_ref().is_err_and(anyhow::Error::is::<Asked>);
    if on_exit != OnExit::Reboot || is_asked {
        return outcome;
    }
    if let Err(cause) = &outcome {
        error!("{cause:#}");
    }
    let lived = machine.watched_for();
    restarts::pause(machine, lived)
}

fn read_image() -> Result<Image> {
    let json = std::fs::read(IMAGE_JSON).with_context(|| format!("read {IMAGE_JSON} of the initramfs"))?;
    Image::parse(&json).with_context(|| format!("{IMAGE_JSON} of the initramfs"))
}

fn find_root(machine: &mut Machine, image: &Image) -> Result<PathBuf> {
    let start = Instant::now();
    let by_user = machine.drivers.cmdline.disk_wait();
    let patience = by_user.unwrap_or(DISK_PATIENCE);
    let mut found = machine.wait_until(start + patience, |machine| machine.found_root())?;
    if found.is_none() && by_user.is_none() {
        found = wait_for_slow_disks(machine, image, start)?;
    }
    let disks = machine.end_search().join(", ");
    found.ok_or_else(|| {
        machine.drivers.complaints().iter().for_each(|complaint| error!("{complaint}"));
        let seen =
            if disks.is_empty() { "there is no disk at all".to_owned() } else { format!("the disks are {disks}") };
        anyhow!("no disk has the image's partition {} after {} s: {seen}", image.root, start.elapsed().as_secs())
    })
}

/// A disk that is still being probed or read may be the one.
fn wait_for_slow_disks(machine: &mut Machine, image: &Image, start: Instant) -> Result<Option<PathBuf>> {
    let slow = machine.slow_disks().join("; ");
    if !slow.is_empty() {
        let (so_far, longest) = (start.elapsed().as_secs(), SLOW_DISK_PATIENCE.as_secs());
        error!(
            "disks: none has the image's partition {} after {so_far} s, waiting for up to {longest} s: {slow}",
            image.root
        );
    }
    machine.wait(|machine| {
        let now = Instant::now();
        let found = machine.found_root();
        if found.is_some() || now >= start + SLOW_DISK_PATIENCE || machine.slow_disks().is_empty() {
            return ControlFlow::Break(found);
        }
        ControlFlow::Continue(now + LOOK)
    })
}

/// A child mounts it: the disk may take its time to answer, and the power button works meanwhile.
fn mount_root(machine: &mut Machine, partition: &Path, image: &Image) -> Result<Root> {
    machine.wait_for_file_systems()?;
    let errand = Errand::start(LONGEST_WORDS, |mut words| match Root::mount(partition, image) {
        Ok(()) => 0,
        Err(error) => words.write_all(format!("{error:#}").as_bytes()).map_or(1, |()| 1),
    })?;
    let seconds = ROOT_PATIENCE.as_secs();
    let line = format!("disks: {}, which has the root, has not answered for {seconds} s", partition.display());
    let words = machine.hear(errand.remind_after(ROOT_PATIENCE, line), None)?.unwrap_or_default();
    ensure!(words.is_empty(), "{}", String::from_utf8_lossy(&words));
    Root::enter(image)
}

/// Applications expect their address to be there when they start; but one that never gets any still starts.
fn wait_for_network(machine: &mut Machine) -> Result<()> {
    if !machine.network.has_card() {
        // No card yet: it may hang on something that was put off.
        machine.settle()?;
    }
    machine.wait(|machine| {
        // Cards that a driver is still at may come, too.
        let further = machine.drivers.network_card_by(machine.network.has_card());
        let moments = [machine.network.settles_by(), further];
        match moments.into_iter().flatten().filter(|moment| Instant::now() < *moment).max() {
            Some(moment) => ControlFlow::Continue(moment),
            None => ControlFlow::Break(()),
        }
    })?;
    machine.network.tell();
    Ok(())
}

/// An error is the program's own request to end the machine.
fn tell_end(machine: &mut Machine, image: &Image, status: WaitStatus) -> Result<()> {
    let program = image.argv.first().map_or("", String::as_str);
    if let Some(asked) = power::asked_by_reboot(status.terminating_signal()).filter(|_| image.pid1) {
        info!("power: {program} {asked}");
        return Err(asked.into());
    }
    machine.cgroups.iter_mut().for_each(Cgroups::on_event);
    let was_killed = status.terminating_signal() == Some(Signal::SIGKILL as i32);
    let memory = was_killed && machine.cgroups.as_ref().is_some_and(Cgroups::has_killed_lately);
    let ended = shutdown::describe(status);
    match status.exit_status() {
        Some(0) => info!("{program} {ended}"),
        _ => error!("{program} {ended}{}", if memory { ": out of memory" } else { "" }),
    }
    Ok(())
}

/// A panic in PID 1 is a bug. The machine says so and ends as its image wants: the kernel would stand still with a
/// panic of its own otherwise.
fn on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        // A child that is not the application yet has the same hook, but only PID 1 may end the machine.
        if std::process::id() != 1 {
            eprintln!("{panic}");
            return;
        }
        error!("init panicked, which is a bug: {panic}");
        shutdown::sync();
        power::end(on_exit());
    }));
}
