//! CreateTags, and tags that come with what is made.

use super::params::Params;
use super::xml::Xml;
use super::{check_id, check_image_id, check_snapshot_id, no_image, no_snapshot};
use crate::refusal::{Outcome, Refusal};
use crate::server::Call;
use crate::state::{Region, Tags};
use crate::tags;

/// The tags in a list of `Tag.N.Key` and `Tag.N.Value`.
fn read(params: &Params) -> Result<Tags, Refusal> {
    let mut read = Tags::new();
    for tag in params.groups("Tag") {
        let (key, value) = (tag.get("Key").unwrap_or(""), tag.get("Value").unwrap_or(""));
        tags::check(key, value).map_err(|message| Refusal::ec2("InvalidParameterValue", message))?;
        if read.insert(key.to_owned(), value.to_owned()).is_some() {
            let message = format!("Duplicate tag key '{key}' specified.");
            return Err(Refusal::ec2("InvalidParameterValue", message));
        }
    }
    limit(&read)?;
    Ok(read)
}

fn limit(tags: &Tags) -> Result<(), Refusal> {
    if tags.len() > tags::MOST {
        return Err(Refusal::ec2("TagLimitExceeded", "The maximum number of Tags per resource is 50"));
    }
    Ok(())
}

/// The tags of `TagSpecification` for a kind of resource, of the kinds that an operation makes.
pub(super) fn specified(params: &Params, kind: &str, kinds: &[&str]) -> Result<Tags, Refusal> {
    let mut tags = Tags::new();
    for group in params.groups("TagSpecification") {
        let of = group.required("ResourceType")?;
        if !kinds.contains(&of) {
            let message = format!("'{of}' is not a valid taggable resource type for this operation.");
            return Err(Refusal::ec2("InvalidParameterValue", message));
        }
        let read = read(&group)?;
        if read.is_empty() {
            return Err(Refusal::ec2("InvalidParameterValue", "Tag specification must have at least one tag"));
        }
        if of == kind {
            tags.extend(read);
        }
    }
    limit(&tags)?;
    Ok(tags)
}

pub(super) fn create_tags(call: &Call<'_>) -> Outcome {
    let (ids, new) = (call.params.list("ResourceId"), read(call.params)?);
    if ids.is_empty() {
        call.params.required("ResourceId")?;
    }
    if new.is_empty() {
        call.params.required("Tag")?;
    }
    let mut world = call.world();
    let region = world.region(call.region());
    // All or none: the limits are looked at before anything changes.
    for id in &ids {
        let mut merged = tags_of(call, region, id)?.clone();
        merged.extend(new.clone());
        limit(&merged)?;
    }
    for id in &ids {
        tags_of(call, region, id)?.extend(new.clone());
    }
    Xml::done("CreateTags")
}

fn tags_of<'a>(call: &Call<'_>, region: &'a mut Region, id: &str) -> Result<&'a mut Tags, Refusal> {
    let account = call.account();
    if id.starts_with("snap-") {
        check_snapshot_id(id)?;
        let found = region.snapshots.get_mut(id).filter(|snapshot| snapshot.owner == account);
        return found.map(|snapshot| &mut snapshot.tags).ok_or_else(|| no_snapshot(id));
    }
    if id.starts_with("ami-") {
        check_image_id(id)?;
        let found = region.images.get_mut(id).filter(|image| image.owner == account);
        return found.map(|image| &mut image.tags).ok_or_else(|| no_image(id));
    }
    check_id(id, "i", "InvalidID")?;
    let found = region.instances.get_mut(id).filter(|instance| instance.owner == account);
    let missing = || Refusal::ec2("InvalidInstanceID.NotFound", format!("The instance ID '{id}' does not exist"));
    found.map(|instance| &mut instance.tags).ok_or_else(missing)
}
