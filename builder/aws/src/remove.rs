//! Removes what we made: images with their snapshots, snapshots, instances.

use crate::account::Session;
use crate::failure::{Failure, Kind};
use crate::inventory::{one_of, snapshots_of, users};
use crate::report::Report;
use crate::retry::Patience;
use crate::tags;
use anyhow::{Context, Result, anyhow, bail, ensure};
use aws_sdk_ec2::types::{Image, Tag};
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::{Instant, sleep};

/// Values of a filter at most (Amazon EC2 user guide, "Filter limits").
const MOST_VALUES: usize = 200;

/// What became of something that was to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// An image is deregistered.
    Image {
        /// Its snapshots that are deleted.
        deleted: Vec<String>,
        /// Its snapshots that another image uses, or that are not ours.
        kept: Vec<String>,
    },
    /// A snapshot is deleted.
    Snapshot,
    /// An instance is being terminated.
    Instance,
    /// It was not there.
    Gone,
}

/// Removes images (with their snapshots, unless another image uses them), snapshots and instances of launch checks. What fails is
/// told in its place, and does not hold up the others; what is gone already is no failure.
///
/// # Errors
/// When one of them is not ours, or AWS does not tell whether it is; nothing is removed then.
pub async fn remove(session: &Session, ids: &[String], report: &dyn Report) -> Result<Vec<(String, Result<Removed>)>> {
    let mut chosen = Chosen::look(session, ids).await?;
    let mut results = Vec::new();
    let mut seen = BTreeSet::new();
    for id in ids.iter().filter(|id| seen.insert(*id)) {
        report.step(format!("{}: remove {id}", session.region));
        results.push((id.clone(), chosen.remove(session, id, report).await));
    }
    Ok(results)
}

/// What is to be removed, as it was before.
struct Chosen {
    images: BTreeMap<String, Image>,
    snapshots: BTreeSet<String>,
    instances: BTreeSet<String>,
    /// The images that use each snapshot, without those that are removed.
    users: BTreeMap<String, BTreeSet<String>>,
    /// Images that were removed here. They may be told of for some seconds yet.
    gone: BTreeSet<String>,
}

impl Chosen {
    async fn look(session: &Session, ids: &[String]) -> Result<Self> {
        for id in ids {
            ensure!(
                ["ami-", "snap-", "i-"].iter().any(|prefix| id.strip_prefix(prefix).is_some_and(is_hex)),
                "{id} is the id of no image (ami-…), snapshot (snap-…) or instance (i-…); nothing was removed"
            );
        }
        let mut found = Found::default();
        let starting = |prefix| ids.iter().filter(|id| id.starts_with(prefix)).cloned().collect::<Vec<_>>();
        for ids in starting("ami-").chunks(MOST_VALUES) {
            found.add_images(session.images_and_disabled(&[one_of("image-id", ids)]).await?);
        }
        for ids in starting("snap-").chunks(MOST_VALUES) {
            for snapshot in session.snapshots(&[one_of("snapshot-id", ids)]).await? {
                if let Some(id) = found.ours(snapshot.snapshot_id.clone(), snapshot.tags(), tags::CONTENT) {
                    found.snapshots.insert(id);
                }
            }
        }
        for ids in starting("i-").chunks(MOST_VALUES) {
            for instance in session.instances(&[one_of("instance-id", ids)]).await? {
                if let Some(id) = found.ours(instance.instance_id.clone(), instance.tags(), tags::CHECK) {
                    found.instances.insert(id);
                }
            }
        }
        let Found { images, snapshots, instances, foreign } = found;
        if !foreign.is_empty() {
            bail!(
                "builder did not make {} in {} (no tag of ours), and removes only what it made; nothing was removed",
                foreign.join(", "),
                session.region
            );
        }
        let users = users(&session.images_and_disabled(&[]).await?);
        Ok(Chosen { images, snapshots, instances, users, gone: BTreeSet::new() })
    }

    async fn remove(&mut self, session: &Session, id: &str, report: &dyn Report) -> Result<Removed> {
        if let Some(image) = self.images.remove(id) {
            return self.remove_image(session, id, &image, report).await;
        }
        if self.instances.contains(id) {
            let there = session.terminate(id, Patience::ordinary(&session.timing)).await?;
            return Ok(if there { Removed::Instance } else { Removed::Gone });
        }
        if !self.snapshots.contains(id) {
            return Ok(Removed::Gone);
        }
        let deleted = match self.users.get(id).and_then(BTreeSet::first) {
            Some(user) => Deleted::Not(user.clone()),
            None => delete_snapshot(session, id, &self.gone).await?,
        };
        match deleted {
            Deleted::Now => Ok(Removed::Snapshot),
            Deleted::Before => Ok(Removed::Gone),
            Deleted::Not(user) => {
                bail!("{id} in {} is used by {user}: remove that, and its snapshot goes too", session.region)
            }
        }
    }

