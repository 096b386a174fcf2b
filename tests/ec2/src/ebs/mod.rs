//! The EBS direct APIs: REST and JSON, by the service's model of 2019-11-02.

mod complete;
mod put;
mod read;
mod start;

pub(crate) use start::default_key;

use crate::http::Head;
use crate::refusal::{Outcome, Refusal};
use crate::server::Call;
use crate::trouble::Windows;

/// The operation that a method and a path name; empty for none.
pub(crate) fn action(head: &Head) -> &'static str {
    let segments: Vec<_> = head.path.trim_start_matches('/').split('/').collect();
    match (head.method.as_str(), segments.as_slice()) {
        ("POST", ["snapshots"]) => "StartSnapshot",
        ("POST", ["snapshots", "completion", _]) => "CompleteSnapshot",
        ("PUT", ["snapshots", _, "blocks", _]) => "PutSnapshotBlock",
        ("GET", ["snapshots", _, "blocks", _]) => "GetSnapshotBlock",
        ("GET", ["snapshots", _, "blocks"]) => "ListSnapshotBlocks",
        ("GET", ["snapshots", _, "changedblocks"]) => "ListChangedBlocks",
        _ => "",
    }
}

pub(crate) fn perform(action: &str, call: &Call<'_>) -> Outcome {
    match action {
        "StartSnapshot" => start::start_snapshot(call),
        "PutSnapshotBlock" => put::put_snapshot_block(call),
        "CompleteSnapshot" => complete::complete_snapshot(call),
        "ListSnapshotBlocks" => read::list_snapshot_blocks(call),
        "ListChangedBlocks" => read::list_changed_blocks(call),
        "GetSnapshotBlock" => read::get_snapshot_block(call),
        _ => Err(Refusal::new(404, "UnknownOperationException", "")),
    }
}

/// The ARN that a permission is asked for.
pub(crate) fn resource(call: &Call<'_>) -> String {
    let id = call.head.path.split('/').find(|segment| segment.starts_with("snap-")).unwrap_or("*");
    format!("arn:aws:ec2:{}::snapshot/{id}", call.region())
}

/// A segment of the path, counted from the end.
fn segment<'a>(call: &'a Call<'_>, from_end: usize) -> &'a str {
    call.head.path.rsplit('/').nth(from_end).unwrap_or("")
}

/// A snapshot's identifier out of the path.
fn snapshot_id<'a>(call: &'a Call<'_>, from_end: usize) -> Result<&'a str, Refusal> {
    let id = segment(call, from_end);
    check_snapshot_id(id)?;
    Ok(id)
}

fn check_snapshot_id(id: &str) -> Result<(), Refusal> {
    let digits = id.strip_prefix("snap-").unwrap_or("");
    let hex = digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if digits.is_empty() || !hex || id.len() > 64 {
        let message = format!("The snapshot ID '{id}' is not valid. Specify a valid snapshot ID and try again.");
        return Err(Refusal::validation("INVALID_SNAPSHOT_ID", message));
    }
    Ok(())
}

/// A block's index out of the path.
fn block_index(call: &Call<'_>) -> Result<u32, Refusal> {
    let text = segment(call, 0);
    let index = text.parse::<u32>().ok().filter(|index| i32::try_from(*index).is_ok());
    index.ok_or_else(|| Refusal::validation("INVALID_PARAMETER_VALUE", format!("Invalid block index: {text}")))
}

/// A number in a header, if it is there.
fn number_header(call: &Call<'_>, name: &str) -> Result<Option<u64>, Refusal> {
    let Some(text) = call.head.header(name) else { return Ok(None) };
    let number = text.parse().map_err(|_| parameter(format!("{name} is no number that is allowed: {text}")))?;
    Ok(Some(number))
}

/// A ValidationException with the reason INVALID_PARAMETER_VALUE.
fn parameter(message: impl Into<String>) -> Refusal {
    Refusal::validation("INVALID_PARAMETER_VALUE", message)
}

/// Holds a request against its quota.
fn admit(call: &Call<'_>, windows: &mut Windows, what: &str, quota: u32) -> Result<(), Refusal> {
    let key = format!("{what}/{}/{}", call.account(), call.region());
    if windows.admit(&key, quota, call.shared.began.elapsed()) {
        return Ok(());
    }
    Err(Refusal::throttled(crate::refusal::Service::Ebs))
}
