//! PutSnapshotBlock.

use super::{admit, block_index, number_header, parameter, snapshot_id};
use crate::blocks::{self, BLOCK, Digest};
use crate::http::Response;
use crate::refusal::{Outcome, Refusal};
use crate::server::Call;
use crate::state::{Snapshot, SnapshotState};
use crate::trouble::Countdown;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

pub(super) fn put_snapshot_block(call: &Call<'_>) -> Outcome {
    let (id, index) = (snapshot_id(call, 2)?, block_index(call)?);
    let length = number_header(call, "x-amz-data-length")?.ok_or_else(|| parameter("x-amz-Data-Length is missing"))?;
    if length != BLOCK as u64 || call.body.len() as u64 != length {
        let message = format!("Invalid block length: {length} stated, {} sent, {BLOCK} expected", call.body.len());
        return Err(Refusal::validation("INVALID_BLOCK", message));
    }
    if number_header(call, "x-amz-progress")?.is_some_and(|progress| progress > 100) {
        return Err(parameter("x-amz-Progress must be 0 to 100"));
    }
    let told = checksum(call)?.ok_or_else(|| parameter("x-amz-Checksum is missing"))?;
    let digest = blocks::digest(call.body);
    if told != digest || call.shared.trouble().take(Countdown::RefusedChecksum) {
        let message = "Checksum validation failed: the checksum does not match the block's data.";
        return Err(Refusal::validation("INVALID_BLOCK", message));
    }
    {
        // Before the copy: nothing is kept for a Put that is refused.
        let mut world = call.world();
        let quota = call.rules().quotas.put;
        admit(call, &mut world.windows, "put", quota)?;
        admit(call, &mut world.windows, id, quota)?;
        let snapshot = world.snapshot_mut(call.region(), id);
        check(call, snapshot.as_deref(), id, index)?;
    }
    let block = call.shared.blocks.intern(digest, call.body);
    let mut world = call.world();
    let now = world.now();
    let snapshot = world.snapshot_mut(call.region(), id);
    // It may have been completed or deleted meanwhile.
    check_state(call, snapshot.as_deref(), id)?;
    if let Some(snapshot) = snapshot {
        snapshot.blocks.insert(index, block);
        snapshot.active = now;
    }
    Ok(Response::json(201, &json!({}))
        .header("x-amz-Checksum", STANDARD.encode(digest))
        .header("x-amz-Checksum-Algorithm", "SHA256"))
}

fn check(call: &Call<'_>, snapshot: Option<&Snapshot>, id: &str, index: u32) -> Result<(), Refusal> {
    let snapshot = check_state(call, snapshot, id)?;
    if call.shared.trouble().unseen(id, snapshot.born) {
        return Err(Refusal::no_snapshot(id));
    }
    if u64::from(index) >= snapshot.volume_blocks() {
        let message = format!("Invalid block index: {index} is beyond the volume's {} GiB", snapshot.volume_size);
        return Err(parameter(message));
    }
    Ok(())
}

/// The snapshot, if this account may write to it.
pub(super) fn check_state<'a>(
    call: &Call<'_>,
    snapshot: Option<&'a Snapshot>,
    id: &str,
) -> Result<&'a Snapshot, Refusal> {
    let snapshot = snapshot.filter(|snapshot| snapshot.visible_to(call.account()));
    let snapshot = snapshot.ok_or_else(|| Refusal::no_snapshot(id))?;
    if !call.owns(&snapshot.owner) {
        let refusal = crate::auth::denied(crate::refusal::Service::Ebs, super::action(call.head), call.caller, None);
        return Err(Refusal { reason: Some("UNAUTHORIZED_ACCOUNT"), ..refusal });
    }
    if snapshot.state() != SnapshotState::Pending {
        let state = snapshot.state().as_str();
        let message = format!("The snapshot '{id}' takes no more blocks: it is completed or failed ({state}).");
        return Err(Refusal::validation("INVALID_SNAPSHOT_ID", message));
    }
    Ok(snapshot)
}

/// The checksum in the headers, with its algorithm checked.
pub(super) fn checksum(call: &Call<'_>) -> Result<Option<Digest>, Refusal> {
    let (text, algorithm) = (call.head.header("x-amz-checksum"), call.head.header("x-amz-checksum-algorithm"));
    let Some(text) = text else { return Ok(None) };
    if algorithm != Some("SHA256") {
        return Err(parameter("x-amz-Checksum-Algorithm must be SHA256"));
    }
    let bytes = STANDARD.decode(text).ok().and_then(|bytes| Digest::try_from(bytes).ok());
    bytes.map(Some).ok_or_else(|| parameter("x-amz-Checksum is no SHA-256 in base64"))
}
