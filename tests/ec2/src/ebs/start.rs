//! StartSnapshot.

use super::{admit, check_snapshot_id, parameter};
use crate::blocks::BLOCK;
use crate::clock;
use crate::http::Response;
use crate::refusal::{Outcome, Refusal};
use crate::server::Call;
use crate::state::{Progress, Region, Replay, Snapshot, SnapshotState, Tags};
use crate::trouble::Countdown;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// GiB of the largest volume.
const MAX_VOLUME: u64 = 65_536;

/// Characters of a client token. The model allows 255; what other services of AWS take is 64, and so does this one.
const MAX_TOKEN: usize = 64;

/// Minutes without a Put, if the request does not say.
const DEFAULT_TIMEOUT: u64 = 60;

/// What a request says.
#[derive(Debug)]
struct Input {
    volume_size: u64,
    timeout: u64,
    description: String,
    parent: Option<String>,
    encrypted: Option<bool>,
    kms_key: Option<String>,
    tags: Tags,
}

const MEMBERS: [&str; 8] =
    ["ClientToken", "Description", "Encrypted", "KmsKeyArn", "ParentSnapshotId", "Tags", "Timeout", "VolumeSize"];

pub(super) fn start_snapshot(call: &Call<'_>) -> Outcome {
    let body: Value = serde_json::from_slice(call.body)
        .map_err(|_| Refusal::new(400, "SerializationException", "The body is no JSON."))?;
    let token = text(&body, "ClientToken")?;
    if token
        .as_ref()
        .is_some_and(|token| token.is_empty() || token.len() > MAX_TOKEN || token.contains(char::is_whitespace))
    {
        return Err(parameter("ClientToken must have 1 to 64 characters and no space."));
    }
    let input = parse(&body)?;
    let mut world = call.world();
    admit(call, &mut world.windows, "start", call.rules().quotas.start)?;
    if call.shared.trouble().take(Countdown::StartLimit) {
        return Err(concurrent_limit());
    }
    let key = token.map(|token| ("StartSnapshot", call.account().to_owned(), token));
    let parameters = format!("{input:?}");
    if let Some(replay) = key.as_ref().and_then(|key| world.region(call.region()).tokens.get(key)) {
        if replay.parameters != parameters {
            let message = "The request uses the same client token as a previous, but non-identical request.";
            return Err(Refusal::new(409, "ConflictException", message));
        }
        return Ok(created(&replay.answer));
    }
    let (id, now) = (world.id("snap"), world.now());
    let region = world.region(call.region());
    let pending = |snapshot: &&Snapshot| {
        call.owns(&snapshot.owner) && matches!(snapshot.state(), SnapshotState::Pending | SnapshotState::Completing)
    };
    if region.snapshots.values().filter(pending).count() >= call.rules().quotas.pending_snapshots {
        return Err(concurrent_limit());
    }
    let snapshot = make(call, region, input, id, now)?;
    let answer = answer(&snapshot).to_string();
    if let Some(key) = key {
        region.tokens.insert(key, Replay { parameters, answer: answer.clone() });
    }
    region.snapshots.insert(snapshot.id.clone(), snapshot);
    Ok(created(&answer))
}

fn concurrent_limit() -> Refusal {
    let message = "You have reached the limit for concurrent API requests.";
    Refusal::new(400, "ConcurrentLimitExceededException", message)
}

fn created(answer: &str) -> Response {
    Response::new(201, crate::http::Content::Owned(answer.as_bytes().to_vec()))
        .header("Content-Type", "application/json")
}

/// A new snapshot, if its parent and its encryption are as AWS allows.
fn make(
    call: &Call<'_>,
    region: &Region,
    input: Input,
    id: String,
    now: std::time::SystemTime,
) -> Result<Snapshot, Refusal> {
    let default_key = || default_key(call);
    let by_default = call.encrypts_by_default();
    let mut kms_key = match (input.encrypted, input.kms_key) {
        (Some(true), key) => Some(key.unwrap_or_else(default_key)),
        _ if by_default => Some(default_key()),
        _ => None,
    };
    let (mut inherited, mut lineage) = (Arc::default(), Vec::new());
    if let Some(parent) = &input.parent {
        if call.shared.trouble().take(Countdown::LostParent) {
            return Err(Refusal::no_snapshot(parent));
        }
        let parent = parent_of(call, region, parent, input.volume_size)?;
        if by_default && !parent.encrypted() {
            let message = "An unencrypted parent snapshot cannot be used while encryption by default is enabled.";
            return Err(parameter(message));
        }
        kms_key.clone_from(&parent.kms_key);
        inherited = Arc::new(parent.all_written());
        lineage = [vec![parent.id.clone()], parent.lineage.clone()].concat();
    }
    Ok(Snapshot {
        id,
        progress: Progress::In(SnapshotState::Pending),
        owner: call.account().to_owned(),
        volume_size: input.volume_size,
        description: input.description,
        tags: input.tags,
        kms_key,
        parent: input.parent,
        lineage,
        blocks: std::collections::BTreeMap::default(),
        inherited,
        timeout: Duration::from_secs(input.timeout * 60),
        started: now,
        active: now,
        shared_with: std::collections::BTreeSet::default(),
        born: Instant::now(),
    })
}

/// The account's key for EBS.
pub(crate) fn default_key(call: &Call<'_>) -> String {
    format!("arn:aws:kms:{}:{}:key/11111111-2222-3333-4444-555555555555", call.region(), call.account())
}

