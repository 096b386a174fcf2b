//! The very same image elsewhere: copied to other regions, or shared with other accounts.

use crate::account::{Account, Session};
use crate::contents::is_of_old_kind;
use crate::copy::{Original, copy};
use crate::describe::filter;
use crate::encryption::Encryption;
use crate::image::available;
use crate::inventory::{one_of, snapshots_of};
use crate::report::Report;
use crate::share::share;
use crate::tags;
use anyhow::{Result, anyhow, bail, ensure};
use aws_sdk_ec2::types::{Image, Snapshot};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use tokio::task::JoinSet;

/// Where an image is promoted to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Copied to a region.
    Region(String),
    /// Shared with an account, of twelve digits, in the region where it is.
    Account(String),
}

impl FromStr for Target {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Target::Account(text.to_owned()));
        }
        let parts: Vec<&str> = text.split('-').collect();
        let words =
            |part: &&str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        let number = parts.last().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
        if parts.len() >= 3 && parts.iter().all(words) && number && text.starts_with(|c: char| c.is_ascii_lowercase()) {
            return Ok(Target::Region(text.to_owned()));
        }
        bail!("{text:?} is neither a region, such as eu-west-1, nor an account, which has twelve digits")
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Target::Region(name) | Target::Account(name)) = self;
        f.write_str(name)
    }
}

/// What is to be promoted, and where to.
#[derive(Debug, Clone)]
pub struct Promotion {
    /// `ami-…`.
    pub image: String,
    /// Regions get copies of it; accounts may launch and copy the image itself.
    pub to: Vec<Target>,
    /// Of the copies. By default they are as the original is, or as the account has it in the region.
    pub encryption: Encryption,
}

/// An image that is there now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promoted {
    /// Its id: a copy's own, or that of what is shared.
    pub image: String,
    /// Its region.
    pub region: String,
    /// Whether it was there before.
    pub found: bool,
}

/// Promotes an image to all targets at the same time. What fails at one of them is told in its place, and does not hold up the others.
///
/// # Errors
/// When there is no such image of the account's own in the session's region, or it never becomes available.
pub async fn promote(
    account: &Account,
    session: &Session,
    promotion: &Promotion,
    report: &Arc<dyn Report>,
) -> Result<Vec<(Target, Result<Promoted>)>> {
    let original = Arc::new(original(session, &promotion.image, report.as_ref()).await?);
    let mut running = JoinSet::new();
    for (position, target) in promotion.to.iter().enumerate() {
        let (original, encryption) = (original.clone(), promotion.encryption.clone());
        let (source, report) = (session.clone(), report.clone());
        match target.clone() {
            Target::Account(other) => {
                running.spawn(async move { (position, share(&source, &original, &other, report.as_ref()).await) });
            }
            Target::Region(region) => {
                let to = account.region(&region);
                running.spawn(async move { (position, copy(&to, &original, &encryption, report.as_ref()).await) });
            }
        }
    }
    let mut results: Vec<(Target, Result<Promoted>)> =
        promotion.to.iter().map(|target| (target.clone(), Err(anyhow!("it was not finished")))).collect();
    while let Some(ended) = running.join_next().await {
        match ended {
            Ok((position, result)) => results[position].1 = result,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => {}
        }
    }
    Ok(results)
}

/// The image, once it is available. Any of the account's own will do.
async fn original(session: &Session, id: &str, report: &dyn Report) -> Result<Original> {
    // Only those that the account owns.
    let this = [filter("image-id", id)];
    if session.images(&this).await?.is_empty() {
        bail!(
            "{id} is no image of this account in {}: builder aws ls lists them (-r for another region)",
            session.region
        );
    }
    available(session, id).await?;
    let Some(image) = session.images(&this).await?.pop() else {
        bail!("{id} in {} has just been removed", session.region)
    };
    check_kind(session, &image).await?;
    if tags::find(image.tags(), tags::CONTENT).is_none() {
        report.warn(format!(
            "{id} has no tags that tell where it comes from: builder did not make it, or they were removed"
        ));
    }
    Original::of(session, image).await
}

/// What an earlier builder made is no other region's and no other account's business.
async fn check_kind(session: &Session, image: &Image) -> Result<()> {
    let ids: Vec<&str> = snapshots_of(image).collect();
    let snapshots = match ids[..] {
        [] => Vec::new(),
        _ => session.snapshots(&[one_of("snapshot-id", &ids)]).await?,
    };
    let mut contents = snapshots.iter().map(Snapshot::tags).chain([image.tags()]);
    let old = contents.any(|its| tags::find(its, tags::CONTENT).is_some_and(is_of_old_kind));
    ensure!(
        !old,
        "{} in {} was made by an earlier builder, and its volume may hold data of other images: build it again, and promote \
         that one",
        image.image_id().unwrap_or("the image"),
        session.region
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_region_or_an_account() {
        let parse = |text: &str| text.parse::<Target>();
        assert_eq!(parse("123456789012").unwrap(), Target::Account("123456789012".to_owned()));
        for region in ["eu-west-1", "us-gov-west-1", "us-isob-east-1", "mx-central-1"] {
            assert_eq!(parse(region).unwrap(), Target::Region(region.to_owned()));
            assert_eq!(parse(region).unwrap().to_string(), region);
        }
        for bad in ["", "12345678901", "1234567890123", "eu-west", "EU-west-1", "eu--1", "eu-west-a", "all", "1-2-3"] {
            assert!(parse(bad).unwrap_err().to_string().contains("twelve digits"), "{bad}");
        }
    }
}
