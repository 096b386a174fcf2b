//! systemd as the application: it must know that the machine is set up already, and has a stop signal of its own.

use super::lookup;
use crate::root::Root;
use initramfs::signal;
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::path::Path;

/// The name of its program, in whatever directory a distribution has it.
const NAME: &str = "systemd";
/// By this name the first program of a system is known; it may lead to systemd, or be another one.
const INIT: &str = "init";

/// Whether a program of the image is systemd by its name, or an `init` that leads to it.
pub(super) fn is_named(program: &str, root: &Root) -> bool {
    match Path::new(program).file_name().and_then(OsStr::to_str) {
        Some(NAME) => true,
        Some(INIT) => root.real_path(program).is_some_and(|path| is_systemd(&path)),
        _ => false,
    }
}

/// Tells systemd that it is in a container (its "Container Interface"), unless the image sets the variable itself.
/// Otherwise systemd would set up the machine once more: its network, its clock, a terminal on the console. It knows
/// Docker's containers by a file of Docker's.
pub(super) fn announce_container(environment: &mut Vec<String>) {
    if lookup(environment, "container").is_none() {
        environment.push("container=nanoos".to_owned());
    }
}

/// The stop signal of a process whose image names none: SIGTERM, or for systemd the one that Podman sends it too,
/// because on SIGTERM systemd only executes itself anew. The program that runs counts, not the entrypoint, which may be
/// a script.
#[must_use]
pub fn stop_signal(process: Pid) -> u8 {
    match std::fs::read_link(format!("/proc/{process}/exe")) {
        Ok(program) if is_systemd(&program) => signal::STOP_SYSTEMD,
        _ => signal::TERM,
    }
}

fn is_systemd(program: &Path) -> bool {
    program.file_name() == Some(OsStr::new(NAME))
}
