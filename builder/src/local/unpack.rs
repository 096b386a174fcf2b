//! Unpacks an archive into a directory. What is in it may be anybody's: nothing is written anywhere else.

use crate::compression::Compression;
use crate::flatten::path::{self, Named};
use crate::tarball::Kind;
use crate::tarball::reader::Reader;
use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// How much an archive may hold.
#[derive(Clone, Copy)]
struct Most {
    bytes: u64,
    /// What is said of one that holds more.
    complaint: &'static str,
}

/// Most that an archive of this program's own, or of an engine's, may hold.
const MAX_CONTENT: Most = Most { bytes: 64 << 30, complaint: "the archive's files hold more than 64 GiB" };
/// Most entries that it may have.
const MAX_ENTRIES: usize = 4 << 20;

/// Lays what a tar has below `prefix` into a directory, which is made and is empty. Links come last, so that nothing is ever
/// written through one; devices and pipes are left out.
///
/// # Errors
/// When it can't be read, leaves the directory, is too large, or a file can't be written.
pub(super) fn unpack(archive: impl Read, prefix: &str, directory: &Path) -> Result<()> {
    lay(archive, prefix, directory, MAX_CONTENT)
}

fn lay(archive: impl Read, prefix: &str, directory: &Path, most: Most) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    let mut reader = Reader::new(archive);
    let (mut links, mut left, mut count) = (Vec::new(), most.bytes, 0);
    let mut modes = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let shown = || format!("unpack {}", path::display(&entry.path));
        count += 1;
        // Of a sparse file its holes, too: they are written out.
        left = left.checked_sub(entry.size).context(most.complaint)?;
        if count > MAX_ENTRIES {
            bail!("the archive has more than four million files");
        }
        let Some(place) = place(&entry.path, prefix, directory).with_context(shown)? else { continue };
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent).with_context(shown)?;
        }
        match entry.kind {
            Kind::Directory => fs::create_dir_all(&place).with_context(shown)?,
            Kind::File => {
                // A name twice is what it is last; its other names stay what they were.
                let _ = fs::remove_file(&place);
                let mut file = File::create(&place).with_context(shown)?;
                let written = io::copy(&mut reader.content(), &mut file).with_context(shown)?;
                if written != entry.size {
                    bail!("{}: the archive is truncated", shown());
                }
                modes.push((place, entry.attributes.mode));
            }
            Kind::HardLink(target) => {
                let Some(target) = self::place(&target, prefix, directory).with_context(shown)? else { continue };
                // A file by its own name is there already.
                if target == place {
                    continue;
                }
                // Packing reads the file by each of its names.
                let size = fs::symlink_metadata(&target).with_context(shown)?.len();
                left = left.checked_sub(size).context(most.complaint)?;
                let _ = fs::remove_file(&place);
                fs::hard_link(target, place).with_context(shown)?;
            }
            Kind::Symlink(target) => links.push((place, target)),
            Kind::CharDevice(..) | Kind::BlockDevice(..) | Kind::Fifo => {}
        }
    }
    for (place, mode) in modes {
        let mode = if mode & 0o111 == 0 { 0o644 } else { 0o755 };
        fs::set_permissions(&place, Permissions::from_mode(mode))
            .with_context(|| format!("unpack {}", place.display()))?;
    }
    for (place, target) in links {
        // What was there by this name is no link yet, and goes.
        let _ = fs::remove_file(&place);
        symlink(OsStr::from_bytes(&target), &place).with_context(|| format!("unpack {}", place.display()))?;
    }
    Ok(())
}

/// Where an entry goes; `None` for what is not below the prefix.
fn place(entry: &[u8], prefix: &str, directory: &Path) -> Result<Option<PathBuf>> {
    let Named::Entry(mut names, last) = path::split(entry)? else { return Ok(None) };
    names.push(last);
    let prefix: Vec<&[u8]> = path::components(prefix.as_bytes()).collect();
    let Some(rest) = names.strip_prefix(&prefix[..]).filter(|rest| !rest.is_empty()) else { return Ok(None) };
    let mut place = directory.to_owned();
    place.extend(rest.iter().map(|name| OsStr::from_bytes(name)));
    Ok(Some(place))
}

/// Most that an archive of a project of so many bytes may hold: source code is packed to a tenth, and what is a
/// thousandth of what it holds was made to fill the disk.
fn most(size: u64) -> Most {
    let complaint = "the archive's files hold more than 16 GiB, or more than 200 times its own size and 1 GiB: unpack it \
                     yourself, and name the directory";
    Most { bytes: size.saturating_mul(200).saturating_add(1 << 30).min(16 << 30), complaint }
}

