//! What was asked for, in numbers.

use std::collections::BTreeMap;

/// Counts since the start or the last reset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests that arrived, by operation.
    pub requests: BTreeMap<String, u64>,
    /// Requests that got an error, by operation.
    pub refused: BTreeMap<String, u64>,
    /// Errors, by code.
    pub errors: BTreeMap<String, u64>,
    /// Connections that were reset on purpose.
    pub resets: u64,
    /// Bytes of block data that arrived in bodies of PutSnapshotBlock, whatever became of them.
    pub block_bytes: u64,
    /// Most requests that were under way at one time.
    pub most_in_flight: usize,
    /// Most requests of PutSnapshotBlock that were under way at one time.
    pub most_puts_in_flight: usize,
    /// Connections that were accepted.
    pub connections: u64,
}

impl Tally {
    /// How often an operation was asked for.
    #[must_use]
    pub fn count(&self, action: &str) -> u64 {
        self.requests.get(action).copied().unwrap_or(0)
    }

    /// All requests.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.requests.values().sum()
    }

    /// All requests that got an error.
    #[must_use]
    pub fn total_refused(&self) -> u64 {
        self.refused.values().sum()
    }
}

/// The counts and what is under way now.
#[derive(Debug, Default)]
pub(crate) struct Counting {
    pub(crate) tally: Tally,
    in_flight: usize,
    puts_in_flight: usize,
}

impl Counting {
    pub(crate) fn arrive(&mut self, action: &str) {
        *self.tally.requests.entry(action.to_owned()).or_default() += 1;
        self.in_flight += 1;
        self.puts_in_flight += usize::from(action == "PutSnapshotBlock");
        self.tally.most_in_flight = self.tally.most_in_flight.max(self.in_flight);
        self.tally.most_puts_in_flight = self.tally.most_puts_in_flight.max(self.puts_in_flight);
    }

    pub(crate) fn leave(&mut self, action: &str) {
        self.in_flight -= 1;
        self.puts_in_flight -= usize::from(action == "PutSnapshotBlock");
    }

    pub(crate) fn refuse(&mut self, action: &str, code: &str) {
        *self.tally.refused.entry(action.to_owned()).or_default() += 1;
        *self.tally.errors.entry(code.to_owned()).or_default() += 1;
    }

    /// Starts anew; what is under way stays counted.
    pub(crate) fn reset(&mut self) {
        self.tally = Tally::default();
    }
}
