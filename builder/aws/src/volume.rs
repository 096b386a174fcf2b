//! Whether a snapshot is what it should be, read back as a whole.

use crate::account::Session;
use crate::contents::Contents;
use crate::read::{get, list};
use crate::report::Report;
use anyhow::{Result, bail, ensure};

/// What a volume has otherwise than it should.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Differs(String);

/// Reads every block of a snapshot that EBS has, and holds it against the contents: each of theirs must be there, and
/// any other must be of zeros.
///
/// # Errors
/// [`Differs`] where it is otherwise; another where it can't be read.
pub async fn check_volume(session: &Session, id: &str, contents: &Contents, report: &dyn Report) -> Result<()> {
    let region = &session.region;
    let Some(snapshot) = session.snapshot(id).await? else { bail!("{id} is not there in {region}") };
    let size = snapshot.volume_size.and_then(|size| u32::try_from(size).ok()).unwrap_or_default();
    let whole = contents.volume();
    ensure!(size == whole, Differs(format!("{id} in {region} is a volume of {size} GiB, and not of {whole}")));
    let listed = list(session, id).await?;
    report.step(format!("{region}: read all {} blocks of {id}", listed.len()));
    let there = get(session, id, listed).await?;
    let wrong = there.iter().find(|(index, digest)| match contents.get(**index) {
        Some(own) => own != *digest,
        None => !digest.is_of_zeros(),
    });
    if let Some((index, _)) = wrong {
        let what =
            if contents.get(*index).is_some() { "is not the disk's" } else { "holds what is no part of the disk" };
        bail!(Differs(format!("block {index} of {id} in {region} {what}")));
    }
    if let Some((index, _)) = contents.blocks().iter().find(|(index, _)| !there.contains_key(index)) {
        bail!(Differs(format!("block {index} of the disk is missing in {id} in {region}")));
    }
    Ok(())
}
