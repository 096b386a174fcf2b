//! Whether a virtual environment, or a directory with installed packages, fits the base's Python.

use super::{Misfit, Sides, Target, elf, files, shown};
use crate::elf::{Image, Unreadable, version_of};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// Bytes of a pyvenv.cfg.
const LONGEST: u64 = 1 << 20;

/// What a virtual environment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Venv {
    /// The version of its Python: (3, 12).
    pub python: (u32, u32),
    /// Where its packages are, relative to it: `lib/python3.12/site-packages`.
    pub packages: String,
}

/// Whether a virtual environment or a directory with packages fits; what it says where it is a virtual environment.
///
/// # Errors
/// When it cannot be read, or something in it does not fit.
pub fn python(directory: &Path, target: &Target) -> Result<Option<Venv>, Misfit> {
    let misfit = |path: String, (problem, has): Sides| Misfit::Other {
        path,
        problem,
        base: target.name.clone(),
        has,
        advice: advice(target),
    };
    let configuration = directory.join("pyvenv.cfg");
    let venv = read(&configuration).map_err(|error| Misfit::read(&configuration, error))?;
    let venv = venv.map(|text| parse(&text)).transpose();
    let venv = venv.map_err(|sides| misfit(shown(&configuration, directory), sides))?;
    if let (Some(venv), Some(has)) = (&venv, target.python)
        && venv.python != has
    {
        return Err(misfit(shown(&configuration, directory), versions(venv.python, has)));
    }
    if let Some(venv) = &venv
        && !directory.join(&venv.packages).is_dir()
    {
        let sides = (format!("has no {}", venv.packages), "looks there".to_owned());
        return Err(misfit(shown(directory, directory), sides));
    }
    for file in files(directory, &is_compiled)? {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(sides) = tags(name, target) {
            return Err(misfit(shown(&file, directory), sides));
        }
        let opened = File::open(&file).map_err(|error| Misfit::read(&file, error))?;
        let for_target = format!("is for Linux on {}", target.architecture);
        let verdict = match Image::read(opened) {
            Ok(image) => elf(&image, target),
            Err(Unreadable::Foreign(machine)) => Err((format!("is for {machine}"), for_target)),
            // A linker's script, which is text, is for building only.
            Err(Unreadable::NotElf) if !is_library_of_other(&file) => Ok(()),
            Err(Unreadable::NotElf) => Err(("is not for Linux".to_owned(), for_target)),
            Err(problem) => Err((format!("cannot be loaded ({problem})"), for_target)),
        };
        verdict.map_err(|sides| misfit(shown(&file, directory), sides))?;
    }
    Ok(venv)
}

/// What to do about it.
fn advice(target: &Target) -> String {
    let version = target.python.map(|(major, minor)| format!(" {major}.{minor}")).unwrap_or_default();
    format!(
        "remove it, so that pip or uv installs for the base from requirements.txt or pyproject.toml, or make it with \
         Python{version} on Linux for {}; another base is named with --base",
        target.architecture
    )
}

fn versions((major, minor): (u32, u32), has: (u32, u32)) -> Sides {
    (format!("is for Python {major}.{minor}"), format!("has Python {}.{}", has.0, has.1))
}

/// The text of a small file, if there is one.
fn read(path: &Path) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(LONGEST).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Reads a pyvenv.cfg: `version` of venv, `version_info` of virtualenv and uv.
fn parse(text: &str) -> Result<Venv, Sides> {
    let value = |key: &str| {
        let line = |line: &str| {
            let (name, value) = line.split_once('=')?;
            (name.trim() == key).then(|| value.trim().to_owned())
        };
        text.lines().find_map(line)
    };
    let python = value("version").or_else(|| value("version_info")).as_deref().and_then(version_of);
    let python = python.ok_or_else(|| ("does not say its version".to_owned(), "has to fit it".to_owned()))?;
    Ok(Venv { python, packages: format!("lib/python{}.{}/site-packages", python.0, python.1) })
}

