//! Regions of an account: asked, never known by heart.

use crate::account::Session;
use crate::failure::{Failure, Kind};
use crate::retry::Patience;
use anyhow::{Result, anyhow, bail};
use std::collections::BTreeMap;

/// What `DescribeRegions` tells of a region that the account has switched off.
const OFF: &str = "not-opted-in";

/// The regions that the account may use, sorted: those that are on from the start, and those that it has switched on.
///
/// # Errors
/// When AWS does not tell.
pub async fn regions(session: &Session) -> Result<Vec<String>> {
    let told = ask(session, false).await?;
    Ok(told.into_iter().filter(|(_, usable)| *usable).map(|(name, _)| name).collect())
}

/// Makes sure that the account may use these regions, before anything is done in any of them.
///
/// A name that is no region's would have no address in DNS, and one that is switched off knows nobody's credentials: neither
/// error tells the reason.
///
/// # Errors
/// When one of them is none, or is switched off; when AWS does not tell.
pub async fn check_regions(session: &Session, wanted: &[String]) -> Result<()> {
    let all = ask(session, true).await?;
    for name in wanted {
        match all.get(name) {
            Some(true) => {}
            Some(false) => bail!(
                "{name} is not enabled for this account: enable it (aws account enable-region --region-name {name}), or leave it out"
            ),
            None => {
                let known: Vec<&str> = all.keys().map(String::as_str).collect();
                bail!("{name} is no region of AWS, as seen from {}: there are {}", session.region, known.join(", "));
            }
        }
    }
    Ok(())
}

/// Regions by their names, and whether they may be used.
async fn ask(session: &Session, all: bool) -> Result<BTreeMap<String, bool>> {
    let send = || session.ec2.describe_regions().all_regions(all).send();
    let answer = session.call("ec2:DescribeRegions", Patience::first(&session.timing), send).await;
    let answer = answer.map_err(|failure| explain(session.region(), failure))?;
    let regions = answer.regions.unwrap_or_default().into_iter();
    Ok(regions
        .filter_map(|region| {
            let usable = region.opt_in_status.as_deref() != Some(OFF);
            Some((region.region_name?, usable))
        })
        .collect())
}

/// Says of a failure what it means when the region itself is to blame.
fn explain(region: &str, failure: Failure) -> anyhow::Error {
    match failure.kind {
        Kind::Unreachable => anyhow!("{failure}: is {region} a region of AWS, and does this machine reach it?"),
        _ => failure.into(),
    }
}
