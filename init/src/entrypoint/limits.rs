//! Resource limits (getrlimit(2)) of the application.

use anyhow::{Context, Result};
use initramfs::limits::{Limit, Limits, RESOURCES};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::fs;

/// By its number, as [`RESOURCES`] gives it.
const BY_NUMBER: [Resource; 16] = [
    Resource::Cpu,
    Resource::Fsize,
    Resource::Data,
    Resource::Stack,
    Resource::Core,
    Resource::Rss,
    Resource::Nproc,
    Resource::Nofile,
    Resource::Memlock,
    Resource::As,
    Resource::Locks,
    Resource::Sigpending,
    Resource::Msgqueue,
    Resource::Nice,
    Resource::Rtprio,
    Resource::Rttime,
];

/// As many as the Docker Engine gives its containers on Debian and Ubuntu, and as many as most kernels allow.
const FILES: u64 = 1 << 20;

/// What Docker's own unit lifts (`docker.service`: LimitNPROC), and what a machine of one application has no reason to
/// ration. All others are the kernel's: of core files, 0, which a program may raise. A core would stay in memory.
const UNLIMITED: &[Resource] = &[Resource::Memlock, Resource::Nproc, Resource::Sigpending];

/// Sets the limits of this process: the defaults, then the image's own.
pub(super) fn set(limits: &Limits) -> Result<()> {
    for resource in UNLIMITED {
        set_one(*resource, Limit { soft: Limit::UNLIMITED, hard: Limit::UNLIMITED })?;
    }
    let files = FILES.min(most_files());
    set_one(Resource::Nofile, Limit { soft: files, hard: files })?;
    for (number, limit) in limits.iter() {
        let name = RESOURCES.iter().find(|(_, known)| *known == number).map_or("", |(name, _)| *name);
        let resource =
            usize::try_from(number).ok().and_then(|number| BY_NUMBER.get(number)).context("no such limit")?;
        set_one(*resource, limit).with_context(|| format!("set the limit {name} to {}:{}", limit.soft, limit.hard))?;
    }
    Ok(())
}

fn set_one(resource: Resource, limit: Limit) -> Result<()> {
    let bound = |amount| (amount != Limit::UNLIMITED).then_some(amount);
    let limit = Rlimit { current: bound(limit.soft), maximum: bound(limit.hard) };
    setrlimit(resource, limit).with_context(|| format!("set the limit {resource:?}"))
}

/// No process may have more files open, whatever its limit says (proc_sys_fs(5)).
fn most_files() -> u64 {
    let read = fs::read_to_string("/proc/sys/fs/nr_open").ok();
    read.and_then(|text| text.trim().parse().ok()).unwrap_or(FILES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_the_contract_are_those_of_the_kernel() {
        for (name, number) in RESOURCES {
            let resource = BY_NUMBER[usize::try_from(*number).unwrap()];
            assert_eq!((resource as u32, format!("{resource:?}").to_lowercase().as_str()), (*number, *name));
        }
    }
}
