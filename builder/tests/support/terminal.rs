//! A command at a terminal, which is asked and answers.

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How long it may take to ask, or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// The command, and what it says.
pub(crate) struct Terminal {
    child: Child,
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    said: String,
    /// What was said before the last answer.
    answered: usize,
}

impl Terminal {
    /// Starts it with a terminal of its own.
    pub(crate) fn start(mut command: Command) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap();
        let terminal = || File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        command.stdin(terminal()).stdout(terminal()).stderr(terminal()).env("TERM", "xterm");
        let child = command.process_group(0).spawn().unwrap();
        // With the command's own ends goes the last of them here, and reading ends with it.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let keyboard = File::from(controller);
        let mut reader = keyboard.try_clone().unwrap();
        let (send, screen) = channel();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                if send.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Terminal { child, keyboard, screen, said: String::new(), answered: 0 }
    }

    /// Waits until it says this, and types a line.
    #[track_caller]
    pub(crate) fn answer(&mut self, question: &str, line: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.said[self.answered..].contains(question) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.screen.recv_timeout(left) {
                Ok(bytes) => self.said.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("it does not ask {question:?}:\n{}", self.said),
            }
        }
        self.answered = self.said.len();
        writeln!(self.keyboard, "{line}").unwrap();
    }

    /// Waits for its end, and gives all that it said.
    #[track_caller]
    pub(crate) fn end(mut self, status: i32) -> String {
        let deadline = Instant::now() + PATIENCE;
        while let Ok(bytes) = self.screen.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.said.push_str(&String::from_utf8_lossy(&bytes));
        }
        assert_eq!(self.child.wait().unwrap().code(), Some(status), "{}", self.said);
        self.said.replace("\r\n", "\n")
    }
}
