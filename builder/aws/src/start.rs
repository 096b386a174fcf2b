//! Begins a snapshot.

use crate::account::Session;
use crate::completion::CONVINCING;
use crate::contents::hex;
use crate::encryption::Encryption;
use crate::failure::Failure;
use crate::retry::Patience;
use crate::snapshot::Wanted;
use crate::swap::Source;
use crate::tags::{self, Tags};
use aws_sdk_ebs::operation::start_snapshot::StartSnapshotOutput;
use aws_sdk_ebs::types::Status;
use aws_sdk_ec2::types::SnapshotState;
use sha2::{Digest, Sha256};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::{Instant, sleep};

/// Minutes without a new block after which EBS gives up a pending snapshot: its longest, so that what a Friday's evening cut off can
/// go on when Monday comes (StartSnapshot, "Timeout").
const TIMEOUT: i32 = 4320;
/// Tokens that are tried: one for each time that the same contents were begun and did not come to be.
const GENERATIONS: u32 = 64;
/// A snapshot that begins now has no start time further back, although this machine's clock may be off by as much as AWS takes; an
/// older one is the answer to an earlier call with its token.
const FRESH: Duration = Duration::from_secs(90 + 5 * 60);

/// What StartSnapshot leads to.
pub(crate) enum Started {
    /// A snapshot that takes blocks.
    Pending(String),
    /// Another run of the same was faster.
    Complete(String),
}

/// Begins a snapshot, upon a parent or not.
///
/// The token is derived from all that is asked, so that a call that is repeated, or made by another builder at the same time, begins no
/// second one. AWS answers a token with the same snapshot for ever, even when that is gone: then the next token is taken.
///
/// `useless` are snapshots of an earlier beginning that came to nothing.
pub(crate) async fn start(
    session: &Session,
    wanted: &Wanted<'_>,
    parent: Option<&str>,
    useless: &[String],
) -> Result<Started, Failure> {
    let mut tags = wanted.tags.clone();
    tags.insert(tags::ENCRYPTION.to_owned(), wanted.encryption.to_string());
    if let Some(parent) = parent {
        tags.insert(tags::PARENT.to_owned(), parent.to_owned());
    }
    let base = token_base(wanted, parent, &tags);
    for generation in 0..GENERATIONS {
        let token = hex(&Sha256::digest(format!("{base}\n{generation}")));
        let answer = match ask(session, wanted, parent, &tags, &token).await {
            Ok(answer) => answer,
            Err(failure) if failure.is("ConflictException") => continue,
            Err(failure) => return Err(failure),
        };
        if answer.snapshot_id.as_ref().is_some_and(|id| useless.contains(id)) {
            continue;
        }
        if let Some(started) = look(session, answer).await? {
            return Ok(started);
        }
    }
    Err(Failure::unexpected("ebs:StartSnapshot", &session.region, "every token is taken by a snapshot that is gone"))
}

/// All that makes one call another.
fn token_base(wanted: &Wanted<'_>, parent: Option<&str>, tags: &Tags) -> String {
    let mut base =
        format!("{}\n{parent:?}\n{}\n{}\n{TIMEOUT}\n", wanted.contents.id(), wanted.encryption, wanted.description);
    for (key, value) in tags {
        base += &format!("{key}={value}\n");
    }
    // A mark is the same for years, and made again whenever its last image was removed: each time with a token that no
    // snapshot had which is gone. Of two that begin at the same moment each is as good as the other.
    if wanted.force || matches!(wanted.disk, Source::Mark(_)) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        base += &format!("{} {}", now.as_nanos(), std::process::id());
    }
    base
}

async fn ask(
    session: &Session,
    wanted: &Wanted<'_>,
    parent: Option<&str>,
    tags: &Tags,
    token: &str,
) -> Result<StartSnapshotOutput, Failure> {
    let ask = || {
        let call = session.ebs.start_snapshot().volume_size(i64::from(wanted.contents.volume())).timeout(TIMEOUT);
        let call = call.client_token(token).description(wanted.description).set_tags(Some(tags::to_ebs(tags)));
        let call = call.set_parent_snapshot_id(parent.map(ToOwned::to_owned));
        // A child is encrypted as its parent is, and may not ask for it.
        match wanted.encryption {
            _ if parent.is_some() => call,
            Encryption::Default => call,
            Encryption::Encrypted => call.encrypted(true),
            Encryption::Key(key) => call.encrypted(true).kms_key_arn(key.as_str()),
        }
        .send()
    };
    session.call("ebs:StartSnapshot", Patience::ordinary(&session.timing), ask).await
}

/// What has become of the snapshot that StartSnapshot tells of; `None` where it is of no use.
async fn look(session: &Session, answer: StartSnapshotOutput) -> Result<Option<Started>, Failure> {
    let (action, region) = ("ebs:StartSnapshot", &session.region);
    let id = answer.snapshot_id.ok_or_else(|| Failure::unexpected(action, region, "the answer has no snapshot"))?;
    let begun = answer.start_time.and_then(|time| SystemTime::try_from(time).ok());
    let age = begun.and_then(|begun| session.now().duration_since(begun).ok()).unwrap_or_default();
    let pending = answer.status == Some(Status::Pending);
    let (start, mut missing) = (Instant::now(), 0);
    loop {
        let snapshot = session.snapshot(&id).await?;
        missing = if snapshot.is_some() { 0 } else { missing + 1 };
        match snapshot.as_ref().and_then(|snapshot| snapshot.state.as_ref()) {
            Some(SnapshotState::Pending) => return Ok(Some(Started::Pending(id))),
            // One that has just begun can't be complete, whatever AWS says: filling it shows what is in it.
            Some(SnapshotState::Completed) if pending && age <= FRESH => return Ok(Some(Started::Pending(id))),
            Some(SnapshotState::Completed) => return Ok(Some(Started::Complete(id))),
            Some(_) => return Ok(None),
            // Gone, or not seen yet.
            None if age > FRESH && missing >= CONVINCING || start.elapsed() > session.timing.seen => return Ok(None),
            None => sleep(session.timing.poll).await,
        }
    }
}
