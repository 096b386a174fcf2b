//! Writes to standard output as fast as it is told.

use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of a line, with its end.
const LINE: usize = 100;
/// How often the rate is kept.
const SLICE: Duration = Duration::from_millis(10);

/// Writes numbered lines at a rate in MB/s (0: as fast as it can) for some seconds, then says how many it wrote.
pub(crate) fn write(rate: &str, seconds: &str) -> io::Result<()> {
    let rate: usize = rate.parse().map_err(io::Error::other)?;
    let duration = Duration::from_secs(seconds.parse().map_err(io::Error::other)?);
    let mut out = io::stdout().lock();
    let start = Instant::now();
    let mut lines = 0;
    while start.elapsed() < duration {
        let due = rate as u128 * start.elapsed().as_micros() / LINE as u128;
        if rate > 0 && lines as u128 > due {
            thread::sleep(SLICE);
            continue;
        }
        let text = format!("log {lines:010} ");
        writeln!(out, "{text:x<width$}", width = LINE - 1)?;
        lines += 1;
    }
    let took = start.elapsed();
    writeln!(out, "log: {lines} lines of {LINE} bytes in {} ms", took.as_millis())
}
