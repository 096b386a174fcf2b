//! Which packages a project of Python needs, in the words of `pip install`.

use super::super::{Refusal, text};
use super::locked;
use crate::files::Files;
use std::collections::BTreeSet;
use toml::{Table, Value};

/// How deep files of requirements may name others.
const DEEPEST: usize = 8;

/// What a project says of itself and of the packages that it needs.
#[derive(Debug, Default)]
pub(super) struct Packages {
    pub(super) name: Option<String>,
    pub(super) version: Option<String>,
    /// The range of Python's versions, and what says it.
    pub(super) python: Option<(String, &'static str)>,
    /// Arguments of `pip install`.
    pub(super) wanted: Vec<String>,
    /// Lines of a file of constraints.
    pub(super) constraints: Vec<String>,
    pub(super) lock_files: Vec<String>,
    /// Whether a file of requirements names a package by a path.
    pub(super) local: bool,
    /// Requirements of all files, as they are written.
    requirements: Vec<String>,
}

impl Packages {
    /// Whether the project needs this package itself. Its name is normalized.
    pub(super) fn has(&self, name: &str) -> bool {
        self.requirements.iter().any(|requirement| normalized(requirement) == name)
    }

    /// Whether the project needs this package with one of these extras: `fastapi[standard]`.
    pub(super) fn has_extra(&self, name: &str, extras: &[&str]) -> bool {
        self.requirements.iter().filter(|requirement| normalized(requirement) == name).any(|requirement| {
            let listed = requirement.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
            listed.is_some_and(|(listed, _)| listed.split(',').any(|extra| extras.contains(&extra.trim())))
        })
    }
}

/// The name of a requirement by PEP 503: `flask-cors` of `Flask_Cors[x]>=4; python_version > "3"`.
pub(super) fn normalized(requirement: &str) -> String {
    let end = requirement.find(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c)).unwrap_or(requirement.len());
    let name = requirement.get(..end).unwrap_or_default().to_ascii_lowercase();
    name.split(['-', '_', '.']).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
}

/// Reads what says which packages there are: requirements.txt, else pyproject.toml, else Pipfile. Names and versions are
/// pyproject.toml's in any case.
pub(super) fn read(files: &Files, warnings: &mut Vec<String>) -> Result<Packages, Refusal> {
    let mut packages = Packages::default();
    let project = text::toml(files, "pyproject.toml")?;
    if let Some(project) = &project {
        describe(&mut packages, project);
    }
    if text::text(files, "requirements.txt")?.is_some() {
        let mut seen = BTreeSet::new();
        requirements(files, "requirements.txt", DEEPEST, &mut seen, &mut packages);
        packages.wanted = vec!["-r".to_owned(), "requirements.txt".to_owned()];
        packages.lock_files = seen.into_iter().collect();
        return Ok(packages);
    }
    if let Some(project) = &project {
        packages.requirements = listed(project, warnings);
        packages.wanted.clone_from(&packages.requirements);
        packages.lock_files = vec!["pyproject.toml".to_owned()];
    }
    if packages.wanted.is_empty()
        && let Some(pipfile) = text::toml(files, "Pipfile")?
    {
        let table = text::at(&pipfile, &["packages"]).and_then(Value::as_table);
        packages.requirements = table.map(|table| from_table(table, "Pipfile", warnings)).unwrap_or_default();
        packages.wanted.clone_from(&packages.requirements);
        packages.lock_files = vec!["Pipfile".to_owned()];
        let python = ["python_full_version", "python_version"].into_iter();
        let mut python = python.filter_map(|key| text::at(&pipfile, &["requires", key]).and_then(Value::as_str));
        packages.python = packages.python.or(python.next().map(|said| (said.to_owned(), "Pipfile")));
    }
    if let Some((file, constraints)) = locked::constraints(files, warnings)? {
        packages.lock_files.push(file.to_owned());
        packages.constraints = constraints;
    }
    Ok(packages)
}

/// Name, version, and range of Python of pyproject.toml.
fn describe(packages: &mut Packages, project: &Table) {
    let string = |path: &[&str]| text::at(project, path).and_then(Value::as_str).map(str::to_owned);
    packages.name = string(&["project", "name"]).or_else(|| string(&["tool", "poetry", "name"]));
    packages.version = string(&["project", "version"]).or_else(|| string(&["tool", "poetry", "version"]));
    let requires = string(&["project", "requires-python"]).map(|said| (said, "requires-python of pyproject.toml"));
    let poetry = string(&["tool", "poetry", "dependencies", "python"]).map(|said| (said, "python of pyproject.toml"));
    packages.python = requires.or(poetry);
}

/// The packages that pyproject.toml lists: `project.dependencies`, else Poetry's table.
fn listed(project: &Table, warnings: &mut Vec<String>) -> Vec<String> {
    if let Some(list) = text::at(project, &["project", "dependencies"]).and_then(Value::as_array) {
        return list
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .filter(|word| !word.starts_with('-'))
            .collect();
    }
    let dynamic = text::at(project, &["project", "dynamic"]).and_then(Value::as_array);
    if dynamic.is_some_and(|fields| fields.iter().any(|field| field.as_str() == Some("dependencies"))) {
        // Only the project's own build knows its packages.
        return vec![".".to_owned()];
    }
    let table = text::at(project, &["tool", "poetry", "dependencies"]).and_then(Value::as_table);
    table.map(|table| from_table(table, "pyproject.toml", warnings)).unwrap_or_default()
}

