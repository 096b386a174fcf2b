//! What there is: snapshots, images, instances and parameters, by region.

use crate::blocks::{BLOCK, Block, noise};
use crate::random::Random;
use crate::rules::{Delay, Rules};
use crate::trouble::Windows;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Blocks in a GiB.
pub const BLOCKS_PER_GIB: u64 = (1 << 30) / BLOCK as u64;

/// Tags by key.
pub type Tags = BTreeMap<String, String>;

/// Where a snapshot, an image or an instance is on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress<S> {
    /// It has arrived.
    In(S),
    /// It is still told as the first one and will be the second one.
    Between(S, S, Delay, SystemTime),
}

impl<S: Copy + PartialEq> Progress<S> {
    /// On its way from one state to another.
    pub(crate) fn start(from: S, to: S, delay: Delay, now: SystemTime) -> Self {
        let mut progress = Progress::Between(from, to, delay, now);
        if delay == Delay::Answers(0) {
            progress = Progress::In(to);
        }
        progress
    }

    /// What it is told as.
    pub fn state(&self) -> S {
        match self {
            Progress::In(state) | Progress::Between(state, ..) => *state,
        }
    }

    /// Moves on where its time has come.
    pub(crate) fn settle(&mut self, now: SystemTime) {
        if let Progress::Between(_, to, Delay::Time(time), since) = self
            && now.duration_since(*since).unwrap_or_default() >= *time
        {
            *self = Progress::In(*to);
        }
    }

    /// The state for an answer of the describing operation; moves on where enough were given.
    pub(crate) fn tell(&mut self) -> S {
        let state = self.state();
        if let Progress::Between(_, to, Delay::Answers(left), _) = self {
            *left -= 1;
            if *left == 0 {
                *self = Progress::In(*to);
            }
        }
        state
    }
}

/// The state of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotState {
    /// Blocks may be written.
    Pending,
    /// Complete was called; it is told as pending.
    Completing,
    /// Done.
    Completed,
    /// Failed, or its timeout has passed.
    Error,
}

impl SnapshotState {
    /// As DescribeSnapshots tells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            SnapshotState::Pending | SnapshotState::Completing => "pending",
            SnapshotState::Completed => "completed",
            SnapshotState::Error => "error",
        }
    }
}

/// A snapshot.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// `snap-…`.
    pub id: String,
    /// Its state and where that leads.
    pub progress: Progress<SnapshotState>,
    /// Its account.
    pub owner: String,
    /// GiB.
    pub volume_size: u64,
    /// Free text.
    pub description: String,
    /// Its tags.
    pub tags: Tags,
    /// The key where it is encrypted.
    pub kms_key: Option<String>,
    /// The snapshot it was started from.
    pub parent: Option<String>,
    /// That one and its ancestors: snapshots that ListChangedBlocks compares it with.
    pub lineage: Vec<String>,
    /// Blocks that were put to it.
    pub blocks: BTreeMap<u32, Block>,
    /// Blocks of its parent, as they were.
    pub inherited: Arc<BTreeMap<u32, Block>>,
    /// How long it may go without a Put.
    pub timeout: Duration,
    /// When it was started.
    pub started: SystemTime,
    /// When a block was last put, or it was started.
    pub active: SystemTime,
    /// Accounts that may make volumes of it.
    pub shared_with: BTreeSet<String>,
    pub(crate) born: Instant,
}

impl Snapshot {
    /// Its state.
    #[must_use]
    pub fn state(&self) -> SnapshotState {
        self.progress.state()
    }

    /// Whether it is encrypted.
    #[must_use]
    pub fn encrypted(&self) -> bool {
        self.kms_key.is_some()
    }

    /// Blocks that a volume of it has.
    #[must_use]
    pub fn volume_blocks(&self) -> u64 {
        self.volume_size * BLOCKS_PER_GIB
    }

    /// A block that was written to it or to an ancestor.
    #[must_use]
    pub fn written(&self, index: u32) -> Option<&Block> {
        self.blocks.get(&index).or_else(|| self.inherited.get(&index))
    }

