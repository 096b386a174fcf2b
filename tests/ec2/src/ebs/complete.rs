//! CompleteSnapshot.

use super::put::{check_state, checksum};
use super::{admit, number_header, parameter, snapshot_id};
use crate::http::Response;
use crate::refusal::{Outcome, Refusal};
use crate::server::Call;
use crate::state::{Progress, Snapshot, SnapshotState};
use crate::trouble::Countdown;
use serde_json::json;

pub(super) fn complete_snapshot(call: &Call<'_>) -> Outcome {
    let id = snapshot_id(call, 0)?;
    let count = number_header(call, "x-amz-changedblockscount")?;
    let count = count.ok_or_else(|| parameter("x-amz-ChangedBlocksCount is missing"))?;
    let told = checksum(call)?;
    let method = call.head.header("x-amz-checksum-aggregation-method");
    if told.is_some() && method != Some("LINEAR") {
        return Err(parameter("x-amz-Checksum-Aggregation-Method must be LINEAR"));
    }
    let mut world = call.world();
    admit(call, &mut world.windows, "complete", call.rules().quotas.complete)?;
    let now = world.now();
    let snapshot = world.snapshot_mut(call.region(), id);
    let again = snapshot.as_deref().is_some_and(|snapshot| {
        matches!(snapshot.state(), SnapshotState::Completing | SnapshotState::Completed) && call.owns(&snapshot.owner)
    });
    if again && call.rules().complete_twice {
        return Ok(accepted());
    }
    check_state(call, snapshot.as_deref(), id)?;
    let Some(snapshot) = snapshot else { return Err(Refusal::no_snapshot(id)) };
    if count != snapshot.blocks.len() as u64 {
        let message = format!("ChangedBlocksCount is {count}, but {} blocks were written.", snapshot.blocks.len());
        return Err(parameter(message));
    }
    if told.is_some_and(|told| told != aggregate(snapshot)) {
        return Err(parameter("Checksum validation failed: the aggregated checksum does not match."));
    }
    let fails = call.shared.trouble().take(Countdown::FailingCompletion);
    let end = if fails { SnapshotState::Error } else { SnapshotState::Completed };
    snapshot.progress = Progress::start(SnapshotState::Completing, end, call.rules().completion, now);
    Ok(accepted())
}

fn accepted() -> Response {
    Response::json(202, &json!({ "Status": "pending" }))
}

/// LINEAR: the SHA-256 over the blocks' digests in the order of their indexes.
fn aggregate(snapshot: &Snapshot) -> crate::blocks::Digest {
    let digests: Vec<u8> = snapshot.blocks.values().flat_map(|block| block.digest).collect();
    crate::blocks::digest(&digests)
}
