//! DescribeSnapshots and DeleteSnapshot.

use super::xml::Xml;
use super::{check_snapshot_id, filters, no_snapshot};
use crate::clock;
use crate::refusal::{Outcome, Refusal};
use crate::server::Call;
use crate::state::{Snapshot, SnapshotState};

const FILTERS: &[&str] =
    &["description", "encrypted", "owner-id", "snapshot-id", "start-time", "status", "volume-id", "volume-size"];

pub(super) fn describe_snapshots(call: &Call<'_>) -> Outcome {
    let filters = filters::parse(call.params, FILTERS)?;
    let (ids, owners) = (call.params.list("SnapshotId"), call.params.list("Owner"));
    for id in &ids {
        check_snapshot_id(id)?;
    }
    if !ids.is_empty() && call.params.get("MaxResults").is_some() {
        let message = "The parameter snapshotSet cannot be used with the parameter maxResults";
        return Err(Refusal::ec2("InvalidParameterCombination", message));
    }
    let chosen = choose(call, &ids, &owners)?;
    let passed = chosen
        .into_iter()
        .filter(|(snapshot, status)| filters::pass(&filters, &snapshot.tags, |name| field(snapshot, status, name)));
    let (page, next) = filters::page(call, passed.collect(), 5)?;
    Xml::answer("DescribeSnapshots", |xml| {
        xml.list("snapshotSet", &page, |xml, (snapshot, status)| describe(xml, snapshot, status));
        xml.maybe("nextToken", next);
    })
}

/// The snapshots that a request is about, each with what it is told as.
fn choose(call: &Call<'_>, ids: &[String], owners: &[String]) -> Result<Vec<(Snapshot, &'static str)>, Refusal> {
    let mut world = call.world();
    let region = world.region(call.region());
    let mut trouble = call.shared.trouble();
    let (missing, pending) = (trouble.faults.flapping_missing, trouble.faults.flapping_pending);
    if let Some(id) = ids.iter().find(|id| {
        let visible = region.snapshots.get(*id).is_some_and(|snapshot| snapshot.visible_to(call.account()));
        !visible || trouble.chance(missing)
    }) {
        return Err(no_snapshot(id));
    }
    let mut chosen = Vec::new();
    for snapshot in region.snapshots.values_mut() {
        let owned = |owner: &String| *owner == snapshot.owner || (owner == "self" && call.owns(&snapshot.owner));
        let asked = if ids.is_empty() { !trouble.chance(missing) } else { ids.contains(&snapshot.id) };
        if !asked || !snapshot.visible_to(call.account()) || !(owners.is_empty() || owners.iter().any(owned)) {
            continue;
        }
        let mut status = snapshot.progress.tell().as_str();
        if status == "completed" && trouble.chance(pending) {
            status = "pending";
        }
        chosen.push((snapshot.clone(), status));
    }
    Ok(chosen)
}

fn field(snapshot: &Snapshot, status: &str, name: &str) -> Option<String> {
    Some(match name {
        "description" => snapshot.description.clone(),
        "encrypted" => snapshot.encrypted().to_string(),
        "owner-id" => snapshot.owner.clone(),
        "snapshot-id" => snapshot.id.clone(),
        "start-time" => clock::iso8601(snapshot.started),
        "status" => status.to_owned(),
        "volume-id" => VOLUME.to_owned(),
        "volume-size" => snapshot.volume_size.to_string(),
        _ => return None,
    })
}

/// The volume of a snapshot that was not made of a volume.
const VOLUME: &str = "vol-ffffffff";

fn describe(xml: &mut Xml, snapshot: &Snapshot, status: &str) {
    let progress = match status {
        "completed" => "100%",
        _ if snapshot.state() == SnapshotState::Completing => "99%",
        _ => "0%",
    };
    xml.leaf("snapshotId", &snapshot.id).leaf("volumeId", VOLUME).leaf("status", status);
    if status == "error" {
        xml.leaf("statusMessage", "The snapshot could not be completed.");
    }
    xml.leaf("startTime", clock::iso8601(snapshot.started)).leaf("progress", progress);
    xml.leaf("ownerId", &snapshot.owner).leaf("volumeSize", snapshot.volume_size);
    xml.leaf("description", &snapshot.description).leaf("encrypted", snapshot.encrypted());
    xml.maybe("kmsKeyId", snapshot.kms_key.as_ref()).leaf("storageTier", "standard");
    xml.leaf("sseType", if snapshot.encrypted() { "sse-kms" } else { "none" });
    xml.tags(&snapshot.tags);
}

pub(super) fn delete_snapshot(call: &Call<'_>) -> Outcome {
    let id = call.params.required("SnapshotId")?;
    check_snapshot_id(id)?;
    let mut world = call.world();
    let region = world.region(call.region());
    if !region.snapshots.get(id).is_some_and(|snapshot| call.owns(&snapshot.owner)) {
        return Err(no_snapshot(id));
    }
    let user = region
        .images
        .values()
        .find(|image| image.mappings.iter().any(|mapping| mapping.snapshot.as_deref() == Some(id)));
    if let Some(image) = user {
        let message = format!("The snapshot {id} is currently in use by {}", image.id);
        return Err(Refusal::ec2("InvalidSnapshot.InUse", message));
    }
    region.snapshots.remove(id);
    drop(world);
    call.shared.blocks.sweep();
    Xml::done("DeleteSnapshot")
}
