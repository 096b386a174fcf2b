//! `builder aws`: what builder made at AWS.

use super::Ec2;
use super::publish::failures;
use crate::cli::ec2::AwsCommand;
use crate::commands::report::print;
use anyhow::{Result, bail, ensure};
use aws::{Inventory, OurImage, OurSnapshot, Removed};
use builder::progress::{Progress, printable};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

/// Behind what an earlier builder made; docs/aws.md says more.
const OLD_KIND: &str = "  OLD: may hold data of other images, build it again and remove this one";

/// Does what is asked.
pub(crate) fn run(command: &AwsCommand, progress: &Progress) -> Result<()> {
    match command {
        AwsCommand::Ls { json, all_regions, access } => {
            let ec2 = Ec2::of(access, *all_regions, progress)?;
            let inventories = ec2.inventories()?;
            let text = if *json {
                format!("{}\n", Value::from_iter(inventories.iter().map(|it| (it.region.clone(), document(it)))))
            } else {
                inventories.iter().map(text).collect()
            };
            print(text.as_bytes())
        }
        AwsCommand::Rm { ids, unused, access } => {
            let ec2 = Ec2::of(access, false, progress)?;
            match unused {
                Some(age) => ec2.remove_unused(*age),
                None => {
                    ensure!(ec2.regions.len() == 1, "-r: ids belong to one region, and two are named");
                    ec2.remove(&ec2.regions[0], ids)
                }
            }
        }
    }
}

impl Ec2 {
    fn inventories(&self) -> Result<Vec<Inventory>> {
        let list = |session| self.runtime.block_on(aws::list(&session));
        self.sessions().into_iter().map(list).collect()
    }

    fn remove_unused(&self, age: Duration) -> Result<()> {
        for inventory in self.inventories()? {
            let unused = inventory.unused(self.account.region(&inventory.region).now(), age);
            let ids: Vec<String> = unused.into_iter().map(|snapshot| snapshot.id.clone()).collect();
            self.progress.step(format!("{}: {} snapshots are used by no image", inventory.region, ids.len()));
            if !ids.is_empty() {
                self.remove(&inventory.region, &ids)?;
            }
        }
        Ok(())
    }

    fn remove(&self, region: &str, ids: &[String]) -> Result<()> {
        let session = self.account.region(region);
        let results = self.runtime.block_on(aws::remove(&session, ids, self.teller().as_ref()))?;
        for (id, removed) in results.iter().filter_map(|(id, result)| Some((id, result.as_ref().ok()?))) {
            let what = match removed {
                Removed::Gone => continue,
                Removed::Image { deleted, kept } => {
                    let kept = if kept.is_empty() {
                        String::new()
                    } else {
                        format!("; {} stays, which another image uses", kept.join(", "))
                    };
                    let deleted = if deleted.is_empty() {
                        String::new()
                    } else {
                        format!(", and with it {}", deleted.join(", "))
                    };
                    format!("is removed{deleted}{kept}")
                }
                Removed::Snapshot => "is removed".to_owned(),
                Removed::Instance => "is being terminated".to_owned(),
            };
            self.progress.step(format!("{id} {what}"));
        }
        let told = |removed| match removed {
            Removed::Gone => bail!("there is none in {region}: it is gone already, or in another region (-r)"),
            _ => Ok(()),
        };
        failures(results.into_iter().map(|(id, result)| (id, result.and_then(told))).collect())
    }
}

/// A line for each thing, by region.
fn text(inventory: &Inventory) -> String {
    let mut lines = vec![inventory.region.clone()];
    let mark = |old_kind: bool| if old_kind { OLD_KIND } else { "" };
    for image in &inventory.images {
        let OurImage { id, state, created, name, source, .. } = image;
        lines.push(format!("  {id}  {state}  {created}  {name}  {source}{}", mark(image.old_kind)));
    }
    for snapshot in &inventory.snapshots {
        let used = match snapshot.used_by.len() {
            0 => "no image".to_owned(),
            // All images of the region may use it.
            images if snapshot.swap && images > 1 => format!("{images} images"),
            _ => snapshot.used_by.join(", "),
        };
        let OurSnapshot { id, state, size, .. } = snapshot;
        let (age, mark, what) = (age(snapshot), mark(snapshot.old_kind), if snapshot.swap { " of swap" } else { "" });
        lines.push(format!("  {id}  {state}  {size} GiB{what}  {age}  {used}{mark}"));
    }
    for instance in &inventory.instances {
        lines.push(format!("  {}  {}  launch check of {}", instance.id, instance.state, instance.image));
    }
    if inventory.is_empty() {
        lines.push("  nothing of builder's".to_owned());
    }
    lines.into_iter().map(|line| printable(&line) + "\n").collect()
}

fn age(snapshot: &OurSnapshot) -> String {
    let age = snapshot.started.and_then(|started| SystemTime::now().duration_since(started).ok()).unwrap_or_default();
    let minutes = age.as_secs() / 60;
    match minutes {
        0..120 => format!("{minutes} min old"),
        120..2880 => format!("{} h old", minutes / 60),
        _ => format!("{} d old", minutes / 1440),
    }
}

fn document(inventory: &Inventory) -> Value {
    let seconds = |time: Option<SystemTime>| {
        time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok()).map(|since| since.as_secs())
    };
    let images = inventory.images.iter().map(|it| {
        json!({ "id": it.id, "name": it.name, "created": it.created, "content": it.content, "source": it.source,
                "snapshots": it.snapshots, "state": it.state, "old_kind": it.old_kind })
    });
    let snapshots = inventory.snapshots.iter().map(|it| {
        json!({ "id": it.id, "state": it.state, "size": it.size, "started": seconds(it.started), "content": it.content,
                "swap": it.swap, "used_by": it.used_by, "old_kind": it.old_kind })
    });
    let instances = inventory
        .instances
        .iter()
        .map(|it| json!({ "id": it.id, "image": it.image, "state": it.state, "launched": seconds(it.launched) }));
    json!({
        "images": images.collect::<Vec<_>>(),
        "snapshots": snapshots.collect::<Vec<_>>(),
        "instances": instances.collect::<Vec<_>>(),
    })
}
