//! Files that say what a project is, read: JSON, TOML, plain lines.

use super::Refusal;
use crate::files::Files;
use serde_json::Value;

/// The text of a file that detection needs; `None` where it is not there.
///
/// A byte order mark, which some editors write, is not part of it.
pub(super) fn text<'a>(files: &'a Files, path: &str) -> Result<Option<&'a str>, Refusal> {
    match files.text(path) {
        Some(text) => Ok(Some(text.strip_prefix('\u{feff}').unwrap_or(text))),
        None if files.has(path) => Err(broken(path, "it is no text, or longer than 1 MiB".to_owned())),
        None => Ok(None),
    }
}

/// A file of JSON that holds an object.
pub(super) fn json(files: &Files, path: &str) -> Result<Option<Value>, Refusal> {
    let Some(text) = text(files, path)? else { return Ok(None) };
    let value: Value = serde_json::from_str(text).map_err(|error| broken(path, format!("this is no JSON: {error}")))?;
    if value.is_object() { Ok(Some(value)) } else { Err(broken(path, "this is no JSON object".to_owned())) }
}

/// A file of TOML.
pub(super) fn toml(files: &Files, path: &str) -> Result<Option<toml::Table>, Refusal> {
    let Some(text) = text(files, path)? else { return Ok(None) };
    let table = text.parse().map_err(|error: toml::de::Error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = text.bytes().take(start).filter(|&byte| byte == b'\n').count() + 1;
        broken(path, format!("this is no TOML: {} at line {line}", error.message()))
    })?;
    Ok(Some(table))
}

/// The first line of a file that is neither blank nor a comment: a version.
pub(super) fn first_line<'a>(files: &'a Files, path: &str) -> Option<&'a str> {
    let mut lines = files.text(path)?.lines().map(str::trim);
    lines.find(|line| !line.is_empty() && !line.starts_with('#'))
}

pub(super) fn broken(file: &str, what: String) -> Refusal {
    Refusal::Broken { file: file.to_owned(), what }
}

/// What is at this path of tables: `at(table, &["tool", "poetry"])`.
pub(super) fn at<'a>(table: &'a toml::Table, path: &[&str]) -> Option<&'a toml::Value> {
    let (first, rest) = path.split_first()?;
    let start = table.get(*first)?;
    rest.iter().try_fold(start, |value, key| value.get(key))
}
