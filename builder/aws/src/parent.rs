//! The earlier snapshot that a new one is built upon, so that only what differs is sent.

use crate::account::Session;
use crate::contents::{BLOCK, BlockDigest, Contents};
use crate::describe::{filter, next_page};
use crate::encryption::Encryption;
use crate::failure::{Failure, Kind};
use crate::report::Report;
use crate::retry::Patience;
use crate::state::State;
use crate::tags;
use aws_sdk_ec2::error::ConnectorError;
use aws_sdk_ec2::error::SdkError;
use aws_sdk_ec2::types::Snapshot;
use std::collections::BTreeMap;
use tokio::task::JoinSet;

/// A snapshot to build upon.
#[derive(Debug, Clone)]
pub(crate) struct Parent {
    pub(crate) id: String,
    /// What is known to be in it. A block that is not known here may hold anything.
    known: BTreeMap<u32, BlockDigest>,
}

/// Blocks that are read of a snapshot whose contents are not known here, to see whether reading the others is worth it.
const SAMPLES: usize = 8;
/// Blocks that are read at the same time.
const READS: usize = 32;
/// The newest snapshots whose contents are compared.
const CANDIDATES: usize = 100;

impl Parent {
    pub(crate) fn of(id: &str, contents: &Contents) -> Self {
        Parent { id: id.to_owned(), known: contents.blocks().iter().copied().collect() }
    }

    /// Whether it has this block.
    pub(crate) fn has(&self, index: u32, digest: &BlockDigest) -> bool {
        self.known.get(&index) == Some(digest)
    }

    /// How many blocks are sent for the contents upon it.
    fn sends(&self, contents: &Contents) -> usize {
        contents.blocks().iter().filter(|(index, digest)| !self.has(*index, digest)).count()
    }
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
            // Whoever changed the account's setting since does not want to go on as before.
            if let Some(by_default) = encrypted_by_default(session).await {
                found.retain(|snapshot| {
                    self.encryption != &Encryption::Default || snapshot.encrypted == Some(by_default)
                });
            }
        }
        let known = |snapshot: &Snapshot| {
            let contents = state.contents(tags::find(snapshot.tags(), tags::CONTENT)?)?;
            Some(Parent::of(snapshot.snapshot_id()?, &contents))
        };
        let best = found.iter().filter_map(known).min_by_key(|parent| parent.sends(self.contents));
        let sends = best.as_ref().map_or(usize::MAX, |parent| parent.sends(self.contents));
        let alone = self.sends_alone(&found);
        if sends > alone / 2
            && let Some(read) = self.read_newest(session, &found, state, report).await
            && read.sends(self.contents) < sends.min(alone)
        {
            return Ok(Some(read));
        }
        Ok(best.filter(|_| sends < alone))
    }

    /// How many blocks are sent without a parent: zeros are none of them where nothing is encrypted, and upon a parent they are.
    fn sends_alone(&self, found: &[Snapshot]) -> usize {
        let zeros = found.iter().any(|snapshot| snapshot.encrypted != Some(false));
        self.contents.blocks().iter().filter(|(_, digest)| zeros || !digest.is_of_zeros()).count()
    }

    /// Whether a snapshot may be the parent (EBS direct APIs, StartSnapshot, "ParentSnapshotId").
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
    }

    /// Reads the newest snapshot of the same repository that is not known here, as after a build on another machine. Not being
    /// allowed to is no failure: then all is sent.
    async fn read_newest(
        &self,
        session: &Session,
        found: &[Snapshot],
        state: &State,
        report: &dyn Report,
    ) -> Option<Parent> {
        let newest = found.iter().find(|snapshot| {
            tags::find(snapshot.tags(), tags::REPOSITORY) == Some(self.repository) && !self.repository.is_empty()
        })?;
        let content = tags::find(newest.tags(), tags::CONTENT)?;
        if state.contents(content).is_some() {
            return None;
        }
        let id = newest.snapshot_id()?;
        match self.read(session, id).await {
            Ok(Some(known)) => {
                let parent = Parent { id: id.to_owned(), known };
                let whole = Contents::new(parent.known.iter().map(|(index, digest)| (*index, *digest)).collect());
                // What was left out when it was sent, or is an older one's, can't be told from what is its own.
                if let Ok(whole) = whole
                    && whole.id() == content
                {
                    let _ = state.keep(&whole);
                }
                Some(parent)
            }
            Ok(None) => None,
            Err(failure) if failure.kind == Kind::Denied => {
                report
                    .step(format!("{}: {id} is not compared with: {} is not allowed", session.region, failure.action));
                None
            }
            Err(failure) => {
                report.step(format!("{}: {id} is not compared with: {failure}", session.region));
                None
            }
        }
    }

    /// The blocks of a snapshot that lie where ours do; `None` where few are the same.
    async fn read(&self, session: &Session, id: &str) -> Result<Option<BTreeMap<u32, BlockDigest>>, Failure> {
        let there = list(session, id).await?;
        let common: Vec<(u32, String)> =
            there.into_iter().filter(|(index, _)| self.contents.get(*index).is_some()).collect();
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
        Ok(Some(known))
    }
}

