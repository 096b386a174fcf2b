//! Kernel settings, as the image or its user data name them.

use crate::{debug, error};
use initramfs::image::Image;
use nix::errno::Errno;
use std::io;
use std::path::{Path, PathBuf};

const DIRECTORY: &str = "/proc/sys";

/// What a container finds other than the kernel has it.
const DEFAULTS: &[(&str, &str)] = &[
    // Docker, where a container has a network of its own (moby, `daemon/oci_linux.go`): programs that are not root may
    // serve on port 80, and ping.
    ("net.ipv4.ip_unprivileged_port_start", "0"),
    ("net.ipv4.ping_group_range", "0 2147483647"),
    // Distributions (systemd, `50-pid-max.conf`); the kernel counts to 32,768 on machines with few processors.
    ("kernel.pid_max", "4194304"),
];

/// Applies Docker's settings and then the image's. Programs run with those that the kernel refuses as they were.
pub fn apply(image: &Image) {
    for (name, value) in DEFAULTS {
        if let Err(errno) = set(name, value) {
            debug!("sysctl {name}: {errno}");
        }
    }
    for (name, value) in &image.sysctls {
        if let Err(errno) = set(name, value) {
            error!("sysctl {name}: {errno}");
        }
    }
}

fn set(name: &str, value: &str) -> Result<(), Errno> {
    let errno = |error: io::Error| error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw);
    std::fs::write(path(name), format!("{value}\n")).map_err(errno)
}

/// The first separator decides, as in sysctl(8): after a dot, dots are slashes and slashes dots; else it is a path.
fn path(name: &str) -> PathBuf {
    let is_dotted = name.find(['.', '/']).is_some_and(|at| name.as_bytes().get(at) == Some(&b'.'));
    let swap = |character| match character {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    let below: String = if is_dotted { name.chars().map(swap).collect() } else { name.to_owned() };
    Path::new(DIRECTORY).join(below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_sysctl_reads_them() {
        assert_eq!(path("vm.swappiness"), Path::new("/proc/sys/vm/swappiness"));
        assert_eq!(path("net/ipv4/conf/eth0.1/forwarding"), Path::new("/proc/sys/net/ipv4/conf/eth0.1/forwarding"));
        assert_eq!(path("net.ipv4.conf.eth0/1.forwarding"), Path::new("/proc/sys/net/ipv4/conf/eth0.1/forwarding"));
    }

    #[test]
    fn what_is_not_there_is_told_by_its_errno() {
        assert_eq!(set("vm.no_such_setting", "1"), Err(Errno::ENOENT));
    }
}
