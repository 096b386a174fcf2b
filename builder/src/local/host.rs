//! Builds by programs of this machine, in a copy of the project: Go, cargo, Maven, Gradle.

use super::copy::{self, Place};
use super::tool::{self, Failure, Says};
use crate::platform::Platform;
use crate::progress::Progress;
use crate::source::Fetch;
use crate::tools;
use anyhow::{Context, Result, anyhow, ensure};
use project::plan::{Artifact, HostBuild};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a build left: files of this machine.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// A directory with the jar or the war.
    Archives(PathBuf),
    /// Programs by their paths in the project.
    Programs(BTreeMap<String, PathBuf>),
}

/// Builds, in a copy of the project.
///
/// # Errors
/// When the program is not there, fails, or leaves something else.
pub(super) fn build(build: &HostBuild, project: &Path, place: &Place, fetch: &Fetch<'_>) -> Result<Left> {
    let (root, below) = root(build, project);
    let sources = copy::sources(&root)?;
    let copy = place.fill(&root, sources.iter().map(PathBuf::as_path))?.join(below);
    let (name, arguments) = build.argv.split_first().context("the plan names no program")?;
    let program = if name.starts_with("./") { Some(copy.join(name)) } else { tools::program(name) };
    let program = program.filter(|program| program.exists());
    let program = program.ok_or_else(|| anyhow!("{name} is not on this machine: {}", build.advice))?;
    let mut command = Command::new(&program);
    command.args(arguments).current_dir(&copy).env("CARGO_TARGET_DIR", place.kept());
    command.envs(build.env.iter().map(|(name, value)| (name, value)));
    cross(&mut command, name, fetch.platform);
    fetch.progress.step(format!("build with {}", build.argv.join(" ")));
    match &build.result {
        Artifact::Archive(directory) => {
            tool::run(&mut command, Says::AsItComes, fetch.progress, Some)?;
            Ok(Left::Archives(copy.join(directory)))
        }
        Artifact::Programs(paths) => {
            tool::run(&mut command, Says::AsItComes, fetch.progress, Some)?;
            let programs = paths.iter().map(|path| (path.clone(), copy.join(path))).collect();
            there(programs, name).map(Left::Programs)
        }
        Artifact::CargoPrograms(names) => {
            let target = musl(&copy, fetch.platform);
            let built = cargo(command, target.as_deref(), fetch.progress)?;
            let programs = names.iter().map(|name| {
                let path = built.get(name).with_context(|| format!("cargo built no program {name}"))?;
                Ok((format!("target/release/{name}"), path.clone()))
            });
            programs.collect::<Result<Programs>>().and_then(|programs| there(programs, name)).map(Left::Programs)
        }
    }
}

fn there(programs: BTreeMap<String, PathBuf>, name: &str) -> Result<BTreeMap<String, PathBuf>> {
    for (wanted, path) in &programs {
        ensure!(path.is_file(), "{name} ended well, and left no {wanted}");
    }
    Ok(programs)
}

/// What has to be copied, and where in it the project lies: of a cargo workspace's member, all of the workspace.
fn root(build: &HostBuild, project: &Path) -> (PathBuf, PathBuf) {
    let alone = (project.to_owned(), PathBuf::new());
    if build.argv.first().is_none_or(|program| program != "cargo") {
        return alone;
    }
    let mut command = Command::new("cargo");
    command.args(["locate-project", "--workspace", "--message-format", "plain"]).current_dir(project);
    let Ok(manifest) = tool::output(&mut command, &Progress::silent()) else { return alone };
    let (workspace, project) = (Path::new(manifest.trim()).parent(), project.canonicalize().ok());
    let found = workspace.zip(project).and_then(|(workspace, project)| {
        let below = project.strip_prefix(workspace).ok()?.to_owned();
        Some((workspace.to_owned(), below))
    });
    found.unwrap_or(alone)
}

/// Go builds for any machine.
fn cross(command: &mut Command, program: &str, platform: Platform) {
    if program == "go" {
        command.env("GOOS", "linux").env("GOARCH", platform.arch.oci);
    }
}

/// The target that gives static programs, where rustc has it.
fn musl(copy: &Path, platform: Platform) -> Option<String> {
    let target = format!("{}-unknown-linux-musl", platform.arch.name);
    let mut command = Command::new("rustc");
    command.args(["--print", "target-libdir", "--target", &target]).current_dir(copy);
    let directory = tool::output(&mut command, &Progress::silent()).ok()?;
    Path::new(directory.trim()).is_dir().then_some(target)
}

/// A message of `cargo build --message-format=json` (The Cargo Book, "External tools").
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    target: Option<Target>,
    #[serde(default)]
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    #[serde(default)]
    kind: Vec<String>,
}

/// What cargo says where something of C or a linker is missing, and the sources are not to blame.
const NO_C: &[&str] = &["failed to run custom build command", "linking with"];

/// Programs by name, as cargo tells where they are.
fn cargo(mut command: Command, target: Option<&str>, progress: &Progress) -> Result<Programs> {
    command.env("CARGO_TERM_COLOR", "never");
    let Some(target) = target else { return run_cargo(&mut command, progress) };
    let mut for_musl = again(&command);
    for_musl.args(["--target", target]);
    run_cargo(&mut for_musl, progress).or_else(|error| {
        let said = |words: &&str| error.downcast_ref::<Failure>().is_some_and(|failure| failure.said(words));
        if !NO_C.iter().any(said) {
            return Err(error);
        }
        progress.warn(format!("it can't be built as a static program for {target}, so it is built as a dynamic one"));
        run_cargo(&mut command, progress)
    })
}

/// A command like this one.
fn again(command: &Command) -> Command {
    let mut again = Command::new(command.get_program());
    again.args(command.get_args());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            again.env(name, value);
        }
    }
    if let Some(directory) = command.get_current_dir() {
        again.current_dir(directory);
    }
    again
}

type Programs = BTreeMap<String, PathBuf>;

fn run_cargo(command: &mut Command, progress: &Progress) -> Result<Programs> {
    let mut programs = BTreeMap::new();
    tool::run(command, Says::AsItComes, progress, |line| {
        let Ok(message) = serde_json::from_str::<Message>(&line) else { return Some(line) };
        if let (Some(target), Some(executable)) = (message.target, message.executable)
            && message.reason == "compiler-artifact"
            && target.kind.iter().any(|kind| kind == "bin")
        {
            programs.insert(target.name, executable);
        }
        None
    })?;
    Ok(programs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_tells_where_programs_are() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("cargo");
        let lines = [
            r#"{"reason":"compiler-artifact","target":{"name":"lib","kind":["lib"]},"executable":null}"#,
            r#"{"reason":"compiler-artifact","target":{"name":"app","kind":["bin"]},"executable":"/t/release/app"}"#,
            r#"{"reason":"compiler-artifact","target":{"name":"t","kind":["test"]},"executable":"/t/release/t"}"#,
            r#"{"reason":"build-finished","success":true}"#,
        ];
        std::fs::write(&script, lines.join("\n")).unwrap();
        let mut command = Command::new("cat");
        command.arg(&script);
        let programs = run_cargo(&mut command, &Progress::silent()).unwrap();
        assert_eq!(programs, [("app".to_owned(), PathBuf::from("/t/release/app"))].into());
    }
}
