//! Images by hand: layers in a few words, and the archive that both Docker and the builder read.

use anyhow::{Context, Result, bail};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::process::{run, tool};

/// The time of every entry that tells none: 2023-11-14.
const MTIME: &str = "1700000000";
/// The largest number that seven octal digits hold.
const MAX_ID: u64 = 0o7_777_777;

/// A layer of entries, each in words: kind, path, then what is not as usual.
///
/// `f a/b mode=4755 uid=7 gid=8 mtime=-5 content=text x.user.name=value`; other kinds are `d`, `l PATH target=…`
/// (symbolic link), `h PATH target=…` (hard link), `c` and `b` (devices, `device=1,3`), `p` (fifo). `%ff` stands for a
/// byte in path and target. Paths and targets of hard links are taken below `prefix`.
pub(crate) fn layer(prefix: &str, entries: &[&str]) -> Result<Vec<u8>> {
    let mut tar = Vec::new();
    for text in entries {
        entry(&mut tar, prefix, text).with_context(|| (*text).to_owned())?;
    }
    tar.resize(tar.len() + 1024, 0);
    Ok(tar)
}

fn entry(tar: &mut Vec<u8>, prefix: &str, text: &str) -> Result<()> {
    let mut words = text.split(' ');
    let (kind, path) = (words.next().unwrap_or_default(), words.next().context("no path")?);
    let (mut mode, mut ids, mut mtime, mut target) = (0o644, [0, 0], MTIME, Vec::new());
    let (mut content, mut device, mut records) = (path.as_bytes(), (0, 0), Vec::new());
    for word in words {
        let (key, value) = word.split_once('=').context("a word without =")?;
        match key {
            "mode" => mode = u32::from_str_radix(value, 8)?,
            "uid" => ids[0] = value.parse()?,
            "gid" => ids[1] = value.parse()?,
            "mtime" => mtime = value,
            "content" => content = value.as_bytes(),
            "target" => target = bytes(value)?,
            "device" => {
                let (major, minor) = value.split_once(',').context("a device without ,")?;
                device = (major.parse()?, minor.parse()?);
            }
            other => match other.strip_prefix("x.") {
                Some(name) => records.push((format!("SCHILY.xattr.{name}"), bytes(value)?)),
                None => bail!("{other} is not known"),
            },
        }
    }
    let mut header = tar::Header::new_ustar();
    let path = [prefix.as_bytes(), &bytes(path)?].concat();
    let kind = match kind {
        "d" => tar::EntryType::Directory,
        "f" => tar::EntryType::Regular,
        "l" => tar::EntryType::Symlink,
        "h" => {
            target = [prefix.as_bytes(), &target].concat();
            tar::EntryType::Link
        }
        "c" => tar::EntryType::Char,
        "b" => tar::EntryType::Block,
        "p" => tar::EntryType::Fifo,
        other => bail!("{other} is no kind"),
    };
    header.set_entry_type(kind);
    if kind != tar::EntryType::Regular {
        content = &[];
    }
    if matches!(kind, tar::EntryType::Char | tar::EntryType::Block) {
        header.set_device_major(device.0)?;
        header.set_device_minor(device.1)?;
    }
    header.set_mode(mode);
    header.set_size(content.len() as u64);
    for (field, key, value) in [(0..100, "path", &path), (157..257, "linkpath", &target)] {
        let fitting = value.len().min(100);
        header.as_mut_bytes()[field][..fitting].copy_from_slice(&value[..fitting]);
        if fitting < value.len() {
            records.push((key.to_owned(), value.clone()));
        }
    }
    for (key, id) in [("uid", ids[0]), ("gid", ids[1])] {
        if id > MAX_ID {
            records.push((key.to_owned(), id.to_string().into_bytes()));
        }
    }
    header.set_uid(ids[0].min(MAX_ID));
    header.set_gid(ids[1].min(MAX_ID));
    match mtime.parse() {
        Ok(mtime) if mtime < 1 << 33 => header.set_mtime(mtime),
        _ => records.push(("mtime".to_owned(), mtime.as_bytes().to_vec())),
    }
    header.set_cksum();
    if !records.is_empty() {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3; // the blank, the equals sign, the newline
            let length = (rest + 1..).find(|length| length.to_string().len() + rest == *length).unwrap_or_default();
            data.extend(format!("{length} {key}=").into_bytes());
            data.extend(value);
            data.push(b'\n');
        }
        let mut extended = tar::Header::new_ustar();
        extended.set_entry_type(tar::EntryType::XHeader);
        extended.set_path("pax")?;
        extended.set_size(data.len() as u64);
        extended.set_cksum();
        put(tar, &extended, &data);
    }
    put(tar, &header, content);
    Ok(())
}

fn put(tar: &mut Vec<u8>, header: &tar::Header, data: &[u8]) {
    tar.extend(header.as_bytes());
    tar.extend(data);
    tar.resize(tar.len().next_multiple_of(512), 0);
}

/// `%ff` as the byte.
fn bytes(text: &str) -> Result<Vec<u8>> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (hex, rest) = part.split_at_checked(2).context("a % without two digits")?;
        bytes.push(u8::from_str_radix(hex, 16)?);
        bytes.extend(rest.as_bytes());
    }
    Ok(bytes)
}

/// Writes what `docker save` would, of an image with these layers and `tag`.
pub(crate) fn archive(directory: &Path, tag: &str, layers: &[Vec<u8>]) -> Result<PathBuf> {
    let path = directory.join("image.tar");
    let mut tar = tar::Builder::new(File::create(&path).context("write an archive")?);
    let mut add = |name: &str, content: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, content).with_context(|| format!("write {name}"))
    };
    let digest = |bytes: &[u8]| Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let diff_ids: Vec<String> = layers.iter().map(|layer| format!("sha256:{}", digest(layer))).collect();
    let names: Vec<String> = (0..layers.len()).map(|number| format!("{number}/layer.tar")).collect();
    for (name, layer) in names.iter().zip(layers) {
        add(name, layer)?;
    }
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": { "Entrypoint": ["/never-started"] },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    });
    add("config.json", config.to_string().as_bytes())?;
    let manifest = json!([{ "Config": "config.json", "RepoTags": [tag], "Layers": names }]);
    add("manifest.json", manifest.to_string().as_bytes())?;
    tar.finish().context("write an archive")?;
    Ok(path)
}

/// What GNU tar makes of a directory, below `prefix`.
pub(crate) fn gnu_tar(directory: &Path, prefix: &str, options: &[&str]) -> Result<Vec<u8>> {
    let mut tar = tool("tar", "tar")?;
    // Flag S: not the targets of symbolic links, which are no names in the archive.
    tar.args(["--create", "--sort=name", "--numeric-owner", &format!("--transform=s,^\\.,{prefix},S")]);
    run(tar.args(options).arg("--directory").arg(directory).arg("."))
}

/// An OCI layout as the archive that `docker load` reads; Docker 20.10 reads no layouts.
pub(crate) fn of_layout(layout: &Path, directory: &Path, tag: &str) -> Result<PathBuf> {
    let path = directory.join("image.tar");
    let mut skopeo: Command = tool("skopeo", "skopeo")?;
    skopeo.args(["--insecure-policy", "copy", "--quiet", &format!("oci:{}:latest", layout.display())]);
    run(skopeo.arg(format!("docker-archive:{}:{tag}", path.display())))?;
    Ok(path)
}
