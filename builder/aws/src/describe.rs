//! What EC2 tells of snapshots and images of the account's own.

use crate::account::Session;
use crate::failure::{Action, Failure};
use crate::retry::Patience;
use aws_sdk_ec2::types::{Filter, Image, Snapshot};

/// Answers of one call at most; the rest comes page by page.
const PAGE: i32 = 500;

/// A filter of a describing call.
pub(crate) fn filter(name: impl Into<String>, value: impl Into<String>) -> Filter {
    Filter::builder().name(name).values(value).build()
}

/// The next page's token; none after the last one.
///
/// # Errors
/// When it is the one that was asked with: that never ends.
pub(crate) fn next_page(
    action: Action,
    region: &str,
    asked: Option<&String>,
    told: Option<String>,
) -> Result<Option<String>, Failure> {
    let next = told.filter(|token| !token.is_empty());
    if next.is_some() && next.as_ref() == asked {
        return Err(Failure::unexpected(action, region, "the answer has itself for its next page"));
    }
    Ok(next)
}

impl Session {
    /// Snapshots of this account that match all filters.
    pub(crate) async fn snapshots(&self, filters: &[Filter]) -> Result<Vec<Snapshot>, Failure> {
        let mut found = Vec::new();
        let mut next = None;
        loop {
            let ask = || {
                let call = self.ec2.describe_snapshots().owner_ids("self").set_filters(Some(filters.to_vec()));
                call.max_results(PAGE).set_next_token(next.clone()).send()
            };
            let page = self.call("ec2:DescribeSnapshots", Patience::ordinary(&self.timing), ask).await?;
            found.extend(page.snapshots.unwrap_or_default());
            next = next_page("ec2:DescribeSnapshots", &self.region, next.as_ref(), page.next_token)?;
            if next.is_none() {
                return Ok(found);
            }
        }
    }

    /// A snapshot; `None` where there is none of this id, or it is not seen yet.
    pub(crate) async fn snapshot(&self, id: &str) -> Result<Option<Snapshot>, Failure> {
        let ask = || self.ec2.describe_snapshots().snapshot_ids(id).send();
        match self.call("ec2:DescribeSnapshots", Patience::ordinary(&self.timing), ask).await {
            Ok(answer) => Ok(answer.snapshots.unwrap_or_default().pop()),
            Err(failure) if failure.kind == crate::failure::Kind::Missing => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Images of this account that match all filters.
    pub(crate) async fn images(&self, filters: &[Filter]) -> Result<Vec<Image>, Failure> {
        self.images_with(filters, false).await
    }

    /// The same, with those that are disabled: they can't be launched, and hold their snapshots all the same.
    pub(crate) async fn images_and_disabled(&self, filters: &[Filter]) -> Result<Vec<Image>, Failure> {
        self.images_with(filters, true).await
    }

    async fn images_with(&self, filters: &[Filter], disabled: bool) -> Result<Vec<Image>, Failure> {
        let mut found = Vec::new();
        let mut next = None;
        loop {
            let ask = || {
                let call = self.ec2.describe_images().owners("self").set_filters(Some(filters.to_vec()));
                let call = call.set_include_disabled(disabled.then_some(true));
                call.max_results(PAGE).set_next_token(next.clone()).send()
            };
            let page = self.call("ec2:DescribeImages", Patience::ordinary(&self.timing), ask).await?;
            found.extend(page.images.unwrap_or_default());
            next = next_page("ec2:DescribeImages", &self.region, next.as_ref(), page.next_token)?;
            if next.is_none() {
                return Ok(found);
            }
        }
    }

    /// An image; `None` where there is none of this id, or it is not seen yet.
    pub(crate) async fn image(&self, id: &str) -> Result<Option<Image>, Failure> {
        let ask = || self.ec2.describe_images().image_ids(id).send();
        match self.call("ec2:DescribeImages", Patience::ordinary(&self.timing), ask).await {
            Ok(answer) => Ok(answer.images.unwrap_or_default().pop()),
            Err(failure) if failure.kind == crate::failure::Kind::Missing => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}
