use super::*;
use rustix::event::{PollFd, Timespec, poll};
use std::io::{PipeReader, pipe};
use std::thread;

/// A console that nobody reads yet holds 64 KiB, as pipes do.
fn console() -> (Console, PipeReader) {
    let (reader, writer) = pipe().unwrap();
    rustix::fs::fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
    (Console::over(Way::Open(OwnedFd::from(writer).into())), reader)
}

/// One turn of init's loop; false when nothing happened for a second.
fn turn(console: &mut Console) -> bool {
    let mut fds: Vec<PollFd<'_>> = console.files().map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)).collect();
    let timeout = console.wake().map_or(RETRY, |wake| wake.saturating_duration_since(Instant::now()));
    let ready = poll(&mut fds, Some(&Timespec::try_from(timeout).unwrap())).unwrap();
    let woke = ready > 0 || console.wake().is_some();
    if ready > 0 {
        console.on_event();
    }
    console.on_time();
    woke
}

/// Everything that a console shows, read by a thread.
fn read_all(mut reader: PipeReader) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        all
    })
}

#[test]
fn a_console_that_keeps_up_shows_everything_in_order() {
    let (mut console, reader) = console();
    let ends = console.connect().unwrap();
    let shown = read_all(reader);
    let mut expected = String::new();
    for number in 0..5000 {
        expected.push_str(&format!("line {number}\n"));
    }
    let text = expected.clone();
    let writer = thread::spawn(move || File::from(ends.output).write_all(text.as_bytes()).unwrap());
    // Both ends of the error stream are gone, too: nothing is left to wait for.
    drop(ends.error);
    while turn(&mut console) {}
    writer.join().unwrap();
    assert!(console.is_idle() && console.streams.is_empty());
    drop(console);
    assert_eq!(String::from_utf8(shown.join().unwrap()).unwrap(), expected);
}

#[test]
fn a_console_that_stands_still_holds_nobody_up_and_tells_what_was_dropped() {
    let (mut console, reader) = console();
    let ends = console.connect().unwrap();
    let writer = thread::spawn(move || {
        let mut output = File::from(ends.output);
        let mut written = 0;
        for number in 0..400_000 {
            let line = format!("line {number} of very many\n");
            written += line.len();
            output.write_all(line.as_bytes()).unwrap();
        }
        // Held until here, so that its own end comes last.
        File::from(ends.error).write_all(b"no end").unwrap();
        written + 6
    });
    while turn(&mut console) {}
    let written = writer.join().unwrap();
    assert!(console.behind && console.backlog.len() + console.newest.len() <= BACKLOG + NEWEST);

    let shown = read_all(reader);
    console.finish();
    while !console.is_idle() {
        turn(&mut console);
    }
    drop(console);
    let text = String::from_utf8(shown.join().unwrap()).unwrap();
    let (notes, lines): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with("nanoos: console: "));
    assert_eq!(lines.first(), Some(&"line 0 of very many"));
    assert_eq!(&lines[lines.len() - 2..], ["line 399999 of very many", "no end"]);
    let dropped: usize = notes.iter().map(|note| note.split(' ').nth(2).unwrap().parse::<usize>().unwrap()).sum();
    // The newline after the last line is the console's.
    let shown: usize = lines.iter().map(|line| line.len() + 1).sum();
    assert_eq!(shown - 1 + dropped, written);
    assert!(notes.len() == 1, "{notes:?}");
}

#[test]
fn an_unfinished_line_is_shown_soon() {
    let (mut console, mut reader) = console();
    let ends = console.connect().unwrap();
    let mut output = File::from(ends.output);
    output.write_all(b"Password: ").unwrap();
    while turn(&mut console) {}
    let mut shown = [0; 20];
    let count = reader.read(&mut shown).unwrap();
    assert_eq!(&shown[..count], b"Password: ");
}

#[test]
fn when_time_runs_out_the_last_lines_are_shown() {
    let (mut console, reader) = console();
    let mut ends = console.connect().map(|ends| File::from(ends.output)).unwrap();
    for number in 0..30_000 {
        ends.write_all(format!("line {number}\n").as_bytes()).unwrap();
        if number % 1000 == 0 {
            turn(&mut console);
        }
    }
    drop(ends);
    console.finish();
    console.keep_last(1000);
    let shown = read_all(reader);
    while !console.is_idle() {
        turn(&mut console);
    }
    drop(console);
    let text = String::from_utf8(shown.join().unwrap()).unwrap();
    assert!(text.contains("dropped here") && text.ends_with("\nline 29999\n"), "{}", &text[text.len() - 200..]);
}
