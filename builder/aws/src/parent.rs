//! The earlier snapshot that a new one is built upon, so that only what differs is sent.
//!
//! A child has its parent's blocks wherever it is not written. So a snapshot is a parent only where EBS lists every
//! block that it has, of itself or of its own parents; those that lie beside the new contents are overwritten with
//! zeros. It is of the same repository, too, so that no fault in this can show one application's data to another.

use crate::account::Session;
use crate::contents::{BlockDigest, Contents, is_of_whole_volume};
use crate::describe::filter;
use crate::encryption::Encryption;
use crate::failure::{Failure, Kind};
use crate::read::{Listed, get, list};
use crate::report::Report;
use crate::retry::Patience;
use crate::state::State;
use crate::tags;
use aws_sdk_ec2::types::Snapshot;
use std::collections::{BTreeMap, BTreeSet};

/// Blocks that are read of a snapshot whose contents are not known here, to see whether reading the others is worth it.
const SAMPLES: usize = 8;
/// The newest snapshots whose contents are compared.
const CANDIDATES: usize = 100;

type Blocks = BTreeMap<u32, BlockDigest>;

/// A snapshot to build upon.
#[derive(Debug, Clone)]
pub(crate) struct Parent {
    pub(crate) id: String,
    /// Every block that it has.
    listed: BTreeSet<u32>,
    /// What is known to be in some of them.
    known: Blocks,
}

impl Parent {
    fn new(id: &str, listed: &Listed, known: Blocks) -> Self {
        Parent { id: id.to_owned(), listed: listed.keys().copied().collect(), known }
    }

    /// That of a snapshot which was begun earlier. `state` tells its contents where they are to count.
    pub(crate) async fn of_pending(session: &Session, id: &str, state: Option<&State>) -> Result<Self, Failure> {
        let listed = list(session, id).await?;
        let snapshot = session.snapshot(id).await?;
        let contents = snapshot.and_then(|snapshot| contents_of(&snapshot, state?));
        Ok(Parent::new(id, &listed, contents.map_or_else(Blocks::new, |contents| known(&contents))))
    }

    /// Whether it has this block.
    pub(crate) fn has(&self, index: u32, digest: &BlockDigest) -> bool {
        self.listed.contains(&index) && self.known.get(&index) == Some(digest)
    }

    /// The blocks that it has beside the contents.
    pub(crate) fn beside<'a>(&'a self, contents: &'a Contents) -> impl Iterator<Item = u32> + 'a {
        self.listed.iter().copied().filter(|index| contents.get(*index).is_none())
    }

    /// How many blocks are sent for the contents upon it.
    fn sends(&self, contents: &Contents) -> usize {
        let differ = contents.blocks().iter().filter(|(index, digest)| !self.has(*index, digest)).count();
        let zeros = BlockDigest::of_zeros();
        differ + self.beside(contents).filter(|index| !self.has(*index, &zeros)).count()
    }
}

fn known(contents: &Contents) -> Blocks {
    contents.blocks().iter().copied().collect()
}

/// The contents of a snapshot, where they are known here.
fn contents_of(snapshot: &Snapshot, state: &State) -> Option<Contents> {
    state.contents(tags::find(snapshot.tags(), tags::CONTENT)?)
}

/// What a parent is looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Search<'a> {
    pub(crate) contents: &'a Contents,
    pub(crate) encryption: &'a Encryption,
    pub(crate) repository: &'a str,
}

