//! What is told while it happens.

/// Whoever tells the user.
pub trait Report: Send + Sync {
    /// What is happening now.
    fn step(&self, text: String);
    /// What the user should know although it goes on.
    fn warn(&self, text: String);
    /// A count of bytes up to `total`, shown while it lives.
    fn count(&self, what: &str, total: u64) -> Box<dyn Count>;
}

/// A count of bytes.
pub trait Count: Send + Sync {
    /// So many more.
    fn add(&self, bytes: u64);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Report for Silent {
    fn step(&self, _: String) {}
    fn warn(&self, _: String) {}
    fn count(&self, _: &str, _: u64) -> Box<dyn Count> {
        Box::new(Silent)
    }
}

impl Count for Silent {
    fn add(&self, _: u64) {}
}
