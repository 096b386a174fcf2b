//! The programs of other packages that a build calls: found, or installed, or named with the command that installs them.

use crate::progress::Progress;
use anyhow::{Result, bail};
use std::env;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Something that must be installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// A program on the PATH, or files of which one must be there.
    pub what: What,
    /// The package of Debian and Ubuntu that has it.
    pub package: &'static str,
}

/// How to tell whether something is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A program by name.
    Program(&'static str),
    /// Any of these files; the first word is what messages call them.
    AnyOf(&'static str, &'static [&'static str]),
}

/// Boots x86-64 machines.
pub const QEMU: Need = Need { what: What::Program("qemu-system-x86_64"), package: "qemu-system-x86" };
/// UEFI for QEMU, where Debian, Fedora, Arch and openSUSE put it.
pub const OVMF: Need = Need {
    what: What::AnyOf(
        "OVMF",
        &["/usr/share/OVMF", "/usr/share/edk2", "/usr/share/edk2-ovmf", "/usr/share/qemu/ovmf-x86_64-code.bin"],
    ),
    package: "ovmf",
};

/// Sees to it that everything is there: installs it as root on Debian and Ubuntu, else says how.
///
/// # Errors
/// When something is missing and can't be installed; all that is missing is named at once.
pub fn require(needs: &[Need], progress: &Progress) -> Result<()> {
    let missing = missing(needs);
    if missing.is_empty() {
        return Ok(());
    }
    let may_install = rustix::process::geteuid().is_root()
        && env::var_os("NANOOS_NO_INSTALL").is_none_or(|value| value.is_empty() || value == "0")
        && program("apt-get").is_some();
    if !may_install {
        bail!("{}", advice(&missing));
    }
    let packages = packages(&missing);
    progress.step(format!("install {}, which this machine lacks", packages.join(", ")));
    // Package lists may be missing or old; updating them first costs more than the first try where they are not.
    let installed = apt_get(&install(&packages)) || (apt_get(&["update".to_owned()]) && apt_get(&install(&packages)));
    if !installed {
        bail!("installing {} failed (apt-get's messages are above). {}", packages.join(", "), advice(&missing));
    }
    match self::missing(&missing)[..] {
        [] => Ok(()),
        ref still => bail!("{}", advice(still)),
    }
}

fn missing(needs: &[Need]) -> Vec<Need> {
    let there = |need: &&Need| match need.what {
        What::Program(name) => program(name).is_some(),
        What::AnyOf(_, files) => files.iter().any(|file| Path::new(file).exists()),
    };
    needs.iter().filter(|need| !there(need)).copied().collect()
}

/// Where a program is, by PATH and by the directories of administrators' tools, which not every user's PATH has.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let is_program = |file: &PathBuf| {
        file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    env::split_paths(&path).map(|directory| directory.join(name)).find(is_program)
}

fn packages(missing: &[Need]) -> Vec<&'static str> {
    let mut packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    packages.dedup();
    packages
}

fn advice(missing: &[Need]) -> String {
    let names: Vec<&str> = missing
        .iter()
        .map(|need| match need.what {
            What::Program(name) | What::AnyOf(name, _) => name,
        })
        .collect();
    format!("missing: {}. On Debian or Ubuntu: sudo apt-get install {}", names.join(", "), packages(missing).join(" "))
}

/// `--no-remove`: where qemu-utils comes from backports, installing the release's qemu-system would otherwise quietly
/// remove it.
fn install(packages: &[&str]) -> Vec<String> {
    let options = ["install", "--yes", "--no-install-recommends", "--no-remove"];
    options.iter().chain(packages).map(|word| (*word).to_owned()).collect()
}

/// Runs apt-get with its messages on standard error; whether it succeeded.
fn apt_get(arguments: &[String]) -> bool {
    let status = Command::new("apt-get")
        // Unattended upgrades may hold the lock for a while.
        .args(["-qq", "-o", "Dpkg::Use-Pty=0", "-o", "DPkg::Lock::Timeout=600"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status();
    status.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_missing_is_named_at_once_with_the_way_to_get_it() {
        const NONSENSE: Need = Need { what: What::Program("no-such-program"), package: "nonsense" };
        const NOWHERE: Need = Need { what: What::AnyOf("Firmware", &["/nowhere"]), package: "firmware" };
        const SHELL: Need = Need { what: What::Program("sh"), package: "dash" };
        let missing = missing(&[NONSENSE, SHELL, NOWHERE]);
        assert_eq!(
            advice(&missing),
            "missing: no-such-program, Firmware. On Debian or Ubuntu: sudo apt-get install nonsense firmware"
        );
        assert!(super::missing(&[SHELL]).is_empty());
    }
}
