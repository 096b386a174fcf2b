//! Whether a snapshot is complete, or will ever be.

use crate::account::Session;
use crate::failure::Failure;
use crate::remove::{Deleted, delete_snapshot};
use crate::report::Report;
use anyhow::{Result, bail};
use aws_sdk_ec2::types::SnapshotState;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Answers in a row until what they say of a snapshot is believed: DescribeSnapshots does not always ask the same server.
pub(crate) const CONVINCING: u32 = 3;

/// What has become of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is complete.
    Complete,
    /// EBS has given it up, and says why.
    Failed(String),
    /// There is none, or none any more.
    Gone,
    /// None of these yet.
    Pending,
}

/// A snapshot that never will be complete.
#[derive(Debug, thiserror::Error)]
#[error("{0} {1}")]
pub(crate) struct Broken(String, String);

/// Waits until a snapshot is complete beyond doubt.
///
/// # Errors
/// [`Broken`] where it never will be; another where it takes too long.
pub(crate) async fn wait(session: &Session, id: &str) -> Result<()> {
    let broken = |why| Broken(id.to_owned(), why);
    match fate(session, id, session.timing.completion).await? {
        Fate::Complete => Ok(()),
        Fate::Failed(why) => bail!(broken(format!("is in the state error: {why}"))),
        Fate::Gone => bail!(broken("was removed before it was complete".to_owned())),
        Fate::Pending => bail!("{id} is not complete after {} s", session.timing.completion.as_secs_f32()),
    }
}

/// Asks for a snapshot until its fate is known, or for so long.
pub(crate) async fn fate(session: &Session, id: &str, patience: Duration) -> Result<Fate, Failure> {
    let start = Instant::now();
    let (mut complete, mut failed, mut missing) = (0, 0, None);
    let mut pauses = [5, 5, 4, 3, 2].into_iter().map(|part| session.timing.poll / part);
    loop {
        let snapshot = session.snapshot(id).await?;
        let state = snapshot.as_ref().map(|snapshot| snapshot.state.as_ref());
        match state {
            Some(Some(SnapshotState::Completed)) => (complete, failed, missing) = (complete + 1, 0, None),
            Some(Some(SnapshotState::Error)) => (complete, failed, missing) = (0, failed + 1, None),
            Some(_) => (complete, failed, missing) = (0, 0, None),
            None => (complete, failed, missing) = (0, 0, missing.or_else(|| Some(Instant::now()))),
        }
        if complete >= CONVINCING {
            return Ok(Fate::Complete);
        }
        if failed >= CONVINCING {
            let why = snapshot.and_then(|snapshot| snapshot.state_message);
            return Ok(Fate::Failed(why.unwrap_or_else(|| "AWS gives no reason".to_owned())));
        }
        if missing.is_some_and(|since| since.elapsed() > session.timing.seen) {
            return Ok(Fate::Gone);
        }
        let undecided = complete + failed > 0 || missing.is_some();
        if start.elapsed() > patience + if undecided { session.timing.seen } else { Duration::ZERO } {
            return Ok(Fate::Pending);
        }
        // Small snapshots are complete at once.
        let pause = if complete > 0 { Some(session.timing.poll / 5) } else { pauses.next() };
        sleep(pause.unwrap_or(session.timing.poll)).await;
    }
}

/// Removes a snapshot that is of no use. Not being allowed to is said, and no failure.
pub(crate) async fn discard(session: &Session, id: &str, report: &dyn Report) {
    let why = match delete_snapshot(session, id, &BTreeSet::new()).await {
        Ok(Deleted::Now | Deleted::Before) => return,
        Ok(Deleted::Not(user)) => format!("{user} uses it"),
        Err(failure) => failure.to_string(),
    };
    report.warn(format!("{}: {id} is left behind (builder aws rm {id}): {why}", session.region));
}
