//! ListSnapshotBlocks, ListChangedBlocks and GetSnapshotBlock.

use super::{admit, block_index, check_snapshot_id, parameter, snapshot_id};
use crate::blocks::{BLOCK, Block, digest};
use crate::clock;
use crate::http::{Content, Response};
use crate::refusal::{Outcome, Refusal};
use crate::server::Call;
use crate::state::{Region, Snapshot, SnapshotState, World};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long a block token is good for.
const TOKEN_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Makes and checks tokens. They look random, and nobody else can make one.
struct Tokens {
    secret: String,
    nonce: u64,
    now: i64,
}

impl Tokens {
    fn new(world: &mut World) -> Self {
        Tokens { secret: world.secret.clone(), nonce: world.random.next(), now: clock::seconds(world.now()) }
    }

    /// A token for something and a number.
    fn issue(&self, what: &str, number: u32) -> String {
        let expiry = self.now + TOKEN_LIFE.as_secs().cast_signed();
        let head = [&self.nonce.to_be_bytes()[..], &expiry.to_be_bytes(), &number.to_be_bytes()].concat();
        STANDARD.encode([&head[..], &self.seal(what, &head)].concat())
    }

    fn seal(&self, what: &str, head: &[u8]) -> [u8; 16] {
        let mac = digest(&[self.secret.as_bytes(), what.as_bytes(), head].concat());
        std::array::from_fn(|at| mac[at])
    }

    /// The number of a token that was issued for something and has not expired.
    fn check(&self, what: &str, token: &str) -> Option<u32> {
        let bytes = STANDARD.decode(token).ok()?;
        let (head, seal) = bytes.split_at_checked(20)?;
        let expiry = i64::from_be_bytes(head[8..16].try_into().ok()?);
        if seal != self.seal(what, head) || expiry < self.now {
            return None;
        }
        Some(u32::from_be_bytes(head[16..].try_into().ok()?))
    }
}

/// What a request says of its page.
struct Page {
    first: u32,
    most: usize,
}

fn page(call: &Call<'_>, tokens: &Tokens, what: &str) -> Result<Page, Refusal> {
    let number = |name: &str| {
        let text = call.head.query(name);
        text.map(|text| text.parse::<u32>().map_err(|_| parameter(format!("{name} is no number: {text}")))).transpose()
    };
    let most = number("maxResults")?.unwrap_or(10_000);
    if !(100..=10_000).contains(&most) {
        return Err(parameter(format!("maxResults must be 100 to 10000: {most}")));
    }
    let mut first = number("startingBlockIndex")?.unwrap_or(0);
    if let Some(token) = call.head.query("pageToken") {
        let invalid = || Refusal::validation("INVALID_PAGE_TOKEN", "The page token is not valid.");
        first = tokens.check(&format!("page of {what}"), token).ok_or_else(invalid)?;
    }
    Ok(Page { first, most: (most as usize).min(call.rules().page.max(100)) })
}

/// A completed snapshot that this account may read.
fn readable<'a>(call: &Call<'_>, region: &'a Region, id: &str) -> Result<&'a Snapshot, Refusal> {
    let snapshot = region.snapshots.get(id).filter(|snapshot| snapshot.visible_to(call.account()));
    let snapshot = snapshot.ok_or_else(|| Refusal::no_snapshot(id))?;
    if snapshot.state() != SnapshotState::Completed {
        let message = format!("The snapshot '{id}' is not in the completed state.");
        return Err(Refusal::validation("INVALID_SNAPSHOT_ID", message));
    }
    Ok(snapshot)
}

fn listing(list: &str, blocks: Vec<Value>, tokens: &Tokens, volume_size: u64, next: Option<String>) -> Response {
    let mut answer = json!({
        "ExpiryTime": tokens.now + TOKEN_LIFE.as_secs().cast_signed(),
        "VolumeSize": volume_size,
        "BlockSize": BLOCK,
    });
    answer[list] = blocks.into();
    if let Some(next) = next {
        answer["NextToken"] = next.into();
    }
    Response::json(200, &answer)
}

