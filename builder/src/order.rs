//! What a machine is to be, checked as far as it can be before any work, and then made step by step.

use crate::cli::grammar::Named;
use crate::cli::{FetchArgs, Setup};
use anyhow::{Result, anyhow, bail};
use builder::application::Application;
use builder::build::Machine;
use builder::cache::{self, Cache};
use builder::destination;
use builder::kernel::directory::Kernel;
use builder::kernel::find;
use builder::machine::Options;
use builder::outfile::Files;
use builder::platform::Platform;
use builder::progress::Progress;
use builder::source::endpoint::Mirror;
use builder::source::look::Look;
use builder::source::{self, Container, Fetch, Source, credentials, registry};
use builder::sysctls::Settings;
use builder::{cmdline, init};
use std::borrow::Cow;
use std::path::PathBuf;

/// The files of this machine that a build reads, none of which it may write.
fn inputs(source: &Source, setup: &Setup) -> Files {
    let mut files = Files::default();
    let what = if matches!(source, Source::Local(_)) { "the project" } else { "the image" };
    for path in source.files() {
        files.reads(what, &path);
    }
    let kernel = setup.kernel.kernel.as_deref();
    // Its use reports what is wrong with it.
    for path in kernel.and_then(|directory| Kernel::open(directory).ok()).iter().flat_map(Kernel::files) {
        files.reads("--kernel", &path);
    }
    let named = [("--init", setup.init.as_deref()), ("--registry-ca", setup.fetching.registry_ca.as_deref())];
    let env_files = setup.application.env_files().iter().map(|path| ("--env-file", path.as_path()));
    let around = [
        ("the configuration of registries", credentials::config_files().collect::<Vec<_>>()),
        ("the certificates that are trusted", registry::trusted().collect()),
        ("the configuration of AWS", destination::config_files().collect()),
    ];
    for (what, paths) in &around {
        paths.iter().for_each(|path| files.reads(what, path));
    }
    for (option, path) in named.into_iter().filter_map(|(option, path)| Some((option, path?))).chain(env_files) {
        files.reads(option, path);
    }
    files
}

/// Where images come from.
pub(crate) struct Places {
    order: source::order::Order,
    registry_ca: Option<PathBuf>,
    mirrors: Vec<Mirror>,
}

impl Places {
    pub(crate) fn new(arguments: FetchArgs) -> Self {
        Places {
            order: arguments.image_src,
            registry_ca: arguments.registry_ca,
            mirrors: arguments.registry_mirror.into_iter().filter_map(|mirror| mirror.0).collect(),
        }
    }

    /// What fetching from there needs to know.
    pub(crate) fn fetch<'a>(
        &'a self,
        platform: Platform,
        debug: bool,
        cache: &'a Cache,
        progress: &'a Progress,
    ) -> Fetch<'a> {
        Fetch {
            platform,
            look: false,
            archives: false,
            order: &self.order,
            registry_ca: self.registry_ca.as_deref(),
            debug,
            mirrors: &self.mirrors,
            cache,
            progress,
        }
    }
}

/// A machine that was asked for.
pub(crate) struct Order {
    pub(crate) source: Source,
    pub(crate) platform: Platform,
    pub(crate) options: Options,
    pub(crate) cmdline: String,
    pub(crate) kernel: Option<PathBuf>,
    /// What the user may have meant in place of an image: said where there is none.
    beside: Option<String>,
    places: Places,
    application: Application,
    init: Cow<'static, [u8]>,
}

impl Order {
    /// Refuses what can be refused before the work that takes time. With it come the files that the build reads.
    pub(crate) fn new(named: Named, setup: Setup) -> Result<(Self, Files)> {
        let beside = named.path_beside();
        let mut source = named.source()?;
        let files = inputs(&source, &setup);
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
        let application = setup.application.read()?;
        match (&mut source, setup.project.given()) {
            (Source::Local(local), _) => local.wishes = setup.project.wishes(&application)?,
            (image, Some(option)) => {
                bail!("{option}: {image} is an image, and only a project is built{}", advice(beside.as_deref()))
            }
            _ => {}
        }
        let order = Order {
            source,
            platform,
            cmdline: cmdline::cmdline(platform.arch, setup.kernel_args.as_deref(), options.debug)?,
            options,
            kernel: setup.kernel.kernel,
            beside,
            places: Places::new(setup.fetching),
            application,
            init: init::choose(setup.init.as_deref(), platform)?,
        };
        Ok((order, files))
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
        let fetch = self.places.fetch(self.platform, self.options.debug, cache, progress);
        ask(&self.source, &fetch).map_err(|error| match self.beside.as_deref() {
            None => error,
            beside => anyhow!("{error:#}{}", advice(beside)),
        })
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

/// The other reading, behind a semicolon.
fn advice(beside: Option<&str>) -> String {
    beside.map_or_else(String::new, |advice| format!("; {advice}"))
}
