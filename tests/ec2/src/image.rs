//! Images: what RegisterImage and CopyImage make.

use crate::state::{Progress, Tags};
use std::collections::BTreeSet;
use std::time::SystemTime;

/// The state of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageState {
    /// Not yet to be launched.
    Pending,
    /// To be launched.
    Available,
    /// It will never be available.
    Failed,
}

impl ImageState {
    /// As DescribeImages tells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ImageState::Pending => "pending",
            ImageState::Available => "available",
            ImageState::Failed => "failed",
        }
    }
}

/// A volume of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapping {
    /// Such as `/dev/xvda`.
    pub device: String,
    /// The snapshot; None for a blank volume.
    pub snapshot: Option<String>,
    /// GiB.
    pub size: u64,
    /// Such as `gp3`.
    pub volume_type: String,
    /// Gone with the instance. AWS's default is true for what an image maps.
    pub delete_on_termination: bool,
    /// Of a blank volume, as asked for; of a snapshot's, as the snapshot.
    pub encrypted: bool,
    /// The key of a blank volume.
    pub kms_key: Option<String>,
    /// Operations a second, where given.
    pub iops: Option<u64>,
    /// MiB/s, where given.
    pub throughput: Option<u64>,
}

/// An image.
#[derive(Debug, Clone)]
pub struct Image {
    /// `ami-…`.
    pub id: String,
    /// Unique in its account and region.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Its account.
    pub owner: String,
    /// Its state and where that leads.
    pub progress: Progress<ImageState>,
    /// `x86_64`, `arm64`, or what AWS registers when nobody says: `i386`.
    pub architecture: String,
    /// `hvm`, or what AWS registers when nobody says: `paravirtual`.
    pub virtualization: String,
    /// One of the mappings' devices.
    pub root_device: String,
    /// Its volumes.
    pub mappings: Vec<Mapping>,
    /// `uefi`, `legacy-bios`, `uefi-preferred`.
    pub boot_mode: Option<String>,
    /// `v2.0`.
    pub tpm: Option<String>,
    /// `v2.0`.
    pub imds: Option<String>,
    /// ENA.
    pub ena: bool,
    /// `simple`.
    pub sriov: Option<String>,
    /// Its tags.
    pub tags: Tags,
    /// Why it failed.
    pub state_reason: Option<String>,
    /// Accounts that may launch it.
    pub shared_with: BTreeSet<String>,
    /// When it was made.
    pub created: SystemTime,
    /// Region and identifier of the image it was copied from.
    pub source: Option<(String, String)>,
    /// Answers of DescribeImages that do not see it yet.
    pub(crate) unseen: u32,
    /// Whether it is disabled, and listed only where that is asked for (DisableImage).
    pub(crate) disabled: bool,
}

impl Image {
    /// Its state.
    #[must_use]
    pub fn state(&self) -> ImageState {
        self.progress.state()
    }

    /// Whether an account may see it.
    pub(crate) fn visible_to(&self, account: &str) -> bool {
        self.owner == account || self.shared_with.contains(account)
    }
}
