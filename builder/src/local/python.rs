//! Python packages: pip or uv of this machine fetches wheels for the base's version of Python and its platform. Nothing
//! of a wheel is run; a package that lies in the project is built by the project's own code, as cargo and Maven do.

use super::dependencies::{self, Key};
use super::image::Inside;
use super::layers::{self, Item, Items, What};
use super::tool::{self, Says};
use crate::cleanup::TempDir;
use crate::digest::Digest;
use crate::flatten::Layer;
use crate::progress::Progress;
use crate::source::Fetch;
use crate::tools;
use anyhow::{Context, Result};
use project::plan::{DIRECTORY, PACKAGES, PythonBuild};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// glibc versions whose wheels are taken, newest first: those that every image of Python's in use has (Debian 10, 2019).
/// A wheel's platform is the oldest that it runs on (PEP 600).
const GLIBC: &[&str] = &["manylinux_2_28", "manylinux_2_27", "manylinux_2_24", "manylinux_2_17", "manylinux2014"];
/// The same of musl (PEP 656): Alpine 3.13 and later.
const MUSL: &[&str] = &["musllinux_1_2", "musllinux_1_1"];
/// `-m pip`, but never a pip.py of the project, in whose directory it runs.
const PIP: &str = "import runpy; runpy.run_module('pip', run_name='__main__', alter_sys=True)";
/// What no wheel is fetched for says pip so.
const NO_WHEEL: &str = "No matching distribution found";
/// Files of an installed package that tell by which tool, from where and when it was installed.
const OF_THE_TOOL: &[&str] = &["INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json"];

/// The tool that fetches packages.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Installer {
    Uv(PathBuf),
    /// A Python that has pip.
    Pip(PathBuf),
}

/// Where the packages lie in the machine, without the slash in front.
pub(super) fn place() -> String {
    format!("{}/{PACKAGES}", DIRECTORY.trim_start_matches('/'))
}

/// The layer of a project's packages; `copy` is the project's copy, in which a package's own build may write.
///
/// # Errors
/// When there is neither pip nor uv, or it fails.
pub(super) fn packages(
    build: &PythonBuild,
    copy: &Path,
    base: Digest,
    inside: &Inside,
    fetch: &Fetch<'_>,
) -> Result<Option<Layer>> {
    if build.packages.is_empty() && build.more.is_empty() {
        return Ok(None);
    }
    let arch = fetch.platform.arch.name;
    let musl = inside.has_surely(&format!("/lib/ld-musl-{arch}.so.1"));
    let platforms: Vec<String> = if musl { MUSL } else { GLIBC }.iter().map(|name| format!("{name}_{arch}")).collect();
    let wanted = [&build.packages[..], &build.more, &build.constraints].concat();
    let commands = [vec![build.python.clone()], wanted, platforms.clone()].concat();
    let key = Key { base, arch, commands: &commands, files: deciding(build, copy)? };
    // Commands that need them as files find them in the archive.
    if let Some(layer) = dependencies::kept(&key, !build.then.is_empty(), fetch.cache)? {
        return Ok(Some(layer));
    }
    let installer = installer()?;
    let scratch = TempDir::new_in(&super::copy::folder(fetch.cache)?)?;
    let (target, constraints) = (scratch.path().join("packages"), scratch.path().join("constraints.txt"));
    fs::write(&constraints, build.constraints.join("\n")).context("write constraints for pip")?;
    fs::create_dir(&target).context("create a directory for packages")?;
    let name = if matches!(installer, Installer::Uv(_)) { "uv" } else { "pip" };
    fetch.progress.step(format!("fetch Python packages with {name} for Python {} on {arch}", build.python));
    let mut command = command(&installer, build, &target, &platforms);
    command.current_dir(copy).arg("--constraint").arg(&constraints);
    tool::run(&mut command, Says::WhenItFails, fetch.progress, Some).map_err(|error| advise(error, build))?;
    compile(build, &target, fetch.progress);
    let items = normalized(layers::tree(&target, &place())?)?;
    dependencies::keep(&key, &items, fetch.cache).map(Some)
}

/// Compiles the packages, which saves the start of the program a second: it writes none itself, as that takes memory.
/// Files have times of their own in the machine, so that Python is told to trust what is compiled (PEP 552).
fn compile(build: &PythonBuild, target: &Path, progress: &Progress) {
    let Some(python) = python(&build.python) else {
        progress.step(format!(
            "this machine has no Python {}, so the packages are not compiled, and the program starts more slowly",
            build.python
        ));
        return;
    };
    let mut command = Command::new(python);
    command.args(["-I", "-m", "compileall", "-qq", "-j", "0", "--invalidation-mode", "unchecked-hash", "-s"]);
    command.arg(target).args(["-p", &format!("/{}", place())]).arg(target).current_dir("/");
    // Packages have files that are no Python of this version: templates, tests. They are left as they are.
    let _ = tool::run(&mut command, Says::WhenItFails, progress, Some);
}

