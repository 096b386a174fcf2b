//! Faults that are switched on and off while the stand-in runs.

use std::collections::BTreeMap;
use std::time::Duration;

/// Whether a request that fails took effect all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It failed before anything happened.
    None,
    /// It was processed; only the answer is an error.
    Taken,
}

/// Where in an exchange the connection is reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// After the head was read. No effect.
    BeforeBody,
    /// After half of the body was read. No effect.
    MidBody,
    /// After processing: the request took effect, and nobody learns of it.
    BeforeAnswer,
    /// After half of the answer: the request took effect.
    MidAnswer,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An internal error: status 500 or 503.
    Error(u16, Effect),
    /// The service's throttling error, as if a quota were used up. No effect.
    Throttled,
    /// The connection is reset.
    Reset(Moment),
    /// Nothing is read (BeforeBody, MidBody) or answered (BeforeAnswer, MidAnswer) for this time; then all goes on.
    Stall(Moment, Duration),
    /// The identity may not do this. No effect. Of `CreateTags`, it also refuses RegisterImage with tags, as AWS does.
    Denied,
    /// EBS: "Failed to read block data" (ValidationException, INVALID_PARAMETER_VALUE), as AWS answers a Put whose
    /// body came slowly. No effect.
    Unread,
    /// Refused with this status and code, whatever the operation. No effect.
    Refused(u16, &'static str),
    /// It is processed, and the answer calls itself longer than any of AWS's.
    Endless,
}

/// One fault of some operations.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// Which operations: `RegisterImage`, `Put*`, `*Snapshot`, `*`.
    pub actions: String,
    /// What goes wrong.
    pub kind: Kind,
    /// How likely, 0 to 1.
    pub probability: f64,
    /// How often at most; None for always.
    pub times: Option<u32>,
}

impl Fault {
    /// A fault that happens at every request.
    #[must_use]
    pub fn new(actions: &str, kind: Kind) -> Self {
        Fault { actions: actions.to_owned(), kind, probability: 1.0, times: None }
    }

    /// With this probability only.
    #[must_use]
    pub fn probability(self, probability: f64) -> Self {
        Fault { probability, ..self }
    }

    /// No more often than this.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Fault { times: Some(times), ..self }
    }
}

/// Throttling that comes in bursts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Burst {
    /// Which operations, as in [`Fault::actions`].
    pub actions: String,
    /// Of each `every` requests, the first so many are throttled.
    pub answers: u32,
    /// The period, in requests.
    pub every: u32,
}

/// How long Puts do not find a snapshot that was just started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unseen {
    /// For so long after StartSnapshot, in real time.
    For(Duration),
    /// For so many Puts to each snapshot.
    Requests(u32),
}

/// All faults; none by default. [`crate::StandIn::set_faults`] replaces them and starts their counts anew.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Faults {
    /// Of every probability below.
    pub seed: u64,
    /// Faults of operations; the first one that happens is taken.
    pub faults: Vec<Fault>,
    /// Throttling in bursts.
    pub bursts: Vec<Burst>,
    /// New snapshots do not exist for Puts at first.
    pub unseen_snapshots: Option<Unseen>,
    /// So many Puts with a right checksum are told that it is wrong.
    pub refused_checksums: u32,
    /// Seconds by which the server's clock is ahead (or behind, if negative) of the real one.
    pub clock_skew: i64,
    /// Access keys or session tokens that expire after so many requests; 0 is at once.
    pub expired: BTreeMap<String, u64>,
    /// Probability that DescribeSnapshots tells a completed snapshot as pending.
    pub flapping_pending: f64,
    /// Probability that DescribeSnapshots does not see a snapshot.
    pub flapping_missing: f64,
    /// New images are not seen for so many answers of DescribeImages.
    pub unseen_images: u32,
    /// So many calls of StartSnapshot get ConcurrentLimitExceededException.
    pub start_limit: u32,
    /// Snapshots of so many calls of CompleteSnapshot end in `error`.
    pub failing_completions: u32,
    /// For so many calls of StartSnapshot with a parent, the parent was deleted a moment before.
    pub lost_parents: u32,
    /// Images of so many calls of CopyImage end in `failed`.
    pub failing_copies: u32,
    /// Images of so many calls of RegisterImage end in `failed`.
    pub failing_images: u32,
    /// Probability that GetSnapshotBlock's data is not what its checksum says.
    pub corrupt_reads: f64,
    /// After so many Puts that took effect, every request is reset until the faults are set anew.
    pub crash_after_puts: Option<u64>,
}

impl Faults {
    /// Faults of operations and nothing else.
    #[must_use]
    pub fn of(faults: impl IntoIterator<Item = Fault>) -> Self {
        Faults { faults: faults.into_iter().collect(), ..Faults::default() }
    }
}

/// Whether a pattern with `*` names an operation.
pub(crate) fn names(pattern: &str, action: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == action };
    let Some(action) = action.strip_prefix(start) else { return false };
    (0..=action.len()).any(|at| action.get(at..).is_some_and(|end| names(rest, end)))
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn a_pattern_names_operations() {
        for (pattern, action) in [("*", "X"), ("Put*", "PutSnapshotBlock"), ("*Image", "CopyImage"), ("*a*", "banana")]
        {
            assert!(names(pattern, action), "{pattern}");
        }
        assert!(!names("Put*", "StartSnapshot"));
        assert!(!names("RegisterImage", "RegisterImages"));
    }
}