/// The requirements of a table as Poetry and Pipenv have it: name = version, or name = { version, extras, markers, git }.
fn from_table(table: &Table, file: &str, warnings: &mut Vec<String>) -> Vec<String> {
    let mut requirements = Vec::new();
    for (name, value) in table {
        let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if name == "python" || !plain || name.starts_with('-') {
            continue;
        }
        let text = |key: &str| value.get(key).and_then(Value::as_str);
        if value.get("optional").and_then(Value::as_bool) == Some(true) {
            continue;
        }
        if text("path").is_some() || text("file").is_some() {
            warnings.push(format!("{name} of {file} is a directory or file of this machine, and is not installed"));
            continue;
        }
        let extras = value.get("extras").and_then(Value::as_array);
        let extras: Vec<&str> = extras.into_iter().flatten().filter_map(Value::as_str).collect();
        let extras = if extras.is_empty() { String::new() } else { format!("[{}]", extras.join(",")) };
        let version = value.as_str().or_else(|| text("version")).unwrap_or("*");
        let version = match (text("git"), text("rev").or(text("tag")).or(text("branch")).or(text("ref"))) {
            (Some(git), Some(at)) => format!(" @ git+{git}@{at}"),
            (Some(git), None) => format!(" @ git+{git}"),
            _ => specifier(version),
        };
        let markers = text("markers").map(|markers| format!(" ; {markers}")).unwrap_or_default();
        requirements.push(format!("{name}{extras}{version}{markers}"));
    }
    requirements
}

/// Poetry's way to write versions in PEP 440's: `^1.2` is `>=1.2,<2`, `1.2` is `==1.2`.
fn specifier(version: &str) -> String {
    let one = |version: &str| -> Option<String> {
        let version = version.trim();
        if version.is_empty() || version == "*" {
            return None;
        }
        let number = version.trim_start_matches(['^', '~']);
        let parts: Vec<u32> = number.split('.').map_while(|part| part.parse().ok()).collect();
        let upper = |position: usize| {
            let mut upper: Vec<u32> = parts.get(..=position)?.to_vec();
            let last = upper.last_mut()?;
            *last = last.checked_add(1)?;
            Some(upper.iter().map(u32::to_string).collect::<Vec<_>>().join("."))
        };
        let last = parts.len().saturating_sub(1);
        let upper = match version.as_bytes().first() {
            Some(b'^') => upper(parts.iter().position(|&part| part != 0).unwrap_or(last)),
            Some(b'~') if !version.starts_with("~=") => upper(1.min(last)),
            Some(byte) if byte.is_ascii_digit() => return Some(format!("=={version}")),
            _ => return Some(version.to_owned()),
        };
        Some(upper.map_or(format!(">={number}"), |upper| format!(">={number},<{upper}")))
    };
    version.split(',').filter_map(one).collect::<Vec<_>>().join(",")
}

/// The requirements of a file and of the files that it names by `-r`, and the names of these files.
fn requirements(files: &Files, path: &str, deeper: usize, seen: &mut BTreeSet<String>, found: &mut Packages) {
    let Some(text) = files.text(path).filter(|_| deeper > 0 && !seen.contains(path)) else { return };
    seen.insert(path.to_owned());
    for line in text.trim_start_matches('\u{feff}').lines() {
        let line = line.split(" #").next().unwrap_or(line).trim();
        if let Some(other) = other_file(line) {
            requirements(files, &beside(path, other), deeper - 1, seen, found);
        } else if line.starts_with(['.', '/'])
            || line.starts_with("-e")
            || line.starts_with("--editable")
            || line.contains("file:")
        {
            found.local = true;
        } else if line.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            found.requirements.push(line.to_owned());
        }
    }
}

/// The file that a line of requirements names: `-r base.txt`, `-rbase.txt`, `--requirement=base.txt`.
fn other_file(line: &str) -> Option<&str> {
    let long = ["--requirement", "--constraint"].iter().find_map(|option| {
        let rest = line.strip_prefix(option)?;
        rest.starts_with([' ', '=', '\t']).then_some(rest)
    });
    let short = || line.strip_prefix("-r").or_else(|| line.strip_prefix("-c"));
    long.or_else(short).map(|rest| rest.trim_start_matches(['=', ' ', '\t']))
}

/// The path of a file that another names relative to itself.
fn beside(path: &str, other: &str) -> String {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in other.split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalized_and_versions_translated() {
        assert_eq!(normalized("Flask_Cors[x]>=4; python_version > \"3\""), "flask-cors");
        assert_eq!(normalized("ruamel.yaml ~= 1"), "ruamel-yaml");
        for (poetry, pip) in [
            ("*", ""),
            ("^3.0", ">=3.0,<4"),
            ("^0.2.3", ">=0.2.3,<0.3"),
            ("~1.4.2", ">=1.4.2,<1.5"),
            ("~=1.4", "~=1.4"),
            ("1.2.3", "==1.2.3"),
            (">=1,<2", ">=1,<2"),
            ("^4294967295", ">=4294967295"),
        ] {
            assert_eq!(specifier(poetry), pip, "{poetry}");
        }
        assert_eq!(beside("requirements/prod.txt", "../base.txt"), "base.txt");
    }
}
