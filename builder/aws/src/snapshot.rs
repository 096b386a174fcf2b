//! A snapshot of a disk: found, gone on with, or made.

use crate::account::Session;
use crate::completion::{Fate, discard, fate, wait};
use crate::contents::Contents;
use crate::describe::filter;
use crate::encryption::Encryption;
use crate::failure::{Failure, Kind};
use crate::parent::{Parent, Search};
use crate::report::Report;
use crate::start::{Started, start};
use crate::state::{Journal, State};
use crate::swap::Source;
use crate::tags::{self, Tags};
use crate::upload::{Pending, Trouble, stays_pending};
use anyhow::{Result, anyhow};
use aws_sdk_ec2::types::{Snapshot, SnapshotState};

/// Snapshots that are begun at most, where what is found or replayed turns out to be of no use.
const BEGINNINGS: usize = 3;

/// What a snapshot is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) disk: &'a Source,
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

/// Finds the snapshot of these contents, or makes it.
pub(crate) async fn make(
    session: &Session,
    wanted: &Wanted<'_>,
    state: &State,
    report: &dyn Report,
) -> Result<Complete> {
    let mut useless: Vec<String> = Vec::new();
    let mut first_failure = None;
    while useless.len() < BEGINNINGS {
        // Looked for anew each time: another run may have been faster.
        let pending = match find(session, wanted, report, &useless).await? {
            Some(snapshot) if snapshot.state == Some(SnapshotState::Completed) => {
                return taken_over(session, snapshot.snapshot_id().unwrap_or_default()).await;
            }
            Some(snapshot) => match resume(session, &snapshot, state, report).await {
                Ok(pending) => pending,
                Err(failure) => {
                    useless.push(give_up(session, &snapshot, &failure, report).await?);
                    first_failure.get_or_insert(failure.into());
                    continue;
                }
            },
            None => match begin(session, wanted, state, report, &useless).await? {
                Ok(pending) => pending,
                Err(complete) => return taken_over(session, &complete).await,
            },
        };
        let (failure, closed) = match pending.fill(session, wanted, report).await {
            Ok(complete) => {
                pending.journal.remove();
                return Ok(complete);
            }
            Err(Trouble::Other(error)) => return Err(error),
            Err(Trouble::Closed(failure)) => (failure, true),
            Err(Trouble::Useless(failure)) => (failure, false),
        };
        let patience = if closed { session.timing.completion } else { session.timing.seen };
        if closed {
            let says = format!("{} takes no more blocks ({failure:#})", pending.id);
            report.warn(format!("{}: {says}: wait whether another builder completes it", session.region));
        }
        match fate(session, &pending.id, patience).await? {
            Fate::Complete => return Ok(Complete { id: pending.id, sent: 0, parent: None }),
            // Another run may be about to complete it, which takes its time: nothing that is pending and takes no blocks is removed.
            Fate::Pending if closed => return Err(failure.context(stays_pending(session, &pending.id))),
            Fate::Gone => {}
            Fate::Pending | Fate::Failed(_) => discard(session, &pending.id, report).await,
        }
        report.warn(format!("{}: {} can't be completed ({failure:#}): another one", session.region, pending.id));
        pending.journal.remove();
        useless.push(pending.id);
        first_failure.get_or_insert(failure);
    }
    Err(first_failure.unwrap_or_else(|| anyhow!("no snapshot could be begun")))
}

/// One that is said to be complete already.
async fn taken_over(session: &Session, id: &str) -> Result<Complete> {
    wait(session, id).await?;
    Ok(Complete { id: id.to_owned(), sent: 0, parent: None })
}

