//! The machine while it runs: one place where init waits for whatever comes next, and sees to it.

mod children;
mod naming;

use crate::cgroup::Cgroups;
use crate::clock::{self, Clock};
use crate::console::Console;
use crate::disks::{self, search::Search};
use crate::drivers::{self, Drivers};
use crate::errand::Errand;
use crate::net::{Network, Socket};
use crate::power::{self, Asked, Buttons};
use crate::root::Root;
use crate::signals::{self, Signals};
use crate::swap::SwapSpace;
use crate::uevent::{Received, Uevent, Uevents};
use crate::{info, warn};
use anyhow::{Context, Result, ensure};
use children::Children;
use initramfs::image::{Image, OnExit};
use naming::Naming;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A boot that waits for longer than this has time for the devices that it can go on without.
const QUIET: Duration = Duration::from_millis(20);

/// Most uevents that are taken together; the rest wait for the next turn.
const LONGEST_BURST: usize = 512;

/// Everything that init watches for the machine's life.
#[derive(Debug)]
pub struct Machine {
    /// The modules that devices ask for.
    pub drivers: Drivers,
    /// The network cards.
    pub network: Network,
    /// The clock.
    pub clock: Clock,
    /// The application's root, once it is mounted: names that change later are written there.
    pub root: Option<Root>,
    /// The swap volume.
    pub swap: SwapSpace,
    /// The application's control group, where the kernel has any.
    pub cgroups: Option<Cgroups>,
    /// The application's way to the console.
    pub console: Console,
    /// How often somebody has asked for the end of the machine.
    pub presses: usize,
    uevents: Uevents,
    signals: Signals,
    buttons: Buttons,
    naming: Naming,
    errand: Option<Errand>,
    children: Children,
    asked: Option<Asked>,
    /// Until the root is found.
    search: Option<Search>,
    settled: bool,
}

/// Who has something to say.
enum Source {
    Uevents,
    Signals,
    Errand,
    Drivers,
    Disks,
    Button(usize),
    Network(Socket),
    Console,
    Memory,
    Clock(clock::Socket),
}

impl Machine {
    /// Starts to listen, so that whatever the coldplug stirs up is heard.
    ///
    /// # Errors
    /// When the kernel lets init listen to no uevents or signals: nothing can be done then.
    pub fn listen(image: &Image) -> Result<Self> {
        let signals = Signals::listen()?;
        power::take_ctrl_alt_del();
        Ok(Machine {
            drivers: Drivers::open(),
            network: Network::open(),
            clock: Clock::open(),
            root: None,
            swap: SwapSpace::new(image.swap.clone()),
            cgroups: None,
            console: Console::default(),
            presses: 0,
            uevents: Uevents::listen()?,
            signals,
            buttons: Buttons::default(),
            naming: Naming::new(image.hostname.clone()),
            errand: None,
            children: Children::default(),
            asked: None,
            search: Some(Search::start(image.root)),
            settled: false,
        })
    }

    /// Begins to load drivers for the devices that a boot needs, and takes in the buttons and network cards that are
    /// there. What the drivers bring announces itself by uevents.
    ///
    /// # Errors
    /// As [`Machine::turn`].
    pub fn coldplug(&mut self) -> Result<()> {
        // The button first, as far as it needs no driver: somebody may change their mind right now.
        self.buttons.adopt_present();
        self.drivers.coldplug_first();
        // A bus driver brings devices, which need drivers: their uevents wait here already.
        while self.on_uevents()? {}
        self.network.adopt_present();
        Ok(())
    }

    /// Begins to load drivers for the devices that the boot could go on without so far, once: it may have come to
    /// nothing better to do, or depend on them after all.
    ///
    /// # Errors
    /// As [`Machine::turn`].
    pub fn settle(&mut self) -> Result<()> {
        if !std::mem::replace(&mut self.settled, true) {
            self.drivers.coldplug();
            while self.on_uevents()? {}
        }
        Ok(())
    }

    /// Waits until `done` has an answer, or until `deadline` (then `None`), seeing to everything meanwhile.
    ///
    /// # Errors
    /// [`Asked`] when somebody ends the machine; or a broken machine.
    pub fn wait_until<T>(
        &mut self,
        deadline: Instant,
        mut done: impl FnMut(&mut Self) -> Option<T>,
    ) -> Result<Option<T>> {
        self.wait(|machine| match done(machine) {
            Some(answer) => ControlFlow::Break(Some(answer)),
            None if Instant::now() >= deadline => ControlFlow::Break(None),
            None => ControlFlow::Continue(deadline),
        })
    }

