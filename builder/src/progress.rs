//! What the person at the terminal sees: elapsed seconds, then what is happening, one line a step; bars with bytes on a
//! terminal while data flow.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt::Display;
use std::io::{self, IsTerminal, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Times a bar is drawn per second: smooth to the eye, nothing to the processor.
const DRAWS_PER_SECOND: u8 = 10;

/// The one way in which steps report. Cheap to clone; clones share the clock, the terminal and the warnings.
#[derive(Clone, Debug)]
pub struct Progress {
    start: Instant,
    out: Out,
    timed: bool,
    warnings: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone, Debug)]
enum Out {
    /// Lines and bars on standard error.
    Terminal(MultiProgress),
    /// Lines on standard error.
    Lines,
    /// Nowhere: for tests, and for callers that report by themselves.
    Silent,
}

impl Progress {
    /// Reports on standard error, with bars if that is a terminal. The clock starts now.
    #[must_use]
    pub fn new() -> Self {
        let out = if io::stderr().is_terminal() {
            Out::Terminal(MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND)))
        } else {
            Out::Lines
        };
        Progress::with(out)
    }

    /// Reports nothing.
    #[must_use]
    pub fn silent() -> Self {
        Progress::with(Out::Silent)
    }

    fn with(out: Out) -> Self {
        Progress { start: Instant::now(), out, timed: true, warnings: Arc::default() }
    }

    /// Reports without the elapsed time before each line.
    #[must_use]
    pub fn untimed(self) -> Self {
        Progress { timed: false, ..self }
    }

    /// Says what is happening now.
    pub fn step(&self, what: impl Display) {
        self.print(&format!("{}{}", self.stamp(), printable(&what.to_string())));
    }

    /// Says what the user should know although the build goes on.
    pub fn warn(&self, what: impl Display) {
        let text = what.to_string();
        let label = paint(Colour::Yellow, "warning:");
        self.print(&format!("{}{label} {}", self.stamp(), printable(&text)));
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }

    /// Whether nobody sees what is reported.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        matches!(self.out, Out::Silent)
    }

    /// What was warned of so far.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn stamp(&self) -> String {
        if self.timed { format!("{:>7.2} s  ", self.start.elapsed().as_secs_f64()) } else { String::new() }
    }

    /// A line without a time, such as the last words.
    pub fn line(&self, text: &str) {
        self.print(&printable(text));
    }

    fn print(&self, text: &str) {
        match &self.out {
            // A terminal that went away is no reason to fail a build.
            Out::Terminal(bars) => drop(bars.println(text)),
            Out::Lines => drop(writeln!(io::stderr(), "{text}")),
            Out::Silent => {}
        }
    }

    /// A bar for `total` bytes of `what`. It disappears when dropped.
    #[must_use]
    pub fn bytes(&self, what: &str, total: u64) -> Bar {
        let Out::Terminal(bars) = &self.out else {
            return Bar(ProgressBar::hidden());
        };
        let style = ProgressStyle::with_template(
            "           {msg} [{bar:30}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}",
        );
        let bar = bars.add(ProgressBar::new(total)).with_message(what.to_owned());
        // The template is a constant, and indicatif's own default is a bar as well.
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(200));
        Bar(bar)
    }
}

impl Default for Progress {
    fn default() -> Self {
        Progress::new()
    }
}

/// A count of bytes that grows, and perhaps a bar that shows it.
#[derive(Debug)]
pub struct Bar(ProgressBar);

impl Bar {
    /// A count that nobody sees.
    #[must_use]
    pub fn hidden() -> Self {
        Bar(ProgressBar::hidden())
    }

    /// So many more bytes are done.
    pub fn add(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    /// A reader that counts what is read through it. It may outlive this bar, in which case it counts unseen.
    pub fn reader<R: Read>(&self, inner: R) -> CountingReader<R> {
        CountingReader { inner, bar: self.0.clone() }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// See [`Bar::reader`].
#[derive(Debug)]
pub struct CountingReader<R> {
    inner: R,
    bar: ProgressBar,
}

impl<R: Read> Read for CountingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bar.inc(read as u64);
        Ok(read)
    }
}

/// What colours are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Errors.
    Red,
    /// Warnings.
    Yellow,
}

/// A word of standard error in a colour, where that shows colours: a terminal that is not dumb, without NO_COLOR
/// (no-color.org), or wherever it leads with CLICOLOR_FORCE (bixense.com/clicolors).
#[must_use]
pub fn paint(colour: Colour, word: &str) -> String {
    if anstream::AutoStream::choice(&io::stderr()) == anstream::ColorChoice::Never {
        return word.to_owned();
    }
    // ECMA-48, "Select graphic rendition".
    let code = match colour {
        Colour::Red => 31,
        Colour::Yellow => 33,
    };
    format!("\x1b[1;{code}m{word}\x1b[0m")
}

/// A text that cannot steer the terminal: much of what is told comes from images and registries.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() && character != '\n' {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// A size for people: `53.1 MiB`.
#[must_use]
pub fn mebibytes(bytes: u64) -> String {
    const KIB: f64 = 1024.0;
    let size = bytes as f64;
    if size < KIB * KIB { format!("{:.1} KiB", size / KIB) } else { format!("{:.1} MiB", size / KIB / KIB) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_registry_says_cannot_steer_the_terminal() {
        assert_eq!(printable("it answers:\n\x1b]0;pwn\x07 ü"), "it answers:\n\\u{1b}]0;pwn\\u{7} ü");
    }
}
