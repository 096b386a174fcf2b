//! The application's way to the console. Its standard output and error are pipes; init moves their lines on, as fast as the
//! console takes them. A console is slow, a serial line moves 11 KB a second, and an application must not wait for it:
//! what is too much for the backlog is dropped, and the console says so.

pub mod backlog;

use crate::log::OrWarn;
use anyhow::{Context, Result};
use backlog::{Backlog, LONGEST_LINE, Lines, Stream};
use rustix::event::PollFlags;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

/// What waits for a console that is behind: twenty seconds of a serial line.
const BACKLOG: usize = 224 << 10;
/// The newest lines of an application that writes more than that: its last words say why it died.
const NEWEST: usize = 32 << 10;
/// Bytes read at once.
const CHUNK: usize = 16 << 10;
/// What may come at once while the backlog takes it: a chunk of each stream with its unfinished line, newlines and a note.
const MOST_AT_ONCE: usize = 2 * (CHUNK + LONGEST_LINE) + 256;
/// A pipe holds this much (the most that an unprivileged process may ask for): at 50 MB/s it is full after 20 ms.
const PIPE: usize = 1 << 20;
/// How long the pipes are left alone after they were read: an application that writes often would otherwise be
/// interrupted at each line by init, on the same processor.
const PAUSE: Duration = Duration::from_millis(5);
/// How long an unfinished line may wait for its end.
const UNFINISHED: Duration = Duration::from_millis(100);
/// How long a console that fails is left alone: whoever hung it up (vhangup(2)) may be about to use it.
const RETRY: Duration = Duration::from_secs(1);

/// The console, and what is on its way there.
#[derive(Debug)]
pub struct Console {
    way: Way,
    /// /dev/null, where the rest goes.
    nowhere: Option<File>,
    streams: Vec<Source>,
    backlog: Backlog,
    newest: Backlog,
    /// The backlog was full: lines go to `newest` until half of it is written.
    behind: bool,
    dropped: u64,
    rest_until: Option<Instant>,
    chunk: Vec<u8>,
}

/// The state of /dev/console.
#[derive(Debug)]
enum Way {
    Open(File),
    Broken { retry: Instant },
}

#[derive(Debug)]
struct Source {
    pipe: File,
    lines: Lines,
    /// When the unfinished line is passed on.
    due: Option<Instant>,
    ended: bool,
}

/// The application's ends of the pipes.
#[derive(Debug)]
pub struct Ends {
    /// Its standard output.
    pub output: OwnedFd,
    /// Its standard error.
    pub error: OwnedFd,
}

impl Default for Console {
    fn default() -> Self {
        Console::over(open().map_or_else(|_| Way::broken(), Way::Open))
    }
}

impl Console {
    fn over(way: Way) -> Self {
        Console {
            way,
            nowhere: File::options().write(true).open("/dev/null").ok(),
            streams: Vec::new(),
            backlog: Backlog::new(BACKLOG),
            newest: Backlog::new(NEWEST),
            behind: false,
            dropped: 0,
            rest_until: None,
            chunk: Vec::new(),
        }
    }

    /// Makes the pipes of an application.
    ///
    /// # Errors
    /// What the system calls answer.
    pub fn connect(&mut self) -> Result<Ends> {
        self.chunk.resize(CHUNK, 0);
        let mut end = |stream: Stream| -> Result<OwnedFd> {
            let (reader, writer) = pipe_with(PipeFlags::CLOEXEC).context("make a pipe")?;
            // Of our end only: the application's is a file of its own, and blocks as it expects.
            rustix::fs::fcntl_setfl(&reader, OFlags::NONBLOCK).context("set up a pipe")?;
            // A smaller pipe works too, only less smoothly.
            fcntl_setpipe_size(&reader, PIPE).context("enlarge a pipe").or_warn("console");
            self.streams.push(Source { pipe: reader.into(), lines: Lines::of(stream), due: None, ended: false });
            Ok(writer)
        };
        Ok(Ends { output: end(Stream::Output)?, error: end(Stream::Error)? })
    }

    /// What to wait for, now.
    pub fn files(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let pipes = self.streams.iter().filter(|_| self.rest_until.is_none());
        let way = match &self.way {
            Way::Open(file) if !self.backlog.is_empty() => Some((file.as_fd(), PollFlags::OUT)),
            _ => None,
        };
        pipes.map(|source| (source.pipe.as_fd(), PollFlags::IN)).chain(way)
    }

    /// When [`Console::on_time`] wants to be called next.
    #[must_use]
    pub fn wake(&self) -> Option<Instant> {
        let due = self.streams.iter().filter_map(|source| source.due).min();
        [self.rest_until, due].into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn on_time(&mut self) {
        let now = Instant::now();
        if self.rest_until.is_some_and(|until| now >= until) {
            self.rest_until = None;
        }
        let target = if self.behind { &mut self.newest } else { &mut self.backlog };
        for source in self.streams.iter_mut().filter(|source| source.due.is_some_and(|due| now >= due)) {
            self.dropped += source.lines.flush(target);
            source.due = None;
        }
        self.write();
    }

    /// Reads what the application wrote, and writes what the console takes.
    pub fn on_event(&mut self) {
        self.read();
        self.write();
    }

    /// Whether all that was read is written, as far as there is a console.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let shown = self.backlog.is_empty()
            && self.newest.is_empty()
            && self.streams.iter().all(|it| !it.lines.is_unfinished());
        shown || matches!(self.way, Way::Broken { .. })
    }

