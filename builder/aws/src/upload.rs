//! Blocks of a snapshot: which ones are sent, sending them, and completion.

use crate::account::Session;
use crate::completion::{Broken, wait};
use crate::contents::{BLOCK, BlockDigest, Contents, linear_checksum};
use crate::failure::{Failure, Kind};
use crate::parent::Parent;
use crate::report::{Count, Report};
use crate::retry::Patience;
use crate::snapshot::{Complete, Wanted};
use crate::state::Journal;
use crate::swap::Source;
use anyhow::{Context, Result, bail};
use aws_sdk_ebs::primitives::ByteStream;
use aws_sdk_ebs::types::{ChecksumAggregationMethod, ChecksumAlgorithm};
use aws_sdk_ec2::types::SnapshotState;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tokio::time::sleep;

/// Times that a block is sent which the service calls damaged.
const SENDINGS: u32 = 4;
/// So long nothing is said at most: who reads a log has no bar.
const SILENCE: Duration = Duration::from_secs(10);
/// Blocks of a region in memory at least.
const LEAST_SHARE: usize = 4;

type Blocks = BTreeMap<u32, BlockDigest>;

/// A snapshot that takes blocks.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) id: String,
    /// What it is built upon, where that is known.
    pub(crate) parent: Option<Parent>,
    pub(crate) journal: Journal,
}

/// Why a snapshot is not complete.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It takes no blocks any more: it may be complete, or about to be, by another run.
    Closed(anyhow::Error),
    /// It takes blocks, or took them, and never will be complete.
    Useless(anyhow::Error),
    /// It may be, another time.
    Other(anyhow::Error),
}

impl Pending {
    /// upload → complete → wait.
    pub(crate) async fn fill(
        &self,
        session: &Session,
        wanted: &Wanted<'_>,
        report: &dyn Report,
    ) -> Result<Complete, Trouble> {
        let all = self.all(wanted.contents);
        let planned = self.plan(&all);
        let earlier = self.journal.earlier();
        let noted = earlier.iter().filter_map(|index| Some((*index, *all.get(index)?)));
        let written: Blocks = noted.chain(planned.iter().map(|(index, digest)| (*index, *digest))).collect();
        let mut sent: Blocks = planned.into_iter().filter(|(index, _)| !earlier.contains(index)).collect();
        self.send(session, wanted, &sent, report).await?;
        match self.complete(session, &written).await {
            Ok(()) => {}
            // Others are in it than is known here: those that another run has sent, whose plan was another one, or fewer than were noted.
            // Once all that may be in it have been sent, it is known.
            Err(failure) if failure.kind == Kind::Refused => {
                report.step(format!("{}: {} has other blocks than were noted ({failure})", session.region, self.id));
                let others = all.iter().filter(|(index, _)| !sent.contains_key(index));
                let others: Blocks = others.map(|(index, digest)| (*index, *digest)).collect();
                self.send(session, wanted, &others, report).await?;
                sent.extend(others);
                self.complete(session, &all).await.map_err(|failure| self.judge(session, failure.into(), false))?;
            }
            Err(failure) => return Err(self.judge(session, failure.into(), false)),
        }
        report.step(format!("{}: wait until {} is complete", session.region, self.id));
        wait(session, &self.id).await.map_err(|error| self.judge(session, error, false))?;
        let sent = u32::try_from(sent.len()).unwrap_or(u32::MAX);
        Ok(Complete { id: self.id.clone(), sent, parent: self.parent.as_ref().map(|parent| parent.id.clone()) })
    }

    /// All that any run may write into it: the contents, and zeros over the other blocks of its parent.
    fn all(&self, contents: &Contents) -> Blocks {
        let beside = self.parent.iter().flat_map(|parent| parent.beside(contents));
        let zeros = beside.map(|index| (index, BlockDigest::of_zeros()));
        contents.blocks().iter().copied().chain(zeros).collect()
    }

    /// Of these, the blocks that must be written: all but what it has of its parent. Zeros are no exception: what is
    /// left out reads as noise once a copy or a launch template encrypts the volume.
    fn plan(&self, all: &Blocks) -> Blocks {
        let needed = |(index, digest): &(&u32, &BlockDigest)| {
            self.parent.as_ref().is_none_or(|parent| !parent.has(**index, digest))
        };
        let mut planned: Blocks = all.iter().filter(needed).map(|(index, digest)| (*index, *digest)).collect();
        if planned.is_empty() {
            // A snapshot in which nothing is written can't be completed; what it has is written once more.
            planned.extend(all.iter().next().map(|(index, digest)| (*index, *digest)));
        }
        planned
    }

