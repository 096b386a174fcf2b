//! `--dry-run`: what a build would do.

use super::report::print;
use super::subject::{Known, Project, Subject, facts};
use crate::order::Order;
use anyhow::{Context, Result};
use builder::cache::{self, Cache};
use builder::kernel::directory::Kernel;
use builder::kernel::find;
use builder::progress::{Progress, mebibytes, printable};
use builder::source::look::Look;
use builder::{machine, provenance};
use std::fmt::Write as _;

/// Bytes of a disk beside the layers and the kernel itself: partition tables, gaps, the file system of the EFI partition,
/// init, modules.
const REST: u64 = 6 << 20;

/// Looks at the image and the kernel, and tells on standard output; `what` is what would be made.
pub(crate) fn tell(order: &Order, subject: &Subject, what: &str, cache: &Cache, progress: &Progress) -> Result<()> {
    let kernel = find::at_hand(order.kernel.as_deref(), order.platform.arch, &cache::directory()?)?;
    let text = match &subject.project {
        Some(project) => of_project(order, project, kernel.as_ref(), what, progress),
        None => of_image(order, kernel.as_ref(), what, cache, progress)?,
    };
    print(text.as_bytes())
}

/// A project is not built for this, and its base not fetched: what comes of them is not known.
fn of_project(order: &Order, project: &Project, kernel: Option<&Kernel>, what: &str, progress: &Progress) -> String {
    let mut text = Text::default();
    for (name, fact) in facts(project) {
        text.line(name, &fact);
    }
    if let Known::Directory(looked) = &project.known {
        looked.warnings.iter().for_each(|warning| progress.warn(warning));
        for (number, left) in looked.tree.left_out.iter().enumerate() {
            text.line(if number == 0 { "left out" } else { "" }, &left.to_string());
        }
    }
    text.line("kernel", &kernel.map_or_else(unbuilt, |kernel| format!("Linux {}", kernel.release)));
    text.line("command line", &order.cmdline);
    text.line("output", what);
    text.0
}

fn of_image(order: &Order, kernel: Option<&Kernel>, what: &str, cache: &Cache, progress: &Progress) -> Result<String> {
    let look = order.look(cache, progress)?;
    // The root is named by its content, which is not known yet: any name will do, and is not told.
    let root = order.platform.arch.root_type;
    let name = order.source.to_string();
    let (config, warnings) = machine::configure(&name, &look.config.config, root, &order.options)?;
    for warning in warnings {
        progress.warn(warning);
    }
    let mut config = provenance::options(&config)?;
    if let Some(fields) = config.as_object_mut() {
        fields.remove("root");
    }
    let config = serde_json::to_string_pretty(&config).context("write the machine's configuration")?;

    let mut text = Text::default();
    text.line("image", &format!("{name} for {}", order.platform));
    text.line("image id", &look.id.to_string());
    text.line("manifest", &look.manifest.map_or_else(|| "none".to_owned(), |digest| digest.to_string()));
    text.line("layers", &format!("{}, {}", look.layers.len(), mebibytes(stored(&look))));
    for layer in &look.layers {
        let size = layer.bytes.map_or_else(|| "packed already".to_owned(), mebibytes);
        text.line("", &format!("{} {size}", layer.name));
    }
    text.line("kernel", &kernel.map_or_else(unbuilt, |kernel| format!("Linux {}", kernel.release)));
    text.line("command line", &order.cmdline);
    text.line("machine", &config);
    let size = estimate(&look, kernel);
    text.line("output", &format!("{what}, about {}", mebibytes(size)));
    Ok(text.0)
}

/// Lines with a name each.
#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, name: &str, value: &str) {
        let _ = writeln!(self.0, "{name:<13} {}", printable(value));
    }
}

fn unbuilt() -> String {
    "our own, which would be built first: once, in 6 to 12 minutes on two processors".to_owned()
}

fn stored(look: &Look) -> u64 {
    look.layers.iter().filter_map(|layer| layer.bytes).fold(0, u64::saturating_add)
}

/// Layers of a registry are compressed about as well as a disk's root is.
fn estimate(look: &Look, kernel: Option<&Kernel>) -> u64 {
    let kernel = kernel.and_then(|kernel| kernel.vmlinuz.metadata().ok()).map_or(0, |metadata| metadata.len());
    stored(look).saturating_add(kernel).saturating_add(REST)
}