    /// Waits until `next` breaks off with an answer, seeing to everything meanwhile. It is asked whenever something has
    /// happened, and at the moment that it names.
    ///
    /// # Errors
    /// As [`Machine::wait_until`].
    pub fn wait<T>(&mut self, mut next: impl FnMut(&mut Self) -> ControlFlow<T, Instant>) -> Result<T> {
        loop {
            match next(self) {
                ControlFlow::Break(answer) => return Ok(answer),
                ControlFlow::Continue(moment) => self.turn(Some(moment))?,
            }
        }
    }

    /// The device with the image's partition, if it was found.
    #[must_use]
    pub fn found_root(&self) -> Option<PathBuf> {
        self.search.as_ref()?.found()
    }

    /// What may still turn out to be the disk with the root, and does not answer yet, each with a sentence.
    #[must_use]
    pub fn slow_disks(&self) -> Vec<String> {
        let reading = self.search.iter().flat_map(Search::reading).map(|disk| format!("{disk} is still being read"));
        reading.chain(self.drivers.pending_disks()).collect()
    }

    /// Ends the search for the root. What the disks are is for a message, where it was not found.
    pub fn end_search(&mut self) -> Vec<String> {
        let Some(search) = self.search.take() else { return Vec::new() };
        let disks = if search.found().is_none() { search.described() } else { Vec::new() };
        search.into_children().for_each(|child| self.abandon(child));
        disks
    }

    /// Waits until the kernel knows the file systems of the root.
    ///
    /// # Errors
    /// When neither the kernel nor a module has one; as [`Machine::turn`].
    pub fn wait_for_file_systems(&mut self) -> Result<()> {
        let mut missing = drivers::missing_file_systems();
        while !missing.is_empty() {
            // It was asked for with the first drivers.
            ensure!(
                self.drivers.is_loading(),
                "the kernel has no {} file system, nor a module for it",
                missing.join(", ")
            );
            self.turn(None)?;
            missing = drivers::missing_file_systems();
        }
        Ok(())
    }

    /// From here on a request to end the machine is only counted: it is being done.
    pub fn ignore_further_requests(&mut self) {
        self.asked = None;
    }

    /// Waits for the next thing to happen, but not beyond `deadline`, and sees to it.
    ///
    /// # Errors
    /// [`Asked`], once, when somebody ends the machine; or a broken machine.
    pub fn turn(&mut self, deadline: Option<Instant>) -> Result<()> {
        // While modules are being loaded, further ones would only come in between.
        let quiet = (!self.settled && !self.drivers.is_loading()).then(|| Instant::now() + QUIET);
        let gathering = self.children.gathering();
        let search = self.search.as_ref().and_then(Search::wake);
        let slow = self.errand.as_ref().and_then(Errand::wake);
        let drivers = self.drivers.wake();
        let wake = [deadline, self.network.wake(), self.console.wake(), self.clock.wake(), quiet, gathering];
        let wake = wake.into_iter().chain([search, slow, drivers, self.swap.wake()]).flatten().min();
        let ready = self.ready(wake)?;
        if ready.is_empty() && quiet.is_some() {
            self.settle()?;
        }
        let mut read_console = false;
        for source in ready {
            match source {
                Source::Uevents => {
                    self.on_uevents()?;
                }
                Source::Signals => self.on_signals()?,
                Source::Clock(socket) => self.clock.on_socket(socket),
                Source::Errand => self.errand.iter_mut().for_each(Errand::on_readable),
                Source::Drivers => self.drivers.on_event(),
                Source::Disks => self.search.iter_mut().for_each(Search::on_event),
                Source::Network(socket) => self.network.on_socket(socket),
                Source::Console => read_console = true,
                Source::Memory => self.cgroups.iter_mut().for_each(Cgroups::on_event),
                Source::Button(button) => {
                    for _ in 0..self.buttons.presses(button) {
                        self.ask("the power button was pressed", OnExit::PowerOff);
                    }
                }
            }
        }
        // Once for all of its files: they are looked at together.
        if read_console {
            self.console.on_event();
        }
        self.console.on_time();
        self.drivers.on_time();
        self.search.iter_mut().for_each(Search::on_time);
        self.errand.iter_mut().for_each(Errand::on_time);
        self.swap.on_time();
        self.network.on_time();
        self.refresh_names();
        self.clock.on_time(&self.network, self.root.as_ref().filter(|_| self.children.is_watched()));
        self.asked.take().map_or(Ok(()), |asked| Err(asked.into()))
    }