/// Whether a file is compiled: a module or a library.
fn is_compiled(name: &str) -> bool {
    let shared = name.ends_with(".so") || name.contains(".so.") || name.ends_with(".dylib");
    shared || name.ends_with(".pyd")
}

/// What of a module's name does not fit: `x.cpython-312-x86_64-linux-gnu.so` (PEP 3149), `x.cp312-win_amd64.pyd`. One
/// with the tag `abi3` or without any is for every Python 3.
fn tags(name: &str, target: &Target) -> Option<Sides> {
    let for_target = || format!("is for Linux on {}", target.architecture);
    if name.ends_with(".pyd") {
        return Some(("is for Windows".to_owned(), for_target()));
    }
    if name.ends_with(".dylib") || name.ends_with("-darwin.so") {
        return Some(("is for macOS".to_owned(), for_target()));
    }
    let tag = name.strip_suffix(".so")?.rsplit('.').next()?;
    if tag.starts_with("pypy") {
        return target.python.map(|(major, minor)| ("is for PyPy".to_owned(), format!("has CPython {major}.{minor}")));
    }
    let tag = tag.strip_prefix("cpython-").or_else(|| tag.strip_prefix("cp"))?;
    let tag = tag.split('-').next()?;
    let digits = tag.trim_end_matches(|c: char| c.is_ascii_lowercase());
    let (major, minor) = digits.split_at_checked(1)?;
    let version = (major.parse().ok()?, minor.parse().ok()?);
    let has = target.python?;
    if version != has {
        return Some(versions(version, has));
    }
    // Builds without the global lock load no module of others, and others none of theirs.
    let free = tag.ends_with('t');
    free.then(|| (format!("is for Python {}.{} without the global lock", version.0, version.1), "has it".to_owned()))
}

/// Whether a file that is no ELF is nevertheless compiled.
fn is_library_of_other(file: &Path) -> bool {
    let mut start = Vec::new();
    let read = fs::File::open(file).and_then(|file| file.take(512).read_to_end(&mut start));
    read.is_ok() && std::str::from_utf8(&start).is_err_and(|error| error.error_len().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::Architecture;
    use crate::fit::Libc;

    #[test]
    fn what_environments_say() {
        let venv = |text: &str| parse(text).map(|venv| (venv.python, venv.packages));
        let of = |minor: u32| Ok(((3, minor), format!("lib/python3.{minor}/site-packages")));
        assert_eq!(venv("home = /usr/bin\nversion = 3.11.2\nexecutable = /usr/bin/python3.11\n"), of(11));
        assert_eq!(venv("home = /usr/bin\r\nimplementation = CPython\r\nversion_info = 3.12.3.final.0\r\n"), of(12));
        assert!(venv("home = /usr/bin\n").is_err());
    }

    #[test]
    fn tags_of_modules() {
        let target = Target {
            name: "python:3.11-slim".to_owned(),
            architecture: Architecture::X86_64,
            libc: Libc::Glibc(None),
            node: None,
            python: Some((3, 11)),
        };
        let problem = |name: &str| tags(name, &target).map(|(problem, _)| problem);
        for fitting in [
            "x.cpython-311-x86_64-linux-gnu.so",
            "x.abi3.so",
            "x.so",
            "libz-1a2b.so.1.2",
            "x.cp311.so",
            "x.y.so",
            "cpu.so",
        ] {
            assert_eq!(problem(fitting), None, "{fitting}");
        }
        for (other, expected) in [
            ("x.cpython-312-x86_64-linux-gnu.so", "is for Python 3.12"),
            ("x.cpython-37m-x86_64-linux-gnu.so", "is for Python 3.7"),
            ("x.cpython-311t-x86_64-linux-gnu.so", "is for Python 3.11 without the global lock"),
            ("x.pypy39-pp73-x86_64-linux-gnu.so", "is for PyPy"),
            ("x.cp311-win_amd64.pyd", "is for Windows"),
            ("x.cpython-311-darwin.so", "is for macOS"),
        ] {
            assert_eq!(problem(other).as_deref(), Some(expected), "{other}");
        }
    }
}
