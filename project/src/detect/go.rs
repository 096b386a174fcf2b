//! Go: go.mod.

use super::{Found, Refusal, missing, owned, processes};
use crate::files::Files;
use crate::plan::{Artifact, Base, Build, HostBuild, Kind, Plan};
use std::collections::BTreeSet;

/// Directories that Go's own tools pass over, and those that hold no program of the project's own.
const STRANGE: &[&str] = &["vendor", "testdata", "node_modules", "examples", "example"];

/// Where programs are built to, as Heroku has them.
const PROGRAMS: &str = "bin";

pub(super) fn plan(files: &Files) -> Result<Found, Refusal> {
    if !files.has("go.mod") && !files.has("go.work") {
        return Err(missing(Kind::Go, "go.mod"));
    }
    let module = files.text("go.mod").and_then(|text| directive(text, "module"));
    let version = files.text("go.mod").or(files.text("go.work")).and_then(|text| directive(text, "go"));
    let root = module.map_or("app", last_part);
    let mut plan = Plan::new(Kind::Go, Base::None);
    plan.name = module.map(|module| last_part(module).to_owned());
    plan.decided_by = "go.mod".to_owned();
    let packages = packages(files);
    if packages.is_empty() {
        let looked_for = "no directory has a file of package main".to_owned();
        return Ok((plan, Some(Refusal::NoStart { kind: Kind::Go, looked_for })));
    }
    let names: Vec<String> = packages.iter().map(|package| name(package, root)).collect();
    let mut argv = owned(&["go", "build", "-trimpath", "-ldflags=-s -w", "-o"]);
    // One program is named; several are written into a directory, each by its name.
    argv.push(match names.as_slice() {
        [name] => format!("{PROGRAMS}/{name}"),
        _ => format!("{PROGRAMS}/"),
    });
    argv.extend(
        packages.iter().map(|package| if package.is_empty() { ".".to_owned() } else { format!("./{package}") }),
    );
    plan.build = Build::Host(HostBuild {
        argv,
        env: vec![("CGO_ENABLED".to_owned(), "0".to_owned()), ("GOOS".to_owned(), "linux".to_owned())],
        result: Artifact::Programs(names.iter().map(|name| format!("{PROGRAMS}/{name}")).collect()),
        advice: format!(
            "go is not there: install Go {}(https://go.dev/dl), or build elsewhere and name the program: builder ./PROGRAM",
            version.map(|version| format!("{version} or newer ")).unwrap_or_default()
        ),
    });
    let preferred = packages.iter().any(String::is_empty).then_some(root);
    Ok(processes::of_programs(plan, &names, PROGRAMS, preferred))
}

/// Directories with a package main: the root's and those in cmd/, else any others. Of modules below only go.work's count.
fn packages(files: &Files) -> Vec<String> {
    let ordinary = |part: &str| !part.starts_with(['_', '.']) && !STRANGE.contains(&part);
    let own = |directory: &str| {
        let mut ancestors = directory.split('/').scan(String::new(), |path, part| {
            path.push_str(part);
            let module = format!("{path}/go.mod");
            path.push('/');
            Some(module)
        });
        directory.is_empty() || files.has("go.work") || !ancestors.any(|module| files.has(&module))
    };
    let mut directories = BTreeSet::new();
    for path in files.paths().filter(|path| path.ends_with(".go") && !path.ends_with("_test.go")) {
        let (directory, file) = path.rsplit_once('/').unwrap_or(("", path));
        let main = files.text(path).map_or(file == "main.go", is_main);
        if main && (directory.is_empty() || directory.split('/').all(ordinary)) && own(directory) {
            directories.insert(directory.to_owned());
        }
    }
    let first: Vec<String> =
        directories.iter().filter(|path| path.is_empty() || path.starts_with("cmd/")).cloned().collect();
    if first.is_empty() { directories.into_iter().collect() } else { first }
}

/// Whether a file is of package main, and not kept out of builds.
fn is_main(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim_end);
    let ignored =
        text.lines().take_while(|line| !line.starts_with("package ")).any(|line| line.trim() == "//go:build ignore");
    !ignored
        && lines
            .find(|line| line.starts_with("package "))
            .is_some_and(|line| line.split_whitespace().nth(1) == Some("main"))
}

/// The value of a line of go.mod: `module example.com/x`.
fn directive<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (first, rest) = line.trim().split_once(char::is_whitespace)?;
        (first == name)
            .then(|| rest.split("//").next().unwrap_or(rest).trim().trim_matches('"'))
            .filter(|rest| !rest.is_empty())
    })
}

/// The name that Go gives a program: the last part of its path that is no major version.
fn last_part(path: &str) -> &str {
    let is_version = |part: &str| {
        part.strip_prefix('v').is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
    };
    path.rsplit('/').find(|part| !matches!(*part, "" | "." | "..") && !is_version(part)).unwrap_or("app")
}

fn name(package: &str, root: &str) -> String {
    if package.is_empty() { root.to_owned() } else { last_part(package).to_owned() }
}