fn parent_of<'a>(call: &Call<'_>, region: &'a Region, id: &str, size: u64) -> Result<&'a Snapshot, Refusal> {
    let parent = region.snapshots.get(id).filter(|parent| parent.visible_to(call.account()));
    let parent = parent.ok_or_else(|| Refusal::no_snapshot(id))?;
    if !call.owns(&parent.owner) {
        let message = format!("The parent snapshot '{id}' does not belong to the account.");
        return Err(Refusal::validation("INVALID_SNAPSHOT_ID", message));
    }
    if parent.state() != SnapshotState::Completed {
        let message = format!("The parent snapshot '{id}' is not in the completed state.");
        return Err(Refusal::validation("INVALID_SNAPSHOT_ID", message));
    }
    if size < parent.volume_size {
        let message = format!("Invalid volume size: {size} is less than the parent snapshot's {}", parent.volume_size);
        return Err(Refusal::validation("INVALID_VOLUME_SIZE", message));
    }
    Ok(parent)
}

fn parse(body: &Value) -> Result<Input, Refusal> {
    let members = body.as_object().ok_or_else(|| parameter("The body is no JSON object."))?;
    if let Some(other) = members.keys().find(|name| !MEMBERS.contains(&name.as_str())) {
        return Err(parameter(format!("StartSnapshot has no member {other}")));
    }
    let volume_size = whole(body, "VolumeSize")?;
    let volume_size = volume_size.filter(|size| (1..=MAX_VOLUME).contains(size)).ok_or_else(|| {
        Refusal::validation("INVALID_VOLUME_SIZE", format!("Invalid volume size: {}", body["VolumeSize"]))
    })?;
    let timeout = whole(body, "Timeout")?.unwrap_or(DEFAULT_TIMEOUT);
    if !(10..=4320).contains(&timeout) {
        return Err(parameter(format!("Timeout must be 10 to 4320 minutes: {timeout}")));
    }
    let description = text(body, "Description")?;
    if description.as_ref().is_some_and(|text| text.is_empty() || text.chars().count() > 255) {
        return Err(parameter("Description must have 1 to 255 characters."));
    }
    let (parent, kms_key) = (text(body, "ParentSnapshotId")?, text(body, "KmsKeyArn")?);
    let encrypted = match &body["Encrypted"] {
        Value::Null => None,
        Value::Bool(encrypted) => Some(*encrypted),
        other => return Err(parameter(format!("Encrypted is no boolean: {other}"))),
    };
    if let Some(parent) = &parent {
        check_snapshot_id(parent)?;
        if encrypted.is_some() || kms_key.is_some() {
            return Err(parameter("ParentSnapshotId excludes Encrypted and KmsKeyArn."));
        }
    }
    if let Some(key) = &kms_key {
        let form = key.splitn(6, ':').collect::<Vec<_>>();
        let arn = matches!(form[..], ["arn", partition, "kms", _, account, key]
            if partition.starts_with("aws") && account.len() == 12 && key.starts_with("key/"));
        if !arn || encrypted != Some(true) {
            return Err(Refusal::validation("INVALID_CUSTOMER_KEY", "KmsKeyArn takes a key's ARN and Encrypted=true."));
        }
    }
    let tags = tags(&body["Tags"])?;
    Ok(Input { volume_size, timeout, description: description.unwrap_or_default(), parent, encrypted, kms_key, tags })
}

fn text(body: &Value, name: &str) -> Result<Option<String>, Refusal> {
    match &body[name] {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        other => Err(parameter(format!("{name} is no string: {other}"))),
    }
}

fn whole(body: &Value, name: &str) -> Result<Option<u64>, Refusal> {
    match &body[name] {
        Value::Null => Ok(None),
        value => value.as_u64().map(Some).ok_or_else(|| parameter(format!("{name} is no allowed number: {value}"))),
    }
}

fn tags(value: &Value) -> Result<Tags, Refusal> {
    let mut tags = Tags::new();
    let list = match value {
        Value::Null => return Ok(tags),
        Value::Array(list) => list,
        other => return Err(Refusal::validation("INVALID_TAG", format!("Tags is no list: {other}"))),
    };
    for tag in list {
        let (key, value) = (tag["Key"].as_str().unwrap_or(""), tag["Value"].as_str().unwrap_or(""));
        crate::tags::check(key, value).map_err(|message| Refusal::validation("INVALID_TAG", message))?;
        if tags.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(Refusal::validation("INVALID_TAG", format!("Duplicate tag key '{key}' specified.")));
        }
    }
    if tags.len() > crate::tags::MOST {
        return Err(Refusal::validation("INVALID_TAG", "A resource takes at most 50 tags."));
    }
    Ok(tags)
}

fn answer(snapshot: &Snapshot) -> Value {
    let tags: Vec<_> = snapshot.tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
    let mut answer = json!({
        "SnapshotId": snapshot.id,
        "OwnerId": snapshot.owner,
        "Status": "pending",
        "StartTime": clock::seconds(snapshot.started),
        "VolumeSize": snapshot.volume_size,
        "BlockSize": BLOCK,
        "Description": snapshot.description,
        "Tags": tags,
        "SseType": if snapshot.encrypted() { "sse-kms" } else { "none" },
    });
    if let Some(parent) = &snapshot.parent {
        answer["ParentSnapshotId"] = parent.as_str().into();
    }
    if let Some(key) = &snapshot.kms_key {
        answer["KmsKeyArn"] = key.as_str().into();
    }
    answer
}
