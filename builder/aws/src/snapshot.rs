//! A snapshot of a disk: found, gone on with, or made; block by block, and complete in the end.

use crate::account::Session;
use crate::contents::{BLOCK, BlockDigest, Contents, linear_checksum, read_block};
use crate::describe::filter;
use crate::encryption::Encryption;
use crate::failure::{Failure, Kind};
use crate::parent::{Parent, Search};
use crate::report::{Count, Report};
use crate::retry::Patience;
use crate::start::{Started, start};
use crate::state::{Journal, State};
use crate::tags::{self, Tags};
use anyhow::{Context, Result, anyhow, bail};
use aws_sdk_ebs::primitives::ByteStream;
use aws_sdk_ebs::types::{ChecksumAggregationMethod, ChecksumAlgorithm};
use aws_sdk_ec2::types::{Snapshot, SnapshotState};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep};

/// Answers in a row that say that a snapshot is complete until that is believed: DescribeSnapshots does not always ask the same
/// server.
const CONVINCING: u32 = 3;
/// Times that a block is sent which the service calls damaged.
const SENDINGS: u32 = 4;
/// Snapshots that are begun at most, where what is found or replayed turns out to be of no use.
const BEGINNINGS: u32 = 3;

/// What a snapshot is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) disk: &'a Arc<File>,
    pub(crate) contents: &'a Contents,
    pub(crate) description: &'a str,
    pub(crate) tags: &'a Tags,
    pub(crate) encryption: &'a Encryption,
    pub(crate) repository: &'a str,
    /// Whether earlier snapshots count for nothing.
    pub(crate) force: bool,
}

/// A complete snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Complete {
    pub(crate) id: String,
    /// Blocks that were sent for it in this run.
    pub(crate) sent: u32,
    /// The one that it was built upon.
    pub(crate) parent: Option<String>,
}

/// A snapshot that takes blocks.
struct Pending {
    id: String,
    parent: Option<Parent>,
    /// Whether what is left out reads as noise; `None` where it can't be told.
    encrypted: Option<bool>,
    journal: Journal,
}

/// Finds the snapshot of these contents, or makes it.
pub(crate) async fn make(
    session: &Session,
    wanted: &Wanted<'_>,
    state: &State,
    report: &dyn Report,
) -> Result<Complete> {
    let mut resumable = Vec::new();
    if !wanted.force {
        for snapshot in earlier(session, wanted).await? {
            let Some(id) = snapshot.snapshot_id() else { continue };
            if snapshot.state == Some(SnapshotState::Completed) {
                report.step(format!("{}: {id} has these contents already", session.region));
                return Ok(Complete { id: id.to_owned(), sent: 0, parent: None });
            }
            resumable.push(snapshot);
        }
    }
    let mut first_failure = None;
    for beginning in 0..BEGINNINGS {
        let pending = match resumable.pop() {
            Some(snapshot) => resume(session, &snapshot, state, report).await?,
            None => match begin(session, wanted, state, report, beginning).await? {
                Ok(pending) => pending,
                Err(complete) => return Ok(complete),
            },
        };
        match pending.fill(session, wanted, report).await {
            Ok(complete) => return Ok(complete),
            // Of no use: its time is over, or what was noted of it is not true.
            Err(Trouble::Snapshot(id, failure)) => {
                let now = session.snapshot(&id).await?;
                if now.is_some_and(|snapshot| snapshot.state == Some(SnapshotState::Completed)) {
                    // Another run was faster.
                    wait(session, &id).await?;
                    return Ok(Complete { id, sent: 0, parent: None });
                }
                report.warn(format!("{}: {id} can't be completed ({failure:#}): another one is begun", session.region));
                discard(session, &id, report).await;
                first_failure.get_or_insert(failure);
            }
            Err(Trouble::Other(error)) => return Err(error),
        }
    }
    Err(first_failure.unwrap_or_else(|| anyhow!("no snapshot could be begun")))
}