    /// Every block that was written to it or to an ancestor.
    #[must_use]
    pub fn all_written(&self) -> BTreeMap<u32, Block> {
        let mut all = (*self.inherited).clone();
        all.extend(self.blocks.iter().map(|(index, block)| (*index, block.clone())));
        all
    }

    /// What a volume of it reads at a block: what was written, or zeros, or noise where it is encrypted.
    #[must_use]
    pub fn read(&self, index: u32) -> Vec<u8> {
        match self.written(index) {
            Some(block) => block.data.to_vec(),
            None if self.encrypted() => noise(&self.id, index),
            None => vec![0; BLOCK],
        }
    }

    /// Moves on where time has passed.
    pub(crate) fn settle(&mut self, now: SystemTime) {
        self.progress.settle(now);
        let idle = now.duration_since(self.active).unwrap_or_default();
        if self.state() == SnapshotState::Pending && idle > self.timeout {
            self.progress = Progress::In(SnapshotState::Error);
        }
    }

    /// Whether an account may see it.
    pub(crate) fn visible_to(&self, account: &str) -> bool {
        self.owner == account || self.shared_with.contains(account)
    }
}

/// A parameter of SSM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its account.
    pub owner: String,
    /// Its name.
    pub name: String,
    /// What it says.
    pub value: String,
    /// `String`, `StringList` or `SecureString`.
    pub kind: String,
    /// `text` or `aws:ec2:image`.
    pub data_type: String,
    /// From 1, with each overwriting.
    pub version: u64,
    /// Free text.
    pub description: String,
    /// Its tags.
    pub tags: Tags,
}

/// What a client token stands for: the parameters that came with it, and the answer.
#[derive(Debug, Clone)]
pub(crate) struct Replay {
    pub(crate) parameters: String,
    pub(crate) answer: String,
}

/// A region.
#[derive(Debug, Default)]
pub(crate) struct Region {
    pub(crate) snapshots: BTreeMap<String, Snapshot>,
    pub(crate) images: BTreeMap<String, crate::image::Image>,
    pub(crate) instances: BTreeMap<String, crate::instance::Instance>,
    /// By account and name.
    pub(crate) parameters: BTreeMap<(String, String), Parameter>,
    /// By operation, account and token.
    pub(crate) tokens: HashMap<(&'static str, String, String), Replay>,
}

/// Everything.
#[derive(Debug)]
pub(crate) struct World {
    regions: BTreeMap<String, Region>,
    pub(crate) random: Random,
    pub(crate) windows: Windows,
    /// Of block and page tokens.
    pub(crate) secret: String,
    pub(crate) advanced: Duration,
    pub(crate) console: String,
}

impl World {
    pub(crate) fn new(rules: &Rules) -> Self {
        let mut random = Random::new(rules.seed);
        World {
            regions: BTreeMap::new(),
            secret: random.hex(32),
            random,
            windows: Windows::default(),
            advanced: Duration::ZERO,
            console: rules.instances.console.clone(),
        }
    }

    /// The clock that timeouts go by.
    pub(crate) fn now(&self) -> SystemTime {
        SystemTime::now() + self.advanced
    }

    /// A region, with everything moved on whose time has come.
    pub(crate) fn region(&mut self, name: &str) -> &mut Region {
        let now = self.now();
        let region = self.regions.entry(name.to_owned()).or_default();
        // Putting blocks is frequent and looks at its own snapshot only; see `snapshot_mut`.
        for snapshot in region.snapshots.values_mut() {
            snapshot.settle(now);
        }
        for image in region.images.values_mut() {
            image.progress.settle(now);
        }
        for instance in region.instances.values_mut() {
            instance.progress.settle(now);
        }
        region
    }

    /// A snapshot and nothing else, as fast as possible.
    pub(crate) fn snapshot_mut(&mut self, region: &str, id: &str) -> Option<&mut Snapshot> {
        let now = self.now();
        let snapshot = self.regions.get_mut(region)?.snapshots.get_mut(id)?;
        snapshot.settle(now);
        Some(snapshot)
    }

    /// A new identifier, such as `snap-0123456789abcdef0`.
    pub(crate) fn id(&mut self, prefix: &str) -> String {
        format!("{prefix}-0{}", self.random.hex(16))
    }
}