/// The files that decide which packages these are: all of them where the project itself is one.
fn deciding(build: &PythonBuild, copy: &Path) -> Result<BTreeMap<String, Digest>> {
    if !is_itself_a_package(build) {
        let files = build.lock_files.iter().chain(&build.packages);
        return dependencies::digests(copy, files.map(String::as_str));
    }
    let sources = super::copy::sources(copy)?;
    dependencies::digests(copy, sources.iter().filter_map(|path| path.to_str()))
}

/// Whether the project itself, or something in it, is one of the packages, which is built where it lies.
pub(super) fn is_itself_a_package(build: &PythonBuild) -> bool {
    build.local || build.packages.iter().any(|word| word == "." || word.starts_with("./") || word.starts_with(".["))
}

fn installer() -> Result<Installer> {
    if let Some(uv) = tools::program("uv") {
        return Ok(Installer::Uv(uv));
    }
    let pip = ["python3", "python"].iter().find_map(|name| interpreter(name, "import pip, sys; print(sys.executable)"));
    pip.map(|python| Installer::Pip(python.trim().into())).context(
        "neither pip nor uv is on this machine, which fetch the project's packages: install one of them (on Debian or Ubuntu: \
         sudo apt-get install python3-pip), or vendor the packages",
    )
}

fn command(installer: &Installer, build: &PythonBuild, target: &Path, platforms: &[String]) -> Command {
    let mut command = match installer {
        Installer::Uv(uv) => {
            let mut command = Command::new(uv);
            // It knows one platform, and takes what is older.
            let newest = platforms.first().map(String::as_str).unwrap_or_default();
            command.args(["pip", "install", "--quiet", "--no-build", "--python-platform", &uv_platform(newest)]);
            command
        }
        Installer::Pip(pip) => {
            let mut command = Command::new(pip);
            command.args(["-I", "-c", PIP]);
            let calm = ["--disable-pip-version-check", "--no-input", "--quiet", "--root-user-action=ignore"];
            command.arg("install").args(calm).args(["--only-binary=:all:", "--no-compile", "--implementation", "cp"]);
            for platform in platforms {
                command.args(["--platform", platform]);
            }
            command
        }
    };
    command.args(["--python-version", &build.python, "--target"]).arg(target);
    command.args(&build.packages).args(&build.more);
    // A user's wish for virtual environments is met: nothing is installed on this machine.
    command.env("PIP_REQUIRE_VIRTUALENV", "0").env("PYTHONDONTWRITEBYTECODE", "1").env_remove("PIP_TARGET");
    command.env_remove("PYTHONPATH").env_remove("PYTHONHOME").env("LC_ALL", "C.UTF-8");
    command
}

/// What uv calls it: `x86_64-manylinux_2_28`, `x86_64-unknown-linux-musl`.
fn uv_platform(platform: &str) -> String {
    let arch = if platform.ends_with("aarch64") { "aarch64" } else { "x86_64" };
    match platform.strip_suffix(&format!("_{arch}")) {
        Some(libc) if libc.starts_with("manylinux") => format!("{arch}-{libc}"),
        _ => format!("{arch}-unknown-linux-musl"),
    }
}

fn advise(error: anyhow::Error, build: &PythonBuild) -> anyhow::Error {
    let text = format!("{error:#}");
    let what = format!("the packages for Python {} can't be fetched", build.python);
    if text.contains(NO_WHEEL) {
        return error.context(format!(
            "{what}: a package has no wheel for it, and is not built here; take a version that has one, another Python with \
             --base, or write a Dockerfile"
        ));
    }
    error.context(what)
}

/// Without what differs from machine to machine: which Python starts a script, and what the tool notes of itself.
fn normalized(mut items: Items) -> Result<Items> {
    let scripts = format!("{}/bin/", place());
    items.retain(|path, _| !matches!(name_of_info(path), Some(name) if OF_THE_TOOL.contains(&name)));
    // Files that lay there while it installed.
    items.remove(format!("{}/.lock", place()).as_bytes());
    for (path, item) in &mut items {
        let is_script = path.starts_with(scripts.as_bytes());
        if !is_script && name_of_info(path) != Some("RECORD") {
            continue;
        }
        let What::File(file) = &item.what else { continue };
        let bytes = fs::read(file).with_context(|| format!("read {}", file.display()))?;
        // A program that a wheel brings is none of Python's.
        let Ok(text) = String::from_utf8(bytes) else { continue };
        let text = if is_script { with_bases_python(&text) } else { without_tool(&text) };
        *item = Item { what: What::Bytes(text.into_bytes()), ..item.clone() };
    }
    Ok(items)
}

/// The name of a file of a `.dist-info`.
fn name_of_info(path: &[u8]) -> Option<&str> {
    let (directory, name) = std::str::from_utf8(path).ok()?.rsplit_once('/')?;
    directory.ends_with(".dist-info").then_some(name)
}

