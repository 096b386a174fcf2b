//! Writes container images as OCI image layouts (OCI image specification, image-layout.md): a directory that
//! skopeo and the builder read.

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What an image says about its program, as a Dockerfile does. Empty means not said.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// ENTRYPOINT.
    pub entrypoint: Vec<String>,
    /// CMD.
    pub cmd: Vec<String>,
    /// ENV, `KEY=VALUE` each.
    pub env: Vec<String>,
    /// USER.
    pub user: String,
    /// WORKDIR.
    pub cwd: String,
    /// STOPSIGNAL.
    pub stop_signal: String,
    /// EXPOSE, such as `80/tcp`.
    pub ports: Vec<String>,
    /// VOLUME.
    pub volumes: Vec<String>,
}

/// A layout that is being written.
#[derive(Debug)]
pub struct Layout {
    blobs: PathBuf,
    directory: PathBuf,
    layers: Vec<Value>,
    diff_ids: Vec<String>,
}

impl Layout {
    /// An empty layout in an existing directory.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn create(directory: &Path) -> Result<Self> {
        let blobs = directory.join("blobs/sha256");
        fs::create_dir_all(&blobs).with_context(|| format!("make {}", blobs.display()))?;
        Ok(Layout { blobs, directory: directory.to_owned(), layers: Vec::new(), diff_ids: Vec::new() })
    }

    /// Adds a layer, above those added before, from an uncompressed tar.
    ///
    /// # Errors
    /// When the tar cannot be read or the layout not written.
    pub fn layer(&mut self, mut tar: impl Read) -> Result<()> {
        let unfinished = self.blobs.join("unfinished");
        let file = Digesting::new(File::create(&unfinished).context("write a layer")?);
        // Fast: what is compressed here is read back a few times at most.
        let mut plain = Digesting::new(GzEncoder::new(file, Compression::fast()));
        io::copy(&mut tar, &mut plain).context("write a layer")?;
        let (gzip, diff_id, _) = plain.finish();
        let (_, digest, size) = gzip.finish().context("write a layer")?.finish();
        fs::rename(unfinished, self.blobs.join(&digest)).context("write a layer")?;
        self.layers.push(descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &digest, size));
        self.diff_ids.push(format!("sha256:{diff_id}"));
        Ok(())
    }

    /// Writes everything that names the layers.
    ///
    /// # Errors
    /// When the layout cannot be written.
    pub fn finish(self, config: &Config) -> Result<()> {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "config": config_json(config),
            "rootfs": { "type": "layers", "diff_ids": self.diff_ids },
        });
        let config = self.blob("application/vnd.oci.image.config.v1+json", &config)?;
        let manifest_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest =
            json!({ "schemaVersion": 2, "mediaType": manifest_type, "config": config, "layers": self.layers });
        let mut manifest = self.blob(manifest_type, &manifest)?;
        manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": "latest" });
        let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
        self.file("index.json", &index)?;
        self.file("oci-layout", &json!({ "imageLayoutVersion": "1.0.0" }))
    }

    fn blob(&self, media_type: &str, content: &Value) -> Result<Value> {
        let bytes = content.to_string();
        let digest = hex(&Sha256::digest(&bytes));
        fs::write(self.blobs.join(&digest), &bytes).context("write a blob")?;
        Ok(descriptor(media_type, &digest, bytes.len() as u64))
    }

    fn file(&self, name: &str, content: &Value) -> Result<()> {
        fs::write(self.directory.join(name), content.to_string()).with_context(|| format!("write {name}"))
    }
}

/// The `config` object (config.md); what is not said is left out, as other tools do.
fn config_json(config: &Config) -> Value {
    let set = |keys: &[String]| Value::Object(keys.iter().map(|key| (key.clone(), json!({}))).collect());
    let mut object = serde_json::Map::new();
    for (key, value) in [
        ("Entrypoint", json!(config.entrypoint)),
        ("Cmd", json!(config.cmd)),
        ("Env", json!(config.env)),
        ("User", json!(config.user)),
        ("WorkingDir", json!(config.cwd)),
        ("StopSignal", json!(config.stop_signal)),
        ("ExposedPorts", set(&config.ports)),
        ("Volumes", set(&config.volumes)),
    ] {
        if !matches!(value.to_string().as_str(), "[]" | "{}" | "\"\"") {
            object.insert(key.to_owned(), value);
        }
    }
    Value::Object(object)
}

fn descriptor(media_type: &str, digest: &str, size: u64) -> Value {
    json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": size })
}

