//! A child of init that loads modules: a driver may hang, and PID 1 must not.

use super::cmdline::Cmdline;
use super::index::name_of;
use super::insert::{Step, insert, is_live};
use super::plan::Chain;
use crate::errand::Errand;
use anyhow::Result;
use std::io::{PipeWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// Longest report: a line for each module that is begun, and one for each that does not load.
const LONGEST: usize = 256 << 10;

/// How long modules may take until those that are still loading are told.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// A child at work.
#[derive(Debug)]
pub(super) struct Loader {
    pub(super) errand: Errand,
    since: Instant,
    /// Its patience is over, and nothing waits for it any more.
    pub(super) is_late: bool,
}

impl Loader {
    /// Starts a child that loads these modules.
    ///
    /// # Errors
    /// When there can be no child.
    pub(super) fn start(directory: &Path, chains: &[Chain<'_>], cmdline: &Cmdline) -> Result<Self> {
        let errand = Errand::start(LONGEST, |pipe| {
            insert(directory, chains, cmdline, |file, step| report(&pipe, file, &step));
            0
        })?;
        Ok(Loader { errand, since: Instant::now(), is_late: false })
    }

    /// Until when it is waited for.
    pub(super) fn due(&self) -> Option<Instant> {
        (!self.is_late).then(|| self.since + PATIENCE)
    }

    /// What did not load so far: each module with the reason.
    pub(super) fn failed(&self) -> Vec<(String, String)> {
        let text = String::from_utf8_lossy(self.errand.report());
        let failures = text.lines().filter_map(|line| line.strip_prefix('!')?.split_once('\t'));
        failures.map(|(name, reason)| (name.to_owned(), reason.to_owned())).collect()
    }

    /// The modules that it has begun to load and that have not started.
    pub(super) fn hung(&self) -> Vec<String> {
        let failed = self.failed();
        let text = String::from_utf8_lossy(self.errand.report());
        let begun = text.lines().filter_map(|line| line.strip_prefix('+'));
        let is_hung = |name: &&str| !is_live(name) && !failed.iter().any(|(it, _)| it == name);
        begun.filter(is_hung).map(str::to_owned).collect()
    }
}

/// One line in one write, so that those of several threads do not mix.
fn report(mut pipe: &PipeWriter, file: &str, step: &Step) {
    let name = name_of(file);
    let line = match step {
        Step::Begun => format!("+{name}\n"),
        Step::Failed(error) => format!("!{name}\t{}\n", format!("{error:#}").replace('\n', " ")),
    };
    // Init hears of it by the devices all the same.
    let _ = pipe.write_all(line.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::wait::waitpid;

    #[test]
    fn a_child_tells_what_did_not_load() {
        let directory = std::env::temp_dir().join("nanoos-no-such-directory");
        let chain = Chain { files: vec!["kernel/no-such.ko"], in_order: false };
        let mut loader = Loader::start(&directory, &[chain], &Cmdline::default()).unwrap();
        waitpid(loader.errand.pid, None).unwrap();
        loader.errand.on_readable();
        let failed = loader.failed();
        assert_eq!((failed.len(), failed[0].0.as_str()), (1, "no_such"));
        assert!(failed[0].1.starts_with("open module "), "{}", failed[0].1);
        assert!(loader.errand.is_over() && loader.hung().is_empty());
    }
}
