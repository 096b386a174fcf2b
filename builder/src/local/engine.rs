//! Container engines as builders: docker, podman or buildah, whichever is on this machine, by their command lines.

use super::tool::{self, Says};
use crate::cleanup::TempDir;
use crate::compression::sniff_reader;
use crate::digest::{Digest, HashingWriter};
use crate::flatten::Content;
use crate::platform::Platform;
use crate::progress::Progress;
use crate::source::engine::Inspected;
use crate::source::export;
use crate::source::{Container, Fetch};
use crate::tarball::writer::Writer;
use crate::tarball::{Attributes, Entry, Kind};
use crate::tools;
use anyhow::{Context, Result, anyhow, bail};
use serde_json::json;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is loaded into an engine is called so there.
const BASE: &str = "localhost/nanoos-base";
/// What an engine builds for us is called so there.
const BUILT: &str = "localhost/nanoos-build";

/// A command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cli {
    Docker,
    Podman,
    Buildah,
}

/// An engine that is there.
#[derive(Debug, Clone)]
pub(super) struct Engine {
    cli: Cli,
    program: PathBuf,
}

impl Engine {
    /// The first of those that answer.
    ///
    /// # Errors
    /// When there is none; `need` says what it is needed for.
    pub(super) fn find(need: &str, progress: &Progress) -> Result<Self> {
        let mut silent = Vec::new();
        for (name, cli) in [("docker", Cli::Docker), ("podman", Cli::Podman), ("buildah", Cli::Buildah)] {
            let Some(program) = tools::program(name) else { continue };
            let engine = Engine { cli, program };
            // Of docker, the daemon is wanted, and not the client alone.
            let format = if cli == Cli::Docker { &["--format", "{{.Server.Version}}"][..] } else { &[] };
            match tool::output(engine.command("version").args(format), progress) {
                Ok(_) => return Ok(engine),
                Err(error) => silent.push(format!("{error:#}")),
            }
        }
        let why = if silent.is_empty() { String::new() } else { format!(" ({})", silent.join("; ")) };
        bail!(
            "{need} needs a container engine, and neither docker nor podman nor buildah works on this machine{why}: install \
             one of them, on Debian or Ubuntu for instance with sudo apt-get install podman"
        )
    }

    /// What messages call it.
    pub(super) fn name(&self) -> &'static str {
        match self.cli {
            Cli::Docker => "docker",
            Cli::Podman => "podman",
            Cli::Buildah => "buildah",
        }
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(verb);
        command
    }

    /// Builds an image of a directory and a Containerfile, and fetches it. `key` tells one project's builds from another's.
    ///
    /// # Errors
    /// When it can't be built or fetched.
    pub(super) fn build(&self, context: &Path, file: &Path, key: &str, fetch: &Fetch<'_>) -> Result<Container> {
        let tag = format!("{BUILT}:{key}");
        let mut command = self.command("build");
        command.arg("--file").arg(file).args(["--tag", &tag]);
        if fetch.platform != Platform::host() {
            command.args(["--platform", &fetch.platform.to_string()]);
        }
        command.arg(match self.cli {
            Cli::Buildah => "--layers",
            // A build that fails leaves no container.
            Cli::Docker | Cli::Podman => "--force-rm",
        });
        command.arg(context);
        tool::run(&mut command, Says::AsItComes, fetch.progress, Some)
            .with_context(|| format!("build with {}", self.name()))?;
        self.fetch(&tag, fetch).with_context(|| format!("take what {} built", self.name()))
    }

    /// Loads a base, so that it can be built on, and gives the name that it has there. `archives` fetches it once more, with its
    /// layers as archives.
    ///
    /// # Errors
    /// When a layer of it can't be had, or the engine not load it.
    pub(super) fn load(
        &self,
        base: Digest,
        fetch: &Fetch<'_>,
        archives: impl FnOnce() -> Result<Container>,
    ) -> Result<String> {
        let hex = base.hex();
        let tag = format!("{BASE}:{}", hex.get(..24).unwrap_or(&hex));
        if self.id(&tag, fetch.progress).is_ok() {
            return Ok(tag);
        }
        fetch.progress.step(format!("load the base into {}", self.name()));
        let scratch = TempDir::new_in(&super::copy::folder(fetch.cache)?)?;
        let archive = scratch.path().join("base.tar");
        let file = File::create(&archive).context("write the base for an engine")?;
        write_archive(&archives()?, &tag, file, fetch).context("write the base for an engine")?;
        let mut command = match self.cli {
            Cli::Docker | Cli::Podman => {
                let mut command = self.command("load");
                command.arg("--quiet").arg("--input").arg(&archive);
                command
            }
            Cli::Buildah => {
                let mut command = self.command("pull");
                command.arg("--quiet").arg(format!("docker-archive:{}", archive.display()));
                command
            }
        };
        tool::output(&mut command, fetch.progress).with_context(|| format!("load the base into {}", self.name()))?;
        Ok(tag)
    }

    /// The identity of an image that the engine has.
    fn id(&self, tag: &str, progress: &Progress) -> Result<Digest> {
        let mut command = match self.cli {
            Cli::Docker | Cli::Podman => {
                let mut command = self.command("image");
                command.args(["inspect", "--format", "{{.Id}}", tag]);
                command
            }
            Cli::Buildah => {
                let mut command = self.command("inspect");
                command.args(["--type", "image", "--format", "{{.FromImageID}}", tag]);
                command
            }
        };
        let told = tool::output(&mut command, progress)?;
        let hex = told.trim();
        let hex = hex.strip_prefix("sha256:").unwrap_or(hex);
        format!("sha256:{hex}").parse().map_err(|error| anyhow!("{} tells of {tag}: {error}", self.name()))
    }

    fn fetch(&self, tag: &str, fetch: &Fetch<'_>) -> Result<Container> {
        let inspected = Inspected::new(self.id(tag, fetch.progress)?);
        if let Some(container) = export::remembered(&inspected, fetch)? {
            return Ok(container);
        }
        let scratch = TempDir::new_in(&super::copy::folder(fetch.cache)?)?;
        let archive = scratch.path().join("built.tar");
        let mut command = match self.cli {
            Cli::Docker => self.command("save"),
            Cli::Podman => {
                let mut command = self.command("save");
                command.args(["--quiet", "--format", "docker-archive"]);
                command
            }
            Cli::Buildah => self.command("push"),
        };
        match self.cli {
            Cli::Docker | Cli::Podman => command.arg("--output").arg(&archive).arg(tag),
            Cli::Buildah => command.args(["--quiet", tag]).arg(format!("docker-archive:{}", archive.display())),
        };
        tool::output(&mut command, fetch.progress)?;
        let archive = File::open(&archive).context("open what it saved")?;
        export::read(archive, &inspected, fetch)
    }
}

