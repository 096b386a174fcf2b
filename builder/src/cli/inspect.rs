//! `builder inspect DISK`: what a disk is made of.

use anyhow::{Context, Result, ensure};
use builder::inspect::{Report, inspect};
use builder::local::Origin;
use builder::progress::printable;
use builder::provenance::Provenance;
use clap::Args;
use std::io::{self, Write};
use std::path::PathBuf;

/// Which disk, and how it is told.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// A raw disk that builder made
    #[arg(value_name = "DISK")]
    disk: PathBuf,

    /// Print the JSON document that the disk holds
    #[arg(long)]
    json: bool,
}

impl Inspect {
    /// Prints it; a disk that is no longer what it was is an error.
    pub(crate) fn run(&self) -> Result<()> {
        let report = inspect(&self.disk)?;
        let text = if self.json { String::from_utf8(report.provenance.to_json()?)? } else { text(&report) };
        io::stdout().write_all(text.as_bytes()).context("write to standard output")?;
        let changed: Vec<&str> = report.checks.iter().filter(|check| !check.holds()).map(|check| check.name).collect();
        ensure!(changed.is_empty(), "{}: no longer what was built: {}", self.disk.display(), changed.join(", "));
        Ok(())
    }
}

fn text(report: &Report) -> String {
    let Provenance { builder, image, platform, kernel, init, cmdline, options, .. } = &report.provenance;
    let known = |digest: Option<String>| digest.unwrap_or_else(|| "not known".to_owned());
    let mut lines = report.provenance.project.as_ref().map(project).unwrap_or_default();
    lines.push(("image", image.id.to_string()));
    lines.extend(image.layers.iter().map(|layer| ("layer", known(layer.map(|digest| digest.to_string())))));
    lines.extend([
        ("platform", platform.clone()),
        ("kernel", format!("Linux {}", kernel.release)),
        ("config", known(kernel.config.map(|digest| digest.to_string()))),
        ("init", init.to_string()),
        ("cmdline", cmdline.clone()),
        ("options", options.to_string()),
        ("builder", builder.clone()),
    ]);
    for check in &report.checks {
        let verdict = if check.holds() { "as built" } else { "CHANGED" };
        lines.push((check.name, format!("{}, {} bytes, {verdict}", check.made.digest, check.made.bytes)));
    }
    lines.into_iter().fold(String::new(), |text, (name, value)| text + &format!("{name:<12} {}\n", printable(&value)))
}

/// What a machine was made of, where that is no container image.
fn project(origin: &Origin) -> Vec<(&'static str, String)> {
    let words = [Some(&origin.kind), origin.name.as_ref(), origin.version.as_ref()];
    let words: Vec<&str> = words.into_iter().flatten().map(String::as_str).collect();
    let mut lines = vec![("project", words.join(" "))];
    lines.extend(origin.payload.map(|digest| ("payload", digest.to_string())));
    lines.extend(origin.git.as_ref().map(|git| {
        let state = match git.clean {
            Some(true) => "clean",
            Some(false) => "with changes that are not committed",
            None => "clean or not, git could not tell",
        };
        ("commit", format!("{}, {state}", git.commit))
    }));
    lines
}