/// Snapshots with these contents that are complete or may become so, those before the others that are more useful.
async fn earlier(session: &Session, wanted: &Wanted<'_>) -> Result<Vec<Snapshot>> {
    let filters = [filter(format!("tag:{}", tags::CONTENT), wanted.contents.id())];
    let mut found = session.snapshots(&filters).await?;
    let asked = wanted.encryption.to_string();
    found.retain(|snapshot| tags::find(snapshot.tags(), tags::ENCRYPTION) == Some(&asked));
    found.retain(|snapshot| matches!(snapshot.state, Some(SnapshotState::Completed | SnapshotState::Pending)));
    // Oldest first: the last one has the most time left.
    found.sort_by_key(|snapshot| snapshot.start_time);
    Ok(found)
}

async fn resume(session: &Session, snapshot: &Snapshot, state: &State, report: &dyn Report) -> Result<Pending> {
    let id = snapshot.snapshot_id().unwrap_or_default().to_owned();
    let journal = state.journal(&id)?;
    report.step(format!("{}: goes on with {id}, which has {} blocks", session.region, journal.earlier().len()));
    let parent = match tags::find(snapshot.tags(), tags::PARENT) {
        Some(parent) => known_parent(session, parent, state).await?,
        None => None,
    };
    // Without a journal it is not known which blocks another run has sent: all of them are, then, so that their number is.
    let parent = parent.filter(|_| !journal.earlier().is_empty());
    let encrypted = if journal.earlier().is_empty() { None } else { snapshot.encrypted };
    Ok(Pending { id, parent, encrypted, journal })
}

/// The parent of a pending snapshot, if its contents are known here.
async fn known_parent(session: &Session, id: &str, state: &State) -> Result<Option<Parent>> {
    let Some(snapshot) = session.snapshot(id).await? else { return Ok(None) };
    let contents = tags::find(snapshot.tags(), tags::CONTENT).and_then(|content| state.contents(content));
    Ok(contents.map(|contents| Parent::of(id, &contents)))
}

/// A new snapshot, or a complete one where another run was faster.
async fn begin(
    session: &Session,
    wanted: &Wanted<'_>,
    state: &State,
    report: &dyn Report,
    beginning: u32,
) -> Result<Result<Pending, Complete>> {
    let Wanted { contents, encryption, repository, .. } = *wanted;
    let parent = if wanted.force || beginning > 0 {
        None
    } else {
        Search { contents, encryption, repository }.run(session, state, report).await?
    };
    let (started, parent) = match start(session, wanted, parent.as_ref().map(|parent| parent.id.as_str())).await {
        // Such as an encryption by default that may not be asked for.
        Err(failure) if failure.kind == Kind::Refused && parent.is_some() => {
            (start(session, wanted, None).await?, None)
        }
        started => (started?, parent),
    };
    Ok(match started {
        Started::Complete(id) => Err(Complete { id, sent: 0, parent: parent.map(|parent| parent.id) }),
        Started::Pending { id, encrypted } => {
            let journal = state.journal(&id)?;
            Ok(Pending { id, parent, encrypted, journal })
        }
    })
}

/// Why a snapshot is not complete.
enum Trouble {
    /// It never will be.
    Snapshot(String, anyhow::Error),
    /// It may be, another time.
    Other(anyhow::Error),
}

