//! From a scenario's image to its disk, by the real builder.

use super::{Base, Kernel, Scenario, damage};
use crate::oci_layout::{Config, Layer, Layout};
use crate::process::{run, tool};
use crate::registry::Registry;
use crate::{nginx, systemd, workspace};
use anyhow::{Context, Result};
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tempfile::TempDir;

/// The disks of a test run: one that several scenarios boot is built once, and deleted after the last of them.
#[derive(Debug)]
pub struct Disks {
    shared: HashMap<String, Arc<Shared>>,
}

#[derive(Debug)]
struct Shared(Mutex<(usize, Option<Arc<Built>>)>);

/// A disk that may be read by several machines; `qemu/boot.sh` never writes to it.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) path: PathBuf,
    _directory: TempDir,
}

impl Disks {
    /// For these scenarios.
    #[must_use]
    pub fn new<'a>(scenarios: impl Iterator<Item = &'a Scenario>) -> Self {
        let mut uses: HashMap<String, usize> = HashMap::new();
        for scenario in scenarios {
            *uses.entry(key(scenario)).or_default() += 1;
        }
        let shared = |count| Arc::new(Shared(Mutex::new((count, None))));
        Disks { shared: uses.into_iter().map(|(key, count)| (key, shared(count))).collect() }
    }

    /// The disk of a scenario, built now if no other one's is the same.
    pub(super) fn get(&self, scenario: &Scenario) -> Result<Arc<Built>> {
        let Some(shared) = self.shared.get(&key(scenario)) else { return Ok(Arc::new(build(scenario)?)) };
        // Whoever needs the same disk waits for it here.
        let mut shared = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, built) = &mut *shared;
        let disk = match built.take() {
            Some(disk) => disk,
            None => Arc::new(build(scenario)?),
        };
        *left = left.saturating_sub(1);
        *built = (*left > 0).then(|| disk.clone());
        Ok(disk)
    }
}

/// Equal for scenarios with the same disk.
fn key(scenario: &Scenario) -> String {
    let own_root = Some(&scenario.folder).filter(|folder| folder.join("root").is_dir());
    format!("{:?} {:?} {own_root:?}", scenario.image, scenario.build)
}

fn build(scenario: &Scenario) -> Result<Built> {
    let directory = tempfile::Builder::new().prefix("nanoos-disk.").tempdir().context("make a directory")?;
    let path = make(scenario, directory.path())?;
    Ok(Built { path, _directory: directory })
}

/// Makes the disk in a directory that exists, and gives its path.
fn make(scenario: &Scenario, directory: &Path) -> Result<PathBuf> {
    let disk = directory.join("disk.raw");
    let mut command = tool(workspace::builder()?, "nothing: it is the workspace's own")?;
    // Whoever runs the tests has registry credentials of their own; they are no part of a test.
    command.env("DOCKER_CONFIG", directory);
    command.arg("-o").arg(&disk).args(&scenario.build.options);
    if scenario.build.kernel == Kernel::Debian {
        command.arg("--kernel").arg(workspace::stock_kernel()?);
    }
    match scenario.image.from {
        Base::Scratch => {
            let layout = directory.join("image");
            write_image(scenario, &layout)?;
            run(command.arg(format!("oci:{}", layout.display())))?;
            fs::remove_dir_all(layout).context("remove the image")?;
        }
        Base::Systemd => drop(run(command.arg(format!("oci:{}", systemd::layout()?.display())))?),
        Base::Nginx => {
            let registry = Registry::start()?;
            registry.push(&nginx::layout()?, "library/nginx:latest")?;
            command.args(["--registry-mirror", &registry.url(), "nginx"]);
            run(&mut command)?;
        }
    }
    if !scenario.image.processes.is_empty() {
        damage::add_processes(&disk, &scenario.image.processes)?;
    }
    Ok(disk)
}

/// One program in an empty root, and whatever the folder's `root` holds.
fn write_image(scenario: &Scenario, layout: &Path) -> Result<()> {
    let image = &scenario.image;
    fs::create_dir(layout).context("make a directory for the image")?;
    let mut layer = Layer::default();
    if !image.program.is_empty() {
        let program = workspace::static_program(&image.program)?;
        let content = fs::read(program).with_context(|| format!("read {}", program.display()))?;
        layer.file(&image.program, 0o755, &content)?;
    }
    let root = scenario.folder.join("root");
    if root.is_dir() {
        layer.tree(&root)?;
    }
    let mut layout = Layout::create(layout)?;
    layout.layer(&layer.finish()?[..])?;
    if !image.sparse.is_empty() {
        layout.layer(&sparse_layer(&image.sparse)?[..])?;
    }
    layout.finish(&Config {
        entrypoint: image.entrypoint.clone(),
        cmd: image.cmd.clone(),
        env: image.env.clone(),
        user: image.user.clone(),
        cwd: image.cwd.clone(),
        stop_signal: image.stop_signal.clone(),
        ports: Vec::new(),
        volumes: image.volumes.clone(),
    })
}

/// A layer of files of zeros, of so many MiB, which tar(1) does not write out.
fn sparse_layer(files: &BTreeMap<String, u32>) -> Result<Vec<u8>> {
    let directory = tempfile::tempdir().context("make a directory for sparse files")?;
    for (path, mib) in files {
        let file = directory.path().join(path);
        let folder = file.parent().context("a file without a directory")?;
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        let made = File::create(&file).and_then(|file| file.set_len(u64::from(*mib) << 20));
        made.with_context(|| format!("make {}", file.display()))?;
    }
    let options = ["--create", "--sparse", "--sort=name", "--owner=0", "--group=0", "--mode=u=rwX,go=rX", "--mtime=@0"];
    run(tool("tar", "tar")?.args(options).arg("--directory").arg(directory.path()).arg("."))
}
