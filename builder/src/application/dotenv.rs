//! `.env`: a developer's own variables for a project, as foreman reads them.
//!
//! They are for a machine that runs here, which gets them as its configuration: no image holds them.

use crate::bounded::VARIABLES;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// Its name, in the project's directory.
pub const FILE: &str = ".env";

/// Variables by name, and what the user should know about the file.
pub type Read = (BTreeMap<String, String>, Vec<String>);

/// The variables of the file; none where it is not there.
///
/// # Errors
/// When it can't be read, is no regular file, or is not UTF-8. A link may lead to what is another project's.
pub fn read(path: &Path) -> Result<Read> {
    let shown = path.display();
    let bytes = match VARIABLES.read_regular(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Read::default()),
        read => read.with_context(|| shown.to_string())?,
    };
    let text = str::from_utf8(&bytes).ok().with_context(|| format!("{shown}: it is not UTF-8"))?;
    let (variables, odd) = parse(text);
    let warn = |line| format!("{shown}: line {line} is not KEY=VALUE; it is left out");
    Ok((variables, odd.into_iter().map(warn).collect()))
}

/// The variables, and the numbers of lines that are none (foreman, `lib/foreman/env.rb`): names of letters, digits and `_`;
/// no spaces around `=`; single quotes are taken off, double quotes too, with `\n` and `\` before any character in them; the
/// last of two wins.
fn parse(text: &str) -> (BTreeMap<String, String>, Vec<usize>) {
    let (mut variables, mut odd) = (BTreeMap::new(), Vec::new());
    for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        let is_name =
            |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        match line.split_once('=') {
            Some((name, value)) if is_name(name) && !value.contains('\0') => {
                variables.insert(name.to_owned(), unquoted(value));
            }
            _ if line.trim().is_empty() || line.trim_start().starts_with('#') => {}
            _ => odd.push(number),
        }
    }
    (variables, odd)
}

fn unquoted(value: &str) -> String {
    let within = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    if let Some(inner) = within('\'') {
        return inner.to_owned();
    }
    let Some(inner) = within('"') else { return value.to_owned() };
    let mut text = String::new();
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some('n') => text.push('\n'),
                other => text.extend(other),
            },
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_read_as_foreman_reads_them() {
        let text = "\u{feff}# mine\nA=1\r\n\nB='x y' \nC='a \"b\"'\nD=\"a\\nb \\\"c\\\" \\\\n\"\nE=\nA=2\nF=x # y\nexport G=1\nH = 1\n=\n";
        let (variables, odd) = parse(text);
        let expected =
            [("A", "2"), ("B", "'x y' "), ("C", "a \"b\""), ("D", "a\nb \"c\" \\n"), ("E", ""), ("F", "x # y")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!((variables, odd), (expected.into(), vec![10, 11, 12]));
    }

    #[test]
    fn lines_that_are_no_variables_are_told_without_their_text() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        assert_eq!(read(&path).unwrap(), Read::default());
        std::fs::write(&path, "A=1\nhunter2\n").unwrap();
        let said = format!("{}: line 2 is not KEY=VALUE; it is left out", path.display());
        assert_eq!(read(&path).unwrap().1, [said]);
        std::fs::write(&path, b"A=\xff").unwrap();
        assert_eq!(read(&path).unwrap_err().to_string(), format!("{}: it is not UTF-8", path.display()));
        std::fs::rename(&path, dir.path().join("other")).unwrap();
        std::os::unix::fs::symlink("other", &path).unwrap();
        let refused = format!("{:#}", read(&path).unwrap_err());
        assert_eq!(refused, format!("{}: it is no regular file", path.display()));
    }
}
