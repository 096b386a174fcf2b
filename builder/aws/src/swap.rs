//! The snapshot of which EC2 makes swap volumes: it holds the mark by which init knows such a volume, and nothing else.
//!
//! An empty volume would not do: what nobody wrote of an encrypted one reads as noise, which init can't tell from data,
//! and the account may encrypt what the image does not. What was written reads back under any encryption. The snapshot
//! is the same for all images with swap of a size, and is sent once.

use crate::account::Session;
use crate::contents::{BLOCK, BlockDigest, Contents, read_block};
use crate::encryption::Encryption;
use crate::publish::Order;
use crate::report::{Count, Report, Silent};
use crate::snapshot::{self, Wanted};
use crate::state::State;
use crate::tags::{self, Tags};
use anyhow::{Context, Result};
use initramfs::swap_mark;
use std::fs::File;
use std::sync::Arc;

/// What the blocks of a snapshot are read from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// A disk.
    Disk(Arc<File>),
    /// The mark of a swap volume of so many GiB.
    Mark(u32),
}

impl Source {
    /// One block.
    ///
    /// # Errors
    /// When it can't be read.
    pub(crate) fn read(&self, index: u32) -> Result<Vec<u8>> {
        match self {
            Source::Disk(file) => read_block(file, index),
            Source::Mark(gib) => Ok(mark_block(*gib, index)),
        }
    }
}

fn mark_block(gib: u32, index: u32) -> Vec<u8> {
    let (start, size) = (u64::from(index) * BLOCK as u64, u64::from(gib) << 30);
    let offsets = (0..BLOCK).step_by(swap_mark::BLOCK).map(|offset| start + offset as u64);
    offsets.flat_map(|offset| swap_mark::block(offset, size)).collect()
}

/// The blocks of the mark: those of the first and of the last MiB of the volume.
fn contents(gib: u32) -> Result<Contents> {
    let (size, block) = (u64::from(gib) << 30, BLOCK as u64);
    let blocks = swap_mark::areas(size).into_iter().flat_map(|start| start / block..(start + swap_mark::AREA) / block);
    let digest = |index| Ok((index, BlockDigest::of(&mark_block(gib, index))));
    Contents::new(blocks.map(|index| digest(u32::try_from(index)?)).collect::<Result<_>>()?)
}

/// Finds the snapshot for the swap volume of an order, or makes it; `None` where no swap is wanted.
pub(crate) async fn snapshot(
    session: &Session,
    order: &Order,
    state: &State,
    report: &dyn Report,
) -> Result<Option<String>> {
    let gib = order.machine.swap;
    if gib == 0 {
        return Ok(None);
    }
    let contents = contents(gib)?;
    let ours = [
        ("Name", format!("NanoOS swap, {gib} GiB")),
        (tags::CONTENT, contents.id()),
        (tags::SWAP, format!("{gib} GiB")),
    ];
    // The user's, too: an account may allow no snapshot without them.
    let mut tags: Tags = order.tags.clone();
    tags.extend(ours.map(|(key, value)| (key.to_owned(), value)));
    let wanted = Wanted {
        disk: &Source::Mark(gib),
        contents: &contents,
        description: &format!("NanoOS: the mark of a swap volume of {gib} GiB"),
        tags: &tags,
        encryption: &order.machine.swap_encryption(&order.encryption),
        repository: "",
        force: order.force,
    };
    let made = snapshot::make(session, &wanted, state, &OfMark(report)).await;
    Ok(Some(made.context("the snapshot for the swap volume")?.id))
}

/// Tells what happens to the mark beside what happens to the disk.
struct OfMark<'a>(&'a dyn Report);

impl Report for OfMark<'_> {
    fn step(&self, text: String) {
        self.0.step(format!("{text} (for the swap volume)"));
    }

    fn warn(&self, text: String) {
        self.0.warn(format!("{text} (for the swap volume)"));
    }

    /// Nothing that takes its time.
    fn count(&self, _: &str, _: u64) -> Box<dyn Count> {
        Box::new(Silent)
    }
}

impl crate::image::Machine {
    /// How the swap volume's snapshot is to be encrypted: what init leaves unencrypted, EBS encrypts in any case, as a
    /// program's memory ends there.
    pub(crate) fn swap_encryption(&self, encryption: &Encryption) -> Encryption {
        match encryption {
            Encryption::Default if self.plain_swap => Encryption::Encrypted,
            other => other.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_at_both_ends_of_the_volume_and_is_the_contracts() {
        for gib in [1, 2, 1024, 65_536] {
            let contents = contents(gib).unwrap();
            assert_eq!(contents.volume(), gib);
            let indexes: Vec<u32> = contents.blocks().iter().map(|(index, _)| *index).collect();
            let end = gib * 2048;
            assert_eq!(indexes, [0, 1, end - 2, end - 1]);
            let size = u64::from(gib) << 30;
            let source = Source::Mark(gib);
            for (start, blocks) in swap_mark::areas(size).into_iter().zip(indexes.chunks(2)) {
                let read: Vec<u8> = blocks.iter().flat_map(|index| source.read(*index).unwrap()).collect();
                assert!(read == swap_mark::area(start, size), "{gib} GiB at {start}");
            }
        }
        assert_ne!(contents(1).unwrap().id(), contents(2).unwrap().id());
    }
}
