//! A volume as an instance of an image gets it: of the image's mapping, and encrypted where the account has it so.

use crate::blocks::{BLOCK, noise};
use crate::image::Mapping;
use crate::state::{BLOCKS_PER_GIB, Region, Snapshot};

/// A new volume. Nothing is launched for it.
#[derive(Debug, Clone)]
pub struct Volume {
    /// GiB.
    pub size: u64,
    /// Whether it is encrypted.
    pub encrypted: bool,
    snapshot: Option<Snapshot>,
    /// Of its noise.
    name: String,
}

impl Volume {
    /// The volume of an image's device.
    pub(crate) fn new(region: &Region, image: &str, device: &str, by_default: bool) -> Option<Self> {
        let mappings = &region.images.get(image)?.mappings;
        let Mapping { snapshot, size, encrypted, .. } = mappings.iter().find(|mapping| mapping.device == device)?;
        let snapshot = match snapshot {
            Some(id) => Some(region.snapshots.get(id)?.clone()),
            None => None,
        };
        let name = format!("{image}{device}");
        Some(Volume { size: *size, encrypted: *encrypted || by_default, snapshot, name })
    }

    /// Blocks that it has.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.size * BLOCKS_PER_GIB
    }

    /// What it reads at a block: what was written to the snapshot; else zeros, or noise where it is encrypted, whether
    /// its snapshot is or not.
    #[must_use]
    pub fn read(&self, index: u32) -> Vec<u8> {
        match self.snapshot.as_ref().and_then(|snapshot| snapshot.written(index)) {
            Some(block) => block.data.to_vec(),
            None if self.encrypted => noise(&self.name, index),
            None => vec![0; BLOCK],
        }
    }
}
