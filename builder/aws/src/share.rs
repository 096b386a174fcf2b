//! An image for another account.

use crate::account::Session;
use crate::copy::Original;
use crate::failure::{Failure, Kind};
use crate::inventory::snapshots_of;
use crate::promote::Promoted;
use crate::report::Report;
use crate::retry::Patience;
use anyhow::{Result, bail};
use aws_sdk_ec2::types::{
    CreateVolumePermission, CreateVolumePermissionModifications, LaunchPermission, LaunchPermissionModifications,
    Snapshot, SnapshotAttributeName,
};

/// Lets another account launch an image, and copy it, for which it has to read the snapshot. Doing so again changes nothing.
///
/// The snapshots come first: AWS refuses those that it can't share, and then nothing is shared.
pub(crate) async fn share(
    session: &Session,
    original: &Original,
    account: &str,
    report: &dyn Report,
) -> Result<Promoted> {
    report.step(format!("{}: share {} with {account}", session.region, original.id));
    for id in snapshots_of(&original.image) {
        let Some(snapshot) = session.snapshot(id).await? else {
            bail!("{id} of {} in {} is not there", original.id, session.region)
        };
        share_snapshot(session, id, account).await.map_err(|failure| explain(failure, &snapshot))?;
        if snapshot.encrypted == Some(true) {
            report.warn(format!(
                "{id} is encrypted by {}: {account} can launch {} only where that key's policy lets it use the key (kms:Decrypt, \
                 kms:CreateGrant, kms:DescribeKey, kms:ReEncrypt*, kms:GenerateDataKeyWithoutPlaintext)",
                snapshot.kms_key_id().unwrap_or("a key"),
                original.id
            ));
        }
    }
    let permission = LaunchPermission::builder().user_id(account).build();
    let permission = LaunchPermissionModifications::builder().add(permission).build();
    let ask =
        || session.ec2.modify_image_attribute().image_id(&original.id).launch_permission(permission.clone()).send();
    session.call("ec2:ModifyImageAttribute", Patience::ordinary(&session.timing), ask).await?;
    Ok(Promoted { image: original.id.clone(), region: session.region.clone(), found: false })
}

async fn share_snapshot(session: &Session, id: &str, account: &str) -> Result<(), Failure> {
    let permission = CreateVolumePermission::builder().user_id(account).build();
    let permission = CreateVolumePermissionModifications::builder().add(permission).build();
    let ask = || {
        let call = session.ec2.modify_snapshot_attribute().snapshot_id(id);
        let call = call.attribute(SnapshotAttributeName::CreateVolumePermission);
        call.create_volume_permission(permission.clone()).send()
    };
    session.call("ec2:ModifySnapshotAttribute", Patience::ordinary(&session.timing), ask).await.map(|_| ())
}

/// Says what a refusal means where the snapshot is encrypted: only the account's default key can't be shared (Amazon EBS user guide,
/// "Share an Amazon EBS snapshot").
fn explain(failure: Failure, snapshot: &Snapshot) -> anyhow::Error {
    if failure.kind != Kind::Refused || snapshot.encrypted != Some(true) {
        return failure.into();
    }
    anyhow::anyhow!(
        "{failure}: what is encrypted by the account's default key for EBS ({}) can't be shared: publish with a key of your own \
         (--kms-key), and promote that image",
        snapshot.kms_key_id().unwrap_or("aws/ebs")
    )
}
