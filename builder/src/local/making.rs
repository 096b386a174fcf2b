//! A project's directory: what its plan says is carried out.

use super::above::{self, Above};
use super::containerfile;
use super::copy::{self, Place};
use super::engine::Engine;
use super::host::{self, Left};
use super::image::{Inside, Parts, assemble};
use super::layers::{self, Item, Items, Times, What};
use super::lock::{self, Lock};
use super::look::Looked;
use super::payloads;
use super::python;
use super::{Local, Origin, Project, dependencies};
use crate::cleanup::TempDir;
use crate::flatten::Layer;
use crate::source::{Container, Fetch};
use anyhow::{Context, Result};
use project::payload::choose;
use project::plan::{Base, Build, DIRECTORY, HostBuild, InBase, PACKAGES, Plan, PythonBuild};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What carrying a plan out goes by.
struct Making<'a> {
    directory: &'a Path,
    looked: &'a Looked,
    lock: Option<Lock>,
    fetch: &'a Fetch<'a>,
    /// Where it is built, once it is.
    place: Option<Place>,
}

/// Builds a project and lays it over its base. `pins` says whether the directory is the user's, with a file of pins.
///
/// # Errors
/// When it can't be built, or its base not be had.
pub(super) fn make(
    local: &Local,
    directory: &Path,
    looked: &Looked,
    pins: bool,
    origin: Origin,
    fetch: &Fetch<'_>,
) -> Result<Container> {
    let lock = if pins { Some(Lock::open(directory)?) } else { None };
    let mut making = Making { directory, looked, lock, fetch, place: None };
    let plan = &looked.plan;
    if let Build::Ready(archive) = &plan.build
        && !fetch.look
    {
        let code = making.code()?;
        let archive = directory.join(archive);
        return payloads::archive(local, &archive, Some((plan, code)), making.lock.as_mut(), origin, fetch);
    }
    if let Build::Host(build) = &plan.build
        && !fetch.look
    {
        return making.on_host(local, build, origin);
    }
    let (base, inside, parts) = making.carry_out()?;
    let made = Project { origin: Some(origin), ..Project::default() };
    assemble(local, plan, base.map(|base| (base, inside)), parts, made, fetch)
}