impl Pending {
    /// upload → complete → wait.
    async fn fill(self, session: &Session, wanted: &Wanted<'_>, report: &dyn Report) -> Result<Complete, Trouble> {
        let planned = self.plan(wanted.contents);
        let mut written: BTreeMap<u32, BlockDigest> = planned.iter().copied().collect();
        let earlier = self.journal.earlier();
        written.extend(earlier.iter().filter_map(|index| Some((*index, *wanted.contents.get(*index)?))));
        let missing: Vec<_> = planned.into_iter().filter(|(index, _)| !earlier.contains(index)).collect();
        let sent = u32::try_from(missing.len()).unwrap_or(u32::MAX);

        let upon = self.parent.as_ref().map_or_else(String::new, |parent| format!(" upon {}", parent.id));
        let (of, size) = (wanted.contents.blocks().len(), (u64::from(sent) * BLOCK as u64) >> 20);
        report.step(format!("{}: {}{upon}: send {sent} of {of} blocks, {size} MiB", session.region, self.id));
        let bar = report.count(&format!("upload to {}", session.region), u64::from(sent) * BLOCK as u64);
        if let Err(error) = self.upload(session, wanted, missing, bar.as_ref()).await {
            return Err(self.judge(session, error).await);
        }
        drop(bar);
        let checksum = linear_checksum(written.values());
        if let Err(error) = self.complete(session, written.len(), checksum).await {
            return Err(self.judge(session, error).await);
        }
        report.step(format!("{}: wait until {} is complete", session.region, self.id));
        match wait(session, &self.id).await {
            Ok(()) => {
                let Pending { id, parent, journal, .. } = self;
                journal.remove();
                Ok(Complete { id, sent, parent: parent.map(|parent| parent.id) })
            }
            Err(error) => Err(self.judge(session, error).await),
        }
    }

    /// The blocks that must be in it, others than its parent's. What is left out of a snapshot without a parent reads as zeros, unless it is
    /// encrypted (EBS direct APIs, "Write snapshots").
    fn plan(&self, contents: &Contents) -> Vec<(u32, BlockDigest)> {
        let reads_as_zeros = self.parent.is_none() && self.encrypted == Some(false);
        let needed = |(index, digest): &&(u32, BlockDigest)| match &self.parent {
            Some(parent) => !parent.has(*index, digest),
            None => !(reads_as_zeros && digest.is_of_zeros()),
        };
        let mut planned: Vec<_> = contents.blocks().iter().filter(needed).copied().collect();
        if planned.is_empty() {
            // A snapshot in which nothing is written can't be completed; what it has is written once more.
            planned.extend(contents.blocks().first());
        }
        planned
    }

    async fn upload(
        &self,
        session: &Session,
        wanted: &Wanted<'_>,
        blocks: Vec<(u32, BlockDigest)>,
        bar: &dyn Count,
    ) -> Result<()> {
        let mut puts = JoinSet::new();
        let taken = |put: std::result::Result<Result<u32>, tokio::task::JoinError>| -> Result<()> {
            self.journal.add(put.context("send a block")??);
            bar.add(BLOCK as u64);
            Ok(())
        };
        for (index, digest) in blocks {
            while let Some(put) = puts.try_join_next() {
                taken(put)?;
            }
            let room = session.memory.clone().acquire_owned().await.context("wait for memory")?;
            let (session, id, disk) = (session.clone(), self.id.clone(), wanted.disk.clone());
            puts.spawn(async move {
                put(&session, &id, &disk, index, &digest).await?;
                drop(room);
                Ok(index)
            });
        }
        while let Some(put) = puts.join_next().await {
            taken(put)?;
        }
        Ok(())
    }

    async fn complete(&self, session: &Session, count: usize, checksum: String) -> Result<()> {
        let count = i32::try_from(count).context("too many blocks")?;
        let ask = || {
            let call = session.ebs.complete_snapshot().snapshot_id(&self.id).changed_blocks_count(count);
            call.checksum(&checksum)
                .checksum_algorithm(ChecksumAlgorithm::ChecksumAlgorithmSha256)
                .checksum_aggregation_method(ChecksumAggregationMethod::ChecksumAggregationLinear)
                .send()
        };
        match session.call("ebs:CompleteSnapshot", Patience::ordinary(&session.timing), ask).await {
            Ok(_) => Ok(()),
            // An earlier attempt without an answer may have done it, or another run that fills the same snapshot.
            Err(failure) if matches!(failure.kind, Kind::Refused | Kind::Missing) => {
                match session.snapshot(&self.id).await?.and_then(|snapshot| snapshot.state) {
                    Some(SnapshotState::Completed) => Ok(()),
                    Some(SnapshotState::Pending) if failure.uncertain => Ok(()),
                    _ => Err(failure.into()),
                }
            }
            Err(failure) => Err(failure.into()),
        }
    }

