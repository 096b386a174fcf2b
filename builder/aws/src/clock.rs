//! The time that requests are signed with. AWS refuses those that are more than some minutes off, and a machine's clock may
//! be: AWS's own, which every answer tells, counts then.

use aws_smithy_async::time::TimeSource;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

/// So far a clock may be off until answers about signatures are laid to it. AWS takes five minutes (AWS IAM user guide,
/// "Troubleshoot AWS Signature Version 4 signing").
const TOLERANCE: Duration = Duration::from_secs(4 * 60);

/// The machine's clock, put right. Clones are the same clock.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clock {
    /// What to add to the machine's clock, s.
    offset: Arc<AtomicI64>,
}

impl TimeSource for Clock {
    fn now(&self) -> SystemTime {
        shift(SystemTime::now(), self.offset.load(Ordering::Relaxed))
    }
}

impl Clock {
    /// Whether a request that was signed at `signed` is too far from the time of its answer.
    pub(crate) fn is_skewed(signed: SystemTime, theirs: SystemTime) -> bool {
        seconds_between(signed, theirs).unsigned_abs() > TOLERANCE.as_secs()
    }

    /// Takes the time of an answer for the right one.
    pub(crate) fn set(&self, theirs: SystemTime) {
        self.offset.store(seconds_between(SystemTime::now(), theirs), Ordering::Relaxed);
    }
}

fn shift(time: SystemTime, seconds: i64) -> SystemTime {
    let by = Duration::from_secs(seconds.unsigned_abs());
    let shifted = if seconds < 0 { time.checked_sub(by) } else { time.checked_add(by) };
    shifted.unwrap_or(time)
}

fn seconds_between(from: SystemTime, to: SystemTime) -> i64 {
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    match to.duration_since(from) {
        Ok(later) => seconds(later),
        Err(earlier) => -seconds(earlier.duration()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_off_is_put_right_once_the_right_time_is_known() {
        let clock = Clock::default();
        let theirs = SystemTime::now() - Duration::from_secs(3600);
        assert!(!Clock::is_skewed(clock.now(), SystemTime::now() + Duration::from_secs(200)));
        assert!(Clock::is_skewed(clock.now(), theirs));
        clock.set(theirs);
        assert!(!Clock::is_skewed(clock.now(), theirs));
        assert!(Clock::is_skewed(clock.now(), theirs + Duration::from_secs(301)));
    }
}
