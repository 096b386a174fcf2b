//! A directory with a kernel in it: one that `kernel/build.sh` made, or an unpacked Debian `linux-image` package.

use crate::bounded::SETTINGS;
use crate::platform::Arch;
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};

/// A kernel and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// The directory itself.
    pub directory: PathBuf,
    /// The release, as `uname -r` will tell it.
    pub release: String,
    /// The kernel itself, as firmware or a stub starts it.
    pub vmlinuz: PathBuf,
    /// The EFI stub that a unified kernel image starts with, where the directory has one.
    pub stub: Option<PathBuf>,
    /// The kernel's configuration, where the directory has it.
    pub config: Option<PathBuf>,
    /// The directory of its modules; `None` for a kernel without any.
    pub modules: Option<PathBuf>,
}

/// What `kernel/build.sh` says of a kernel.
const MANIFEST: &str = "manifest.json";

/// The part of `kernel/build.sh`'s manifest that is needed here.
#[derive(Deserialize)]
struct Manifest {
    release: String,
}

impl Kernel {
    /// Looks at a directory.
    ///
    /// # Errors
    /// When it has no kernel, or several.
    pub fn open(directory: &Path) -> Result<Self> {
        let shown = directory.display();
        ensure!(directory.is_dir(), "kernel {shown}: no such directory");
        let (release, vmlinuz) = match release_of_manifest(directory)? {
            Some(release) => (release, directory.join("vmlinuz")),
            None => versioned(directory)?,
        };
        ensure!(
            !release.is_empty() && !release.contains('/') && release != "..",
            "kernel {shown}: its release {release:?} can't be the name of a directory"
        );
        ensure!(vmlinuz.is_file(), "kernel {shown}: it has no {}", vmlinuz.display());
        let existing =
            |candidates: &[String]| candidates.iter().map(|name| directory.join(name)).find(|path| path.exists());
        let modules = existing(&[format!("lib/modules/{release}"), format!("usr/lib/modules/{release}")]);
        Ok(Kernel {
            directory: directory.to_owned(),
            stub: existing(&["stub.efi".to_owned()]),
            config: existing(&["config".to_owned(), format!("boot/config-{release}"), format!("config-{release}")]),
            modules: modules.filter(|modules| modules.join("kernel").exists()),
            release,
            vmlinuz,
        })
    }

    /// The files that it is made of, and the directory of its modules.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let others = [&self.stub, &self.config, &self.modules].into_iter().flatten();
        // Of kernel/build.sh; where it is missing, it is no concern.
        let manifest = self.directory.join(MANIFEST);
        others.chain([&self.vmlinuz]).cloned().chain([manifest]).collect()
    }

    /// Whether the kernel's configuration has `option`, such as `CONFIG_RD_ZSTD`, built in.
    ///
    /// # Errors
    /// When the configuration can't be read.
    pub fn has(&self, option: &str) -> Result<bool> {
        let Some(config) = &self.config else { return Ok(false) };
        let text = SETTINGS.read_text(config).with_context(|| format!("read {}", config.display()))?;
        Ok(text.lines().any(|line| line.strip_prefix(option).is_some_and(|rest| rest.starts_with("=y"))))
    }

    /// The EFI stub: the directory's own, or the system's.
    ///
    /// # Errors
    /// When there is neither.
    pub fn stub(&self, arch: &Arch) -> Result<PathBuf> {
        let system = Path::new(arch.systemd_stub);
        self.stub.clone().or_else(|| system.exists().then(|| system.to_owned())).with_context(|| {
            format!(
                "kernel {} comes without an EFI stub (stub.efi), and {} is not there: apt-get install systemd-boot-efi",
                self.release, arch.systemd_stub
            )
        })
    }
}

fn release_of_manifest(directory: &Path) -> Result<Option<String>> {
    let path = directory.join(MANIFEST);
    if !path.exists() {
        return Ok(None);
    }
    let json = SETTINGS.read_file(&path).with_context(|| format!("read {}", path.display()))?;
    let manifest: Manifest = serde_json::from_slice(&json).with_context(|| format!("read {}", path.display()))?;
    Ok(Some(manifest.release))
}

/// `vmlinuz-RELEASE`, in `boot` or right here.
fn versioned(directory: &Path) -> Result<(String, PathBuf)> {
    let mut found = Vec::new();
    for place in [directory.join("boot"), directory.to_owned()] {
        let Ok(entries) = fs::read_dir(&place) else { continue };
        for entry in entries {
            let name = entry.with_context(|| format!("list {}", place.display()))?.file_name();
            if let Some(release) = name.to_str().and_then(|name| name.strip_prefix("vmlinuz-")) {
                found.push((release.to_owned(), place.join(&name)));
            }
        }
    }
    found.sort();
    let shown = directory.display();
    match &found[..] {
        [only] => Ok(only.clone()),
        [] => bail!(
            "kernel {shown}: there is no kernel in it: it must be a directory that kernel/build.sh made (manifest.json, vmlinuz) or \
             an unpacked linux-image package (boot/vmlinuz-RELEASE, lib/modules/RELEASE)"
        ),
        _ => {
            let releases: Vec<&str> = found.iter().map(|(release, _)| release.as_str()).collect();
            bail!("kernel {shown}: it has several kernels ({}): leave one in it", releases.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        dir
    }

    #[test]
    fn a_kernel_of_build_sh_is_read_by_its_manifest() {
        let dir = directory(&[
            ("manifest.json", r#"{"release":"6.12.1","other":1}"#),
            ("vmlinuz", ""),
            ("stub.efi", ""),
            ("config", "CONFIG_A=y\nCONFIG_AB=y\n# CONFIG_B is not set\nCONFIG_C=m\n"),
            ("lib/modules/6.12.1/kernel/x.ko", ""),
        ]);
        let kernel = Kernel::open(dir.path()).unwrap();
        assert_eq!(kernel.release, "6.12.1");
        assert_eq!(kernel.modules, Some(dir.path().join("lib/modules/6.12.1")));
        let has: Vec<bool> =
            ["CONFIG_A", "CONFIG_B", "CONFIG_C"].iter().map(|name| kernel.has(name).unwrap()).collect();
        assert_eq!(has, [true, false, false]);
    }

    #[test]
    fn an_unpacked_debian_package_is_a_kernel_too() {
        let dir = directory(&[
            ("boot/vmlinuz-6.1.0-1-cloud-amd64", ""),
            ("boot/config-6.1.0-1-cloud-amd64", ""),
            ("usr/lib/modules/6.1.0-1-cloud-amd64/kernel/x.ko.xz", ""),
        ]);
        let kernel = Kernel::open(dir.path()).unwrap();
        assert_eq!(kernel.release, "6.1.0-1-cloud-amd64");
        assert_eq!((kernel.stub.is_some(), kernel.config.is_some(), kernel.modules.is_some()), (false, true, true));
    }

    #[test]
    fn a_directory_that_is_no_kernel_says_what_one_has() {
        let refused = |dir: &tempfile::TempDir| Kernel::open(dir.path()).unwrap_err().to_string();
        assert!(refused(&directory(&[])).contains("there is no kernel in it: it must be"));
        assert!(
            refused(&directory(&[("boot/vmlinuz-1", ""), ("boot/vmlinuz-2", "")])).contains("several kernels (1, 2)")
        );
        assert!(refused(&directory(&[("manifest.json", r#"{"release":"../x"}"#)])).contains("can't be the name"));
        assert!(refused(&directory(&[("manifest.json", r#"{"release":"1"}"#)])).contains("it has no"));
    }
}