    /// Whether it is this snapshot that is to blame.
    async fn judge(&self, session: &Session, error: anyhow::Error) -> Trouble {
        let refused = error
            .downcast_ref::<Failure>()
            .is_some_and(|failure| matches!(failure.kind, Kind::Refused | Kind::Missing));
        if error.is::<Broken>() || refused {
            return Trouble::Snapshot(self.id.clone(), error);
        }
        let hint = format!(
            "{} stays pending in {}: the same command goes on with it, and builder aws rm removes it",
            self.id, session.region
        );
        Trouble::Other(error.context(hint))
    }
}

/// Sends one block.
async fn put(session: &Session, id: &str, disk: &Arc<File>, index: u32, digest: &BlockDigest) -> Result<()> {
    let disk = disk.clone();
    let block = Bytes::from(spawn_blocking(move || read_block(&disk, index)).await.context("read a block")??);
    let checksum = digest.base64();
    let ask = || {
        let call = session.ebs.put_snapshot_block().snapshot_id(id).block_index(index.cast_signed());
        call.data_length(i32::try_from(BLOCK).unwrap_or_default())
            .checksum(&checksum)
            .checksum_algorithm(ChecksumAlgorithm::ChecksumAlgorithmSha256)
            .block_data(ByteStream::from(block.clone()))
            .send()
    };
    for sending in 1.. {
        let patience = Patience::just_made(&session.timing).paced(&session.pace);
        match session.call("ebs:PutSnapshotBlock", patience, ask).await {
            Ok(_) => break,
            // Damaged on its way, unless it was before.
            Err(failure) if failure.is("ValidationException") && sending < SENDINGS => {
                if BlockDigest::of(&block) != *digest {
                    bail!("block {index} of the disk has changed since the disk was made: make it again");
                }
            }
            Err(failure) => return Err(failure.into()),
        }
    }
    Ok(())
}

/// A snapshot that EBS has given up.
#[derive(Debug, thiserror::Error)]
#[error("{0} is in the state error: {1}")]
struct Broken(String, String);

/// Waits until a snapshot is complete beyond doubt.
pub(crate) async fn wait(session: &Session, id: &str) -> Result<()> {
    let start = Instant::now();
    let (mut complete, mut failed) = (0, 0);
    loop {
        let snapshot = session.snapshot(id).await?;
        match snapshot.as_ref().and_then(|snapshot| snapshot.state.as_ref()) {
            Some(SnapshotState::Completed) => (complete, failed) = (complete + 1, 0),
            Some(SnapshotState::Error) => (complete, failed) = (0, failed + 1),
            _ => (complete, failed) = (0, 0),
        }
        if complete >= CONVINCING {
            return Ok(());
        }
        if failed >= CONVINCING {
            let why = snapshot.and_then(|snapshot| snapshot.state_message).unwrap_or_else(|| "no reason".to_owned());
            bail!(Broken(id.to_owned(), why));
        }
        if start.elapsed() > session.timing.completion {
            bail!("{id} is not complete after {} s", session.timing.completion.as_secs());
        }
        // The first answers come in quick succession, as small snapshots are complete at once.
        let pause = if complete > 0 { session.timing.poll / 5 } else { session.timing.poll };
        sleep(pause).await;
    }
}

/// Removes a snapshot that is of no use. Not being allowed to is said, and no failure.
async fn discard(session: &Session, id: &str, report: &dyn Report) {
    let ask = || session.ec2.delete_snapshot().snapshot_id(id).send();
    if let Err(failure) = session.call("ec2:DeleteSnapshot", Patience::ordinary(&session.timing), ask).await
        && failure.kind != Kind::Missing
    {
        report.warn(format!("{}: {id} is left behind (builder aws rm {id}): {failure}", session.region));
    }
}
