//! Which kind of project it is, and what decided that.

use super::{Refusal, listening, node, site, text};
use crate::files::Files;
use crate::plan::{Kind, Wishes};

/// Files that say everything themselves: they decide beside any other, as they were written for that.
pub(super) const DOCKERFILES: &[&str] = &["Dockerfile", "Containerfile"];

/// Files in a project's root that say its kind. Of files of one kind the first is named.
pub(super) const MARKERS: &[(&str, Kind)] = &[
    ("package.json", Kind::Node),
    ("requirements.txt", Kind::Python),
    ("pyproject.toml", Kind::Python),
    ("Pipfile", Kind::Python),
    ("pom.xml", Kind::Java),
    ("gradlew", Kind::Java),
    ("build.gradle", Kind::Java),
    ("build.gradle.kts", Kind::Java),
    ("go.mod", Kind::Go),
    ("go.work", Kind::Go),
    ("Cargo.toml", Kind::Rust),
];

/// Files that say a kind only where nothing else does: programs without a list of packages.
const SCRIPTS: &[&str] = &["manage.py", "main.py", "app.py"];

/// Programs that say a kind where a Procfile's line begins with one.
const PROGRAMS: &[(&str, Kind)] = &[
    ("node", Kind::Node),
    ("npm", Kind::Node),
    ("npx", Kind::Node),
    ("pnpm", Kind::Node),
    ("yarn", Kind::Node),
    ("python", Kind::Python),
    ("python3", Kind::Python),
    ("gunicorn", Kind::Python),
    ("uvicorn", Kind::Python),
    ("hypercorn", Kind::Python),
    ("daphne", Kind::Python),
    ("waitress-serve", Kind::Python),
    ("flask", Kind::Python),
    ("fastapi", Kind::Python),
    ("streamlit", Kind::Python),
    ("celery", Kind::Python),
    ("java", Kind::Java),
];

/// A kind, and what decided it.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) kind: Kind,
    pub(super) decided_by: String,
    pub(super) warnings: Vec<String>,
}

/// Chooses the kind: the user's, a Dockerfile's, that of the one language, that of a jar or war, of a lone program, of a
/// static site, or what a Procfile and a base make of it.
pub(super) fn choose(files: &Files, wishes: &Wishes, procfile: &[(String, String)]) -> Result<Choice, Refusal> {
    let decided = |kind, by: &str| Ok(Choice { kind, decided_by: by.to_owned(), warnings: Vec::new() });
    if let Some(kind) = wishes.kind {
        return decided(kind, "--kind");
    }
    if files.paths().next().is_none() {
        return Err(Refusal::Empty);
    }
    if let Some(file) = DOCKERFILES.iter().find(|file| files.has(file)) {
        return decided(Kind::Dockerfile, file);
    }
    let (languages, warnings) = languages(files)?;
    let hint = hint(wishes, procfile);
    if let [(kind, file)] = languages.as_slice() {
        return Ok(Choice { kind: *kind, decided_by: file.clone(), warnings });
    }
    if let Some((kind, by)) =
        hint.filter(|(kind, _)| languages.is_empty() || languages.iter().any(|(of, _)| of == kind))
    {
        return decided(kind, &by);
    }
    if !languages.is_empty() {
        return Err(Refusal::Ambiguous(languages));
    }
    if let Some((kind, file)) = archive(files)? {
        return decided(kind, &file);
    }
    if let Some(file) = SCRIPTS.iter().find(|file| files.has(file)) {
        return decided(Kind::Python, file);
    }
    if wishes.base.is_some() && (!procfile.is_empty() || wishes.command) {
        return decided(Kind::Other, if procfile.is_empty() { "--base" } else { "Procfile" });
    }
    match site::directory(files) {
        _ if !procfile.is_empty() => Err(Refusal::NoBase),
        Some(directory) => decided(Kind::Site, &format!("{}index.html", site::prefix(directory))),
        None => Err(Refusal::Unknown),
    }
}

/// Kinds, each with the file that says it.
type Matches = Vec<(Kind, String)>;

/// The kinds of the languages that the root's files name, each with a file that says it.
///
/// package.json that only builds assets of a project in another language is none of them.
fn languages(files: &Files) -> Result<(Matches, Vec<String>), Refusal> {
    let mut found: Matches = Vec::new();
    for (file, kind) in MARKERS {
        if files.has(file) && found.iter().all(|(of, _)| of != kind) && (*file != "pyproject.toml" || is_python(files))
        {
            found.push((*kind, (*file).to_owned()));
        }
    }
    let mut warnings = Vec::new();
    let has_node = found.iter().any(|(kind, _)| *kind == Kind::Node);
    if has_node && found.len() > 1 && node::only_builds(files)? {
        found.retain(|(kind, _)| *kind != Kind::Node);
        warnings.push(
            "package.json has nothing that is started, only what builds assets, and is not built: have its results in the \
             project before"
                .to_owned(),
        );
    }
    Ok((found, warnings))
}

/// Whether pyproject.toml describes a project, and not only the settings of tools such as ruff.
fn is_python(files: &Files) -> bool {
    let described = |table: toml::Table| {
        [&["project"][..], &["build-system"], &["tool", "poetry"]].iter().any(|path| text::at(&table, path).is_some())
    };
    // A file that cannot be read is one: that it is broken is said where it is needed.
    text::toml(files, "pyproject.toml").map_or(true, |table| table.is_some_and(described))
}

/// The kind of the program that the Procfile starts.
fn hint(wishes: &Wishes, procfile: &[(String, String)]) -> Option<(Kind, String)> {
    let wanted = wishes.process.as_deref().unwrap_or("web");
    let (name, line) = procfile.iter().find(|(name, _)| name == wanted).or(procfile.first())?;
    let program = listening::program(line)?;
    let (_, kind) = PROGRAMS.iter().find(|(of, _)| *of == program)?;
    Some((*kind, format!("{program} of {name} in Procfile")))
}

/// The one jar or war in the root.
fn archive(files: &Files) -> Result<Option<(Kind, String)>, Refusal> {
    let archives = archives(files, &[".jar", ".war"]);
    match archives.as_slice() {
        [] => Ok(None),
        [file] => Ok(Some((if file.ends_with(".war") { Kind::War } else { Kind::Java }, file.clone()))),
        _ => Err(Refusal::SeveralFiles(archives)),
    }
}

/// Files in the root with one of these endings.
pub(super) fn archives(files: &Files, endings: &[&str]) -> Vec<String> {
    let named = |path: &&str| !path.contains('/') && endings.iter().any(|ending| path.ends_with(ending));
    files.paths().filter(named).map(str::to_owned).collect()
}
