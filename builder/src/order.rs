//! What a machine is to be, checked as far as it can be before any work, and then made step by step.

use crate::cli::Setup;
use anyhow::{Result, bail};
use builder::application::Application;
use builder::build::Machine;
use builder::cache::{self, Cache};
use builder::kernel::directory::Kernel;
use builder::kernel::find;
use builder::machine::Options;
use builder::outfile::Files;
use builder::platform::Platform;
use builder::progress::Progress;
use builder::source::endpoint::Mirror;
use builder::source::look::Look;
use builder::source::order::Order as Places;
use builder::source::{Container, Fetch, Source};
use builder::sysctls::Settings;
use builder::{cmdline, init};
use std::borrow::Cow;
use std::path::PathBuf;

/// The files of this machine that a build reads, none of which it may write.
pub(crate) fn inputs(source: &Source, setup: &Setup) -> Files {
    let mut files = Files::default();
    for path in source.files() {
        files.reads("the image", &path);
    }
    let kernel = setup.kernel.kernel.as_deref();
    // What is wrong with it is told when it is used.
    for path in kernel.and_then(|directory| Kernel::open(directory).ok()).iter().flat_map(Kernel::files) {
        files.reads("--kernel", &path);
    }
    let named = [("--init", setup.init.as_deref()), ("--registry-ca", setup.registry_ca.as_deref())];
    let env_files = setup.application.env_files().iter().map(|path| ("--env-file", path.as_path()));
    for (option, path) in named.into_iter().filter_map(|(option, path)| Some((option, path?))).chain(env_files) {
        files.reads(option, path);
    }
    files
}

/// A machine that was asked for.
pub(crate) struct Order {
    pub(crate) source: Source,
    pub(crate) platform: Platform,
    pub(crate) options: Options,
    pub(crate) cmdline: String,
    pub(crate) kernel: Option<PathBuf>,
    places: Places,
    registry_ca: Option<PathBuf>,
    mirrors: Vec<Mirror>,
    application: Application,
    init: Cow<'static, [u8]>,
}

impl Order {
    /// Refuses what can be refused before the work that takes time.
    pub(crate) fn new(source: Source, setup: Setup) -> Result<Self> {
        let platform = setup.platform;
        let options = setup.machine.options();
        // Another kernel has other settings: init says at boot which it refuses.
        if setup.kernel.kernel.is_none() {
            let settings = Settings::own();
            for name in options.sysctls.keys() {
                if let Err(reason) = settings.check(name) {
                    bail!("-s {name}: {reason}");
                }
            }
        }
        Ok(Order {
            source,
            platform,
            cmdline: cmdline::cmdline(platform.arch, setup.kernel_args.as_deref(), options.debug)?,
            options,
            kernel: setup.kernel.kernel,
            places: setup.image_src,
            registry_ca: setup.registry_ca,
            mirrors: setup.registry_mirror.into_iter().filter_map(|mirror| mirror.0).collect(),
            application: setup.application.read()?,
            init: init::choose(setup.init.as_deref(), platform)?,
        })
    }

    /// Everything of the image, with what the user wants other than it says.
    pub(crate) fn fetch(&self, cache: &Cache, progress: &Progress) -> Result<Container> {
        let mut container = self.ask(cache, progress, Source::fetch)?;
        self.application.apply(&mut container.config.config);
        Ok(container)
    }

    /// The same, without the layers of an image that is not here.
    pub(crate) fn look(&self, cache: &Cache, progress: &Progress) -> Result<Look> {
        let mut look = self.ask(cache, progress, Source::look)?;
        self.application.apply(&mut look.config.config);
        Ok(look)
    }

    fn ask<T>(&self, cache: &Cache, progress: &Progress, ask: impl Fn(&Source, &Fetch<'_>) -> Result<T>) -> Result<T> {
        progress.step(format!("resolve {} for {}", self.source, self.platform));
        let fetch = Fetch {
            platform: self.platform,
            look: false,
            archives: false,
            order: &self.places,
            registry_ca: self.registry_ca.as_deref(),
            debug: self.options.debug,
            mirrors: &self.mirrors,
            cache,
            progress,
        };
        ask(&self.source, &fetch)
    }

    /// The machine, with its kernel.
    pub(crate) fn machine(self, container: Container, progress: &Progress) -> Result<Machine> {
        let kernel = find::find(self.kernel.as_deref(), self.platform.arch, &cache::directory()?, progress)?;
        Ok(Machine {
            name: self.source.to_string(),
            platform: self.platform,
            container,
            options: self.options,
            cmdline: self.cmdline,
            kernel,
            init: self.init,
        })
    }
}
