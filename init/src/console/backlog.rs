//! What waits for the console: bytes of whole lines, up to a size.

use std::collections::VecDeque;

/// One of the application's streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

/// A queue of bytes. What does not fit any more pushes out the oldest lines.
#[derive(Debug)]
pub struct Backlog {
    bytes: VecDeque<u8>,
    capacity: usize,
    /// Whose line at the end is not finished.
    open: Option<Stream>,
}

impl Backlog {
    /// An empty queue. Memory is taken as bytes come.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Backlog { bytes: VecDeque::new(), capacity, open: None }
    }

    /// How many bytes wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How many bytes fit without pushing out others.
    #[must_use]
    pub fn room(&self) -> usize {
        self.capacity.saturating_sub(self.bytes.len())
    }

    /// Adds bytes of a stream; an unfinished line of the other one is ended before. Returns how many bytes of
    /// older lines this pushed out.
    pub fn push(&mut self, from: Stream, bytes: &[u8]) -> u64 {
        let Some(last) = bytes.last() else { return 0 };
        if self.open.is_some_and(|open| open != from) {
            self.end_line();
        }
        self.bytes.extend(bytes);
        self.open = (*last != b'\n').then_some(from);
        if self.bytes.len() > self.capacity { self.keep_last(self.capacity) } else { 0 }
    }

    /// Adds a line of init's own.
    pub fn note(&mut self, line: &str) {
        self.end_line();
        self.bytes.extend(line.as_bytes());
        self.bytes.push_back(b'\n');
    }

    /// Ends the line at the end, if it is not.
    pub fn end_line(&mut self) {
        if self.open.take().is_some() {
            self.bytes.push_back(b'\n');
        }
    }

    /// Drops the oldest lines until at most `most` bytes are left, and returns how many it dropped.
    pub fn keep_last(&mut self, most: usize) -> u64 {
        let Some(over) = self.bytes.len().checked_sub(most).filter(|over| *over > 0) else { return 0 };
        // From where the cut falls to the end of that line.
        let rest = self.bytes.iter().skip(over - 1).position(|byte| *byte == b'\n');
        let cut = rest.map_or(self.bytes.len(), |rest| over + rest);
        self.bytes.drain(..cut);
        cut as u64
    }

    /// The next bytes to write, some of them at least unless nothing waits.
    #[must_use]
    pub fn front(&self) -> &[u8] {
        self.bytes.as_slices().0
    }

    /// Forgets bytes of the front that are written.
    pub fn written(&mut self, count: usize) {
        self.bytes.drain(..count.min(self.bytes.len()));
        if self.bytes.is_empty() {
            // Starts over at the same memory: a console that keeps up needs little of it.
            self.bytes.clear();
        }
    }

    /// Takes over all that waits in another queue, behind what waits here.
    pub fn append(&mut self, other: &mut Backlog) {
        self.bytes.append(&mut other.bytes);
        self.open = other.open.take().or(self.open);
    }

    /// Drops everything, and returns how many bytes that were.
    pub fn clear(&mut self) -> u64 {
        let count = self.bytes.len() as u64;
        self.bytes.clear();
        self.open = None;
        count
    }
}

/// The bytes of one stream on their way to becoming lines.
#[derive(Debug)]
pub struct Lines {
    stream: Stream,
    unfinished: Vec<u8>,
    /// Bytes were lost: what comes up to the end of the line is the rest of one that nobody saw the start of.
    skipping: bool,
}

/// A line up to this length is never torn apart by the other stream. Docker's own limit.
pub const LONGEST_LINE: usize = 16 << 10;

impl Lines {
    /// The start of a stream.
    #[must_use]
    pub fn of(stream: Stream) -> Self {
        Lines { stream, unfinished: Vec::new(), skipping: false }
    }