/// The snapshot with these contents that is complete, or else one that may become so.
async fn find(
    session: &Session,
    wanted: &Wanted<'_>,
    report: &dyn Report,
    useless: &[String],
) -> Result<Option<Snapshot>> {
    if wanted.force {
        return Ok(None);
    }
    let filters = [filter(format!("tag:{}", tags::CONTENT), wanted.contents.id())];
    let mut found = session.snapshots(&filters).await?;
    let asked = wanted.encryption.to_string();
    found.retain(|snapshot| tags::find(snapshot.tags(), tags::ENCRYPTION) == Some(&asked));
    found.retain(|snapshot| matches!(snapshot.state, Some(SnapshotState::Completed | SnapshotState::Pending)));
    found.retain(|snapshot| snapshot.snapshot_id().is_some_and(|id| !useless.iter().any(|useless| useless == id)));
    // What is complete comes first, and then what has the most time left.
    found.sort_by_key(|snapshot| {
        std::cmp::Reverse((snapshot.state == Some(SnapshotState::Completed), snapshot.start_time))
    });
    let mut found = found.into_iter();
    let chosen = found.next();
    if let Some(id) = chosen.as_ref().and_then(Snapshot::snapshot_id) {
        report.step(format!("{}: {id} has these contents, or is to have them", session.region));
    }
    for other in found.filter(|snapshot| snapshot.state == Some(SnapshotState::Pending)) {
        let id = other.snapshot_id().unwrap_or_default();
        report.warn(format!(
            "{}: {id} is pending, too, with the same contents: unless another builder is at work on it, remove it (builder aws rm {id})",
            session.region
        ));
    }
    Ok(chosen)
}

/// Goes on with a pending snapshot.
///
/// # Errors
/// When it has a parent, and what that holds can't be learned.
async fn resume(
    session: &Session,
    snapshot: &Snapshot,
    state: &State,
    report: &dyn Report,
) -> Result<Pending, Failure> {
    let id = snapshot.snapshot_id().unwrap_or_default().to_owned();
    let journal = journal(session, &id, state, report);
    // Without a journal it is not known which blocks another run has sent: all of them are, then, so that their number is.
    let noted = !journal.earlier().is_empty();
    let parent = match tags::find(snapshot.tags(), tags::PARENT) {
        Some(parent) => Some(Parent::of_pending(session, parent, noted.then_some(state)).await?),
        None => None,
    };
    report.step(format!("{}: goes on with {id}, which has {} blocks", session.region, journal.earlier().len()));
    Ok(Pending { id, parent, journal })
}

/// Whether another one is to be made instead of a pending snapshot that can't be gone on with; its id.
///
/// # Errors
/// When another run may go on with it.
async fn give_up(session: &Session, snapshot: &Snapshot, failure: &Failure, report: &dyn Report) -> Result<String> {
    let id = snapshot.snapshot_id().unwrap_or_default();
    let says = format!("{}: {id} can't be gone on with, as it is not known what its parent has", session.region);
    match failure.kind {
        // Its parent is gone: nobody who does not know already learns it any more.
        Kind::Missing => {
            report.warn(format!("{says} ({failure}): another one"));
            discard(session, id, report).await;
        }
        // Another builder may be at work on it, which may learn it.
        Kind::Denied | Kind::Refused => report.warn(format!("{says} ({failure}): another one, beside it")),
        _ => return Err(anyhow!("{says}: {failure}").context(stays_pending(session, id))),
    }
    Ok(id.to_owned())
}

/// Without one, the next run sends all.
fn journal(session: &Session, id: &str, state: &State, report: &dyn Report) -> Journal {
    state.journal(id).unwrap_or_else(|error| {
        report.warn(format!("{}: what {id} has is not noted here: {error:#}", session.region));
        Journal::default()
    })
}

/// A new snapshot, or the identifier of a complete one where another run was faster.
async fn begin(
    session: &Session,
    wanted: &Wanted<'_>,
    state: &State,
    report: &dyn Report,
    useless: &[String],
) -> Result<Result<Pending, String>> {
    let Wanted { contents, encryption, repository, .. } = *wanted;
    // A mark has no block in common with anything.
    let alone = wanted.force || !useless.is_empty() || matches!(wanted.disk, Source::Mark(_));
    let parent =
        if alone { None } else { Search { contents, encryption, repository }.run(session, state, report).await? };
    let parent_id = parent.as_ref().map(|parent| parent.id.as_str());
    let (started, parent) = match start(session, wanted, parent_id, useless).await {
        // Such as an encryption by default that may not be asked for, or a parent that was removed a moment ago.
        Err(failure) if parent.is_some() && matches!(failure.kind, Kind::Refused | Kind::Missing) => {
            (start(session, wanted, None, useless).await?, None)
        }
        started => (started?, parent),
    };
    Ok(match started {
        Started::Complete(id) => Err(id),
        Started::Pending(id) => {
            let journal = journal(session, &id, state, report);
            Ok(Pending { id, parent, journal })
        }
    })
}
