//! A static site: files that nginx shows.

use super::{Found, Refusal, missing, processes::WEB};
use crate::files::Files;
use crate::plan::{Base, DIRECTORY, Kind, Plan, Process};
use std::collections::BTreeMap;

/// Where a site may lie: what generators write first, then what is written by hand.
const DIRECTORIES: &[&str] = &["dist", "_site", "public", ""];

/// Where nginx's configuration lies in the machine.
const CONFIGURATION: &str = "/etc/nanoos/nginx.conf";

/// Nginx as any user on a read-only disk: what it writes goes to /tmp, and its logs to where the machine's go.
const TEMPLATE: &str = include_str!("nginx.conf");

/// The directory that holds the site: empty for the root, `None` where there is no index.html.
pub(super) fn directory(files: &Files) -> Option<&'static str> {
    directories(files).next()
}

fn directories(files: &Files) -> impl Iterator<Item = &'static str> {
    DIRECTORIES.iter().copied().filter(|directory| files.has(&format!("{}index.html", prefix(directory))))
}

/// What stands before the names of files in a directory: `dist/`, nothing for the root.
pub(super) fn prefix(directory: &str) -> String {
    if directory.is_empty() { String::new() } else { format!("{directory}/") }
}

pub(super) fn plan(files: &Files, port: u16) -> Result<Found, Refusal> {
    let directory =
        directory(files).ok_or_else(|| missing(Kind::Site, "index.html, dist, _site or public with one"))?;
    let mut plan = Plan::new(Kind::Site, Base::Image("nginx:stable-alpine".to_owned()));
    plan.packed = directory.to_owned();
    let others: Vec<String> = directories(files).skip(1).map(|of| format!("{}index.html", prefix(of))).collect();
    if !others.is_empty() {
        plan.warnings.push(format!("{directory}/ is shown, and not {}", super::refusal::list(&others)));
    }
    let errors = format!("{}404.html", prefix(directory));
    let errors = if files.has(&errors) { "error_page 404 /404.html;" } else { "" };
    let text = TEMPLATE.replace("@PORT@", &port.to_string()).replace("@ROOT@", DIRECTORY).replace("@ERRORS@", errors);
    plan.added = BTreeMap::from([(CONFIGURATION.to_owned(), text)]);
    let start = Process::words(&["nginx", "-e", "stderr", "-c", CONFIGURATION], "the static site");
    plan.processes.insert(WEB.to_owned(), start);
    Ok((plan, None))
}