    /// Whether a line waits for its end.
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        !self.unfinished.is_empty()
    }

    /// Moves the lines that these bytes finish to the backlog, and keeps the rest. Returns how many bytes were lost by it.
    pub fn take(&mut self, mut bytes: &[u8], backlog: &mut Backlog) -> u64 {
        let mut lost = 0;
        if self.skipping {
            let start = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| end + 1);
            self.skipping = start == bytes.len() && bytes.last() != Some(&b'\n');
            lost += start as u64;
            bytes = bytes.get(start..).unwrap_or_default();
        }
        let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let (lines, rest) = bytes.split_at(end);
        if !lines.is_empty() {
            lost += self.flush(backlog);
            lost += backlog.push(self.stream, lines);
        }
        self.unfinished.extend_from_slice(rest);
        if self.unfinished.len() >= LONGEST_LINE {
            lost += self.flush(backlog);
        }
        lost
    }

    /// Moves an unfinished line to the backlog as far as it is known: its end may take its time, as a prompt's does.
    pub fn flush(&mut self, backlog: &mut Backlog) -> u64 {
        let lost = backlog.push(self.stream, &self.unfinished);
        self.unfinished.clear();
        lost
    }

    /// The bytes that come next do not follow those that came before. Returns how many are lost by it here.
    pub fn lose(&mut self) -> u64 {
        self.skipping = true;
        let lost = self.unfinished.len() as u64;
        self.unfinished.clear();
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(backlog: &Backlog) -> String {
        String::from_utf8(backlog.bytes.iter().copied().collect()).unwrap()
    }

    #[test]
    fn lines_of_two_streams_are_never_mixed() {
        let mut backlog = Backlog::new(100);
        let (mut output, mut error) = (Lines::of(Stream::Output), Lines::of(Stream::Error));
        output.take(b"one\ntw", &mut backlog);
        error.take(b"err", &mut backlog);
        output.take(b"o\nthree\n", &mut backlog);
        error.take(b"or\n", &mut backlog);
        assert_eq!(text(&backlog), "one\ntwo\nthree\nerror\n");
    }

    #[test]
    fn an_unfinished_line_goes_on_unless_the_other_stream_speaks() {
        let mut backlog = Backlog::new(100);
        let (mut output, mut error) = (Lines::of(Stream::Output), Lines::of(Stream::Error));
        output.take(b"Name: ", &mut backlog);
        output.flush(&mut backlog);
        output.take(b"yes\nAge: ", &mut backlog);
        output.flush(&mut backlog);
        error.take(b"no\n", &mut backlog);
        assert_eq!(text(&backlog), "Name: yes\nAge: \nno\n");
        backlog.end_line();
        assert_eq!(text(&backlog), "Name: yes\nAge: \nno\n");
    }

    #[test]
    fn a_line_that_does_not_end_is_passed_on_in_pieces() {
        let mut backlog = Backlog::new(10 * LONGEST_LINE);
        let mut lines = Lines::of(Stream::Output);
        for _ in 0..LONGEST_LINE / 2 {
            lines.take(b"xxx", &mut backlog);
        }
        assert!(lines.unfinished.len() < LONGEST_LINE && backlog.len() >= LONGEST_LINE);
    }

    #[test]
    fn after_a_loss_lines_start_at_their_start() {
        let mut backlog = Backlog::new(100);
        let mut lines = Lines::of(Stream::Output);
        lines.take(b"a\nbc", &mut backlog);
        assert_eq!(lines.lose(), 2);
        assert_eq!(lines.take(b"rest of", &mut backlog), 7);
        assert_eq!(lines.take(b" it\nd\n", &mut backlog), 4);
        assert_eq!(text(&backlog), "a\nd\n");
    }

    #[test]
    fn the_oldest_lines_make_room() {
        let mut backlog = Backlog::new(8);
        assert_eq!(backlog.push(Stream::Output, b"12\n45\n78\n"), 3);
        assert_eq!(text(&backlog), "45\n78\n");
        assert_eq!(backlog.keep_last(3), 3);
        assert_eq!(text(&backlog), "78\n");
        assert_eq!(backlog.keep_last(2), 3);
        assert_eq!(text(&backlog), "");
    }

    proptest! {
        #[test]
        fn no_byte_is_gone_without_being_counted(
            pieces in prop::collection::vec((any::<bool>(), any::<bool>(), "[a\n]{0,30}"), 0..40),
            capacity in 1_usize..200,
        ) {
            let mut backlog = Backlog::new(capacity);
            let (mut output, mut error) = (Lines::of(Stream::Output), Lines::of(Stream::Error));
            let (mut taken, mut lost) = (0, 0);
            for (is_error, loses, piece) in pieces {
                let lines = if is_error { &mut error } else { &mut output };
                taken += piece.len() as u64;
                lost += lines.take(piece.as_bytes(), &mut backlog);
                if loses {
                    lost += lines.lose();
                }
                prop_assert!(backlog.len() <= capacity);
            }
            lost += output.flush(&mut backlog) + error.flush(&mut backlog);
            // Without flushes between, the only added newline is one between the two last lines.
            let waiting = backlog.len() as u64;
            prop_assert!((waiting + lost).abs_diff(taken) <= 1, "{waiting} + {lost} != {taken}");
        }
    }
}
