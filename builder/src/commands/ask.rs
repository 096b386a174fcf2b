//! Questions to the person at the terminal.

use anyhow::{Context, Result, bail};
use builder::progress::{Progress, printable};
use std::io::{self, BufRead, IsTerminal, Write};

/// Bytes of an answer at most: names and numbers.
const LONGEST: u64 = 1024;

/// Whether there is somebody to ask.
pub(crate) fn is_possible() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks until the answer is one that `read` takes; an empty one is `default`.
///
/// # Errors
/// When there is no answer: the terminal is closed, or Ctrl-D pressed.
pub(crate) fn ask<T>(
    question: &str,
    default: &str,
    read: impl Fn(&str) -> Result<T, String>,
    progress: &Progress,
) -> Result<T> {
    loop {
        let brackets = if default.is_empty() { String::new() } else { format!(" [{default}]") };
        // Without a line end: the answer stands behind it.
        let _ = write!(io::stderr(), "{}: ", printable(&format!("{question}{brackets}")));
        let mut answer = String::new();
        let taken = io::Read::take(io::stdin().lock(), LONGEST).read_line(&mut answer);
        if taken.with_context(|| format!("{question}: read the answer"))? == 0 {
            bail!("{question}: there is no answer");
        }
        let answer = answer.trim();
        match read(if answer.is_empty() { default } else { answer }) {
            Ok(value) => return Ok(value),
            Err(reason) => progress.line(&reason),
        }
    }
}

/// Has one of several chosen, by number or by name.
///
/// # Errors
/// As [`ask`].
pub(crate) fn choose<'a>(question: &str, choices: &'a [String], progress: &Progress) -> Result<&'a str> {
    for (number, choice) in (1..).zip(choices) {
        progress.line(&format!("  {number}  {choice}"));
    }
    let read = |answer: &str| {
        let by_number = answer.parse::<usize>().ok().and_then(|number| choices.get(number.checked_sub(1)?));
        let found = by_number.or_else(|| choices.iter().find(|choice| *choice == answer));
        found.map(String::as_str).ok_or_else(|| format!("it is a number from 1 to {}, or a name", choices.len()))
    };
    ask(question, "", read, progress)
}
