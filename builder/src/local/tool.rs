//! Programs of this machine that build a project: what they say is shown as it comes, and its end is told where they fail.

use crate::cleanup::Tool;
use crate::progress::Progress;
use anyhow::{Context, Result, anyhow};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;

/// Bytes of a line that are kept.
const LINE: u64 = 1 << 20;
/// Lines that an error tells of a program that was not shown.
const TOLD: usize = 30;
/// Bytes of a line in an error.
const TOLD_LINE: usize = 400;

/// A program that ended with a failure.
#[derive(Debug, thiserror::Error)]
#[error("{program} failed with {status}{}", told(.last, *.shown))]
pub(super) struct Failure {
    program: String,
    status: ExitStatus,
    /// What it said last.
    last: Vec<String>,
    /// Whether the user saw it.
    shown: bool,
}

fn told(last: &[String], shown: bool) -> String {
    if last.is_empty() || shown { String::new() } else { format!(":\n{}", last.join("\n")) }
}

impl Failure {
    /// Whether one of its last lines has these words.
    pub(super) fn said(&self, words: &str) -> bool {
        self.last.iter().any(|line| line.contains(words))
    }
}

/// Where lines of a program go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    /// To the user, as they come.
    AsItComes,
    /// Nowhere, unless it fails.
    WhenItFails,
}

/// Runs a program to its end. Each line of its standard output is given to `line`; of its standard error, and of what `line`
/// gives back, the user sees as much as `says` wants.
///
/// # Errors
/// [`Failure`] when it fails; when it can't be started or read.
pub(super) fn run(
    command: &mut Command,
    says: Says,
    progress: &Progress,
    mut line: impl FnMut(String) -> Option<String>,
) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let program = program.rsplit('/').next().unwrap_or_default().to_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut tool = Tool::spawn(command)?;
    let (out, err) = (tool.child().stdout.take(), tool.child().stderr.take());
    let (out, err) = out.zip(err).context("read what a tool says")?;
    let show = |text: &str| {
        if says == Says::AsItComes {
            progress.line(text);
        }
    };
    let (mut last, read) = thread::scope(|scope| {
        let errors = scope.spawn(|| {
            let mut last = VecDeque::new();
            let read = lines(err, |text| {
                show(&text);
                keep(&mut last, text);
            });
            (last, read)
        });
        let mut also = VecDeque::new();
        let read = lines(out, |text| {
            if let Some(text) = line(text) {
                show(&text);
                keep(&mut also, text);
            }
        });
        let (mut last, read_errors) =
            errors.join().unwrap_or_else(|_| (VecDeque::new(), Err(std::io::Error::other("the thread is gone"))));
        // What was said on standard error tells more of a failure, and comes last.
        also.append(&mut last);
        (also, read.and(read_errors))
    });
    let status = tool.wait()?;
    read.with_context(|| format!("read what {program} says"))?;
    if status.success() {
        return Ok(());
    }
    let shown = says == Says::AsItComes && !progress.is_silent();
    let from = last.len().saturating_sub(TOLD);
    Err(anyhow!(Failure { program, status, last: last.drain(from..).collect(), shown }))
}

/// Runs a program to its end, and gives what it prints, as far as it is text.
///
/// # Errors
/// As [`run`].
pub(super) fn output(command: &mut Command, progress: &Progress) -> Result<String> {
    let mut printed = String::new();
    run(command, Says::WhenItFails, progress, |line| {
        if printed.len() as u64 <= LINE {
            printed.push_str(&line);
            printed.push('\n');
        }
        None
    })?;
    Ok(printed)
}

fn keep(last: &mut VecDeque<String>, mut text: String) {
    if text.len() > TOLD_LINE {
        text.truncate(text.floor_char_boundary(TOLD_LINE));
        text.push('…');
    }
    if last.len() > 2 * TOLD {
        last.pop_front();
    }
    last.push_back(text);
}

/// Reads line by line; what is beyond the bound of a line is a line of its own.
fn lines(input: impl Read, mut each: impl FnMut(String)) -> std::io::Result<()> {
    let mut input = BufReader::new(input);
    loop {
        let mut bytes = Vec::new();
        if input.by_ref().take(LINE).read_until(b'\n', &mut bytes)? == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&bytes);
        each(without_colors(text.trim_end_matches(['\n', '\r'])));
    }
}

/// A line without the sequences by which programs color it (ECMA-48: ESC [ parameters letter), which would be shown as
/// text.
fn without_colors(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '\x1b' && characters.next_if_eq(&'[').is_some() {
            characters.by_ref().find(|character| ('@'..='~').contains(character));
        } else {
            text.push(character);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colors_are_not_shown_as_text() {
        assert_eq!(without_colors("\x1b[91mnpm: \x1b[0mnot found\x1b[0"), "npm: not found");
        assert_eq!(without_colors("a \x1b b"), "a \x1b b");
    }

    fn sh(line: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", line]);
        command
    }

    #[test]
    fn a_failure_tells_how_it_ended_and_the_last_it_said() {
        let progress = Progress::silent();
        assert_eq!(output(&mut sh("echo a; echo b >&2; echo c"), &progress).unwrap(), "a\nc\n");
        let failed = output(&mut sh("echo why >&2; exit 7"), &progress).unwrap_err().to_string();
        assert_eq!(failed, "sh failed with exit status: 7:\nwhy");
        let failed = output(&mut sh("seq 1000 >&2; exit 1"), &progress).unwrap_err().to_string();
        assert!(failed.starts_with("sh failed with exit status: 1:\n971\n"), "{failed}");
        assert!(failed.ends_with("\n1000"), "{failed}");
    }

    #[test]
    fn a_program_that_never_ends_its_line_does_not_fill_memory() {
        let mut longest = 0;
        run(&mut sh("head -c 5000000 /dev/zero"), Says::WhenItFails, &Progress::silent(), |line| {
            longest = longest.max(line.len());
            None
        })
        .unwrap();
        assert!(longest as u64 <= LINE);
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let missing = output(&mut Command::new("/no/such/program"), &Progress::silent()).unwrap_err();
        assert!(format!("{missing:#}").starts_with("start /no/such/program: "), "{missing:#}");
    }
}
