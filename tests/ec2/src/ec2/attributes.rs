//! Who may launch an image, and who may make volumes of a snapshot.

use super::params::{Params, invalid};
use super::xml::Xml;
use super::{check_image_id, check_snapshot_id, no_image, no_snapshot};
use crate::refusal::{Outcome, Refusal};
use crate::server::Call;
use std::collections::BTreeSet;

/// Accounts to add and to remove.
#[derive(Debug, Default)]
struct Change {
    add: Vec<String>,
    remove: Vec<String>,
}

impl Change {
    /// Of the two forms: `PERMISSION.Add.N.UserId`, or `OperationType` with `UserId.N`.
    fn read(params: &Params, permission: &str, attribute: &str) -> Result<Self, Refusal> {
        let users = |how: &str| {
            let groups = params.groups(&format!("{permission}.{how}"));
            groups.iter().map(|group| group.get("UserId").unwrap_or("").to_owned()).collect::<Vec<_>>()
        };
        let mut change = Change { add: users("Add"), remove: users("Remove") };
        if params.get("Attribute").is_some_and(|name| name != attribute) {
            return Err(invalid("Attribute", params.get("Attribute").unwrap_or("")));
        }
        match params.get("OperationType") {
            None => {}
            Some("add") => change.add.extend(params.list("UserId")),
            Some("remove") => change.remove.extend(params.list("UserId")),
            Some(other) => return Err(invalid("OperationType", other)),
        }
        if let Some(user) = change.add.iter().chain(&change.remove).find(|user| !account(user)) {
            let message = format!("Invalid attribute item value \"{user}\" for userId item type.");
            return Err(Refusal::ec2("InvalidAMIAttributeItemValue", message));
        }
        if change.add.is_empty() && change.remove.is_empty() {
            return Err(Refusal::ec2("InvalidParameterCombination", "No attributes specified."));
        }
        Ok(change)
    }

    fn apply(self, to: &mut BTreeSet<String>) {
        to.extend(self.add);
        to.retain(|user| !self.remove.contains(user));
    }
}

fn account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

pub(super) fn modify_image(call: &Call<'_>) -> Outcome {
    let id = call.params.required("ImageId")?;
    check_image_id(id)?;
    let change = Change::read(call.params, "LaunchPermission", "launchPermission")?;
    let mut world = call.world();
    let image = world.region(call.region()).images.get_mut(id).filter(|image| call.owns(&image.owner));
    change.apply(&mut image.ok_or_else(|| no_image(id))?.shared_with);
    Xml::done("ModifyImageAttribute")
}

pub(super) fn modify_snapshot(call: &Call<'_>) -> Outcome {
    let id = call.params.required("SnapshotId")?;
    check_snapshot_id(id)?;
    let change = Change::read(call.params, "CreateVolumePermission", "createVolumePermission")?;
    let mut world = call.world();
    let snapshot = world.region(call.region()).snapshots.get_mut(id).filter(|snapshot| call.owns(&snapshot.owner));
    let snapshot = snapshot.ok_or_else(|| no_snapshot(id))?;
    if snapshot.kms_key.as_ref().is_some_and(|key| *key == crate::ebs::default_key(call)) {
        let message = "Encrypted snapshots with EBS default key cannot be shared";
        return Err(Refusal::ec2("OperationNotPermitted", message));
    }
    change.apply(&mut snapshot.shared_with);
    Xml::done("ModifySnapshotAttribute")
}

pub(super) fn describe_image(call: &Call<'_>) -> Outcome {
    let (id, attribute) = (call.params.required("ImageId")?, call.params.required("Attribute")?);
    check_image_id(id)?;
    if attribute != "launchPermission" {
        return Err(invalid("Attribute", attribute));
    }
    let mut world = call.world();
    let image = world.region(call.region()).images.get(id).filter(|image| call.owns(&image.owner));
    let users = image.ok_or_else(|| no_image(id))?.shared_with.clone();
    Xml::answer("DescribeImageAttribute", |xml| {
        xml.leaf("imageId", id).list("launchPermission", &users, |xml, user| {
            xml.leaf("userId", user);
        });
    })
}
