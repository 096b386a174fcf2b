//! Detection: what a project is, how it is built, how it is started, and what it runs on.
//!
//! A pure function over the names of files and the texts of the small ones. Decisions are taken in this order: the command
//! line and nanoos.toml ([`Wishes`]), the Procfile, the other files.

mod cargo;
mod go;
mod java;
mod kind;
mod listening;
mod node;
mod processes;
mod python;
mod range;
mod refusal;
mod site;
mod text;

#[cfg(test)]
mod tests;

pub use refusal::Refusal;

use crate::files::Files;
use crate::plan::{Artifact, Base, Build, HostBuild, InBase, Kind, PORT, Plan, Wishes};

/// A plan, and why nothing in the files says how it is started where [`Plan::processes`] is empty.
type Found = (Plan, Option<Refusal>);

/// Decides how a project is made into a machine.
///
/// `procfile` has the lines of the project's Procfile: names and commands, each name once.
///
/// # Errors
/// When the project is nothing known, or of two kinds, or does not say how it is started, or a file is not what its name
/// says.
pub fn detect(files: &Files, wishes: &Wishes, procfile: Option<&[(String, String)]>) -> Result<Plan, Refusal> {
    let procfile = procfile.unwrap_or_default();
    let choice = kind::choose(files, wishes, procfile)?;
    let port = wishes.port.unwrap_or(PORT);
    let (mut plan, no_start) = match choice.kind {
        Kind::Dockerfile => dockerfile(files),
        Kind::Node => node::plan(files),
        Kind::Python => python::plan(files),
        Kind::Java | Kind::War => java::plan(files, choice.kind, port),
        Kind::Go => go::plan(files),
        Kind::Rust => cargo::plan(files, port),
        Kind::Site => site::plan(files, port),
        Kind::Elf => {
            let why = "a program is named by itself: builder ./PROGRAM".to_owned();
            Err(Refusal::Useless { option: "--kind elf", why })
        }
        Kind::Other => other(wishes),
    }?;
    plan.decided_by = choice.decided_by;
    plan.warnings.splice(0..0, choice.warnings);
    processes::settle(&mut plan, no_start, wishes, procfile)?;
    based(&mut plan, wishes)?;
    plan.warnings.extend(database(files));
    Ok(plan)
}

/// Names of files whose texts detection, or who calls it, reads, in any directory.
const TEXTS: &[&str] = &[
    "Procfile",
    "package.json",
    "yarn.lock",
    ".nvmrc",
    ".node-version",
    "pyproject.toml",
    "Pipfile",
    "Pipfile.lock",
    "poetry.lock",
    "uv.lock",
    ".python-version",
    "pom.xml",
    "build.gradle",
    "build.gradle.kts",
    "settings.gradle",
    "settings.gradle.kts",
    "system.properties",
    ".java-version",
    "go.mod",
    "go.work",
    "Cargo.toml",
];

/// Such files that others name by their directories, which may have any name: of a workspace's members, of modules.
const NAMED_BY_OTHERS: &[&str] = &["Cargo.toml", "pom.xml"];

/// Endings of such names: applications of Python, packages of Go.
const ENDINGS: &[&str] = &[".py", ".go"];

/// Endings of lists of requirements, which other lists name by any name.
const LISTS: &[&str] = &[".txt", ".in", ".pip"];

/// Parts of a path in which such a list is looked for by its ending alone: deeper, texts are data.
const DEEPEST_LIST: usize = 3;

/// Files in the root, beside [`TEXTS`], that say how a project is built by being there.
const PRESENT: &[&str] = &[
    "package-lock.json",
    "npm-shrinkwrap.json",
    "pnpm-lock.yaml",
    "pnpm-workspace.yaml",
    ".npmrc",
    ".yarnrc",
    ".yarnrc.yml",
    ".pnpmfile.cjs",
    "runtime.txt",
    "mvnw",
    "gradlew",
    "Cargo.lock",
];

/// Directories of other people's files, which say nothing of the project.
const FOREIGN: &[&str] = &["node_modules", "site-packages", "vendor", ".venv", "venv", "target", ".git"];

/// Those of them that no member of a workspace lies in: a seller's module may well be called vendor.
const NEVER_OWN: &[&str] = &["node_modules", "site-packages", ".venv", "venv", ".git"];

