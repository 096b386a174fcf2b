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

/// Tells systemd that it is in a container (its "Container Interface"), unless the image does, or says that it is in none:
/// a machine by itself it would set up once more, with its network, its clock, a terminal on the console. Docker's
/// containers it knows by a file of Docker's.
pub(super) fn announce_container(environment: &mut Vec<String>) {
    if lookup(environment, "container").is_none() {
        environment.push("container=nanoos".to_owned());
    }
}

/// What asks a process to stop where the image names no signal: for systemd its own, as Podman has it, since it minds no
/// SIGTERM as PID 1 but by executing itself anew. What runs counts, not what was started: an entrypoint may be a script.
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