    fn ready(&self, wake: Option<Instant>) -> Result<Vec<Source>> {
        let signals = self.children.gathering().is_none().then(|| (Source::Signals, self.signals.as_fd()));
        let always = [(Source::Uevents, self.uevents.as_fd())].into_iter().chain(signals);
        let errand = self.errand.iter().map(|errand| (Source::Errand, errand.as_fd()));
        let drivers = self.drivers.files().map(|fd| (Source::Drivers, fd));
        let disks = self.search.iter().flat_map(Search::files).map(|fd| (Source::Disks, fd));
        let buttons = self.buttons.files().map(|(button, fd)| (Source::Button(button), fd));
        let network = self.network.sockets().map(|(socket, fd)| (Source::Network(socket), fd));
        let console = self.console.files().map(|(fd, flags)| (Source::Console, fd, flags));
        let memory = self.cgroups.iter().map(|cgroups| (Source::Memory, cgroups.as_fd(), PollFlags::PRI));
        // The clock's answers first: how long they wait here counts as their way.
        let clock = self.clock.sockets().map(|(socket, fd)| (Source::Clock(socket), fd));
        let (sources, mut fds): (Vec<Source>, Vec<PollFd<'_>>) = clock
            .chain(always)
            .chain(errand)
            .chain(drivers)
            .chain(disks)
            .chain(buttons)
            .chain(network)
            .map(|(source, fd)| (source, fd, PollFlags::IN))
            .chain(console)
            .chain(memory)
            .map(|(source, fd, flags)| (source, PollFd::from_borrowed_fd(fd, flags)))
            .unzip();

        let timeout = wake.map(|wake| wake.saturating_duration_since(Instant::now()));
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).context("wait for events"),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        Ok(sources.into_iter().zip(ready).filter_map(|(source, ready)| ready.then_some(source)).collect())
    }

    /// Sees to the uevents that wait, and gives whether there were any. Drivers for all of them are looked for at once.
    fn on_uevents(&mut self) -> Result<bool> {
        let mut devices = Vec::new();
        let mut any = false;
        for _ in 0..LONGEST_BURST {
            match self.uevents.receive()? {
                Received::Event(event) => devices.extend(self.on_uevent(event)),
                Received::Nothing => break,
                Received::Overflow => {
                    warn!("more uevents than the buffer holds: looking at all devices again");
                    self.drivers.on_overflow();
                    self.buttons.adopt_present();
                    self.network.adopt_present();
                    self.search.iter_mut().for_each(Search::look_at_all);
                }
            }
            any = true;
        }
        let new = devices.iter().filter(|(action, ..)| action == "add");
        self.drivers.load_for(new.map(|(.., modalias)| modalias.clone()).collect(), &[]);
        for (action, devpath, modalias) in devices {
            self.drivers.on_device(&action, devpath, &modalias);
        }
        Ok(any)
    }

    /// Sees to what has come or gone. Of a device that has, needs or had a driver it gives what happened, to which one,
    /// and its modalias.
    fn on_uevent(&mut self, event: Uevent) -> Option<(String, String, String)> {
        let Uevent { action, subsystem, devpath, devtype, modalias, devname, interface, link, synthetic } = event;
        if synthetic {
            // `udevadm trigger` says of devices that have their drivers that they appear.
            return None;
        }
        match (subsystem.as_str(), action.as_str()) {
            ("block", "add" | "change") if devtype.as_deref() == Some("disk") => {
                // An application may make loop and mapped devices by the dozen.
                if let Some(disk) = devname.filter(|name| disks::may_be_disk(name)) {
                    self.search.iter_mut().for_each(|search| search.look_at(&disk));
                    if action == "add" {
                        self.swap.on_disk();
                    }
                }
            }
            ("net", "add") => interface.iter().for_each(|name| self.network.adopt(name)),
            ("net", "remove") => link.iter().for_each(|link| self.network.forget(*link)),
            ("input", "add") => {
                let name = devname.as_deref().and_then(|devname| devname.strip_prefix("input/"));
                name.into_iter().for_each(|name| self.buttons.adopt(name));
            }
            _ => {}
        }
        Some((action, devpath, modalias?))
    }

    fn on_signals(&mut self) -> Result<()> {
        while let Some(signal) = self.signals.receive()? {
            if signal.number == signals::CHILD {
                self.reap();
            } else if let Some((number, how)) = power::SIGNALS.iter().find(|(number, _)| *number == signal.number) {
                self.ask(&format!("{} from process {}", initramfs::signal::name(*number), signal.sender), *how);
            }
        }
        Ok(())
    }

    fn ask(&mut self, who: &str, how: OnExit) {
        info!("power: {who}");
        self.presses += 1;
        self.asked = Some(Asked(how));
    }
}