impl Making<'_> {
    fn plan(&self) -> &Plan {
        &self.looked.plan
    }

    /// Everything but builds of this machine.
    fn carry_out(&mut self) -> Result<(Option<Container>, Inside, Parts)> {
        let looked = self.looked;
        if let Build::Containerfile(file) = &looked.plan.build
            && !self.fetch.look
        {
            let built = self.by_containerfile(file)?;
            return Ok((Some(built), Inside::default(), Parts::default()));
        }
        let mut base = self.base()?;
        let mut inside = Inside::default();
        let parts = match &looked.plan.build {
            _ if self.fetch.look => self.as_it_lies()?,
            Build::Python(build) => {
                if let Some(base) = &mut base {
                    inside = Inside::of(base, self.fetch.cache, self.fetch.progress)?;
                }
                self.python(build, base.as_ref(), &inside)?
            }
            Build::InBase(build) => self.in_base(build, &mut base, &mut inside)?,
            Build::None | Build::Ready(_) | Build::Containerfile(_) | Build::Host(_) => self.as_it_lies()?,
        };
        Ok((base, inside, parts))
    }

    fn base(&mut self) -> Result<Option<Container>> {
        match &self.looked.plan.base {
            Base::Image(name) => lock::fetch(name, self.lock.as_mut(), self.fetch).map(Some),
            Base::None | Base::Built => Ok(None),
        }
    }

    /// The project's files as they lie in its directory, but for dependencies.
    fn code(&self) -> Result<Items> {
        self.items(self.looked.code())
    }

    /// The project as it lies in its directory, with the dependencies that are there.
    fn as_it_lies(&self) -> Result<Parts> {
        let mut below = Vec::new();
        if self.looked.dependencies().next().is_some() {
            let items = self.items(self.looked.dependencies())?;
            below.push(layers::layer("the dependencies", &items, Times::Fixed, self.fetch.cache)?);
        }
        Ok(Parts { below, code: self.code()?, ..Parts::default() })
    }

    /// These files of the project, where they lie in the machine.
    fn items<'a>(&self, paths: impl Iterator<Item = &'a Path>) -> Result<Items> {
        let app = DIRECTORY.trim_start_matches('/');
        let mut items = Items::new();
        items.insert(app.into(), Item::new(What::Directory, true));
        for path in paths {
            if let Some(item) = Item::of(&self.directory.join(path))?
                && let Some(path) = self.looked.below_packed(path)
            {
                items.insert([app.as_bytes(), b"/", path.as_os_str().as_bytes()].concat(), item);
            }
        }
        Ok(items)
    }

    /// A copy of what is packed, but for dependencies.
    fn copy(&mut self) -> Result<PathBuf> {
        let place = Place::of(self.directory, self.fetch.cache)?;
        let copy = place.fill(self.directory, self.looked.code())?;
        self.place = Some(place);
        Ok(copy)
    }

    fn scratch(&self) -> Result<TempDir> {
        TempDir::new_in(&copy::folder(self.fetch.cache)?)
    }

    /// By the engine, in the project's own directory: what its Dockerfile copies is its own and .dockerignore's matter.
    fn by_containerfile(&self, file: &str) -> Result<Container> {
        let engine = Engine::find(&format!("a {file}"), self.fetch.progress)?;
        self.fetch.progress.step(format!("build {file} with {}", engine.name()));
        engine.build(self.directory, &self.directory.join(file), &Place::name(self.directory)?, self.fetch)
    }

    fn python(&mut self, build: &PythonBuild, base: Option<&Container>, inside: &Inside) -> Result<Parts> {
        let base = base.context("Python's packages need a base")?;
        let copied = !build.then.is_empty() || python::is_itself_a_package(build);
        let directory = if copied { self.copy()? } else { self.directory.to_owned() };
        let packages = python::packages(build, &directory, base.id, inside, self.fetch)?;
        if !build.then.is_empty() {
            self.then(build, &directory, packages.as_ref(), base)?;
        }
        let code = if copied && !build.then.is_empty() { layers::tree(&directory, DIRECTORY)? } else { self.code()? };
        let (mut env, mut path) = (Vec::new(), Vec::new());
        if packages.is_some() {
            let place = format!("{DIRECTORY}/{PACKAGES}");
            env.push(("PYTHONPATH".to_owned(), place.clone()));
            path.push(format!("{place}/bin"));
        }
        Ok(Parts { below: packages.into_iter().collect(), code, env, path })
    }

    /// What is done once the packages are there: by this machine's Python, else by an engine, else not at all.
    fn then(&self, build: &PythonBuild, copy: &Path, packages: Option<&Layer>, base: &Container) -> Result<()> {
        let progress = self.fetch.progress;
        if python::then(build, copy, packages, self.fetch)? {
            return Ok(());
        }
        let what = build.then.join("; ");
        let engine = match Engine::find(&what, progress) {
            Ok(engine) => engine,
            Err(error) => {
                progress.warn(format!("this was not run, and this machine has no Python {}: {error:#}", build.python));
                return Ok(());
            }
        };
        if let Some(packages) = packages {
            dependencies::unpack(packages, &python::place(), &copy.join(PACKAGES), self.fetch.cache)?;
        }
        let from = self.load(&engine, base)?;
        let above = self.above(&engine, copy, &containerfile::then(&from, &build.then), base, Some(PACKAGES))?;
        self.replace(copy, &above.0.code)
    }

    /// The copy becomes what an engine made of it.
    fn replace(&self, copy: &Path, code: &Items) -> Result<()> {
        fs::remove_dir_all(copy).with_context(|| format!("remove {}", copy.display()))?;
        let archive = self.fetch.cache.nameless()?;
        layers::write(code, Times::Fixed, &archive)?;
        let blob = crate::blob::Blob::file(archive).context("read what was built")?;
        super::unpack::unpack(blob.reader(), DIRECTORY, copy).context("unpack what was built")
    }

    fn in_base(&mut self, build: &InBase, base: &mut Option<Container>, inside: &mut Inside) -> Result<Parts> {
        let commands = [&build.install[..], &build.build, &build.prune].concat();
        let Some(ground) = base.as_ref().filter(|_| !commands.is_empty()) else {
            return self.as_it_is(build, base, inside);
        };
        let present = build.dependencies.as_ref().filter(|directory| self.directory.join(directory).is_dir());
        let engine = match (Engine::find(&commands.join("; "), self.fetch.progress), present) {
            (Ok(engine), _) => engine,
            (Err(error), Some(directory)) => {
                let words = format!("{directory} and what was built are taken as they are: {error:#}");
                self.fetch.progress.warn(words);
                return self.as_it_is(build, base, inside);
            }
            (Err(error), None) => return Err(error),
        };
        let copy = self.copy()?;
        let from = self.load(&engine, ground)?;
        let file = containerfile::in_base(&from, build, &|file| copy.join(file).exists());
        let (above, _spilled) = self.above(&engine, &copy, &file, ground, build.dependencies.as_deref())?;
        let mut below = Vec::new();
        for (name, items) in [("the system", &above.system), ("the dependencies", &above.dependencies)] {
            if !items.is_empty() {
                below.push(layers::layer(name, items, Times::Fixed, self.fetch.cache)?);
            }
        }
        // Contents lie in files that go with `_spilled`; the code's layer is made at once, too.
        below.push(layers::layer("the project", &above.code, Times::OfContent, self.fetch.cache)?);
        Ok(Parts { below, ..Parts::default() })
    }

    /// What an engine's build lays over the base, and the files that hold it.
    fn above(
        &self,
        engine: &Engine,
        context: &Path,
        containerfile: &str,
        base: &Container,
        dependencies: Option<&str>,
    ) -> Result<(Above, TempDir)> {
        let scratch = self.scratch()?;
        let file = scratch.path().join("Containerfile");
        fs::write(&file, containerfile).context("write a Containerfile")?;
        // The project's rules were applied already.
        for rules in [".dockerignore", ".containerignore"] {
            let _ = fs::remove_file(context.join(rules));
        }
        let archives = Fetch { archives: true, ..*self.fetch };
        let built = engine.build(context, &file, &Place::name(self.directory)?, &archives)?;
        let layers =
            built.layers.get(base.layers.len()..).context("the engine built on fewer layers than the base has")?;
        let above = above::read(layers, dependencies, scratch.path())?;
        Ok((above, scratch))
    }

    fn load(&self, engine: &Engine, base: &Container) -> Result<String> {
        engine.load(base.id, self.fetch, || {
            let archives = Fetch { archives: true, ..*self.fetch };
            let Base::Image(name) = &self.plan().base else { anyhow::bail!("there is no base to build in") };
            let mut lock = self.lock.clone();
            lock::fetch(name, lock.as_mut(), &archives)
        })
    }

    /// The project with the dependencies that lie in it, if they fit the base.
    fn as_it_is(&self, build: &InBase, base: &mut Option<Container>, inside: &mut Inside) -> Result<Parts> {
        if let Some(directory) = build.dependencies.as_ref().map(|directory| self.directory.join(directory))
            && directory.is_dir()
            && let Some(base) = base
        {
            *inside = Inside::of(base, self.fetch.cache, self.fetch.progress)?;
            payloads::check_fit(&directory, self.plan(), base, inside, self.fetch.platform)?;
        }
        self.as_it_lies()
    }

    /// By a program of this machine; what it leaves is a payload, or lies among the project's files.
    fn on_host(&mut self, local: &Local, build: &HostBuild, origin: Origin) -> Result<Container> {
        let looked = self.looked;
        // Kept with the rest, so that a build that fails leaves no copy either.
        let place = self.place.insert(Place::of(self.directory, self.fetch.cache)?);
        let left = host::build(build, self.directory, place, self.fetch)?;
        let made = match left {
            Left::Archives(directory) => {
                let archive = choose(&directory)?;
                let of = Some((&looked.plan, self.code()?));
                payloads::archive(local, &archive, of, self.lock.as_mut(), origin, self.fetch)
            }
            Left::Programs(programs) => {
                let mut parts = payloads::programs(&programs, self.plan(), self.fetch)?;
                let mut code = self.code()?;
                code.append(&mut parts.code);
                parts.code = code;
                let payload = match programs.values().next() {
                    Some(program) if programs.len() == 1 => Some(payloads::digest(program)?),
                    _ => None,
                };
                let made = Project { origin: Some(Origin { payload, ..origin }), ..Project::default() };
                let base = self.base()?.map(|base| (base, Inside::default()));
                assemble(local, self.plan(), base, parts, made, self.fetch)
            }
        };
        if let Some(place) = &self.place {
            place.clear()?;
        }
        made
    }
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        // A copy that can't be removed is overwritten by the next build.
        if let Some(place) = &self.place {
            let _ = place.clear();
        }
    }
}
