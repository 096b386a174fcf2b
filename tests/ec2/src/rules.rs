//! What the stand-in promises and enforces while nothing fails.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long something asynchronous takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delay {
    /// So many answers of the describing operation still tell the old state.
    Answers(u32),
    /// So much time, by the clock that [`crate::StandIn::advance`] moves.
    Time(Duration),
}

/// Whether an account may use a region, as `DescribeRegions` tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptIn {
    /// On from the start.
    NotRequired,
    /// Switched on.
    OptedIn,
    /// Switched off: no credentials are valid there.
    NotOptedIn,
}

impl OptIn {
    /// Its name in EC2's answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            OptIn::NotRequired => "opt-in-not-required",
            OptIn::OptedIn => "opted-in",
            OptIn::NotOptedIn => "not-opted-in",
        }
    }
}

/// Most requests a second, for each account and region, and most snapshots being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// `PutSnapshotBlock`, per account and also per snapshot.
    pub put: u32,
    /// `StartSnapshot`.
    pub start: u32,
    /// `CompleteSnapshot`.
    pub complete: u32,
    /// `GetSnapshotBlock`.
    pub get: u32,
    /// `ListSnapshotBlocks` and `ListChangedBlocks`, each.
    pub list: u32,
    /// Snapshots that are neither completed nor failed.
    pub pending_snapshots: usize,
}

/// How an instance is reached and what it wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceRules {
    /// Its address inside the VPC.
    pub private_ip: String,
    /// Its public address; None where the subnet gives none.
    pub public_ip: Option<String>,
    /// What `GetConsoleOutput` gives once it runs (its last 64 KiB).
    pub console: String,
    /// From pending to running, and from shutting-down to terminated.
    pub delay: Delay,
}

/// Everything that holds while a stand-in runs.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Regions by name.
    pub regions: BTreeMap<String, OptIn>,
    /// The account of each access key. Other keys are unknown.
    pub accounts: BTreeMap<String, String>,
    /// Regions where encryption by default is on.
    pub encryption_by_default: BTreeSet<String>,
    /// AWS's documented ones unless changed.
    pub quotas: Quotas,
    /// From CompleteSnapshot to a completed snapshot.
    pub completion: Delay,
    /// From RegisterImage to an available image.
    pub registration: Delay,
    /// From CopyImage to an available image.
    pub copy: Delay,
    /// What instances are like.
    pub instances: InstanceRules,
    /// Refuses defaults of RegisterImage that AWS fills in and nobody wants: i386, paravirtual, no ENA, IMDSv1.
    pub strict: bool,
    /// CompleteSnapshot of a snapshot that was completed before succeeds again. AWS does not document which it is.
    pub complete_twice: bool,
    /// Most items in one answer of a Describe operation, whatever the request says.
    pub page: usize,
    /// Added to each PutSnapshotBlock.
    pub put_latency: Duration,
    /// Bytes of block data a second that go through all connections together; None for as many as come.
    pub bandwidth: Option<u64>,
    /// Of identifiers and tokens.
    pub seed: u64,
}

/// The account of the access keys that [`Rules::default`] knows.
pub const ACCOUNT: &str = "123456789012";

/// The account of the access key `AKIAOTHERACCOUNTKEY0`, to share with.
pub const OTHER_ACCOUNT: &str = "210987654321";

impl Default for Rules {
    fn default() -> Self {
        let regions = [
            ("us-east-1", OptIn::NotRequired),
            ("us-east-2", OptIn::NotRequired),
            ("us-west-2", OptIn::NotRequired),
            ("eu-west-1", OptIn::NotRequired),
            ("eu-central-1", OptIn::NotRequired),
            ("ap-east-1", OptIn::OptedIn),
            ("me-south-1", OptIn::NotOptedIn),
        ];
        let accounts = [
            ("AKIAIOSFODNN7EXAMPLE", ACCOUNT),
            ("ASIAIOSFODNN7EXAMPLE", ACCOUNT),
            ("AKIDEXAMPLE", ACCOUNT),
            ("test", ACCOUNT),
            ("AKIAOTHERACCOUNTKEY0", OTHER_ACCOUNT),
        ];
        Rules {
            regions: regions.map(|(name, opt_in)| (name.to_owned(), opt_in)).into(),
            accounts: accounts.map(|(key, account)| (key.to_owned(), account.to_owned())).into(),
            encryption_by_default: BTreeSet::new(),
            quotas: Quotas { put: 1000, start: 10, complete: 10, get: 1000, list: 50, pending_snapshots: 100 },
            completion: Delay::Answers(1),
            registration: Delay::Answers(0),
            copy: Delay::Answers(1),
            instances: InstanceRules {
                private_ip: "10.0.0.10".to_owned(),
                public_ip: Some("127.0.0.1".to_owned()),
                console: String::new(),
                delay: Delay::Answers(1),
            },
            strict: true,
            complete_twice: false,
            page: 1000,
            put_latency: Duration::ZERO,
            bandwidth: None,
            seed: 1,
        }
    }
}
