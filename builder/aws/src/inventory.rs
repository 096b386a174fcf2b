//! What we made in a region, known by its tags.

use crate::account::Session;
use crate::contents::is_of_old_kind;
use crate::describe::filter;
use crate::instance::state;
use crate::naming::source_of;
use crate::tags;
use anyhow::Result;
use aws_sdk_ec2::types::{Filter, Image, Instance, Snapshot};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

/// States of an instance that is not gone, and not going.
const ALIVE: [&str; 4] = ["pending", "running", "stopping", "stopped"];

/// What we made in a region.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// The region.
    pub region: String,
    /// Images, by their time.
    pub images: Vec<OurImage>,
    /// Snapshots, by their time.
    pub snapshots: Vec<OurSnapshot>,
    /// Instances of launch checks that still live.
    pub instances: Vec<OurInstance>,
}

/// An image of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OurImage {
    /// `ami-…`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was made, as EC2 tells it (ISO 8601).
    pub created: String,
    /// The identity of the disk's contents.
    pub content: String,
    /// What it was made of, such as `nginx:1.27`; empty where nothing tells it.
    pub source: String,
    /// Its snapshots: the disk's, and that of which its swap volume is made.
    pub snapshots: Vec<String>,
    /// `available`, `pending`, `failed`, …
    pub state: String,
    /// Whether an earlier builder made it, which did not see to it that nothing of other images is readable in its
    /// volume.
    pub old_kind: bool,
}

/// A snapshot of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OurSnapshot {
    /// `snap-…`.
    pub id: String,
    /// `pending`, `completed` or `error`.
    pub state: String,
    /// The volume's size, GiB.
    pub size: u32,
    /// When it was begun.
    pub started: Option<SystemTime>,
    /// The identity of the disk's contents.
    pub content: String,
    /// Whether it is one for swap volumes, and holds no disk.
    pub swap: bool,
    /// Images of the account that use it, ours or not.
    pub used_by: Vec<String>,
    /// As [`OurImage::old_kind`].
    pub old_kind: bool,
}

/// An instance of a launch check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OurInstance {
    /// `i-…`.
    pub id: String,
    /// The image that is checked.
    pub image: String,
    /// `pending`, `running`, …
    pub state: String,
    /// When it was launched.
    pub launched: Option<SystemTime>,
}

/// Lists what we made in a region.
///
/// # Errors
/// When AWS does not tell.
pub async fn list(session: &Session) -> Result<Inventory> {
    let ours = [filter("tag-key", tags::CONTENT)];
    let checks = [filter("tag-key", tags::CHECK), one_of("instance-state-name", &ALIVE)];
    // Of images all are asked for: others may use our snapshots.
    let (images, snapshots, instances) =
        tokio::try_join!(session.images_and_disabled(&[]), session.snapshots(&ours), session.instances(&checks))?;
    let users = users(&images);
    let mut inventory = Inventory {
        region: session.region.clone(),
        images: images.iter().filter_map(our_image).collect(),
        snapshots: snapshots.iter().filter_map(|snapshot| our_snapshot(snapshot, &users)).collect(),
        instances: instances.iter().filter_map(our_instance).collect(),
    };
    inventory.images.sort_by(|one, next| (&one.created, &one.id).cmp(&(&next.created, &next.id)));
    inventory.snapshots.sort_by(|one, next| (one.started, &one.id).cmp(&(next.started, &next.id)));
    inventory.instances.sort_by(|one, next| (one.launched, &one.id).cmp(&(next.launched, &next.id)));
    Ok(inventory)
}

impl Inventory {
    /// Snapshots that no image uses and that are older than this: what interrupted runs left, and what images that somebody else
    /// deregistered were made of.
    ///
    /// One that others were built upon may be among them. Deleting it is safe: EBS keeps every block that another snapshot needs
    /// (Amazon EBS user guide, "Delete an Amazon EBS snapshot"); only the next build finds one parent less. A pending one that is
    /// younger may be another builder's, at work.
    #[must_use]
    pub fn unused(&self, now: SystemTime, older_than: Duration) -> Vec<&OurSnapshot> {
        let old = |started: SystemTime| now.duration_since(started).is_ok_and(|age| age >= older_than);
        self.snapshots.iter().filter(|it| it.used_by.is_empty() && it.started.is_some_and(old)).collect()
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.images.is_empty() && self.snapshots.is_empty() && self.instances.is_empty()
    }
}

/// A filter with several values, of which one has to match.
pub(crate) fn one_of<T: ToString>(name: &str, values: &[T]) -> Filter {
    Filter::builder().name(name).set_values(Some(values.iter().map(ToString::to_string).collect())).build()
}

/// The snapshots that an image is made of.
pub(crate) fn snapshots_of(image: &Image) -> impl Iterator<Item = &str> {
    image.block_device_mappings().iter().filter_map(|mapping| mapping.ebs()?.snapshot_id())
}

/// The images that use each snapshot.
pub(crate) fn users(images: &[Image]) -> BTreeMap<String, BTreeSet<String>> {
    let mut users: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for image in images {
        for snapshot in snapshots_of(image) {
            users.entry(snapshot.to_owned()).or_default().extend(image.image_id.clone());
        }
    }
    users
}

fn our_image(image: &Image) -> Option<OurImage> {
    let content = tags::find(image.tags(), tags::CONTENT)?.to_owned();
    let description = image.description().unwrap_or_default();
    Some(OurImage {
        id: image.image_id.clone()?,
        name: image.name.clone().unwrap_or_default(),
        created: image.creation_date.clone().unwrap_or_default(),
        old_kind: is_of_old_kind(&content),
        content,
        source: source_of(description).to_owned(),
        snapshots: snapshots_of(image).map(ToOwned::to_owned).collect(),
        state: image.state.as_ref().map_or("unknown", |state| state.as_str()).to_owned(),
    })
}

fn our_snapshot(snapshot: &Snapshot, users: &BTreeMap<String, BTreeSet<String>>) -> Option<OurSnapshot> {
    let id = snapshot.snapshot_id.clone()?;
    let content = tags::find(snapshot.tags(), tags::CONTENT)?.to_owned();
    Some(OurSnapshot {
        old_kind: is_of_old_kind(&content),
        content,
        swap: tags::find(snapshot.tags(), tags::SWAP).is_some(),
        state: snapshot.state.as_ref().map_or("unknown", |state| state.as_str()).to_owned(),
        size: snapshot.volume_size.and_then(|size| u32::try_from(size).ok()).unwrap_or_default(),
        started: snapshot.start_time.and_then(|time| SystemTime::try_from(time).ok()),
        used_by: users.get(&id).into_iter().flatten().cloned().collect(),
        id,
    })
}

fn our_instance(instance: &Instance) -> Option<OurInstance> {
    Some(OurInstance {
        id: instance.instance_id.clone()?,
        image: tags::find(instance.tags(), tags::CHECK)?.to_owned(),
        state: state(instance).map_or("unknown", |state| state.as_str()).to_owned(),
        launched: instance.launch_time.and_then(|time| SystemTime::try_from(time).ok()),
    })
}