/// Whether detection reads the text of this file: of any other it is enough to know that it is there.
///
/// The Procfile is one of them, which who calls [`detect`] reads.
#[must_use]
pub fn wants(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let is_in = |directories: &[&str]| path.split('/').any(|part| directories.contains(&part));
    if NAMED_BY_OTHERS.contains(&name) {
        return !is_in(NEVER_OWN);
    }
    let is_list = || {
        is_requirements(path)
            || path.split('/').count() <= DEEPEST_LIST && LISTS.iter().any(|ending| name.ends_with(ending))
    };
    let wanted = TEXTS.contains(&name) || ENDINGS.iter().any(|ending| name.ends_with(ending)) || is_list();
    wanted && !is_in(FOREIGN)
}

/// Whether a file says what a project is or how it is built even where it is not packed: a Dockerfile, a Procfile, a
/// description of packages, a lock file; and no program, for what is not in the machine is not started there.
#[must_use]
pub fn describes(path: &str) -> bool {
    // What is named with a directory is none of the root.
    !path.contains('/')
        && (kind::DOCKERFILES.contains(&path)
            || TEXTS.contains(&path)
            || PRESENT.contains(&path)
            || is_requirements(path) && LISTS.iter().any(|ending| path.ends_with(ending)))
}

/// Whether a path says that it is a list of requirements of Python: `requirements-dev.txt`, `requirements/base`.
fn is_requirements(path: &str) -> bool {
    path.contains("requirements") || path.contains("constraints")
}

/// The image of a Dockerfile, which says everything itself.
fn dockerfile(files: &Files) -> Result<Found, Refusal> {
    let named = kind::DOCKERFILES.iter().find(|file| files.has(file));
    let file = named.ok_or_else(|| missing(Kind::Dockerfile, "Dockerfile and no Containerfile"))?;
    let build = Build::Containerfile((*file).to_owned());
    Ok((Plan { build, ..Plan::new(Kind::Dockerfile, Base::Built) }, None))
}

/// Anything else: what the user says it runs on, and what the Procfile says.
fn other(wishes: &Wishes) -> Result<Found, Refusal> {
    let base = wishes.base.clone().ok_or(Refusal::NoBase)?;
    let looked_for = "it has no Procfile".to_owned();
    let no_start = Refusal::NoStart { kind: Kind::Other, looked_for };
    Ok((Plan::new(Kind::Other, Base::Image(base)), Some(no_start)))
}

/// Puts the user's base and commands of building in the place of the kind's own.
fn based(plan: &mut Plan, wishes: &Wishes) -> Result<(), Refusal> {
    if plan.base == Base::Built && (wishes.base.is_some() || !wishes.build.is_empty()) {
        let option = if wishes.base.is_some() { "--base" } else { "--build" };
        let why = "its Dockerfile says it; choose another kind with --kind".to_owned();
        return Err(Refusal::Useless { option, why });
    }
    if let Some(base) = &wishes.base {
        plan.base = Base::Image(base.clone());
        if let (Build::Python(build), Some(python)) = (&mut plan.build, python::version_of(base)) {
            build.python = python;
        }
    }
    if !wishes.build.is_empty() {
        plan.build = match &mut plan.build {
            Build::Host(host) => Build::Host(by_shell(host, &wishes.build)),
            _ if plan.base == Base::None => {
                let why = "it has no base to build in; say one with --base IMAGE".to_owned();
                return Err(Refusal::Useless { option: "--build", why });
            }
            _ => Build::InBase(InBase { build: wishes.build.clone(), ..InBase::default() }),
        };
    }
    Ok(())
}

/// The user's commands on this machine, which leave what the kind's own would leave.
fn by_shell(host: &HostBuild, commands: &[String]) -> HostBuild {
    let result = match &host.result {
        Artifact::CargoPrograms(names) => {
            Artifact::Programs(names.iter().map(|name| format!("target/release/{name}")).collect())
        }
        result => result.clone(),
    };
    let argv = ["/bin/sh", "-e", "-c", &commands.join("\n")].map(str::to_owned).to_vec();
    HostBuild { argv, env: host.env.clone(), result, advice: "/bin/sh is not there".to_owned() }
}

/// A warning of a database that lies in the project.
fn database(files: &Files) -> Option<String> {
    let is_database = |path: &&str| {
        let (_, ending) = path.rsplit_once('.').unwrap_or_default();
        let own = !path.split('/').any(|part| FOREIGN.contains(&part));
        own && matches!(ending, "sqlite" | "sqlite3" | "db" | "db3")
    };
    let path = files.paths().find(is_database)?;
    Some(format!(
        "{path} looks like a SQLite database: what is written to it does not outlive the machine, as its disk is read-only \
         and writes are kept in memory; put it on a volume, or use a database elsewhere (DATABASE_URL)"
    ))
}

fn missing(kind: Kind, missing: &str) -> Refusal {
    Refusal::Missing { kind, missing: missing.to_owned() }
}

/// A list of words as a plan has them.
fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}
