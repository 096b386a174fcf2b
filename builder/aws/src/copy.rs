//! An image in another region, copied by AWS.

use crate::account::Session;
use crate::contents::hex;
use crate::describe::filter;
use crate::encryption::Encryption;
use crate::failure::Failure;
use crate::image::{add_tags, available, named, root_snapshot};
use crate::inventory::snapshots_of;
use crate::likeness::differences;
use crate::promote::Promoted;
use crate::remove::{Deleted, delete_snapshot, deregister};
use crate::report::Report;
use crate::retry::Patience;
use crate::tags::{self, Tags};
use anyhow::{Context, Result, bail, ensure};
use aws_sdk_ec2::types::{Image, ImageState, ResourceType, Tag};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

/// The identity of contents that a snapshot has until it is known which of a copy's it is: ours, but no disk's.
const UNKNOWN: &str = "not known yet";

/// An image as it is where it comes from.
#[derive(Debug)]
pub(crate) struct Original {
    pub(crate) id: String,
    pub(crate) region: String,
    pub(crate) image: Image,
    name: String,
    tags: Tags,
    /// Those that a copy's snapshots are to have, by the device; but for their encryption.
    snapshot_tags: BTreeMap<String, Tags>,
}

impl Original {
    pub(crate) async fn of(session: &Session, image: Image) -> Result<Self> {
        let tags = own(image.tags());
        let mut snapshot_tags = BTreeMap::new();
        for (device, id) in snapshots_by_device(&image) {
            let snapshot = session.snapshot(id).await?;
            let mut of_snapshot = snapshot.as_ref().map_or_else(Tags::new, |snapshot| own(snapshot.tags()));
            if !of_snapshot.contains_key(tags::CONTENT) && root_snapshot(&image) == Some(id) {
                of_snapshot = tags.clone();
            }
            // A copy is built upon no other snapshot, and is no machine.
            of_snapshot.retain(|key, _| ![tags::PARENT, tags::MACHINE].contains(&key.as_str()));
            snapshot_tags.insert(device.to_owned(), of_snapshot);
        }
        Ok(Original {
            id: image.image_id.clone().unwrap_or_default(),
            region: session.region.clone(),
            name: image.name.clone().unwrap_or_default(),
            image,
            tags,
            snapshot_tags,
        })
    }

    /// The tags of a device's snapshot that is encrypted so.
    fn snapshot_tags(&self, device: &str, encryption: &Encryption) -> Tags {
        let mut tags = self.snapshot_tags.get(device).cloned().unwrap_or_default();
        let as_it_is = *encryption == Encryption::Default
            && tags.get(tags::ENCRYPTION) == Some(&Encryption::Encrypted.to_string());
        if tags.contains_key(tags::CONTENT) && !as_it_is {
            tags.insert(tags::ENCRYPTION.to_owned(), encryption.to_string());
        }
        tags
    }

    /// The tags that CopyImage gives to all snapshots alike: those that all are to have. Where they hold different
    /// things, which one is which is told later.
    fn common_tags(&self, encryption: &Encryption) -> Tags {
        let all: Vec<Tags> = self.snapshot_tags.keys().map(|device| self.snapshot_tags(device, encryption)).collect();
        let mut common = all.first().cloned().unwrap_or_default();
        common.retain(|key, value| all.iter().all(|other| other.get(key) == Some(value)));
        if !all.is_empty() && all.iter().all(|tags| tags.contains_key(tags::CONTENT)) {
            common.entry(tags::CONTENT.to_owned()).or_insert_with(|| UNKNOWN.to_owned());
        }
        common
    }

    /// Whether another image is a copy of this one.
    fn is_source_of(&self, image: &Image) -> bool {
        image.source_image_id() == Some(&self.id) && image.source_image_region() == Some(&self.region)
    }
}

