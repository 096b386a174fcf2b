//! Rust: Cargo.toml.

use super::{Found, Refusal, missing, owned, processes, text};
use crate::files::Files;
use crate::plan::{Artifact, Base, Build, HostBuild, Kind, Plan};
use std::collections::BTreeSet;
use toml::{Table, Value};

const MANIFEST: &str = "Cargo.toml";

/// Where a Procfile expects programs.
const PROGRAMS: &str = "target/release";

/// A package of the workspace.
struct Package {
    /// Its directory, relative to the root; empty for the root.
    directory: String,
    name: String,
    manifest: Table,
}

/// A program and the package that has it.
struct Program {
    package: String,
    name: String,
}

pub(super) fn plan(files: &Files, port: u16) -> Result<Found, Refusal> {
    let root = text::toml(files, MANIFEST)?.ok_or_else(|| missing(Kind::Rust, MANIFEST))?;
    let mut plan = Plan::new(Kind::Rust, Base::None);
    plan.decided_by = MANIFEST.to_owned();
    let packages = packages(files, &root)?;
    let programs: Vec<Program> = packages.iter().flat_map(|package| programs(files, package)).collect();
    let owner = programs.first().and_then(|program| packages.iter().find(|package| package.name == program.package));
    plan.name = owner.map(|package| package.name.clone());
    plan.version = owner.and_then(|package| version(package, &root));
    plan.left_out = owned(&["target"]);
    if packages.iter().any(|package| has_dependency(package, "rocket")) {
        plan.env.push(("ROCKET_ADDRESS".to_owned(), "0.0.0.0".to_owned()));
        plan.env.push(("ROCKET_PORT".to_owned(), port.to_string()));
    }
    if programs.is_empty() {
        let looked_for = "Cargo.toml has no [[bin]], and there is no src/main.rs and no file in src/bin".to_owned();
        return Ok((plan, Some(Refusal::NoStart { kind: Kind::Rust, looked_for })));
    }
    let names: Vec<String> = programs.iter().map(|program| program.name.clone()).collect();
    let mut argv = owned(&["cargo", "build", "--release", "--message-format=json-render-diagnostics"]);
    argv.extend(files.has("Cargo.lock").then(|| "--locked".to_owned()));
    let owners: BTreeSet<&str> = programs.iter().map(|program| program.package.as_str()).collect();
    argv.extend(owners.into_iter().map(|package| format!("--package={package}")));
    argv.extend(names.iter().map(|name| format!("--bin={name}")));
    plan.build = Build::Host(HostBuild {
        argv,
        env: Vec::new(),
        result: Artifact::CargoPrograms(names.clone()),
        advice: "cargo is not there: install Rust (https://rustup.rs), or build elsewhere and name the program: \
            builder ./PROGRAM"
            .to_owned(),
    });
    let mut defaults =
        packages.iter().filter_map(|package| text::at(&package.manifest, &["package", "default-run"])?.as_str());
    let preferred = defaults.find(|name| names.iter().any(|of| of == name));
    Ok(processes::of_programs(plan, &names, PROGRAMS, preferred))
}

/// The packages that cargo builds by itself: the workspace's default members, else the root's, else all members.
fn packages(files: &Files, root: &Table) -> Result<Vec<Package>, Refusal> {
    let lists = |key: &str| -> Option<Vec<&str>> {
        let list = text::at(root, &["workspace", key])?.as_array()?;
        Some(list.iter().filter_map(Value::as_str).collect())
    };
    let patterns = match (lists("default-members"), lists("members")) {
        (Some(members), _) => members,
        (None, _) if root.contains_key("package") => vec![""],
        (None, members) => members.unwrap_or_default(),
    };
    let excluded = lists("exclude").unwrap_or_default();
    let mut packages = Vec::new();
    for path in files.paths() {
        let Some(directory) = path.strip_suffix(MANIFEST).map(|directory| directory.trim_end_matches('/')) else {
            continue;
        };
        let named = patterns.iter().any(|pattern| matches(pattern, directory));
        if !named || path != MANIFEST && path != format!("{directory}/{MANIFEST}") || excluded.contains(&directory) {
            continue;
        }
        let Some(manifest) = text::toml(files, path)? else { continue };
        let name = text::at(&manifest, &["package", "name"]).and_then(Value::as_str).filter(|name| is_name(name));
        let Some(name) = name.map(str::to_owned) else { continue };
        packages.push(Package { directory: directory.to_owned(), name, manifest });
    }
    Ok(packages)
}

/// Whether a directory is meant by a member of a workspace: `crates/*`, `.`.
fn matches(pattern: &str, directory: &str) -> bool {
    let parts = |path: &str| -> Vec<String> {
        path.split('/').filter(|part| !matches!(*part, "" | ".")).map(str::to_owned).collect()
    };
    let (pattern, directory) = (parts(pattern), parts(directory));
    pattern.len() == directory.len()
        && pattern.iter().zip(&directory).all(|(pattern, part)| match pattern.split_once('*') {
            Some((start, end)) => {
                part.len() >= start.len() + end.len() && part.starts_with(start) && part.ends_with(end)
            }
            None => pattern == part,
        })
}

/// The programs of a package: src/main.rs, src/bin/, [[bin]]. Those that only features bring are left out.
fn programs(files: &Files, package: &Package) -> Vec<Program> {
    let prefix = if package.directory.is_empty() { String::new() } else { format!("{}/", package.directory) };
    let automatic = text::at(&package.manifest, &["package", "autobins"]).and_then(Value::as_bool) != Some(false);
    let mut names = BTreeSet::new();
    if automatic && files.has(&format!("{prefix}src/main.rs")) {
        names.insert(package.name.clone());
    }
    let directory = format!("{prefix}src/bin/");
    for path in files.paths().filter(|_| automatic).filter_map(|path| path.strip_prefix(&directory)) {
        let name =
            path.strip_suffix("/main.rs").or_else(|| path.strip_suffix(".rs")).filter(|name| !name.contains('/'));
        names.extend(name.map(str::to_owned));
    }
    let listed = package.manifest.get("bin").and_then(Value::as_array);
    for program in listed.into_iter().flatten() {
        let Some(name) = program.get("name").and_then(Value::as_str) else { continue };
        // A program that is listed with its path takes the place of what would be found there.
        let path = program.get("path").and_then(Value::as_str).unwrap_or_default();
        match path {
            "src/main.rs" => drop(names.remove(&package.name)),
            path => {
                let of_path =
                    path.strip_prefix("src/bin/").map(|path| path.trim_end_matches(".rs").trim_end_matches("/main"));
                of_path.map(|of_path| names.remove(of_path));
            }
        }
        let features = program.get("required-features").and_then(Value::as_array);
        if features.is_some_and(|features| !features.is_empty()) {
            names.remove(name);
        } else {
            names.insert(name.to_owned());
        }
    }
    let names = names.into_iter().filter(|name| is_name(name));
    names.map(|name| Program { package: package.name.clone(), name }).collect()
}

/// Whether cargo takes this as a name of a package or a program: no path and no option.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
}

fn version(package: &Package, root: &Table) -> Option<String> {
    let own = text::at(&package.manifest, &["package", "version"])?;
    let inherited = || text::at(root, &["workspace", "package", "version"])?.as_str();
    own.as_str().or_else(inherited).map(str::to_owned)
}

fn has_dependency(package: &Package, name: &str) -> bool {
    text::at(&package.manifest, &["dependencies", name]).is_some()
}