    /// The application has written its last: reads all of it, whatever the pause, and ends its last line.
    pub fn finish(&mut self) {
        self.read();
        let target = if self.behind { &mut self.newest } else { &mut self.backlog };
        for source in &mut self.streams {
            self.dropped += source.lines.flush(target);
            source.due = None;
        }
        target.end_line();
        self.write();
    }

    /// Drops all but the last `most` bytes: the time is running out.
    pub fn keep_last(&mut self, most: usize) {
        if self.behind {
            self.dropped += self.backlog.clear();
            self.catch_up();
        }
        let mut last = std::mem::replace(&mut self.backlog, Backlog::new(BACKLOG));
        self.dropped += last.keep_last(most);
        self.tell_dropped();
        self.backlog.append(&mut last);
        self.write();
    }

    /// The console itself, for the end of the machine.
    #[must_use]
    pub fn file(&self) -> Option<&File> {
        match &self.way {
            Way::Open(file) => Some(file),
            Way::Broken { .. } => None,
        }
    }

    fn read(&mut self) {
        while !self.behind && !self.read_lines() {
            self.write();
            self.behind = self.backlog.room() < MOST_AT_ONCE;
        }
        let most = if self.behind { self.read_newest() } else { 0 };
        let target = if self.behind { &mut self.newest } else { &mut self.backlog };
        let due = Instant::now() + UNFINISHED;
        for source in &mut self.streams {
            if source.ended {
                self.dropped += source.lines.flush(target);
            }
            source.due = source.lines.is_unfinished().then(|| source.due.unwrap_or(due));
        }
        self.streams.retain(|source| !source.ended);
        // A pipe that is half full after a pause would have been full after two.
        self.rest_until = (most < PIPE as u64 / 2).then(|| Instant::now() + PAUSE);
    }

    /// Moves lines to the backlog. Returns whether the pipes are empty now; otherwise the backlog is full.
    fn read_lines(&mut self) -> bool {
        for source in &mut self.streams {
            loop {
                if self.backlog.room() < MOST_AT_ONCE {
                    return false;
                }
                match source.read(&mut self.chunk) {
                    [] => break,
                    bytes => self.dropped += source.lines.take(bytes, &mut self.backlog),
                }
            }
        }
        true
    }

    /// Empties the pipes, and keeps the newest lines. Returns how much was in the fuller one.
    fn read_newest(&mut self) -> u64 {
        let mut most = 0;
        for source in &mut self.streams {
            let full = rustix::io::ioctl_fionread(&source.pipe).unwrap_or(0);
            most = most.max(full);
            if let (Some(nowhere), Some(over)) =
                (&self.nowhere, full.checked_sub(NEWEST as u64).filter(|over| *over > 0))
            {
                // Inside the kernel, without a copy.
                let over = usize::try_from(over).unwrap_or(usize::MAX);
                let moved = splice(&source.pipe, None, nowhere, None, over, SpliceFlags::NONBLOCK).unwrap_or(0);
                self.dropped += moved as u64 + source.lines.lose() + self.newest.clear();
            }
        }
        for source in &mut self.streams {
            // Not until it is empty: an application that writes without a pause would keep us here.
            for _ in 0..=NEWEST / CHUNK {
                match source.read(&mut self.chunk) {
                    [] => break,
                    bytes => self.dropped += source.lines.take(bytes, &mut self.newest),
                }
            }
        }
        most
    }

    fn write(&mut self) {
        // Looked at when there is something to do anyway: no machine wakes up for a console that it has not.
        if matches!(self.way, Way::Broken { retry } if Instant::now() >= retry && !self.backlog.is_empty()) {
            self.way = open().map_or_else(|_| Way::broken(), Way::Open);
        }
        if let Way::Open(file) = &mut self.way {
            while !self.backlog.is_empty() {
                match file.write(self.backlog.front()) {
                    Ok(count) => self.backlog.written(count),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(_) => {
                        self.way = Way::broken();
                        break;
                    }
                }
            }
        }
        if self.behind && self.backlog.len() <= BACKLOG / 2 {
            self.catch_up();
        }
    }

    /// Half of the backlog is written: the newest lines join it.
    fn catch_up(&mut self) {
        self.behind = false;
        self.tell_dropped();
        self.backlog.append(&mut self.newest);
    }

    fn tell_dropped(&mut self) {
        match std::mem::take(&mut self.dropped) {
            0 => {}
            count => self.backlog.note(&format!(
                "nanoos: console: {count} bytes of the application's output dropped here, it writes faster than the console"
            )),
        }
    }
}

impl Way {
    fn broken() -> Self {
        Way::Broken { retry: Instant::now() + RETRY }
    }
}

impl Source {
    /// The next bytes; none when there are none now, or never again.
    fn read<'a>(&mut self, chunk: &'a mut [u8]) -> &'a [u8] {
        match self.pipe.read(chunk) {
            Ok(0) => self.ended = true,
            Ok(count) => return chunk.get(..count).unwrap_or_default(),
            Err(error) => self.ended = Errno::from_io_error(&error) != Some(Errno::AGAIN),
        }
        &[]
    }
}

/// O_NONBLOCK is of this open file only: whoever else has the console open waits as ever.
fn open() -> std::io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    File::options().write(true).custom_flags(flags.bits().cast_signed()).open("/dev/console")
}

#[cfg(test)]
mod tests;