impl Search<'_> {
    /// The snapshot that has most in common with the contents, if one has anything.
    pub(crate) async fn run(
        self,
        session: &Session,
        state: &State,
        report: &dyn Report,
    ) -> Result<Option<Parent>, Failure> {
        let filters = [filter("tag-key", tags::CONTENT), filter("status", "completed")];
        let mut found = session.snapshots(&filters).await?;
        found.retain(|snapshot| self.permits(snapshot));
        found.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.start_time));
        found.truncate(CANDIDATES);
        if found.iter().any(|snapshot| self.encryption == &Encryption::Default && snapshot.encrypted.is_some()) {
            // The account's setting may have been changed since, and counts.
            if let Some(by_default) = encrypted_by_default(session).await {
                found.retain(|snapshot| {
                    self.encryption != &Encryption::Default || snapshot.encrypted == Some(by_default)
                });
            }
        }
        let alone = self.contents.blocks().len();
        let (mut best, mut sends) = (None, alone);
        let known_here = found.iter().filter_map(|snapshot| Some((snapshot, contents_of(snapshot, state)?)));
        let closest = known_here.min_by_key(|(_, contents)| self.differs(contents));
        if let Some((snapshot, contents)) = closest.filter(|(_, contents)| self.differs(contents) < alone)
            && let Some(parent) = self.listed(session, snapshot, &contents, report).await
            && parent.sends(self.contents) < sends
        {
            sends = parent.sends(self.contents);
            best = Some(parent);
        }
        if sends > alone / 2
            && let Some(read) = self.read_newest(session, &found, state, report).await
            && read.sends(self.contents) < sends
        {
            best = Some(read);
        }
        Ok(best)
    }

    /// About how many blocks are sent upon a snapshot with other contents: those that differ, and those that it has
    /// beside ours.
    fn differs(&self, other: &Contents) -> usize {
        let differ = self.contents.blocks().iter().filter(|(index, digest)| other.get(*index) != Some(digest));
        let beside =
            |(index, digest): &&(u32, BlockDigest)| self.contents.get(*index).is_none() && !digest.is_of_zeros();
        differ.count() + other.blocks().iter().filter(beside).count()
    }

    /// A snapshot whose contents are known here, as a parent.
    async fn listed(
        &self,
        session: &Session,
        snapshot: &Snapshot,
        contents: &Contents,
        report: &dyn Report,
    ) -> Option<Parent> {
        let id = snapshot.snapshot_id()?;
        let listed = learned(session, id, list(session, id).await, report)?;
        Some(Parent::new(id, &listed, known(contents)))
    }

    /// Whether a snapshot may be the parent, as EBS has it (EBS direct APIs, StartSnapshot, "ParentSnapshotId") and as
    /// we do.
    fn permits(&self, snapshot: &Snapshot) -> bool {
        let size = snapshot.volume_size.and_then(|size| u32::try_from(size).ok());
        let asked = self.encryption.to_string();
        let by_key = match self.encryption {
            Encryption::Key(key) => snapshot.kms_key_id() == Some(key.as_str()),
            Encryption::Encrypted => snapshot.encrypted == Some(true),
            Encryption::Default => true,
        };
        by_key
            && size.is_some_and(|size| size <= self.contents.volume())
            && tags::find(snapshot.tags(), tags::ENCRYPTION) == Some(&asked)
            && !self.repository.is_empty()
            && tags::find(snapshot.tags(), tags::REPOSITORY) == Some(self.repository)
            && tags::find(snapshot.tags(), tags::CONTENT).is_some_and(is_of_whole_volume)
    }

    /// Reads the newest snapshot, unless its contents are known here, as after a build on another machine.
    async fn read_newest(
        &self,
        session: &Session,
        found: &[Snapshot],
        state: &State,
        report: &dyn Report,
    ) -> Option<Parent> {
        let newest = found.first()?;
        let (id, content) = (newest.snapshot_id()?, tags::find(newest.tags(), tags::CONTENT)?);
        if state.contents(content).is_some() {
            return None;
        }
        let (listed, known) = learned(session, id, self.read(session, id).await, report)??;
        // What is an older one's can't be told from what is its own.
        let whole = Contents::new(known.iter().map(|(index, digest)| (*index, *digest)).collect());
        if let Ok(whole) = whole
            && whole.id() == content
        {
            let _ = state.keep(&whole);
        }
        Some(Parent::new(id, &listed, known))
    }

    /// The blocks of a snapshot, and what those hold that lie where ours do; `None` where few of them are the same.
    async fn read(&self, session: &Session, id: &str) -> Result<Option<(Listed, Blocks)>, Failure> {
        let listed = list(session, id).await?;
        let common = listed.iter().filter(|(index, _)| self.contents.get(**index).is_some());
        let common: Vec<(u32, String)> = common.map(|(index, token)| (*index, token.clone())).collect();
        let step = common.len().div_ceil(SAMPLES).max(1);
        let (samples, others): (Vec<_>, Vec<_>) =
            common.into_iter().enumerate().partition(|(position, _)| position % step == 0);
        let plain = |blocks: Vec<(usize, (u32, String))>| blocks.into_iter().map(|(_, block)| block).collect();
        let mut known = get(session, id, plain(samples)).await?;
        let same = known.iter().filter(|(index, digest)| self.contents.get(**index) == Some(digest)).count();
        if same * 2 < known.len() || known.is_empty() {
            return Ok(None);
        }
        known.extend(get(session, id, plain(others)).await?);
        Ok(Some((listed, known)))
    }
}

/// What was learned of a snapshot. Where that may not be, or does not succeed, it is no parent, and all is sent; that
/// is no failure.
fn learned<T>(session: &Session, id: &str, learned: Result<T, Failure>, report: &dyn Report) -> Option<T> {
    let why = match learned {
        Ok(learned) => return Some(learned),
        Err(failure) if failure.kind == Kind::Denied => format!("{} is not allowed", failure.action),
        Err(failure) => failure.to_string(),
    };
    report.step(format!("{}: {id} is not built upon: {why}", session.region));
    None
}

/// `None` where this may not be asked.
async fn encrypted_by_default(session: &Session) -> Option<bool> {
    let ask = || session.ec2.get_ebs_encryption_by_default().send();
    let answer = session.call("ec2:GetEbsEncryptionByDefault", Patience::first(&session.timing), ask).await;
    answer.ok()?.ebs_encryption_by_default
}
