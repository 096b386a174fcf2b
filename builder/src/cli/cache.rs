//! `builder cache`: what is in the cache, and how it is emptied.

use anyhow::{Context, Result};
use builder::cache::Cache;
use builder::cache::prune::{Extent, Pruned};
use builder::cache::size::Size;
use builder::progress::Progress;
use clap::Subcommand;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::SystemTime;

/// What to do with the cache.
#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// Show what the cache holds, and when it was used last
    Ls {
        /// Print JSON, with bytes and seconds since 1970
        #[arg(long)]
        json: bool,
    },
    /// Remove what was not used for longest, until the cache is within its size
    Prune {
        /// Remove everything, except kernels and what other builders are making now
        #[arg(long, conflicts_with = "size")]
        all: bool,

        /// How much to leave, such as 512M or 20G
        #[arg(long, value_name = "SIZE", env = "NANOOS_CACHE_SIZE", default_value = "10G")]
        size: Size,
    },
}

/// Does it. Without a command it shows what is there.
pub(crate) fn run(what: Option<&CacheCommand>, cache: &Cache) -> Result<()> {
    let text = match what {
        None | Some(CacheCommand::Ls { json: false }) => list(cache)?,
        Some(CacheCommand::Ls { json: true }) => {
            let summary = serde_json::json!({ "directory": cache.directory(), "kinds": cache.summary()? });
            format!("{summary:#}\n")
        }
        Some(CacheCommand::Prune { all: true, .. }) => told(&cache.prune(Extent::All)?),
        Some(CacheCommand::Prune { size, .. }) => told(&cache.prune(Extent::Beyond(*size))?),
    };
    std::io::stdout().write_all(text.as_bytes()).context("write to standard output")
}

/// Keeps the cache within its size once a build is done, and says where it is shared in vain. The build is done in any
/// case.
pub(crate) fn trim(cache: &Cache, progress: &Progress) {
    if cache.met_others() {
        progress.warn(format!(
            "files of other users in the cache {} can't be used, and were made again: let NANOOS_CACHE name a directory of \
             your own",
            cache.directory().display()
        ));
    }
    match Size::of_cache().and_then(|size| cache.prune(Extent::Beyond(size))) {
        Ok(Pruned { files: 0, .. }) => {}
        Ok(pruned) => progress.step(told(&pruned).trim_end()),
        Err(error) => progress.warn(format!("the cache is not kept within its size: {error:#}")),
    }
}

fn list(cache: &Cache) -> Result<String> {
    let (summary, now) = (cache.summary()?, SystemTime::now());
    let now = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut text = format!("{}\n", cache.directory().display());
    let mut total = 0;
    for kind in &summary {
        let used = kind.used.map(|used| ago(now.saturating_sub(used))).unwrap_or_default();
        let note = if kind.bounded { "" } else { ", not pruned" };
        let files = if kind.files == 1 { "file" } else { "files" };
        let size = Size(kind.bytes).to_string();
        // Writing into a string can't fail.
        let _ = writeln!(text, "{:<18} {size:>10}  {:>6} {files}, used {used}{note}", kind.kind, kind.files);
        total += if kind.bounded { kind.bytes } else { 0 };
    }
    let bound = Size::of_cache()?;
    let _ = writeln!(text, "{:<18} {:>10}  of {bound} (NANOOS_CACHE_SIZE)", "together", Size(total).to_string());
    Ok(text)
}

fn told(pruned: &Pruned) -> String {
    let files = if pruned.files == 1 { "file" } else { "files" };
    format!(
        "removed {} {files}, {}, from the cache; {} are left\n",
        pruned.files,
        Size(pruned.bytes),
        Size(pruned.left)
    )
}

/// How long ago, in the largest unit that fits.
fn ago(seconds: u64) -> String {
    const UNITS: &[(&str, u64)] = &[("day", 86_400), ("hour", 3600), ("minute", 60)];
    let unit = UNITS.iter().find(|(_, length)| seconds >= *length);
    unit.map_or_else(
        || "just now".to_owned(),
        |(name, length)| match seconds / length {
            1 => format!("1 {name} ago"),
            count => format!("{count} {name}s ago"),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_told_in_the_largest_unit() {
        assert_eq!(
            [0, 60, 7200, 90_000, 200_000].map(ago),
            ["just now", "1 minute ago", "2 hours ago", "1 day ago", "2 days ago"]
        );
    }
}