/// An image's snapshots, each with the device of its volume.
fn snapshots_by_device(image: &Image) -> impl Iterator<Item = (&str, &str)> {
    let mappings = image.block_device_mappings().iter();
    mappings.filter_map(|mapping| Some((mapping.device_name().unwrap_or_default(), mapping.ebs()?.snapshot_id()?)))
}

/// The tags that are not AWS's own.
fn own(all: &[Tag]) -> Tags {
    let pairs = all.iter().filter_map(|tag| Some((tag.key.clone()?, tag.value.clone().unwrap_or_default())));
    pairs.filter(|(key, _)| !key.to_ascii_lowercase().starts_with("aws:")).collect()
}

/// Copies an image to a region, unless it is there: look → copy → wait → hold against the original → tag.
pub(crate) async fn copy(
    to: &Session,
    original: &Original,
    encryption: &Encryption,
    report: &dyn Report,
) -> Result<Promoted> {
    if let Encryption::Key(key) = encryption {
        ensure!(
            key.region() == to.region,
            "--kms-key {}: a key is used in its own region, {}, and this is {}",
            key.as_str(),
            key.region(),
            to.region
        );
    }
    if to.region == original.region {
        report.step(format!("{}: {} is here already", to.region, original.id));
        return Ok(Promoted { image: original.id.clone(), region: to.region.clone(), found: true });
    }
    report.step(format!("{}: look for a copy of {}", to.region, original.id));
    let (id, found) = match existing(to, original).await? {
        Some(id) => (id, true),
        None => ask(to, original, encryption).await?,
    };
    let how = if found { "is there already" } else { "is being copied" };
    report.step(format!("{}: {id} ({}) {how}", to.region, original.name));
    if let Err(error) = available(to, &id).await {
        if !found {
            discard(to, &id, report).await;
        }
        return Err(error);
    }
    check(to, original, encryption, &id).await?;
    Ok(Promoted { image: id, region: to.region.clone(), found })
}

/// The image in another region, where it is; an error where another one has its name.
async fn existing(to: &Session, original: &Original) -> Result<Option<String>> {
    if let Some(machine) = original.tags.get(tags::MACHINE) {
        let mut same = to.images(&[filter(format!("tag:{}", tags::MACHINE), machine)]).await?;
        same.retain(|image| matches!(image.state, Some(ImageState::Available | ImageState::Pending)));
        same.sort_by(|one, next| one.creation_date.cmp(&next.creation_date));
        if let Some(id) = same.into_iter().find_map(|image| image.image_id) {
            return Ok(Some(id));
        }
    }
    let Some(image) = named(to, &original.name).await? else { return Ok(None) };
    let (id, state) = (image.image_id().unwrap_or("another image"), image.state.as_ref());
    if original.is_source_of(&image) && matches!(state, Some(ImageState::Available | ImageState::Pending)) {
        return Ok(Some(id.to_owned()));
    }
    bail!(
        "the name {:?} is taken in {} by {id}, which is {} and no copy of {} in {}: remove that image first (builder aws rm)",
        original.name,
        to.region,
        state.map_or("there", |state| state.as_str()),
        original.id,
        original.region
    )
}

/// Begins a copy, and tells whether another run has done so.
async fn ask(to: &Session, original: &Original, encryption: &Encryption) -> Result<(String, bool)> {
    let token = token(to, original, encryption);
    let snapshot_tags = original.common_tags(encryption);
    let send = || {
        let call = to.ec2.copy_image().source_region(&original.region).source_image_id(&original.id);
        let call = call.name(&original.name).client_token(&token).copy_image_tags(true);
        let call = call.set_description(original.image.description.clone());
        let call = match encryption {
            Encryption::Default => call,
            Encryption::Encrypted => call.encrypted(true),
            Encryption::Key(key) => call.encrypted(true).kms_key_id(key.as_str()),
        };
        if snapshot_tags.is_empty() {
            return call.send();
        }
        call.tag_specifications(tags::specification(ResourceType::Snapshot, &snapshot_tags)).send()
    };
    match to.call("ec2:CopyImage", Patience::ordinary(&to.timing), send).await {
        Ok(answer) => match answer.image_id {
            Some(id) => Ok((id, false)),
            None => bail!(Failure::unexpected("ec2:CopyImage", &to.region, "the answer has no image")),
        },
        // Another run was faster.
        Err(failure) if failure.is("InvalidAMIName.Duplicate") => match existing(to, original).await? {
            Some(id) => Ok((id, true)),
            None => bail!(failure),
        },
        Err(failure) => bail!(failure),
    }
}