    async fn remove_image(
        &mut self,
        session: &Session,
        id: &str,
        image: &Image,
        report: &dyn Report,
    ) -> Result<Removed> {
        deregister(session, id).await?;
        self.gone.insert(id.to_owned());
        let (mut deleted, mut kept, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        let snapshots: Vec<String> = snapshots_of(image).map(ToOwned::to_owned).collect();
        // A snapshot for swap may have become another image's since this began.
        let looked = tokio::try_join!(ours_among(session, &snapshots), session.images_and_disabled(&[]));
        let (ours, mut images) =
            looked.with_context(|| format!("{id} is deregistered; its snapshots {} remain", snapshots.join(", ")))?;
        images.retain(|image| image.image_id().is_none_or(|id| !self.gone.contains(id)));
        self.users = users(&images);
        for snapshot in snapshots {
            if self.users.contains_key(&snapshot) || !ours.contains(&snapshot) {
                kept.push(snapshot);
                continue;
            }
            match delete_snapshot(session, &snapshot, &self.gone).await {
                Ok(Deleted::Now | Deleted::Before) => deleted.push(snapshot),
                Ok(Deleted::Not(user)) => {
                    let why = "which AWS does not list, as where it is in the Recycle Bin";
                    report.warn(format!("{}: {snapshot} stays: {user} uses it, {why}", session.region));
                    kept.push(snapshot);
                }
                Err(failure) => failed.push(format!("{snapshot}: {failure}")),
            }
        }
        if failed.is_empty() {
            return Ok(Removed::Image { deleted, kept });
        }
        Err(anyhow!(
            "{id} is deregistered, but its snapshot remains (builder aws rm removes it): {}",
            failed.join("; ")
        ))
    }
}

/// Those of an image's snapshots that have our tag.
async fn ours_among(session: &Session, ids: &[String]) -> Result<BTreeSet<String>, Failure> {
    if ids.is_empty() {
        return Ok(BTreeSet::new());
    }
    let found = session.snapshots(&[one_of("snapshot-id", ids)]).await?;
    let ours = found.into_iter().filter(|snapshot| tags::find(snapshot.tags(), tags::CONTENT).is_some());
    Ok(ours.filter_map(|snapshot| snapshot.snapshot_id).collect())
}

/// What there is of what was asked for.
#[derive(Default)]
struct Found {
    images: BTreeMap<String, Image>,
    snapshots: BTreeSet<String>,
    instances: BTreeSet<String>,
    /// Without our tag.
    foreign: Vec<String>,
}

impl Found {
    fn add_images(&mut self, images: Vec<Image>) {
        for image in images {
            if let Some(id) = self.ours(image.image_id.clone(), image.tags(), tags::CONTENT) {
                self.images.insert(id, image);
            }
        }
    }

    /// The id of what has our tag.
    fn ours(&mut self, id: Option<String>, its: &[Tag], key: &str) -> Option<String> {
        let id = id?;
        if tags::find(its, key).is_some() {
            return Some(id);
        }
        self.foreign.push(id);
        None
    }
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Deregisters an image; one that is gone already is no failure.
pub(crate) async fn deregister(session: &Session, id: &str) -> Result<(), Failure> {
    let ask = || session.ec2.deregister_image().image_id(id).send();
    match session.call("ec2:DeregisterImage", Patience::ordinary(&session.timing), ask).await {
        Ok(_) => Ok(()),
        Err(failure) if failure.kind == Kind::Missing => Ok(()),
        Err(failure) => Err(failure),
    }
}

/// Whether a snapshot is deleted.
#[derive(Debug)]
pub(crate) enum Deleted {
    Now,
    /// It was gone already.
    Before,
    /// This image uses it.
    Not(String),
}

/// Deletes a snapshot. It may be called used for some seconds yet by the images that are `gone`.
pub(crate) async fn delete_snapshot(session: &Session, id: &str, gone: &BTreeSet<String>) -> Result<Deleted, Failure> {
    let start = Instant::now();
    loop {
        let ask = || session.ec2.delete_snapshot().snapshot_id(id).send();
        match session.call("ec2:DeleteSnapshot", Patience::ordinary(&session.timing), ask).await {
            Ok(_) => return Ok(Deleted::Now),
            Err(failure) if failure.kind == Kind::Missing => return Ok(Deleted::Before),
            Err(failure) if failure.is("InvalidSnapshot.InUse") => match user(&failure.message) {
                Some(user) if !gone.contains(&user) => return Ok(Deleted::Not(user)),
                _ if !gone.is_empty() && start.elapsed() < session.timing.seen => sleep(session.timing.poll).await,
                _ => return Err(failure),
            },
            Err(failure) => return Err(failure),
        }
    }
}

/// The image that uses a snapshot, as AWS says where it refuses to delete it: "… is currently in use by ami-…".
fn user(message: &str) -> Option<String> {
    let mut words = message.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    words.find(|word| word.strip_prefix("ami-").is_some_and(is_hex)).map(ToOwned::to_owned)
}
