//! Environment variables, as `docker run` takes them with `-e` and `--env-file`.

use crate::bounded::VARIABLES;
use anyhow::{Context, Result, bail};
use initramfs::environment;
use std::path::Path;

/// What becomes of one variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Variable {
    /// It has a value: `KEY=VALUE`.
    Set(String),
    /// It is not there, whatever the image says. So says `-e KEY` where this program's own environment has no KEY.
    Unset(String),
}

impl Variable {
    /// Reads `KEY=VALUE`, or `KEY`, which takes its value from `own`.
    ///
    /// # Errors
    /// A sentence for whoever typed it.
    pub fn parse(text: &str, own: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let (key, value) = text.split_once('=').map_or((text, None), |(key, value)| (key, Some(value)));
        if key.is_empty() {
            return Err("the name of the variable is missing before the =".to_owned());
        }
        if key.contains(|character: char| character.is_whitespace() || character.is_control()) {
            return Err(format!("{key:?} has a space in it, which no variable's name has"));
        }
        Ok(match value.map(str::to_owned).or_else(|| own(key)) {
            Some(value) if value.contains('\0') => return Err(format!("{key} has a NUL byte in its value")),
            Some(value) => Variable::Set(format!("{key}={value}")),
            None => Variable::Unset(key.to_owned()),
        })
    }
}

/// A variable of this program's own environment; none where it is not UTF-8.
#[must_use]
pub fn own(key: &str) -> Option<String> {
    std::env::var(key).ok()
}

/// Reads a file of variables in Docker's format (docker/cli, `opts/file.go`): a variable a line as for `-e`; empty lines
/// and those that start with `#` count for nothing; quotes are part of the value.
///
/// # Errors
/// When the file can't be read; the first line that is no variable.
pub fn read_file(path: &Path, own: impl Fn(&str) -> Option<String>) -> Result<Vec<Variable>> {
    let shown = path.display();
    let bytes = VARIABLES.read_file(path).with_context(|| format!("--env-file {shown}"))?;
    parse_file(&bytes, own).with_context(|| format!("--env-file {shown}"))
}

fn parse_file(bytes: &[u8], own: impl Fn(&str) -> Option<String>) -> Result<Vec<Variable>> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes); // a byte order mark
    let mut variables = Vec::new();
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let number = number + 1;
        let Ok(line) = str::from_utf8(line) else { bail!("line {number} is not UTF-8") };
        let line = line.strip_suffix('\r').unwrap_or(line).trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match Variable::parse(line, &own) {
            Ok(variable) => variables.push(variable),
            Err(reason) => bail!("line {number}: {reason}"),
        }
    }
    Ok(variables)
}

/// Changes an environment: a variable that is there keeps its place, another comes last.
pub fn merge(environment: &mut Vec<String>, changes: &[Variable]) {
    for change in changes {
        match change {
            Variable::Set(entry) => environment.push(entry.clone()),
            Variable::Unset(gone) => environment.retain(|entry| environment::key(entry) != Some(gone)),
        }
    }
    *environment = environment::unique(std::mem::take(environment));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing(_: &str) -> Option<String> {
        None
    }

    fn home(key: &str) -> Option<String> {
        (key == "HOME").then(|| "/root".to_owned())
    }

    fn set(entry: &str) -> Variable {
        Variable::Set(entry.to_owned())
    }

    #[test]
    fn variables_have_a_value_or_take_it_from_the_environment() {
        assert_eq!(Variable::parse("A=b=c ", nothing), Ok(set("A=b=c ")));
        assert_eq!(Variable::parse("A=", nothing), Ok(set("A=")));
        assert_eq!(Variable::parse("HOME", home), Ok(set("HOME=/root")));
        assert_eq!(Variable::parse("HOME", nothing), Ok(Variable::Unset("HOME".to_owned())));
        assert_eq!(Variable::parse("=x", nothing).unwrap_err(), "the name of the variable is missing before the =");
        assert!(Variable::parse("A B=x", nothing).unwrap_err().contains("\"A B\" has a space in it"));
    }

    #[test]
    fn files_are_read_as_docker_reads_them() {
        let text = b"\xef\xbb\xbfA=1\r\n# no\n\n  B='x' # y\nHOME\nGONE\nA=2";
        let variables = parse_file(text, home).unwrap();
        let gone = Variable::Unset("GONE".to_owned());
        assert_eq!(variables, [set("A=1"), set("B='x' # y"), set("HOME=/root"), gone, set("A=2")]);
        let refused = |text: &[u8]| parse_file(text, nothing).unwrap_err().to_string();
        assert_eq!(refused(b"A=1\n=2"), "line 2: the name of the variable is missing before the =");
        assert_eq!(refused(b"A=\xff"), "line 1 is not UTF-8");
    }

    #[test]
    fn later_ones_win_in_the_place_of_the_first() {
        let mut environment = vec!["PATH=/bin".to_owned(), "A=0".to_owned(), "B=0".to_owned()];
        let changes = [set("A=1"), set("C=1"), Variable::Unset("B".to_owned()), set("A=2"), set("PATH=")];
        merge(&mut environment, &changes);
        assert_eq!(environment, ["PATH=", "A=2", "C=1"]);
    }

    #[test]
    fn what_the_user_says_beats_all_that_an_image_says() {
        let image = || ["A=0", "PATH=/bin1", "A=1", "PATH=/bin2"].map(str::to_owned).to_vec();
        let merged = |changes: &[Variable]| {
            let mut environment = image();
            merge(&mut environment, changes);
            environment
        };
        assert_eq!(merged(&[]), ["A=1", "PATH=/bin2"]);
        assert_eq!(merged(&[set("A=mine")]), ["A=mine", "PATH=/bin2"]);
        assert_eq!(merged(&[Variable::Unset("A".to_owned())]), ["PATH=/bin2"]);
        assert_eq!(merged(&[Variable::Unset("A".to_owned()), set("A=mine")]), ["PATH=/bin2", "A=mine"]);
    }
}
