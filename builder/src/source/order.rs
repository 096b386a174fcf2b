//! Where an image that is only named is looked for, and in which order.

use super::engine::{self, Absence, Engine};
use super::{Container, Fetch, registry};
use anyhow::{Result, anyhow, bail};
use oci_spec::distribution::Reference;
use std::fmt;
use std::str::FromStr;

/// A place where named images are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// A container engine of this machine.
    Engine(Engine),
    /// The image's registry.
    Registry,
}

/// The words for them.
const STORES: &[(&str, Store)] = &[
    ("daemon", Store::Engine(Engine::Docker)),
    ("podman", Store::Engine(Engine::Podman)),
    ("registry", Store::Registry),
];

/// The order in which places are asked: the first that has the image for the platform gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order(Vec<Store>);

impl Order {
    /// The registry alone.
    #[must_use]
    pub fn registry() -> Self {
        Order(vec![Store::Registry])
    }
}

impl Default for Order {
    /// What is on this machine comes first, as it does for `docker run`.
    fn default() -> Self {
        Order(STORES.iter().map(|(_, store)| *store).collect())
    }
}

impl FromStr for Order {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut stores = Vec::new();
        for word in text.split(',').map(str::trim) {
            let Some((_, store)) = STORES.iter().find(|(known, _)| *known == word) else {
                bail!(
                    "{word:?} is no place for images: write some of daemon, podman and registry, separated by commas"
                );
            };
            if stores.contains(store) {
                bail!("{word} is named twice");
            }
            stores.push(*store);
        }
        Ok(Order(stores))
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |store: &Store| STORES.iter().find(|(_, known)| known == store).map_or("", |(word, _)| *word);
        f.write_str(&self.0.iter().map(word).collect::<Vec<_>>().join(","))
    }
}

/// Fetches an image from the first place that has it.
///
/// # Errors
/// When none has it, with what each of them says; when one has it and it can't be read.
pub(super) fn fetch(reference: &Reference, fetch: &Fetch<'_>) -> Result<Container> {
    let mut refusals = Vec::new();
    for store in &fetch.order.0 {
        let refusal = match store {
            Store::Registry => match registry::pull(reference, fetch) {
                Ok(container) => return Ok(container),
                // The registry's answer is what the user waits for: it comes first.
                Err(error) => {
                    refusals.insert(0, format!("{error:#}"));
                    continue;
                }
            },
            Store::Engine(engine) => match engine::find(*engine, &engine::names(*engine, reference), fetch)? {
                Ok(container) => return Ok(container),
                Err(absence) => absence,
            },
        };
        if fetch.debug {
            fetch.progress.step(format!("passed over: {refusal}"));
        }
        // A machine without an engine has nothing to tell, unless nothing else was asked.
        let is_news = !matches!(refusal, Absence::NoEngine(..)) || !fetch.order.0.contains(&Store::Registry);
        if is_news {
            refusals.push(refusal.to_string());
        }
    }
    Err(anyhow!("{}", refusals.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_reads_back_as_it_is_written() {
        assert_eq!(Order::default().to_string(), "daemon,podman,registry");
        for text in ["registry", "podman,registry", "registry,daemon"] {
            assert_eq!(text.parse::<Order>().unwrap().to_string(), text);
        }
        let refused = |text: &str| text.parse::<Order>().unwrap_err().to_string();
        assert_eq!(
            refused("docker"),
            "\"docker\" is no place for images: write some of daemon, podman and registry, separated by commas"
        );
        assert_eq!(refused("registry,registry"), "registry is named twice");
    }
}
