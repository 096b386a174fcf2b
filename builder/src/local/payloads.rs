//! Payloads: a jar, a war or a program, as the user names it or as a build left it.

use super::image::{Inside, Parts, assemble};
use super::layers::{self, Item, Items, Times, What};
use super::lock::{self, Lock};
use super::{Local, Origin, Project};
use crate::digest::Digest;
use crate::platform::Platform;
use crate::source::{Container, Fetch};
use anyhow::{Context, Result, anyhow};
use project::elf::{Architecture, Root, alone, closure};
use project::fit::{self, Libc, Target};
use project::payload::{self, Fused};
use project::plan::{Base, DIRECTORY, Kind, Plan};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Makes a machine's image of a jar or a war. Of a build's, `of` is the project's plan, which says more than the archive
/// where it says something, and `code` its other files.
///
/// # Errors
/// When it says too little to be started, or its base can't be had.
pub(super) fn archive(
    local: &Local,
    file: &Path,
    of: Option<(&Plan, Items)>,
    lock: Option<&mut Lock>,
    origin: Origin,
    fetch: &Fetch<'_>,
) -> Result<Container> {
    let Fused { mut plan, files } = payload::archive(file, &local.wishes)?;
    let payload = Some(digest(file)?);
    let mut code = Items::new();
    if let Some((project, own)) = of {
        code = own;
        plan = merged(plan, project);
    }
    for (place, source) in &files {
        code.insert(relative(place), Item::new(What::File(source.clone()), false));
    }
    let origin = Origin {
        kind: plan.kind.to_string(),
        name: origin.name.or_else(|| plan.name.clone()),
        version: origin.version.or_else(|| plan.version.clone()),
        payload,
        ..origin
    };
    finish(local, &plan, Parts { code, ..Parts::default() }, lock, origin, fetch)
}

/// Makes a machine's image of a program.
///
/// # Errors
/// When it can't run in a machine, or its base not be had.
pub(super) fn program(local: &Local, file: &Path, origin: Origin, fetch: &Fetch<'_>) -> Result<Container> {
    let fused = payload::program(file, &local.wishes, architecture(fetch.platform)?)?;
    let name = file.file_name().context("the program has no name")?;
    let place = format!("{DIRECTORY}/{}", name.to_string_lossy());
    let origin = Origin { kind: fused.plan.kind.to_string(), payload: Some(digest(file)?), ..origin };
    let parts = split(&fused.files, &[&place], Vec::new(), fetch)?;
    finish(local, &fused.plan, parts, None, origin, fetch)
}

fn finish(
    local: &Local,
    plan: &Plan,
    parts: Parts,
    lock: Option<&mut Lock>,
    origin: Origin,
    fetch: &Fetch<'_>,
) -> Result<Container> {
    for warning in &plan.warnings {
        fetch.progress.warn(warning);
    }
    let base = match &plan.base {
        Base::Image(name) => Some((lock::fetch(name, lock, fetch)?, Inside::default())),
        Base::None | Base::Built => None,
    };
    let made = Project { origin: Some(origin), ..Project::default() };
    assemble(local, plan, base, parts, made, fetch)
}

/// What a project says beside what its archive says.
fn merged(archive: Plan, project: &Plan) -> Plan {
    let mut plan = Plan { name: project.name.clone(), version: project.version.clone(), ..archive };
    if !project.processes.is_empty() {
        plan.processes.clone_from(&project.processes);
        plan.process.clone_from(&project.process);
    }
    plan.env.extend(project.env.iter().cloned());
    plan.added.extend(project.added.clone());
    plan
}

/// Programs that a build left, by their paths in the project, with what they need of this machine.
///
/// # Errors
/// When one can't run in a machine.
pub(super) fn programs(programs: &BTreeMap<String, PathBuf>, plan: &Plan, fetch: &Fetch<'_>) -> Result<Parts> {
    let root = Root::new(Path::new("/")).context("look for libraries on this machine")?;
    let wanted = architecture(fetch.platform)?;
    let (mut files, mut env, mut places) = (BTreeMap::new(), Vec::new(), Vec::new());
    for (path, program) in programs {
        let place = format!("{DIRECTORY}/{path}");
        let whole = program.canonicalize().with_context(|| format!("find {}", program.display()))?;
        let whole = whole.to_str().with_context(|| format!("{} is not UTF-8", whole.display()))?;
        let needs = match plan.base {
            Base::Image(_) => alone(&root, whole, &place, wanted)?,
            Base::None | Base::Built => closure(&root, whole, &place, wanted)?,
        };
        for warning in &needs.warnings {
            fetch.progress.warn(warning);
        }
        files.extend(needs.files);
        env.extend(needs.env);
        places.push(place);
    }
    let places: Vec<&str> = places.iter().map(String::as_str).collect();
    split(&files, &places, env, fetch)
}

/// The programs are code; what they need changes less often, and is a layer of its own. Paths of the same file are names of
/// one file.
fn split(
    files: &BTreeMap<String, PathBuf>,
    programs: &[&str],
    env: Vec<(String, String)>,
    fetch: &Fetch<'_>,
) -> Result<Parts> {
    let (mut code, mut libraries) = (Items::new(), Items::new());
    let mut first: BTreeMap<&Path, Vec<u8>> = BTreeMap::new();
    for (place, source) in files {
        let path = relative(place);
        if programs.contains(&place.as_str()) {
            code.insert(path, Item::new(What::File(source.clone()), true));
            continue;
        }
        let what = match first.get(source.as_path()) {
            Some(earlier) => What::HardLink(earlier.clone()),
            None => What::File(source.clone()),
        };
        first.entry(source).or_insert_with(|| path.clone());
        let executable = Item::of(source)?.is_some_and(|item| item.mode & 0o111 != 0);
        libraries.insert(path, Item::new(what, executable));
    }
    let mut below = Vec::new();
    if !libraries.is_empty() {
        below.push(layers::layer("the libraries", &libraries, Times::Fixed, fetch.cache)?);
    }
    Ok(Parts { below, code, env, path: Vec::new() })
}

fn relative(place: &str) -> Vec<u8> {
    place.trim_start_matches('/').into()
}

/// The digest of a payload.
///
/// # Errors
/// When it can't be read.
pub(super) fn digest(file: &Path) -> Result<Digest> {
    let shown = || format!("read {}", file.display());
    Digest::of_reader(File::open(file).with_context(shown)?).with_context(shown)
}

fn architecture(platform: Platform) -> Result<Architecture> {
    let name = platform.arch.name;
    name.parse().map_err(|_| anyhow!("programs for {name} are not known"))
}

/// Whether dependencies that lie in the project fit its base.
///
/// # Errors
/// When they don't, with what to do.
pub(super) fn check_fit(
    directory: &Path,
    plan: &Plan,
    base: &Container,
    inside: &Inside,
    platform: Platform,
) -> Result<()> {
    let Base::Image(name) = &plan.base else { return Ok(()) };
    let architecture = architecture(platform)?;
    let musl = inside.has_surely(&format!("/lib/ld-musl-{}.so.1", platform.arch.name));
    let libc = if musl { Libc::Musl } else { Libc::Glibc(None) };
    let env = base.config.config.env.iter().filter_map(|entry| entry.split_once('='));
    let target = Target::of_env(name, architecture, libc, env);
    match plan.kind {
        Kind::Python => fit::python(directory, &target).map(drop)?,
        _ => fit::node(directory, &target)?,
    }
    Ok(())
}
