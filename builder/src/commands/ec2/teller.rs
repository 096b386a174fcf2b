//! Tells what happens at AWS as everything else is told.

use builder::progress::{Bar, Progress};

/// Where it is told.
pub(super) struct Teller(pub(super) Progress);

struct Counter(Bar);

impl aws::Report for Teller {
    fn step(&self, text: String) {
        self.0.step(text);
    }

    fn warn(&self, text: String) {
        self.0.warn(text);
    }

    fn count(&self, what: &str, total: u64) -> Box<dyn aws::Count> {
        Box::new(Counter(self.0.bytes(what, total)))
    }
}

impl aws::Count for Counter {
    fn add(&self, bytes: u64) {
        self.0.add(bytes);
    }
}
