//! Python: requirements.txt, pyproject.toml, Pipfile, or a lone program.

mod locked;
mod packages;
mod web;

use super::processes::WEB;
use super::range::Range;
use super::{Found, Refusal, text};
use crate::files::Files;
use crate::plan::{Base, Build, Kind, Plan, PythonBuild};
use packages::Packages;

/// Release lines of Python, the preferred first: the newest for which nearly every package has wheels, then the others.
const VERSIONS: &[&[u32]] = &[&[3, 13], &[3, 14], &[3, 15], &[3, 12], &[3, 11], &[3, 10], &[3, 9], &[3, 8]];

pub(super) fn plan(files: &Files) -> Result<Found, Refusal> {
    let mut warnings = Vec::new();
    let packages = packages::read(files, &mut warnings)?;
    let tag = version(files, &packages)?;
    let web = web::start(files, &packages);
    warnings.extend(web.as_ref().and_then(|web| web.warning.clone()));
    let mut plan = Plan::new(Kind::Python, Base::Image(format!("python:{tag}-slim")));
    plan.name.clone_from(&packages.name);
    plan.version.clone_from(&packages.version);
    // What Python writes goes to memory here: no compiled files; and its output is seen at once.
    let env = [("PYTHONUNBUFFERED", "1"), ("PYTHONDONTWRITEBYTECODE", "1")];
    plan.env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    if packages.has("flask") {
        plan.env.push(("FLASK_RUN_HOST".to_owned(), "0.0.0.0".to_owned()));
    }
    plan.left_out = [".venv", "venv", "env"]
        .iter()
        .filter(|name| files.has(&format!("{name}/pyvenv.cfg")))
        .map(|&name| name.to_owned())
        .collect();
    plan.warnings = warnings;
    let (process, more) = web.map_or((None, None), |web| (Some(web.process), web.needs));
    let then = web::collect_static(files);
    if !packages.wanted.is_empty() || more.is_some() || !then.is_empty() {
        plan.build = Build::Python(PythonBuild {
            python: tag.split('.').take(2).collect::<Vec<_>>().join("."),
            packages: packages.wanted.clone(),
            constraints: packages.constraints.clone(),
            lock_files: packages.lock_files.clone(),
            local: packages.local,
            more: more.into_iter().collect(),
            then,
        });
    }
    let none =
        process.is_none().then(|| Refusal::NoStart { kind: Kind::Python, looked_for: web::LOOKED_FOR.to_owned() });
    plan.processes.extend(process.map(|process| (WEB.to_owned(), process)));
    Ok((plan, none))
}

/// The version of Python in the name of an image: `3.12` of `registry.example/python:3.12.4-slim`.
pub(super) fn version_of(image: &str) -> Option<String> {
    let (name, tag) = image.rsplit('/').next()?.split('@').next()?.split_once(':')?;
    let mut numbers = tag.split(['.', '-']).map(|part| part.bytes().all(|byte| byte.is_ascii_digit()).then_some(part));
    let (major, minor) = (numbers.next()??, numbers.next()??);
    (name == "python" && major == "3" && !minor.is_empty()).then(|| format!("{major}.{minor}"))
}

/// The tag of the image `python`: by .python-version, runtime.txt, requires-python, Pipfile.
fn version(files: &Files, packages: &Packages) -> Result<String, Refusal> {
    let by_file = |file: &'static str| text::first_line(files, file).map(|said| (said.to_owned(), file));
    let said = by_file(".python-version").or_else(|| by_file("runtime.txt"));
    let (said, said_by) = said.or_else(|| packages.python.clone()).unwrap_or_default();
    let range = said.strip_prefix("python-").unwrap_or(&said);
    Range::parse(range).and_then(|range| range.tag(VERSIONS)).ok_or_else(|| Refusal::Version {
        said_by: said_by.to_owned(),
        said: said.clone(),
        language: "Python",
        known: "3.8 to 3.15".to_owned(),
    })
}
