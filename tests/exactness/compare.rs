//! The comparison, and everything in which a machine's root may differ from Docker's export.

use crate::snapshot::{Node, Tree, What};
use std::time::{SystemTime, UNIX_EPOCH};

/// What docker create puts into every container, by moby's daemon/initlayer: empty files, with which it replaces the
/// image's own, until it mounts the real ones over them at the start.
const FILES: &[&str] = &[".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf"];
/// The same, as a link to /proc/mounts.
const LINK: &str = "etc/mtab";
/// Directories that docker create makes where the image has none. The first two get another time, whoever made them.
const DIRECTORIES: &[&str] = &["dev", "etc", "dev/pts", "dev/shm", "proc", "sys"];

/// Latest time of a squashfs, 32 bits of seconds without sign.
const LATEST: i64 = u32::MAX as i64;

/// Every way in which two trees differ, a line for each name.
pub(crate) fn differences(one: &Tree, other: &Tree) -> Vec<String> {
    let names = one.keys().chain(other.keys().filter(|name| !one.contains_key(*name)));
    let names = names.filter(|name| one.get(*name) != other.get(*name));
    names.map(|name| format!("{}: {:?} / {:?}", name.escape_ascii(), one.get(name), other.get(name))).collect()
}

/// Every way in which a machine's root differs from what Docker exports of the same image, but for what is documented
/// here. `layers`, the last layer's word on each name, tells the extended attributes, which an export lacks.
pub(crate) fn unexpected(docker: &Tree, machine: &Tree, layers: &Tree) -> Vec<String> {
    let (mut docker, mut machine) = (docker.clone(), machine.clone());
    let mut found = Vec::new();
    for name in FILES.iter().chain([&LINK]).map(|name| name.as_bytes()) {
        match docker.remove(name) {
            Some(node) if is_of_docker(name, &node) => {}
            other => found.push(format!("{}: not what docker create makes: {other:?}", name.escape_ascii())),
        }
        machine.remove(name);
    }
    for name in DIRECTORIES.iter().map(|name| name.as_bytes()) {
        match (docker.get_mut(name), machine.get(name)) {
            (Some(node), None) if node.what == What::Directory && node.mode == 0o755 && node.owner == (0, 0) => {
                docker.remove(name);
            }
            (Some(node), Some(own)) if matches!(name, b"dev" | b"etc") => node.mtime = own.mtime,
            _ => {} // compared like all others
        }
    }
    for (name, node) in &mut docker {
        let Some(own) = machine.get(name) else { continue };
        // Some versions of Docker export capabilities: those must be there.
        if node.xattrs.iter().all(|(name, value)| own.xattrs.get(name) == Some(value)) {
            node.xattrs = layers.get(name).map(|node| node.xattrs.clone()).unwrap_or_default();
        }
        // fuse-overlayfs tells two names of a file apart if one lies in a directory below the other's.
        let is_told = |name: &[u8]| layers.get(name).is_some_and(|told| told.first == own.first);
        if is_told(name) && is_told(&node.first) {
            node.first = own.first.clone();
        }
        if let What::Directory = node.what
            && own.mtime == 0
            && (node.mode, node.owner) == (0o755, (0, 0))
            && is_now(node.mtime)
        {
            node.mtime = 0; // one that no layer has an entry for: Docker makes it as it unpacks
        }
        node.mtime = node.mtime.clamp(0, LATEST);
    }
    found.extend(differences(&docker, &machine));
    found
}

fn is_of_docker(name: &[u8], node: &Node) -> bool {
    let what = if name == LINK.as_bytes() {
        node.what == What::Symlink(b"/proc/mounts".to_vec())
    } else {
        matches!(node.what, What::File { size: 0, .. }) && node.mode == 0o755
    };
    what && node.owner == (0, 0) && is_now(node.mtime)
}

/// Within the last hour.
fn is_now(mtime: i64) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs().cast_signed());
    (now - 3600..=now + 1).contains(&mtime)
}
