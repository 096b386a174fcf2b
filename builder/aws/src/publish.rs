//! From a disk to AMIs, as a story: in each region look → snapshot → register.

use crate::account::{Account, Session};
use crate::contents::{BLOCK, Contents};
use crate::encryption::Encryption;
use crate::image::{self, Known, Machine, Registration};
use crate::naming::{default_name, description};
use crate::report::Report;
use crate::snapshot::{self, Wanted};
use crate::state::State;
use crate::swap::{self, Source};
use crate::tags::{self, Tags};
use anyhow::{Context, Result, anyhow, ensure};
use std::fs::File;
use std::sync::Arc;
use tokio::task::JoinSet;

/// A disk that is to become an image, and what of.
#[derive(Debug, Clone)]
pub struct Order {
    /// The disk.
    pub disk: Arc<File>,
    /// Its blocks.
    pub contents: Contents,
    /// What it is registered as.
    pub machine: Machine,
    /// Its name; `None` derives one from `source` and the contents.
    pub name: Option<String>,
    /// What it was made of, such as `nginx:1.27`.
    pub source: String,
    /// The same without tag and digest.
    pub repository: String,
    /// Tags that tell where it comes from; keys are given their prefix here.
    pub provenance: Vec<(&'static str, String)>,
    /// The user's tags.
    pub tags: Tags,
    /// How the snapshot is to be encrypted.
    pub encryption: Encryption,
    /// Whether another one is to be made where there is one already.
    pub force: bool,
}

/// An image that is there now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its id.
    pub image: String,
    /// Its name.
    pub name: String,
    /// Its snapshot.
    pub snapshot: Option<String>,
    /// The snapshot that this one was built upon.
    pub parent: Option<String>,
    /// Bytes of the disk's blocks that were sent.
    pub sent: u64,
    /// Whether it was there before.
    pub found: bool,
}

/// Publishes in all regions at the same time. A failure in one of them stands in its place, and does not hold up the others.
pub async fn publish(
    account: &Account,
    regions: &[String],
    order: &Order,
    state: &State,
    report: &Arc<dyn Report>,
) -> Vec<(String, Result<Published>)> {
    let mut running = JoinSet::new();
    for (position, region) in regions.iter().enumerate() {
        let (session, order) = (account.region(region), order.clone());
        let (state, report) = (state.clone(), report.clone());
        running.spawn(async move { (position, publish_in(&session, &order, &state, report.as_ref()).await) });
    }
    let mut results: Vec<(String, Result<Published>)> =
        regions.iter().map(|region| (region.clone(), Err(anyhow!("it was not finished")))).collect();
    while let Some(ended) = running.join_next().await {
        match ended {
            Ok((position, result)) => results[position].1 = result,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => {}
        }
    }
    results
}

/// Publishes in one region.
///
/// # Errors
/// What AWS refuses, or does not answer; what was done remains, and the same order goes on with it.
pub async fn publish_in(session: &Session, order: &Order, state: &State, report: &dyn Report) -> Result<Published> {
    if let Encryption::Key(key) = &order.encryption {
        ensure!(
            key.region() == session.region,
            "--kms-key {}: a key is used in its own region, {}, and this is {}",
            key.as_str(),
            key.region(),
            session.region
        );
    }
    let content = order.contents.id();
    let machine = order.machine.id(&content, &order.encryption);
    let default = default_name(&order.source, &machine);
    report.step(format!("{}: look for the image", session.region));
    let name = match image::look(session, &machine, order.name.as_deref(), &default, order.force).await? {
        Known::Same { id, snapshot, name, tagged } => {
            report.step(format!("{}: {id} ({name}) is this image already", session.region));
            let mut tags = order.tags.clone();
            if !tagged {
                tags.extend(order.all_tags(&content, &name));
                tags.insert(tags::MACHINE.to_owned(), machine);
            }
            image::add_tags(session, &id, &tags).await?;
            keep(session, order, state, report);
            return Ok(Published { image: id, name, snapshot, parent: None, sent: 0, found: true });
        }
        Known::Free(name) => name,
    };
    let tags = order.all_tags(&content, &name);
    let description = description(&order.source, &machine);
    let wanted = Wanted {
        disk: &Source::Disk(order.disk.clone()),
        contents: &order.contents,
        description: &description,
        tags: &tags,
        encryption: &order.encryption,
        repository: &order.repository,
        force: order.force,
    };
    let making = snapshot::make(session, &wanted, state, report);
    let (complete, swap) = tokio::join!(making, swap::snapshot(session, order, state, report));
    let complete = complete?;
    keep(session, order, state, report);
    let swap = swap?;
    report.step(format!("{}: register {name}", session.region));
    let tags = Tags::from_iter(tags.into_iter().chain([(tags::MACHINE.to_owned(), machine)]));
    let registration = Registration {
        name: &name,
        description: &description,
        snapshot: &complete.id,
        swap: swap.as_deref(),
        machine: &order.machine,
        tags: &tags,
        force: order.force,
    };
    let hint = || {
        let id = &complete.id;
        format!("{id} is complete in {}, and stays for the next run (builder aws rm removes it)", session.region)
    };
    let (image, snapshot) = register(session, order, registration, state, report).await.with_context(hint)?;
    Ok(Published {
        image,
        name,
        sent: u64::from(complete.sent) * BLOCK as u64,
        snapshot: Some(snapshot),
        parent: complete.parent,
        found: false,
    })
}

/// Registers the image. Where the snapshot for its swap volume was removed just now, with the last image before that used
/// it, another one is made.
async fn register(
    session: &Session,
    order: &Order,
    registration: Registration<'_>,
    state: &State,
    report: &dyn Report,
) -> Result<(String, String)> {
    match registration.run(session).await {
        Err(failed) if is_gone(session, registration.swap).await => {
            report.warn(format!("{}: {failed:#}: the snapshot for the swap volume once more", session.region));
            let swap = swap::snapshot(session, order, state, report).await?;
            Registration { swap: swap.as_deref(), ..registration }.run(session).await
        }
        registered => registered,
    }
}

/// Whether there is no such snapshot any more, as far as AWS tells.
async fn is_gone(session: &Session, snapshot: Option<&str>) -> bool {
    match snapshot {
        Some(id) => matches!(session.snapshot(id).await, Ok(None)),
        None => false,
    }
}

/// That they can't be kept is no reason to fail: the next build reads them of the snapshot, or sends more.
fn keep(session: &Session, order: &Order, state: &State, report: &dyn Report) {
    if let Err(error) = state.keep(&order.contents) {
        report.warn(format!("{}: what is published is not noted here: {error:#}", session.region));
    }
}

impl Order {
    /// The user's tags, and ours.
    fn all_tags(&self, content: &str, name: &str) -> Tags {
        let ours =
            [(tags::CONTENT.to_owned(), content.to_owned()), (tags::REPOSITORY.to_owned(), self.repository.clone())];
        let provenance = self.provenance.iter().map(|(key, value)| (format!("{}{key}", tags::PREFIX), value.clone()));
        let mut all: Tags = [("Name".to_owned(), name.to_owned())].into();
        all.extend(self.tags.clone());
        all.extend(ours.into_iter().chain(provenance).filter(|(_, value)| !value.is_empty()));
        all
    }
}
