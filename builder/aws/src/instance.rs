//! Instances, which nothing but a launch check makes.

use crate::account::Session;
use crate::describe::next_page;
use crate::failure::{Failure, Kind};
use crate::retry::Patience;
use anyhow::{Result, anyhow, bail};
use aws_sdk_ec2::types::{Filter, Instance, InstanceStateName};
use tokio::time::{Instant, sleep};

/// Answers of one call at most; the rest comes page by page.
const PAGE: i32 = 500;

/// What an instance is doing.
pub(crate) fn state(instance: &Instance) -> Option<&InstanceStateName> {
    instance.state.as_ref()?.name.as_ref()
}

impl Session {
    /// Instances of this account that match all filters.
    pub(crate) async fn instances(&self, filters: &[Filter]) -> Result<Vec<Instance>, Failure> {
        let mut found = Vec::new();
        let mut next = None;
        loop {
            let ask = || {
                let call = self.ec2.describe_instances().set_filters(Some(filters.to_vec()));
                call.max_results(PAGE).set_next_token(next.clone()).send()
            };
            let page = self.call("ec2:DescribeInstances", Patience::ordinary(&self.timing), ask).await?;
            let reservations = page.reservations.unwrap_or_default().into_iter();
            found.extend(reservations.flat_map(|reservation| reservation.instances.unwrap_or_default()));
            next = next_page("ec2:DescribeInstances", &self.region, next.as_ref(), page.next_token)?;
            if next.is_none() {
                return Ok(found);
            }
        }
    }

    /// An instance; `None` where there is none of this id, or it is not seen yet.
    pub(crate) async fn instance(&self, id: &str) -> Result<Option<Instance>, Failure> {
        let ask = || self.ec2.describe_instances().instance_ids(id).send();
        match self.call("ec2:DescribeInstances", Patience::ordinary(&self.timing), ask).await {
            Ok(answer) => {
                let mut reservations = answer.reservations.unwrap_or_default().into_iter();
                Ok(reservations.find_map(|reservation| reservation.instances?.into_iter().next()))
            }
            Err(failure) if failure.kind == Kind::Missing => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Terminates an instance, and waits until it is at least on its way down; false where there is none of this id.
    pub(crate) async fn terminate(&self, id: &str, patience: Patience<'_>) -> Result<bool> {
        let ask = || self.ec2.terminate_instances().instance_ids(id).send();
        match self.call("ec2:TerminateInstances", patience, ask).await {
            Ok(_) => {}
            Err(failure) if failure.kind == Kind::Missing => return Ok(false),
            Err(failure) => return Err(self.still_runs(id, failure)),
        }
        let start = Instant::now();
        loop {
            let instance = self.instance(id).await.map_err(|failure| self.still_runs(id, failure))?;
            match instance.as_ref().and_then(state) {
                None | Some(InstanceStateName::ShuttingDown | InstanceStateName::Terminated) => return Ok(true),
                Some(_) if start.elapsed() < self.timing.seen => sleep(self.timing.poll).await,
                Some(other) => bail!(self.still_runs(id, format!("it is {}", other.as_str()))),
            }
        }
    }

    fn still_runs(&self, id: &str, why: impl std::fmt::Display) -> anyhow::Error {
        let region = &self.region;
        anyhow!(
            "{id} in {region} may still run, and cost money: {why}; terminate it: aws ec2 terminate-instances --region {region} \
             --instance-ids {id}"
        )
    }
}
