//! `builder update`: moves the pins of a project's bases to what their registries have now.

use super::subject::recognize;
use crate::cli::Update;
use crate::cli::grammar;
use crate::order::Places;
use anyhow::{Result, ensure};
use builder::application::Application;
use builder::cache::{self, Cache};
use builder::local::Local;
use builder::local::lock::{FILE, Lock};
use builder::platform::Platform;
use builder::progress::Progress;
use project::plan::Base;

/// Moves them, and says from where to where.
pub(crate) fn update(update: Update, progress: &Progress) -> Result<()> {
    let path = update.path;
    grammar::look(&path)?;
    ensure!(path.is_dir(), "{}: only a project, a directory, has a {FILE}", path.display());
    let mut local =
        Local { path: path.clone(), wishes: update.project.wishes(&Application::default())?, results: Vec::new() };
    let Base::Image(base) = recognize(&mut local, progress)?.plan.base else {
        progress.step(format!("{} has no base that could be pinned", path.display()));
        return Ok(());
    };
    let cache = Cache::open(&cache::directory()?)?;
    let places = Places::new(update.fetching);
    let mut lock = Lock::open(&path)?;
    let moved = lock.update(
        std::slice::from_ref(&base),
        &places.fetch(Platform { arch: &builder::platform::ARCHES[0] }, false, &cache, progress),
    )?;
    for pin in &moved {
        let from = pin.from.map_or_else(|| "not pinned".to_owned(), |digest| digest.to_string());
        progress.step(format!("{}: {from} → {}", pin.name, pin.to));
    }
    if moved.is_empty() {
        let pinned = lock.bases().find(|(name, _)| *name == base).map(|(_, digest)| digest.to_string());
        match pinned {
            Some(digest) => progress.step(format!("{base}: {digest} is still the newest")),
            None => {
                progress.step(format!("{base} is nothing that can be pinned: it is of this machine, or has a digest"));
            }
        }
    }
    Ok(())
}