/// A token for the attempts of one call. Of another run it is another: AWS answers a token with the same image for ever, even when that
/// has failed or is removed; that no two runs copy the same is seen to by the name, which only one image of a region has.
fn token(to: &Session, original: &Original, encryption: &Encryption) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let Original { id, region, .. } = original;
    let whole = format!("NanoOS copy 1\n{region}\n{id}\n{}\n{encryption}\n{now} {}", to.region, std::process::id());
    hex(&Sha256::digest(whole))
}

/// Holds a copy against its original, and adds the tags that it lacks.
async fn check(to: &Session, original: &Original, encryption: &Encryption, id: &str) -> Result<()> {
    let Some(image) = to.image(id).await? else { bail!("{id} in {} has just been removed", to.region) };
    let differences = differences(&original.image, &image);
    ensure!(
        differences.is_empty(),
        "{id} in {} is no true copy of {} in {}: {}; remove it (builder aws rm), and promote again",
        to.region,
        original.id,
        original.region,
        differences.join(", ")
    );
    for (device, snapshot_id) in snapshots_by_device(&image) {
        let snapshot = to.snapshot(snapshot_id).await?;
        let Some(snapshot) = snapshot else { bail!("{snapshot_id} of {id} in {} is not there", to.region) };
        let encrypted = snapshot.encrypted.unwrap_or(false);
        let as_asked = match encryption {
            Encryption::Default => true,
            Encryption::Encrypted => encrypted,
            Encryption::Key(key) => encrypted && snapshot.kms_key_id() == Some(key.as_str()),
        };
        ensure!(
            as_asked,
            "{id} in {} is this image already, but not encrypted as asked ({encryption}): remove it (builder aws rm), and promote \
             again",
            to.region
        );
        let lacking = missing(&original.snapshot_tags(device, encryption), snapshot.tags());
        add_tags(to, snapshot_id, &lacking).await.with_context(|| format!("tag {snapshot_id} of {id}"))?;
    }
    add_tags(to, id, &missing(&original.tags, image.tags())).await.with_context(|| format!("tag {id}"))
}

/// The tags whose keys are not there, or have no value yet.
fn missing(wanted: &Tags, there: &[Tag]) -> Tags {
    let lacking = |key: &String| tags::find(there, key).is_none_or(|value| value == UNKNOWN);
    wanted.iter().filter(|(key, _)| lacking(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Removes a copy that failed, so that its name is free. Where that does not succeed, the next run says what has the name.
async fn discard(to: &Session, id: &str, report: &dyn Report) {
    let Ok(Some(image)) = to.image(id).await else { return };
    // One that is only slow may yet be available.
    if image.state != Some(ImageState::Failed) {
        return;
    }
    if let Err(failure) = deregister(to, id).await {
        return report.warn(format!("{id}, a copy that failed, remains: {failure}"));
    }
    let gone = BTreeSet::from([id.to_owned()]);
    for snapshot in snapshots_of(&image) {
        let why = match delete_snapshot(to, snapshot, &gone).await {
            Ok(Deleted::Now | Deleted::Before) => continue,
            Ok(Deleted::Not(user)) => format!("{user} uses it"),
            Err(failure) => failure.to_string(),
        };
        report.warn(format!("{snapshot} of {id}, a copy that failed, remains: {why}"));
    }
}
