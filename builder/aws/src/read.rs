//! Blocks of a complete snapshot: which ones there are, and their digests.

use crate::account::Session;
use crate::contents::{BLOCK, BlockDigest};
use crate::describe::next_page;
use crate::failure::Failure;
use crate::retry::Patience;
use aws_sdk_ec2::error::{ConnectorError, SdkError};
use std::collections::BTreeMap;
use tokio::task::JoinSet;

/// Blocks that are read at the same time.
const READS: usize = 32;

/// Where the blocks of a snapshot lie, with the tokens to read them.
pub(crate) type Listed = BTreeMap<u32, String>;

/// Every block that a volume of a snapshot has, of it or of those that it was built upon (EBS direct APIs,
/// ListSnapshotBlocks). Any other was never written.
pub(crate) async fn list(session: &Session, id: &str) -> Result<Listed, Failure> {
    let (action, mut blocks) = ("ebs:ListSnapshotBlocks", Listed::new());
    let mut next: Option<String> = None;
    loop {
        let ask = || session.ebs.list_snapshot_blocks().snapshot_id(id).set_next_token(next.clone()).send();
        let page = session.call(action, Patience::ordinary(&session.timing), ask).await?;
        for block in page.blocks.unwrap_or_default() {
            let index = block.block_index.and_then(|index| u32::try_from(index).ok());
            // One that is passed over would be taken to be empty.
            let none = || Failure::unexpected(action, &session.region, "the answer has a block without its index");
            blocks.insert(index.ok_or_else(none)?, block.block_token.unwrap_or_default());
        }
        next = next_page(action, &session.region, next.as_ref(), page.next_token)?;
        if next.is_none() {
            return Ok(blocks);
        }
    }
}

/// Digests of blocks of a snapshot.
pub(crate) async fn get(session: &Session, id: &str, blocks: Listed) -> Result<BTreeMap<u32, BlockDigest>, Failure> {
    let mut digests = BTreeMap::new();
    let mut reads = JoinSet::new();
    for (index, token) in blocks {
        if reads.len() >= READS
            && let Some(read) = reads.join_next().await
        {
            digests.extend(joined(session, read)?);
        }
        let (session, id) = (session.clone(), id.to_owned());
        reads.spawn(async move { Ok((index, get_one(&session, &id, index, &token).await?)) });
    }
    while let Some(read) = reads.join_next().await {
        digests.extend(joined(session, read)?);
    }
    Ok(digests)
}

type Read = Result<(u32, BlockDigest), Failure>;

fn joined(
    session: &Session,
    read: Result<Read, tokio::task::JoinError>,
) -> Result<Option<(u32, BlockDigest)>, Failure> {
    match read {
        Ok(read) => read.map(Some),
        Err(error) => Err(Failure::unexpected("ebs:GetSnapshotBlock", &session.region, error.to_string())),
    }
}

async fn get_one(session: &Session, id: &str, index: u32, token: &str) -> Result<BlockDigest, Failure> {
    let ask = || async {
        let call = session.ebs.get_snapshot_block().snapshot_id(id).block_index(index.cast_signed()).block_token(token);
        let answer = call.send().await?;
        let (told, mut body) = (answer.checksum, answer.block_data);
        let mut block = Vec::with_capacity(BLOCK);
        while let Some(part) = body.next().await {
            block.extend(part.map_err(|error| SdkError::dispatch_failure(ConnectorError::io(error.into())))?);
            if block.len() > BLOCK {
                break;
            }
        }
        if block.len() != BLOCK {
            let short = std::io::Error::other(format!("{} bytes of a block", block.len()));
            return Err(SdkError::dispatch_failure(ConnectorError::io(short.into())));
        }
        let digest = BlockDigest::of(&block);
        if told.is_some_and(|told| told != digest.base64()) {
            let damaged = std::io::Error::other("a block was damaged on its way");
            return Err(SdkError::dispatch_failure(ConnectorError::io(damaged.into())));
        }
        Ok(digest)
    };
    session.call("ebs:GetSnapshotBlock", Patience::ordinary(&session.timing), ask).await
}