/// `None` where this may not be asked.
async fn encrypted_by_default(session: &Session) -> Option<bool> {
    let ask = || session.ec2.get_ebs_encryption_by_default().send();
    let answer = session.call("ec2:GetEbsEncryptionByDefault", Patience::first(&session.timing), ask).await;
    answer.ok()?.ebs_encryption_by_default
}

/// The blocks that a snapshot has, with the tokens to read them.
async fn list(session: &Session, id: &str) -> Result<Vec<(u32, String)>, Failure> {
    let mut blocks = Vec::new();
    let mut next: Option<String> = None;
    loop {
        let ask = || session.ebs.list_snapshot_blocks().snapshot_id(id).set_next_token(next.clone()).send();
        let page = session.call("ebs:ListSnapshotBlocks", Patience::ordinary(&session.timing), ask).await?;
        let block =
            |block: aws_sdk_ebs::types::Block| Some((u32::try_from(block.block_index?).ok()?, block.block_token?));
        blocks.extend(page.blocks.unwrap_or_default().into_iter().filter_map(block));
        next = next_page("ebs:ListSnapshotBlocks", &session.region, next.as_ref(), page.next_token)?;
        if next.is_none() {
            return Ok(blocks);
        }
    }
}

/// Digests of blocks of a snapshot.
async fn get(session: &Session, id: &str, blocks: Vec<(u32, String)>) -> Result<BTreeMap<u32, BlockDigest>, Failure> {
    let mut digests = BTreeMap::new();
    let mut reads = JoinSet::new();
    for (index, token) in blocks {
        if reads.len() >= READS
            && let Some(read) = reads.join_next().await
        {
            digests.extend(joined(session, read)?);
        }
        let (session, id) = (session.clone(), id.to_owned());
        reads.spawn(async move { Ok((index, get_one(&session, &id, index, &token).await?)) });
    }
    while let Some(read) = reads.join_next().await {
        digests.extend(joined(session, read)?);
    }
    Ok(digests)
}

type Read = Result<(u32, BlockDigest), Failure>;

fn joined(
    session: &Session,
    read: Result<Read, tokio::task::JoinError>,
) -> Result<Option<(u32, BlockDigest)>, Failure> {
    match read {
        Ok(read) => read.map(Some),
        Err(error) => Err(Failure::unexpected("ebs:GetSnapshotBlock", &session.region, error.to_string())),
    }
}

async fn get_one(session: &Session, id: &str, index: u32, token: &str) -> Result<BlockDigest, Failure> {
    let ask = || async {
        let call = session.ebs.get_snapshot_block().snapshot_id(id).block_index(index.cast_signed()).block_token(token);
        let mut body = call.send().await?.block_data;
        let mut block = Vec::with_capacity(BLOCK);
        while let Some(part) = body.next().await {
            block.extend(part.map_err(|error| SdkError::dispatch_failure(ConnectorError::io(error.into())))?);
            if block.len() > BLOCK {
                break;
            }
        }
        if block.len() != BLOCK {
            let short = std::io::Error::other(format!("{} bytes of a block", block.len()));
            return Err(SdkError::dispatch_failure(ConnectorError::io(short.into())));
        }
        Ok(BlockDigest::of(&block))
    };
    session.call("ebs:GetSnapshotBlock", Patience::ordinary(&session.timing), ask).await
}
