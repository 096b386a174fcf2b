//! CopyImage: called in the region that gets the copy.

use super::params::invalid;
use super::xml::Xml;
use super::{check_image_id, no_image, no_snapshot, register, tagging};
use crate::ebs;
use crate::image::{Image, ImageState};
use crate::refusal::{Outcome, Refusal};
use crate::server::Call;
use crate::state::{Progress, Region, Replay, Snapshot, SnapshotState, Tags, World};
use crate::trouble::Countdown;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

pub(super) fn copy_image(call: &Call<'_>) -> Outcome {
    let params = call.params;
    let (source_region, source_id) = (params.required("SourceRegion")?, params.required("SourceImageId")?);
    let name = params.required("Name")?;
    check_image_id(source_id)?;
    register::check_name(name)?;
    register::description(params)?;
    if !call.rules().regions.contains_key(source_region) {
        return Err(invalid("SourceRegion", source_region));
    }
    let encrypted = params.flag("Encrypted")?;
    if params.get("KmsKeyId").is_some() && encrypted != Some(true) {
        let message = "The parameter KmsKeyId requires the parameter Encrypted to be set.";
        return Err(Refusal::ec2("InvalidParameterDependency", message));
    }
    let token = client_token(call)?;
    let mut world = call.world();
    let key = token.map(|token| ("CopyImage", call.account().to_owned(), token));
    let parameters = format!("{:?}", params.all());
    if let Some(replay) = key.as_ref().and_then(|key| world.region(call.region()).tokens.get(key)) {
        return replayed(replay, &parameters);
    }
    let source = world.region(source_region).images.get(source_id);
    let source = source.filter(|image| image.visible_to(call.account())).cloned().ok_or_else(|| no_image(source_id))?;
    if source.state() != ImageState::Available {
        let message = format!("The image ID '{source_id}' is not available");
        return Err(Refusal::ec2("InvalidAMIID.Unavailable", message));
    }
    register::check_free(call, world.region(call.region()), name)?;
    let id = copy(call, &mut world, source_region, source, encrypted == Some(true))?;
    if let Some(key) = key {
        world.region(call.region()).tokens.insert(key, Replay { parameters, answer: id.clone() });
    }
    answer(&id)
}

fn answer(id: &str) -> Outcome {
    Xml::answer("CopyImage", |xml| {
        xml.leaf("imageId", id);
    })
}

fn replayed(replay: &Replay, parameters: &str) -> Outcome {
    if replay.parameters != parameters {
        let message = "The client token you have provided is associated with a different request.";
        return Err(Refusal::ec2("IdempotentParameterMismatch", message));
    }
    answer(&replay.answer)
}

/// A client token of EC2: up to 64 ASCII characters.
pub(super) fn client_token(call: &Call<'_>) -> Result<Option<String>, Refusal> {
    let Some(token) = call.params.get("ClientToken").filter(|token| !token.is_empty()) else { return Ok(None) };
    if token.len() > 64 || !token.is_ascii() {
        return Err(invalid("ClientToken", token));
    }
    Ok(Some(token.to_owned()))
}

/// Makes the image and its snapshots.
fn copy(
    call: &Call<'_>,
    world: &mut World,
    source_region: &str,
    source: Image,
    encrypted: bool,
) -> Result<String, Refusal> {
    let params = call.params;
    let kinds = ["image", "snapshot"];
    let (mut tags, snapshot_tags) =
        (tagging::specified(params, "image", &kinds)?, tagging::specified(params, "snapshot", &kinds)?);
    if params.flag("CopyImageTags")? == Some(true) && call.owns(&source.owner) {
        tags = source.tags.clone().into_iter().chain(tags).collect();
    }
    let (id, now) = (world.id("ami"), world.now());
    let mut mappings = source.mappings.clone();
    let mut snapshots = Vec::new();
    for mapping in &mut mappings {
        let Some(from) = mapping.snapshot.clone() else { continue };
        let new = world.id("snap");
        let source_snapshot = world.region(source_region).snapshots.get(&from).cloned();
        let source_snapshot = source_snapshot.filter(|snapshot| snapshot.visible_to(call.account()));
        let snapshot = source_snapshot.ok_or_else(|| no_snapshot(&from))?;
        let names = [&id, &source.id, &from, &new].map(String::as_str);
        let snapshot = copy_snapshot(call, &snapshot, names, encrypted, snapshot_tags.clone(), now);
        mapping.encrypted = snapshot.encrypted();
        mapping.snapshot = Some(new.clone());
        snapshots.push((new, snapshot));
    }
    let fails = call.shared.trouble().take(Countdown::FailingCopy);
    let end = if fails { ImageState::Failed } else { ImageState::Available };
    let image = Image {
        id: id.clone(),
        name: params.required("Name")?.to_owned(),
        description: register::description(params)?,
        owner: call.account().to_owned(),
        progress: Progress::start(ImageState::Pending, end, call.rules().copy, now),
        mappings,
        tags,
        state_reason: fails.then(|| "Image copy failed".to_owned()),
        shared_with: BTreeSet::new(),
        created: now,
        source: Some((source_region.to_owned(), source.id.clone())),
        unseen: call.shared.trouble().faults.unseen_images,
        disabled: false,
        ..source
    };
    let region: &mut Region = world.region(call.region());
    region.snapshots.extend(snapshots);
    region.images.insert(id.clone(), image);
    Ok(id)
}

/// A snapshot of the same blocks. Of a snapshot that becomes encrypted, too, blocks that nobody wrote read as noise.
fn copy_snapshot(
    call: &Call<'_>,
    source: &Snapshot,
    [image, source_image, from, new]: [&str; 4],
    encrypted: bool,
    tags: Tags,
    now: std::time::SystemTime,
) -> Snapshot {
    let by_default = call.encrypts_by_default();
    let asked = call.params.get("KmsKeyId").map(str::to_owned);
    let default_key = || ebs::default_key(call);
    let kms_key = (encrypted || by_default || source.encrypted()).then(|| asked.unwrap_or_else(default_key));
    Snapshot {
        id: new.to_owned(),
        progress: Progress::start(SnapshotState::Completing, SnapshotState::Completed, call.rules().completion, now),
        owner: call.account().to_owned(),
        description: format!(
            "Copied for DestinationAmi {image} from SourceAmi {source_image} for SourceSnapshot {from}. Task created."
        ),
        tags,
        kms_key,
        parent: None,
        lineage: Vec::new(),
        blocks: source.all_written(),
        inherited: Arc::new(BTreeMap::new()),
        started: now,
        active: now,
        shared_with: BTreeSet::new(),
        born: Instant::now(),
        volume_size: source.volume_size,
        timeout: source.timeout,
    }
}