/// Writes an image as `docker save` does, with our own configuration: what is built on it needs its variables only.
fn write_archive(base: &Container, tag: &str, file: File, fetch: &Fetch<'_>) -> Result<()> {
    let mut writer = Writer::new(BufWriter::with_capacity(1 << 20, file));
    let mut append = |name: &str, size: u64, content: &mut dyn Read| {
        let attributes = Attributes { mode: 0o644, ..Attributes::default() };
        let path = name.as_bytes().to_vec();
        writer.append(&Entry { path, kind: Kind::File, attributes, size, xattrs: Vec::new() }, content)
    };
    let (mut names, mut diff_ids) = (Vec::new(), Vec::new());
    for layer in &base.layers {
        let Content::Blob(blob) = &layer.content else { bail!("layer {} is not there as an archive", layer.name) };
        let mut plain = fetch.cache.nameless()?;
        let mut out = HashingWriter::new(BufWriter::with_capacity(1 << 20, &plain));
        let mut archive = sniff_reader(blob.reader())?.decompress(blob.reader())?;
        let size = io::copy(&mut archive, &mut out).with_context(|| format!("read layer {}", layer.name))?;
        io::Write::flush(&mut out)?;
        let diff_id = out.digest();
        drop(out);
        plain.rewind()?;
        let name = format!("{}.tar", diff_id.hex());
        // Layers that are equal are one file.
        if !names.contains(&name) {
            append(&name, size, &mut plain)?;
        }
        names.push(name);
        diff_ids.push(diff_id);
    }
    let run = &base.config.config;
    // Podman and buildah refuse to build on an image whose history has fewer entries than layers.
    let entry = json!({ "created": "1980-01-01T00:00:00Z", "created_by": "the base of a project" });
    let history = vec![entry; diff_ids.len()];
    let config = json!({
        "architecture": fetch.platform.arch.oci,
        "os": "linux",
        "created": "1980-01-01T00:00:00Z",
        "config": { "Env": run.env, "WorkingDir": run.working_dir },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
        "history": history,
    });
    let config = serde_json::to_vec(&config)?;
    let name = format!("{}.json", Digest::of(&config).hex());
    append(&name, config.len() as u64, &mut &config[..])?;
    let manifest = serde_json::to_vec(&json!([{ "Config": name, "RepoTags": [tag], "Layers": names }]))?;
    append("manifest.json", manifest.len() as u64, &mut &manifest[..])?;
    let mut out = writer.finish()?;
    io::Write::flush(&mut out)?;
    Ok(())
}