/// Unpacks an archive of a project, compressed or not. Where all of it lies in one directory, that is the project.
///
/// # Errors
/// As [`unpack`].
pub(super) fn project(archive: &Path, directory: &Path) -> Result<PathBuf> {
    let open = || File::open(archive).with_context(|| format!("open {}", archive.display()));
    let mut start = Vec::new();
    open()?.take(crate::compression::MAGIC_LEN as u64).read_to_end(&mut start).context("read the archive")?;
    let file = open()?;
    let most = most(file.metadata().context("read the archive")?.len());
    let plain = Compression::sniff(&start).decompress(file).context("read the archive")?;
    lay(plain, "", directory, most)?;
    let entries: Vec<PathBuf> = fs::read_dir(directory)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .with_context(|| format!("list {}", directory.display()))?;
    Ok(match &entries[..] {
        [only] if only.is_dir() && !only.is_symlink() => only.clone(),
        _ => directory.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tarball::writer::Writer;
    use crate::tarball::{Attributes, Entry};

    fn tar(entries: &[(&str, Kind, &str)]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        for (path, kind, content) in entries {
            let attributes = Attributes { mode: 0o4711, ..Attributes::default() };
            let (path, size) = (path.as_bytes().to_vec(), content.len() as u64);
            let entry = Entry { path, kind: kind.clone(), attributes, size, xattrs: Vec::new() };
            writer.append(&entry, content.as_bytes()).unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn nothing_is_written_outside_of_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let (inside, outside) = (dir.path().join("in"), dir.path().join("out"));
        fs::create_dir(&outside).unwrap();
        let out = outside.to_str().unwrap();
        let link = |target: &str| Kind::Symlink(target.into());
        let escaping = tar(&[
            ("a", link(out), ""),
            ("a/x", Kind::File, "bad"),
            ("b", Kind::File, "b"),
            ("c/", Kind::Directory, ""),
        ]);
        // The link is a link, or the file's directory stays: either way nothing is in what it leads to.
        let _ = unpack(&escaping[..], "", &inside);
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        let up = unpack(&tar(&[("../out/x", Kind::File, "bad")])[..], "", &inside).unwrap_err();
        assert_eq!(format!("{up:#}"), "unpack ../out/x: its \"..\" lead out of the root");
        unpack(&tar(&[(&format!("{out}/x"), Kind::File, "good")])[..], "", &inside).unwrap();
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }

    #[test]
    fn an_archive_of_one_directory_is_that_directory() {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("app.tar");
        fs::write(
            &archive,
            tar(&[("app/Procfile", Kind::File, "web: a"), ("app/b", Kind::HardLink("app/Procfile".into()), "")]),
        )
        .unwrap();
        let project = project(&archive, &dir.path().join("out")).unwrap();
        assert_eq!(project, dir.path().join("out/app"));
        assert_eq!(fs::read_to_string(project.join("b")).unwrap(), "web: a");
        assert_eq!(fs::metadata(project.join("Procfile")).unwrap().permissions().mode() & 0o7777, 0o755);
    }

    #[test]
    fn hard_links_are_links_and_count() {
        let dir = tempfile::tempdir().unwrap();
        let link = |target: &str| Kind::HardLink(target.into());
        let archive = tar(&[
            ("a", Kind::File, "0123456789"),
            ("a", link("a"), ""),
            ("b", link("a"), ""),
            ("b", link("a"), ""),
            ("c", link("a"), ""),
            ("c", Kind::File, "other"),
        ]);
        let within = |bytes, name: &str| lay(&archive[..], "", &dir.path().join(name), Most { bytes, complaint: "no" });
        within(45, "in").unwrap();
        let read = |name: &str| fs::read_to_string(dir.path().join("in").join(name)).unwrap();
        assert_eq!((read("a"), read("b"), read("c")), ("0123456789".into(), "0123456789".into(), "other".into()));
        let inode = |name: &str| std::os::unix::fs::MetadataExt::ino(&fs::metadata(dir.path().join(name)).unwrap());
        assert_eq!(inode("in/a"), inode("in/b"));
        assert_eq!(within(44, "out").unwrap_err().to_string(), "no");
    }

    #[test]
    fn a_small_archive_does_not_hold_much() {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("app.tar");
        let mut header = ::tar::Header::new_gnu();
        header.set_path("a").unwrap();
        header.set_mode(0o644);
        header.set_size(2 << 30);
        header.set_cksum();
        fs::write(&archive, header.as_bytes()).unwrap();
        let refused = project(&archive, &dir.path().join("out")).unwrap_err().to_string();
        assert!(refused.starts_with("the archive's files hold more than 16 GiB, or more than 200 times"), "{refused}");
        let (mib, gib) = (1u64 << 20, 1u64 << 30);
        assert_eq!([0, mib, 1024 * gib].map(|size| most(size).bytes), [gib, gib + 200 * mib, 16 * gib]);
    }

    #[test]
    fn only_what_is_below_a_prefix_is_unpacked_without_it() {
        let dir = tempfile::tempdir().unwrap();
        let archive = tar(&[("app/.p/a/b", Kind::File, "1"), ("app/c", Kind::File, "2"), ("app/.pq", Kind::File, "3")]);
        unpack(&archive[..], "app/.p", &dir.path().join("x")).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("x/a/b")).unwrap(), "1");
        assert_eq!(fs::read_dir(dir.path().join("x")).unwrap().count(), 1);
    }
}