/// A script that is started by the Python of the PATH, in place of this machine's.
fn with_bases_python(text: &str) -> String {
    const ENV: &str = "#!/usr/bin/env python3\n";
    // pip writes a long path, or one with spaces, as a line of shell that Python takes for a string.
    if let Some(rest) = text.strip_prefix("#!/bin/sh\n'''exec' ")
        && let Some((_, rest)) = rest.split_once("\n' '''\n")
    {
        return format!("{ENV}{rest}");
    }
    match text.split_once('\n') {
        Some((first, rest)) if first.starts_with("#!") && first.contains("python") => format!("{ENV}{rest}"),
        _ => text.to_owned(),
    }
}

/// A RECORD (PEP 376) without what was left out or changed.
fn without_tool(record: &str) -> String {
    let kept = record.lines().filter_map(|line| {
        let path = line.split(',').next().unwrap_or_default();
        if OF_THE_TOOL.iter().any(|name| path.ends_with(&format!(".dist-info/{name}"))) {
            return None;
        }
        // By pip as if the packages lay two directories deeper.
        let script = path.strip_prefix("../../").unwrap_or(path);
        Some(if script.starts_with("bin/") { format!("{script},,") } else { line.to_owned() })
    });
    let mut kept: Vec<String> = kept.collect();
    kept.sort();
    kept.join("\n") + "\n"
}

/// Runs commands with the project's code and its packages, by this machine's Python, where it is of the base's version. Whether
/// it was there.
///
/// # Errors
/// When a command fails.
pub(super) fn then(build: &PythonBuild, copy: &Path, packages: Option<&Layer>, fetch: &Fetch<'_>) -> Result<bool> {
    let Some(python) = python(&build.python) else { return Ok(false) };
    let scratch = TempDir::new_in(&super::copy::folder(fetch.cache)?)?;
    let (bin, path) = (scratch.path().join("bin"), scratch.path().join("packages"));
    if let Some(packages) = packages {
        dependencies::unpack(packages, &place(), &path, fetch.cache)?;
    }
    fs::create_dir(&bin).context("create a directory for python")?;
    for name in ["python", "python3"] {
        std::os::unix::fs::symlink(&python, bin.join(name)).context("create a directory for python")?;
    }
    let own = std::env::var("PATH").unwrap_or_default();
    for line in &build.then {
        fetch.progress.step(format!("run {line}"));
        let mut command = Command::new("/bin/sh");
        command.args(["-c", line]).current_dir(copy).env("PYTHONPATH", &path).env("PYTHONDONTWRITEBYTECODE", "1");
        command.env("PATH", format!("{}:{}:{own}", bin.display(), path.join("bin").display()));
        command.env_remove("PYTHONHOME").env_remove("VIRTUAL_ENV");
        tool::run(&mut command, Says::WhenItFails, fetch.progress, Some).with_context(|| line.clone())?;
    }
    Ok(true)
}

/// This machine's Python of a version.
fn python(version: &str) -> Option<PathBuf> {
    let names = [format!("python{version}"), "python3".to_owned(), "python".to_owned()];
    names.iter().find_map(|name| {
        let told = interpreter(name, "import sys; print('%d.%d' % sys.version_info[:2]); print(sys.executable)")?;
        let (found, path) = told.split_once('\n')?;
        (found == version).then(|| path.trim().into())
    })
}

/// What a Python of this machine prints. It is asked in the root directory, as tools that choose a Python by a file of the
/// directory at hand would else go by the project's.
fn interpreter(name: &str, program: &str) -> Option<String> {
    let mut command = Command::new(tools::program(name)?);
    tool::output(command.current_dir("/").args(["-I", "-c", program]), &Progress::silent()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_started_by_the_bases_python() {
        for (script, expected) in [
            ("#!/root/.pyenv/bin/python3\nimport a\n", "#!/usr/bin/env python3\nimport a\n"),
            (
                "#!/bin/sh\n'''exec' \"/long path/python\" \"$0\" \"$@\"\n' '''\nimport a\n",
                "#!/usr/bin/env python3\nimport a\n",
            ),
            ("#!/bin/sh\necho\n", "#!/bin/sh\necho\n"),
            ("text", "text"),
        ] {
            assert_eq!(with_bases_python(script), expected);
        }
    }

    #[test]
    fn a_record_tells_nothing_of_the_machine() {
        let record =
            "b.dist-info/RECORD,,\n../../bin/b,sha256=x,3\nb.dist-info/INSTALLER,sha256=y,4\na.py,sha256=z,1\n";
        assert_eq!(without_tool(record), "a.py,sha256=z,1\nb.dist-info/RECORD,,\nbin/b,,\n");
    }

    #[test]
    fn uv_knows_the_platforms_by_its_own_names() {
        assert_eq!(uv_platform("manylinux_2_28_x86_64"), "x86_64-manylinux_2_28");
        assert_eq!(uv_platform("manylinux_2_28_aarch64"), "aarch64-manylinux_2_28");
        assert_eq!(uv_platform("musllinux_1_2_x86_64"), "x86_64-unknown-linux-musl");
    }
}