pub(super) fn list_snapshot_blocks(call: &Call<'_>) -> Outcome {
    let id = snapshot_id(call, 1)?;
    let mut world = call.world();
    admit(call, &mut world.windows, "list", call.rules().quotas.list)?;
    let tokens = Tokens::new(&mut world);
    let page = page(call, &tokens, id)?;
    let snapshot = readable(call, world.region(call.region()), id)?;
    let indexes: BTreeSet<u32> = snapshot.inherited.keys().chain(snapshot.blocks.keys()).copied().collect();
    let mut rest = indexes.range(page.first..);
    let blocks = rest.by_ref().take(page.most);
    let blocks = blocks.map(|index| json!({ "BlockIndex": index, "BlockToken": tokens.issue(id, *index) })).collect();
    let next = rest.next().map(|index| tokens.issue(&format!("page of {id}"), *index));
    Ok(listing("Blocks", blocks, &tokens, snapshot.volume_size, next))
}

pub(super) fn list_changed_blocks(call: &Call<'_>) -> Outcome {
    let second_id = snapshot_id(call, 1)?;
    let first_id = call.head.query("firstSnapshotId");
    let mut world = call.world();
    admit(call, &mut world.windows, "list", call.rules().quotas.list)?;
    let tokens = Tokens::new(&mut world);
    let what = format!("{} to {second_id}", first_id.unwrap_or(""));
    let page = page(call, &tokens, &what)?;
    let region = world.region(call.region());
    let second = readable(call, region, second_id)?;
    let first = match first_id {
        None => None,
        Some(id) => {
            check_snapshot_id(id)?;
            Some(readable(call, region, id)?)
        }
    };
    if first.is_some_and(|first| first.id != second.id && !second.lineage.contains(&first.id)) {
        let message = "The specified snapshots are not of the same lineage.";
        return Err(Refusal::validation("UNRELATED_SNAPSHOTS", message));
    }
    let digest = |snapshot: Option<&Snapshot>, index| snapshot?.written(index).map(|block: &Block| block.digest);
    let all = [Some(second), first].into_iter().flatten().flat_map(|s| s.inherited.keys().chain(s.blocks.keys()));
    let all: BTreeSet<u32> = all.copied().filter(|i| digest(first, *i) != digest(Some(second), *i)).collect();
    let mut rest = all.range(page.first..);
    let mut blocks = Vec::new();
    for index in rest.by_ref().take(page.most) {
        let mut block = json!({ "BlockIndex": index, "SecondBlockToken": tokens.issue(second_id, *index) });
        if let Some(first) = first.filter(|first| first.written(*index).is_some()) {
            block["FirstBlockToken"] = tokens.issue(&first.id, *index).into();
        }
        blocks.push(block);
    }
    let next = rest.next().map(|index| tokens.issue(&format!("page of {what}"), *index));
    Ok(listing("ChangedBlocks", blocks, &tokens, second.volume_size, next))
}

pub(super) fn get_snapshot_block(call: &Call<'_>) -> Outcome {
    let (id, index) = (snapshot_id(call, 2)?, block_index(call)?);
    let mut world = call.world();
    admit(call, &mut world.windows, "get", call.rules().quotas.get)?;
    let tokens = Tokens::new(&mut world);
    let snapshot = world.snapshot_mut(call.region(), id).filter(|snapshot| snapshot.visible_to(call.account()));
    let snapshot = snapshot.ok_or_else(|| Refusal::no_snapshot(id))?;
    let token = call.head.query("blockToken").unwrap_or("");
    let invalid = || Refusal::validation("INVALID_BLOCK_TOKEN", "The block token is not valid.");
    if tokens.check(id, token) != Some(index) {
        return Err(invalid());
    }
    let block = snapshot.written(index).ok_or_else(invalid)?.clone();
    drop(world);
    let mut content = Content::Block(block.data);
    let probability = call.shared.trouble().faults.corrupt_reads;
    if call.shared.trouble().chance(probability) {
        let mut data = content.bytes().to_vec();
        data[BLOCK / 2] ^= 1;
        content = Content::Owned(data);
    }
    Ok(Response::new(200, content)
        .header("Content-Type", "application/octet-stream")
        .header("x-amz-Data-Length", BLOCK.to_string())
        .header("x-amz-Checksum", STANDARD.encode(block.digest))
        .header("x-amz-Checksum-Algorithm", "SHA256"))
}
