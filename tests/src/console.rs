//! What a machine wrote on its serial console: collected by a thread, line by line, while tests look at it.

use std::fmt::Write as _;
use std::io::Read;
use std::mem;
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use regex::Regex;

/// What every message of the kernel (and of init, which writes to /dev/kmsg) begins with: the seconds since its start.
static STAMP: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\[ *\d+\.\d{6}\] ").unwrap());

/// A line and when it was complete, counted from the start of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Since the machine was started.
    pub at: Duration,
    /// Without its end and without terminal control sequences.
    pub text: String,
}

/// How a wait for a line ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// The line, and its index among all lines.
    Seen(usize, Line),
    /// The machine ended without it.
    Ended,
    /// The deadline passed.
    TimedOut,
}

/// The console of one machine; clones show the same one.
#[derive(Debug, Clone, Default)]
pub struct Console {
    shared: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<Line>,
    /// The beginning of a program's line that a message of the kernel cut in two: the serial port sends a message
    /// whole, but a program's line byte by byte. Its rest is what comes next that is not the kernel's.
    cut: String,
    ended: bool,
}

impl Console {
    /// Starts to collect what comes out of `stream`, until its end.
    pub fn collect(stream: impl Read + Send + 'static) -> Self {
        let console = Console::default();
        let writer = console.clone();
        thread::spawn(move || writer.read(stream));
        console
    }

    /// Waits for a line, at or after the index `from`, that is `wanted`.
    #[must_use]
    pub fn wait_for(&self, wanted: impl Fn(&str) -> bool, from: usize, deadline: Instant) -> Wait {
        let mut state = self.lock();
        let mut next = from;
        loop {
            while let Some(line) = state.lines.get(next) {
                if wanted(&line.text) {
                    return Wait::Seen(next, line.clone());
                }
                next += 1;
            }
            if state.ended {
                return Wait::Ended;
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
                return Wait::TimedOut;
            };
            state = self.shared.1.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// All lines so far.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.lock().lines.clone()
    }

    /// The whole console for a person to read, each line with its time in seconds.
    #[must_use]
    pub fn transcript(&self) -> String {
        let mut text = String::new();
        for Line { at, text: line } in &self.lock().lines {
            let _ = writeln!(text, "{:9.3} | {line}", at.as_secs_f64());
        }
        text
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, mut stream: impl Read) {
        let start = Instant::now();
        let mut rest = Vec::new();
        let mut buffer = [0; 4096];
        // An error means the same as the end: nothing more will come.
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            rest.extend_from_slice(&buffer[..count]);
            let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') else { continue };
            let complete: Vec<u8> = rest.drain(..=end).collect();
            let text = String::from_utf8_lossy(&complete);
            self.push(start, text.strip_suffix('\n').unwrap_or(&text).split('\n'));
        }
        if !rest.is_empty() {
            self.push(start, String::from_utf8_lossy(&rest).split('\n'));
        }
        let mut state = self.lock();
        let cut = mem::take(&mut state.cut);
        if !cut.is_empty() {
            state.lines.push(Line { at: start.elapsed(), text: cut });
        }
        state.ended = true;
        drop(state);
        self.shared.1.notify_all();
    }

    fn push<'a>(&self, start: Instant, lines: impl Iterator<Item = &'a str>) {
        let at = start.elapsed();
        let mut state = self.lock();
        for line in lines {
            let mut text = plain(line);
            match STAMP.find(&text).map(|stamp| stamp.start()) {
                Some(begin) => state.cut.extend(text.drain(..begin)),
                None => text.insert_str(0, &mem::take(&mut state.cut)),
            }
            state.lines.push(Line { at, text });
        }
        drop(state);
        self.shared.1.notify_all();
    }
}

/// A line without carriage returns and terminal control sequences (ECMA-48: ESC [ parameters letter), which
/// firmware writes plenty of.
fn plain(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\x1b' if characters.next_if_eq(&'[').is_some() => {
                characters.by_ref().find(|character| ('@'..='~').contains(character));
            }
            '\r' => {}
            _ => text.push(character),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Write, pipe};

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    fn texts(console: &Console) -> Vec<String> {
        console.lines().into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn lines_are_whole_and_plain() {
        let (reader, mut writer) = pipe().unwrap();
        let console = Console::collect(reader);
        writer.write_all(b"\x1b[2J\x1b[01;01Hfirst\r\n\nsec").unwrap();
        assert!(matches!(console.wait_for(str::is_empty, 0, soon()), Wait::Seen(1, _)));
        assert_eq!(texts(&console), ["first", ""]);
        writer.write_all(b"ond").unwrap();
        drop(writer);
        assert_eq!(console.wait_for(|line| line == "never", 0, soon()), Wait::Ended);
        assert_eq!(texts(&console), ["first", "", "second"]);
    }

    #[test]
    fn a_line_is_whole_though_the_kernel_speaks_in_its_midst() {
        let console = Console::collect(
            &b"star[    2.913608] nanoos: clock\r\n[   12.000001] two\nted\r\nsaid[  1.000000] three\n\nhalf[  4.000000] four\n"[..],
        );
        assert_eq!(console.wait_for(|_| false, 0, soon()), Wait::Ended);
        assert_eq!(
            texts(&console),
            [
                "[    2.913608] nanoos: clock",
                "[   12.000001] two",
                "started",
                "[  1.000000] three",
                "said",
                "[  4.000000] four",
                "half"
            ]
        );
    }

    #[test]
    fn a_wait_starts_where_it_is_told() {
        let console = Console::collect(&b"a\nb\na\n"[..]);
        let wanted = |line: &str| line == "a";
        assert!(matches!(console.wait_for(wanted, 0, soon()), Wait::Seen(0, _)));
        assert!(matches!(console.wait_for(wanted, 1, soon()), Wait::Seen(2, _)));
        assert_eq!(console.wait_for(wanted, 3, soon()), Wait::Ended);
    }

    #[test]
    fn a_silent_machine_times_out() {
        let (reader, _writer) = pipe().unwrap();
        let console = Console::collect(reader);
        let deadline = Instant::now() + Duration::from_millis(50);
        assert_eq!(console.wait_for(|_| true, 0, deadline), Wait::TimedOut);
    }
}
