//! Real parts that tests start: found by name, stopped with the test.

use std::path::Path;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

/// How long a part may take to be there.
const START: Duration = Duration::from_secs(30);

/// A program that runs as long as this lives.
pub(crate) struct Part(Child);

impl Part {
    /// Starts a program, and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(command: &mut Command, package: &str, ready: impl Fn() -> bool) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut part = Part(command.spawn().unwrap_or_else(|_| panic!("{name} is missing: apt-get install {package}")));
        let deadline = Instant::now() + START;
        while !ready() {
            assert!(Instant::now() < deadline, "{name} does not get ready");
            assert!(part.0.try_wait().unwrap().is_none(), "{name} ended at once");
            thread::sleep(Duration::from_millis(50));
        }
        part
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a tool that must succeed, in a directory, and gives what it prints.
#[track_caller]
pub(crate) fn run(directory: &Path, package: &str, line: &[&str]) -> String {
    let output = Command::new(line[0]).args(&line[1..]).current_dir(directory).output();
    let output = output.unwrap_or_else(|_| panic!("{} is missing: apt-get install {package}", line[0]));
    assert!(output.status.success(), "{line:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