    /// Sends blocks, and tells how far that is.
    async fn send(
        &self,
        session: &Session,
        wanted: &Wanted<'_>,
        blocks: &Blocks,
        report: &dyn Report,
    ) -> Result<(), Trouble> {
        let upon = self.parent.as_ref().map_or_else(String::new, |parent| format!(" upon {}", parent.id));
        let (sent, bytes) = (blocks.len(), blocks.len() as u64 * BLOCK as u64);
        let of = wanted.contents.blocks().len();
        let zeros = blocks.keys().filter(|index| wanted.contents.get(**index).is_none()).count();
        let over =
            if zeros > 0 { format!(", and {zeros} of zeros over what is not the disk's") } else { String::new() };
        let which = format!("send {} of {of} blocks{over}, {} MiB", sent - zeros, bytes >> 20);
        report.step(format!("{}: {}{upon}: {which}", session.region, self.id));
        let bar = report.count(&format!("upload to {}", session.region), bytes);
        let done = AtomicUsize::new(0);
        let upload = self.upload(session, wanted, blocks, (bar.as_ref(), &done));
        let mut upload = std::pin::pin!(upload);
        let uploaded = loop {
            tokio::select! {
                uploaded = &mut upload => break uploaded,
                () = sleep(SILENCE) => {
                    let taken = done.load(Ordering::Relaxed);
                    report.step(format!("{}: {}: {taken} of {sent} blocks are taken", session.region, self.id));
                }
            }
        };
        uploaded.map_err(|error| self.judge(session, error, true))
    }

    async fn upload(
        &self,
        session: &Session,
        wanted: &Wanted<'_>,
        blocks: &Blocks,
        (bar, done): (&dyn Count, &AtomicUsize),
    ) -> Result<()> {
        let mut puts = JoinSet::new();
        let taken = |put: Result<Result<u32>, JoinError>| -> Result<()> {
            self.journal.add(put.context("send a block")??);
            bar.add(BLOCK as u64);
            done.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        for (index, digest) in blocks {
            while let Some(put) = puts.try_join_next() {
                taken(put)?;
            }
            // No more than are free: a region that is slow leaves as many to each of the others as it has.
            while puts.len() >= session.memory.available_permits().max(LEAST_SHARE)
                && let Some(put) = puts.join_next().await
            {
                taken(put)?;
            }
            let room = session.memory.clone().acquire_owned().await.context("wait for memory")?;
            let (session, id, disk) = (session.clone(), self.id.clone(), wanted.disk.clone());
            let (index, digest) = (*index, *digest);
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

    async fn complete(&self, session: &Session, written: &Blocks) -> Result<(), Failure> {
        let checksum = linear_checksum(written.values());
        // A volume has fewer blocks than that.
        let count = i32::try_from(written.len()).unwrap_or(i32::MAX);
        let ask = || {
            let call = session.ebs.complete_snapshot().snapshot_id(&self.id).changed_blocks_count(count);
            call.checksum(&checksum)
                .checksum_algorithm(ChecksumAlgorithm::ChecksumAlgorithmSha256)
                .checksum_aggregation_method(ChecksumAggregationMethod::ChecksumAggregationLinear)
                .send()
        };
        match session.call("ebs:CompleteSnapshot", Patience::just_made(&session.timing), ask).await {
            Ok(_) => Ok(()),
            // An earlier attempt without an answer may have done it, or another run that fills the same snapshot. Where it is still
            // pending, the next block that is sent tells whether it is about to be complete.
            Err(failure) if failure.kind == Kind::Refused => {
                match session.snapshot(&self.id).await?.and_then(|snapshot| snapshot.state) {
                    Some(SnapshotState::Completed) => Ok(()),
                    _ => Err(failure),
                }
            }
            Err(failure) => Err(failure),
        }
    }

    /// Whether it is this snapshot that is to blame; `sending` while blocks are sent.
    fn judge(&self, session: &Session, error: anyhow::Error, sending: bool) -> Trouble {
        let failure = error.downcast_ref::<Failure>().filter(|failure| !failure.damaged);
        match failure.map(|failure| failure.kind) {
            Some(Kind::Refused | Kind::Missing) if sending => Trouble::Closed(error),
            Some(Kind::Refused | Kind::Missing) => Trouble::Useless(error),
            _ if error.is::<Broken>() => Trouble::Useless(error),
            _ => Trouble::Other(error.context(stays_pending(session, &self.id))),
        }
    }
}

/// What the user should know of a snapshot that is not complete.
pub(crate) fn stays_pending(session: &Session, id: &str) -> String {
    let region = &session.region;
    format!("{id} stays pending in {region}: the same command goes on with it, and builder aws rm removes it")
}

/// Sends one block.
async fn put(session: &Session, id: &str, disk: &Source, index: u32, digest: &BlockDigest) -> Result<()> {
    let (disk, zeros) = (disk.clone(), digest.is_of_zeros());
    // Where the disk is not read, something else may be in the file.
    let read = move || if zeros { Ok(vec![0; BLOCK]) } else { disk.read(index) };
    let block = Bytes::from(spawn_blocking(read).await.context("read a block")??);
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
            // Damaged on its way, unless it was before; or another run puts the same block at this moment.
            Err(failure) if failure.is("ValidationException") && sending < SENDINGS => {
                if BlockDigest::of(&block) != *digest {
                    bail!("block {index} of the disk has changed since the disk was made: make it again");
                }
                let now = session.snapshot(id).await?.and_then(|snapshot| snapshot.state);
                if !failure.damaged && now.is_some_and(|state| state != SnapshotState::Pending) {
                    return Err(failure.into());
                }
                sleep(session.timing.pause_after(sending)).await;
            }
            Err(failure) => return Err(failure.into()),
        }
    }
    Ok(())
}