/// A small layer, made in memory: entries of root's, from the epoch.
pub struct Layer {
    tar: tar::Builder<Vec<u8>>,
}

impl Default for Layer {
    fn default() -> Self {
        Layer { tar: tar::Builder::new(Vec::new()) }
    }
}

impl Layer {
    /// Adds a directory.
    ///
    /// # Errors
    /// When tar cannot hold the path.
    pub fn directory(&mut self, path: &str, mode: u32) -> Result<()> {
        self.entry(path, tar::EntryType::Directory, mode, &[])
    }

    /// Adds a regular file.
    ///
    /// # Errors
    /// When tar cannot hold the path.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        self.entry(path, tar::EntryType::Regular, mode, content)
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// When tar cannot hold the path or the target.
    pub fn symlink(&mut self, path: &str, target: &str) -> Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_mode(0o777);
        header.set_size(0);
        self.tar.append_link(&mut header, path, target).with_context(|| format!("add {path} to a layer"))
    }

    /// Adds what a directory of this machine holds. Of the files' modes only the execute bit counts: it is all
    /// that git keeps.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn tree(&mut self, directory: &Path) -> Result<()> {
        self.subtree(directory, "")
    }

    /// The layer as a tar.
    ///
    /// # Errors
    /// Never in practice: it is in memory.
    pub fn finish(self) -> Result<Vec<u8>> {
        self.tar.into_inner().context("finish a layer")
    }

    fn subtree(&mut self, directory: &Path, inside: &str) -> Result<()> {
        let entries = fs::read_dir(directory).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut entries = entries.with_context(|| format!("read {}", directory.display()))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let (from, name) = (entry.path(), entry.file_name());
            let to = format!("{inside}{}", name.to_str().context("a name that is not UTF-8")?);
            let metadata = from.symlink_metadata()?;
            if metadata.is_dir() {
                self.directory(&to, 0o755)?;
                self.subtree(&from, &format!("{to}/"))?;
            } else if metadata.is_symlink() {
                let target = fs::read_link(&from)?;
                self.symlink(&to, target.to_str().context("a link that is not UTF-8")?)?;
            } else {
                let mode = 0o644 | (metadata.permissions().mode() & 0o111);
                let content = fs::read(&from).with_context(|| format!("read {}", from.display()))?;
                self.file(&to, mode, &content)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &str, kind: tar::EntryType, mode: u32, content: &[u8]) -> Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        self.tar.append_data(&mut header, path, content).with_context(|| format!("add {path} to a layer"))
    }
}

/// Passes bytes on, counting and digesting them.
struct Digesting<W> {
    inner: W,
    digest: Sha256,
    size: u64,
}

impl<W> Digesting<W> {
    fn new(inner: W) -> Self {
        Digesting { inner, digest: Sha256::new(), size: 0 }
    }

    /// What the bytes went to, their SHA-256 in hexadecimal, and their number.
    fn finish(self) -> (W, String, u64) {
        (self.inner, hex(&self.digest.finalize()), self.size)
    }
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.digest.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{run, tool};

    #[test]
    fn skopeo_and_umoci_read_what_we_write() {
        let directory = tempfile::tempdir().unwrap();
        let mut layer = Layer::default();
        layer.directory("etc", 0o755).unwrap();
        layer.file("etc/motd", 0o644, b"hello\n").unwrap();
        layer.symlink("etc/issue", "motd").unwrap();
        let mut layout = Layout::create(directory.path()).unwrap();
        layout.layer(&layer.finish().unwrap()[..]).unwrap();
        let env = vec!["A=b=c".to_owned()];
        layout.finish(&Config { env, entrypoint: vec!["/x".to_owned()], ..Config::default() }).unwrap();

        let image = format!("oci:{}:latest", directory.path().display());
        let mut skopeo = tool("skopeo", "skopeo").unwrap();
        skopeo.args(["--insecure-policy", "inspect", "--config", &image]);
        let config: Value = serde_json::from_slice(&run(&mut skopeo).unwrap()).unwrap();
        assert_eq!(config["config"], json!({ "Entrypoint": ["/x"], "Env": ["A=b=c"] }));

        let bundle = directory.path().join("bundle");
        let mut umoci = tool("umoci", "umoci").unwrap();
        umoci.args(["unpack", "--rootless", "--image"]).arg(image.trim_start_matches("oci:")).arg(&bundle);
        run(&mut umoci).unwrap();
        assert_eq!(fs::read_to_string(bundle.join("rootfs/etc/issue")).unwrap(), "hello\n");
    }
}
