//! Reads nanoos.toml into the values that its options have.

use crate::cli::keys::{self, Shape};
use clap::{Arg, Command};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Bytes of the file.
const LONGEST: u64 = 1 << 20;
/// How alike two keys must be for one to be told, of 1: below, it is no help.
const LIKENESS: f64 = 0.7;

/// A key and what it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) name: String,
    /// One for each time that the option stands on the command line.
    pub(super) values: Vec<Value>,
}

/// A value and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Value {
    /// The line, from 1.
    pub(super) line: usize,
    /// None of an option without one.
    pub(super) text: Option<String>,
}

/// What the file says, if there is one. An error says where and what, and shows no value: it may be a secret.
pub(super) fn read(file: &Path, root: &Command) -> Result<Option<Vec<Setting>>, String> {
    let kind = match fs::metadata(file) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    // A pipe would never end.
    if !kind.is_file() {
        return Err("it is no file".to_owned());
    }
    let mut text = String::new();
    let opened = File::open(file).and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text));
    opened.map_err(|error| error.to_string())?;
    if text.len() as u64 > LONGEST {
        return Err(format!("it has more than {LONGEST} bytes"));
    }
    settings(&text, root).map(Some)
}

pub(super) fn settings(text: &str, root: &Command) -> Result<Vec<Setting>, String> {
    let keys = keys::keys(root);
    let line = |at: usize| text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or_else(String::new, |span| format!("line {}: ", line(span.start)));
        format!("{at}{}", error.message())
    })?;
    let mut settings = Vec::new();
    for (key, value) in table.get_ref() {
        let name: &str = key.get_ref();
        let at = |problem: String| format!("line {}: {name}: {problem}", line(key.span().start));
        let Some(option) = keys.get(name) else { return Err(at(unknown(name, &keys))) };
        let values = values(option, value, &line).map_err(at)?;
        settings.push(Setting { name: name.to_owned(), values });
    }
    Ok(settings)
}

fn unknown(key: &str, keys: &BTreeMap<&str, &Arg>) -> String {
    let likeness = |known: &&str| strsim::jaro_winkler(key, known);
    let nearest = keys.keys().copied().max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
    match nearest.filter(|near| likeness(near) >= LIKENESS) {
        Some(near) => format!("there is no such key; near to it is {near}"),
        None => "there is no such key; docs/reference.md lists them".to_owned(),
    }
}

/// What an option has on the command line for what it has in the file.
fn values(option: &Arg, value: &Spanned<DeValue<'_>>, line: &impl Fn(usize) -> usize) -> Result<Vec<Value>, String> {
    let shape = Shape::of(option);
    let taken = || Err(format!("it takes {}", shape.words()));
    let here = line(value.span().start);
    let one = |text: Option<String>| Ok(vec![Value { line: here, text }]);
    match (shape, value.get_ref()) {
        (Shape::Flag, DeValue::Boolean(true)) => one(None),
        (Shape::Flag, DeValue::Boolean(false)) => Ok(Vec::new()),
        (Shape::Flag, _) => taken(),
        (Shape::YesNo, DeValue::Boolean(is)) => one(Some(if *is { "yes" } else { "no" }.to_owned())),
        (Shape::Many | Shape::Pairs, DeValue::Array(values)) => {
            let value =
                |value: &Spanned<DeValue<'_>>| Some(Value { line: line(value.span().start), text: Some(text(value)?) });
            values.iter().map(value).collect::<Option<_>>().map_or_else(taken, Ok)
        }
        (Shape::Words, DeValue::Array(words)) => {
            let words: Option<Vec<String>> = words.iter().map(text).collect();
            let Some(words) = words else { return taken() };
            one(Some(serde_json::Value::from(words).to_string()))
        }
        (Shape::Pairs, DeValue::Table(pairs)) => {
            let pair = |(name, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
                let text = match value.get_ref() {
                    DeValue::Boolean(is) => is.to_string(),
                    _ => text(value)?,
                };
                Some(Value { line: line(name.span().start), text: Some(format!("{}={text}", name.get_ref())) })
            };
            pairs.iter().map(pair).collect::<Option<_>>().map_or_else(taken, Ok)
        }
        (_, _) => text(value).map_or_else(taken, |text| one(Some(text))),
    }
}

/// A text or a number, as it is written.
fn text(value: &Spanned<DeValue<'_>>) -> Option<String> {
    match value.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string())
        }
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}
