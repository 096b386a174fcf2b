//! Clock devices that show the hypervisor's time (PTP hardware clocks, linux/Documentation/driver-api/ptp.rst): closer
//! than any server.

use super::discipline::Sample;
use super::packet::is_possible;
use super::{nanos, raw};
use crate::debug;
use anyhow::{Context, Result, ensure};
use rustix::time::{DynamicClockId, clock_gettime_dynamic};
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;

const CLASS: &str = "/sys/class/ptp";
/// Names of the clocks that show UTC: KVM's shows its host's clock, Amazon's network card the cloud's. Those of other
/// cards count from wherever a program has set them.
const NAMES: [&str; 2] = ["KVM virtual PTP", "ena-ptp-"];
/// The one that was interrupted least of so many readings counts.
const READINGS: usize = 5;

/// An open clock device.
#[derive(Debug)]
pub struct Ptp {
    /// The device's name in /dev.
    pub name: String,
    file: File,
}

impl Ptp {
    /// The machine's device, if it has one.
    #[must_use]
    pub fn find() -> Option<Self> {
        let mut names: Vec<String> =
            fs::read_dir(CLASS).ok()?.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names.into_iter().find_map(|name| {
            let clock = fs::read_to_string(Path::new(CLASS).join(&name).join("clock_name")).ok()?;
            if !is_utc(&clock) {
                return None;
            }
            match File::open(Path::new("/dev").join(&name)) {
                Ok(file) => Some(Ptp { name, file }),
                Err(error) => {
                    debug!("clock: open /dev/{name}: {error}");
                    None
                }
            }
        })
    }

    /// Reads it.
    ///
    /// # Errors
    /// When it does not know the time just now, as a network card may, or is gone.
    pub fn read(&self) -> Result<Sample> {
        let mut best: Option<Sample> = None;
        for _ in 0..READINGS {
            let before = raw();
            let time = clock_gettime_dynamic(DynamicClockId::Dynamic(self.file.as_fd()))
                .with_context(|| format!("read /dev/{}", self.name))?;
            let delay = raw() - before;
            if best.is_none_or(|best| delay < best.delay) {
                best = Some(Sample { raw: before + delay / 2, time: nanos(time), delay, ..Sample::default() });
            }
        }
        let best = best.context("no reading")?;
        ensure!(is_possible(best.time), "/dev/{} shows an absurd time", self.name);
        Ok(best)
    }
}

fn is_utc(clock_name: &str) -> bool {
    NAMES.iter().any(|name| clock_name.starts_with(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clocks_known_to_show_utc_are_read() {
        assert!(is_utc("KVM virtual PTP\n") && is_utc("ena-ptp-05\n"));
        assert!(!is_utc("mlx5_ptp\n") && !is_utc(""));
    }
}
