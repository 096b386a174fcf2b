//! Lock files of Python, as constraints for pip: they fix versions, and which of the packages are needed is pip's to find out.

use super::super::{Refusal, text};
use super::packages::normalized;
use crate::files::Files;
use std::collections::BTreeMap;
use toml::Value;

/// Keys of a package's source in uv.lock that say that it comes from no index.
const ELSEWHERE: &[&str] = &["editable", "virtual", "directory", "path", "git", "url"];

/// The lock file that is there, and a line for each package that it fixes to one version.
///
/// A lock file that is too long to be read fixes nothing, which is said.
pub(super) fn constraints(
    files: &Files,
    warnings: &mut Vec<String>,
) -> Result<Option<(&'static str, Vec<String>)>, Refusal> {
    let Some(file) = ["uv.lock", "poetry.lock", "Pipfile.lock"].into_iter().find(|file| files.has(file)) else {
        return Ok(None);
    };
    if files.text(file).is_none() {
        warnings.push(format!(
            "{file} is longer than 1 MiB and is not read: versions are what they are on the day of the build"
        ));
        return Ok(Some((file, Vec::new())));
    }
    if file == "Pipfile.lock" {
        let lock = text::json(files, file)?.unwrap_or_default();
        let packages = lock.get("default").and_then(serde_json::Value::as_object);
        let fixed = packages
            .into_iter()
            .flatten()
            .filter_map(|(name, package)| Some((name.as_str(), package.get("version")?.as_str()?.strip_prefix("==")?)));
        return Ok(Some((file, lines(fixed))));
    }
    let table = text::toml(files, file)?.unwrap_or_default();
    let packages = table.get("package").and_then(Value::as_array);
    Ok(Some((file, lines(packages.into_iter().flatten().filter_map(package)))))
}

/// Name and version of a package that comes from an index.
fn package(package: &Value) -> Option<(&str, &str)> {
    // Poetry says the type of a source, and uv its key; what has none comes from PyPI.
    let elsewhere = package.get("source").is_some_and(|source| match source.get("type").and_then(Value::as_str) {
        Some(of) => of != "legacy",
        None => ELSEWHERE.iter().any(|key| source.get(key).is_some()),
    });
    if elsewhere {
        return None;
    }
    Some((package.get("name")?.as_str()?, package.get("version")?.as_str()?))
}

/// Lines of constraints. A package with several versions, one for each platform, is not fixed.
fn lines<'a>(packages: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<String> {
    let mut versions: BTreeMap<String, Option<&str>> = BTreeMap::new();
    for (name, version) in packages {
        versions.entry(normalized(name)).and_modify(|of| *of = of.filter(|of| *of == version)).or_insert(Some(version));
    }
    let plain = |version: &&str| version.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".!+-_".contains(&byte));
    let fixed = versions.into_iter().filter_map(|(name, version)| Some((name, version.filter(plain)?)));
    fixed.filter(|(name, _)| !name.is_empty()).map(|(name, version)| format!("{name}=={version}")).collect()
}
