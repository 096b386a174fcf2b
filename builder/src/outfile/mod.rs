//! Where may be written. Every file that this program writes at the user's word is one of [`Files`], which know what the run reads
//! and what it writes already.
//!
//! A regular file appears, or is replaced, all at once, and only its owner may read it, as far as the umask lets even that: a disk
//! holds the values of the application's environment, as what `docker save` writes does, and has the same permissions. What is no
//! regular file (a pipe, a device, standard output) can't be replaced: the finished content is written into it.

mod descriptor;
mod resolve;

use crate::cache::Cache;
use crate::cleanup::TempFile;
use anyhow::{Context, Result, bail, ensure};
use descriptor::descriptor;
use resolve::{Target, resolve};
use rustix::fs::{OFlags, StatxAttributes};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, IsTerminal, Seek, SeekFrom};
use std::os::fd::{AsFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Major numbers of terminals (Linux's admin-guide/devices.txt): consoles and serial lines, `/dev/tty`, pseudo-terminals.
const TERMINALS: &[u32] = &[4, 5, 136, 137, 138, 139, 140, 141, 142, 143];

/// What goes into a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Text, which may be shown on a terminal.
    Text,
    /// What would only spoil a terminal.
    Bytes,
}

/// What a run reads and writes. Nothing is written twice, and nothing that is read is written.
#[derive(Debug, Default)]
pub struct Files {
    /// What messages call it, and a file or a directory.
    inputs: Vec<(String, PathBuf)>,
    outputs: Vec<(String, Identity)>,
}

/// What makes a file the same under another name.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Identity {
    /// By device and inode.
    Inode(u64, u64),
    /// A device, by its kind and its numbers: it may have several nodes.
    Device(bool, u64),
    /// What swallows everything: never the same as anything.
    Null,
    /// A file that is not there yet: its directory, and its name in it.
    Absent(u64, u64, OsString),
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        let kind = metadata.file_type();
        match metadata.rdev() {
            // null(4)
            device if kind.is_char_device() && device == rustix::fs::makedev(1, 3) => Identity::Null,
            device if kind.is_char_device() || kind.is_block_device() => {
                Identity::Device(kind.is_block_device(), device)
            }
            _ => Identity::Inode(metadata.dev(), metadata.ino()),
        }
    }

    fn is(&self, other: &Self) -> bool {
        *self != Identity::Null && self == other
    }
}

impl Files {
    /// The run reads this file, or everything in this directory. What is not there is no concern.
    pub fn reads(&mut self, what: &str, path: &Path) {
        self.inputs.push((what.to_owned(), path.to_owned()));
    }

    /// The run prints its result on standard output because of `option`.
    ///
    /// # Errors
    /// When standard output is a file that it writes anyway.
    pub fn prints(&mut self, option: &str) -> Result<()> {
        let stdout = identity_of(&io::stdout()).context("look at standard output")?;
        self.check(&stdout).with_context(|| format!("{option} prints on standard output"))?;
        self.outputs.push((format!("what {option} prints"), stdout));
        Ok(())
    }

    /// Refuses what [`Files::write`] would, and opens nothing.
    ///
    /// # Errors
    /// As [`Files::write`].
    pub fn may_write(&self, option: &str, path: &Path, content: Content) -> Result<()> {
        let place = Place::find(path).and_then(|place| self.check_place(&place, content));
        place.with_context(|| format!("{option} {}", path.display()))
    }

    /// Begins to write a file that the user named with `option`. `cache` has room for what can't be made in its place.
    ///
    /// # Errors
    /// When it is a directory, is read or written by this run, or can't be written.
    pub fn write(&mut self, option: &str, path: &Path, content: Content, cache: &Cache) -> Result<OutFile> {
        let shown = format!("{option} {}", path.display());
        self.begin(path, content, cache, &shown).with_context(|| shown.clone())
    }

    fn begin(&mut self, path: &Path, content: Content, cache: &Cache, shown: &str) -> Result<OutFile> {
        let mut place = Place::find(path)?;
        self.check_place(&place, content)?;
        let (file, way) = match place.kind {
            Kind::File => {
                let temp = TempFile::new_in(&place.directory)?;
                if let Identity::Absent(_, _, name) = &mut place.identity
                    && folds_case(&temp)
                {
                    *name = name.to_string_lossy().to_lowercase().into();
                    self.check(&place.identity)?;
                }
                (temp.file()?, Way::Replace(temp, place.path))
            }
            Kind::Descriptor(number) => (cache.nameless()?, Way::Through(descriptor(number)?)),
            Kind::Special => (cache.nameless()?, Way::Through(open(&place.path)?)),
        };
        self.outputs.push((shown.to_owned(), place.identity));
        Ok(OutFile { shown: shown.to_owned(), file, way, is_stdout: matches!(place.kind, Kind::Descriptor(1)) })
    }

    fn check_place(&self, place: &Place, content: Content) -> Result<()> {
        let bytes = content == Content::Bytes;
        ensure!(!(bytes && place.is_terminal), "a terminal can't show it: name a file, or send it into a pipe");
        let stderr = identity_of(&io::stderr()).is_ok_and(|stderr| stderr.is(&place.identity));
        let mixed = stderr && (bytes || matches!(place.kind, Kind::File));
        ensure!(!mixed, "messages are written there: name a file, or send them elsewhere with 2>FILE");
        self.check(&place.identity)
    }

    fn check(&self, identity: &Identity) -> Result<()> {
        if let Some((other, _)) = self.outputs.iter().find(|(_, other)| other.is(identity)) {
            bail!("{other} is written there, too: name another file");
        }
        if !matches!(identity, Identity::Absent(..) | Identity::Null)
            && let Some((what, _)) = self.inputs.iter().find(|(_, input)| holds(input, identity))
        {
            bail!("it belongs to {what}, which is read: name another file");
        }
        Ok(())
    }
}

/// Whether a file is the one with this identity, or a directory has it in it.
fn holds(path: &Path, identity: &Identity) -> bool {
    let Ok(metadata) = path.metadata() else { return false };
    if !metadata.is_dir() {
        return Identity::of(&metadata).is(identity);
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    // A link to a directory may lead back here.
    entries.map(|entry| entry.path()).any(|path| !(path.is_symlink() && path.is_dir()) && holds(&path, identity))
}

fn identity_of(file: &impl AsFd) -> io::Result<Identity> {
    let file = File::from(file.as_fd().try_clone_to_owned()?);
    Ok(Identity::of(&file.metadata()?))
}

/// What is at the end of a path.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    /// Where a file can be made that takes its place.
    directory: PathBuf,
    kind: Kind,
    identity: Identity,
    is_terminal: bool,
}

/// How it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A regular file, or nothing yet.
    File,
    /// A device, or a pipe with a name.
    Special,
    /// What is open already, by its number.
    Descriptor(RawFd),
}

impl Place {
    fn find(given: &Path) -> Result<Self> {
        let (directory, name) = match resolve(given)? {
            Target::Descriptor(number) => {
                let file = descriptor(number)?;
                let metadata = file.metadata().context("look at it")?;
                return Ok(Place {
                    path: given.to_owned(),
                    directory: PathBuf::new(),
                    kind: Kind::Descriptor(number),
                    identity: Identity::of(&metadata),
                    is_terminal: file.is_terminal(),
                });
            }
            Target::Name(directory, name) => (directory, name),
        };
        let path = directory.join(&name);
        let (kind, identity) = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let parent = directory.metadata().with_context(|| format!("look at {}", directory.display()))?;
                (Kind::File, Identity::Absent(parent.dev(), parent.ino(), name))
            }
            Err(error) => return Err(error).with_context(|| format!("look at {}", path.display())),
            Ok(metadata) => {
                let kind = metadata.file_type();
                ensure!(!kind.is_dir(), "this is a directory; name a file");
                ensure!(!kind.is_socket(), "this is a socket, which can't be written as a file; name a file or a pipe");
                ensure!(
                    !kind.is_file() || !is_mount_point(&path),
                    "another file is mounted over this one, so that it can't be replaced; name a file in a directory"
                );
                (if kind.is_file() { Kind::File } else { Kind::Special }, Identity::of(&metadata))
            }
        };
        // Told by its number: to open a device may do something already.
        let is_terminal = match identity {
            Identity::Device(false, device) => TERMINALS.contains(&rustix::fs::major(device)),
            _ => false,
        };
        Ok(Place { path, directory, kind, identity, is_terminal })
    }
}

/// A name that something is mounted at can't be given to another file (rename(2), EBUSY).
fn is_mount_point(path: &Path) -> bool {
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    let status = rustix::fs::statx(rustix::fs::CWD, path, flags, rustix::fs::StatxFlags::TYPE);
    // Kernels before 5.8 can't tell, and refuse the renaming then.
    status.is_ok_and(|status| status.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Whether a directory takes names in upper and lower case for the same, as on memory sticks: by a file that is in it.
fn folds_case(temp: &TempFile) -> bool {
    let path = temp.path();
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    let inode = |path: &Path| fs::symlink_metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
    let (upper, here) = (inode(&path.with_file_name(name.to_uppercase())), inode(path));
    here.is_some() && upper == here
}

fn flags(flags: OFlags) -> i32 {
    flags.bits().cast_signed()
}

/// Opens what is no regular file, and no link.
fn open(path: &Path) -> Result<File> {
    let is_block = path.symlink_metadata().is_ok_and(|metadata| metadata.file_type().is_block_device());
    let mut options = File::options();
    options.write(true);
    if is_block {
        // Without O_CREAT this refuses a disk that has mounted file systems (open(2)).
        options.custom_flags(flags(OFlags::EXCL | OFlags::NOFOLLOW));
    } else {
        // As a shell opens it, so that the kernel's rules for what others leave in /tmp hold (proc_sys_fs(5), `protected_fifos`).
        options.create(true).truncate(false).custom_flags(flags(OFlags::NOCTTY | OFlags::NOFOLLOW));
    }
    match options.open(path) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::BUSY) => {
            bail!("it is in use: unmount what is on it first")
        }
        opened => opened.with_context(|| format!("open {}", path.display())),
    }
}

/// A file that is being written. It is not there, or as it was, until [`OutFile::commit`].
#[derive(Debug)]
pub struct OutFile {
    shown: String,
    file: File,
    way: Way,
    is_stdout: bool,
}

/// How the content gets there.
#[derive(Debug)]
enum Way {
    /// By taking the place of what has this path.
    Replace(TempFile, PathBuf),
    /// By writing into what is open.
    Through(File),
}

impl OutFile {
    /// Where the content is made.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Whether it is a regular file, which can be read afterwards.
    #[must_use]
    pub fn is_file(&self) -> bool {
        matches!(self.way, Way::Replace(..))
    }

    /// Whether it is this program's standard output.
    #[must_use]
    pub fn is_stdout(&self) -> bool {
        self.is_stdout
    }

    /// Puts the content in its place.
    ///
    /// # Errors
    /// When it can't be written out.
    pub fn commit(self) -> Result<()> {
        let done = match self.way {
            Way::Replace(temp, path) => temp.persist(&path),
            Way::Through(to) => copy(self.file, &to),
        };
        done.context(self.shown)
    }
}

/// Writes all of a file, its holes as zeros, into what is no file.
fn copy(mut file: File, mut to: &File) -> Result<()> {
    let is_block = to.metadata().context("look at it")?.file_type().is_block_device();
    if is_block {
        let (len, room) = (file.metadata().context("ask for the size")?.len(), to.seek(SeekFrom::End(0)));
        let room = room.context("ask for the device's size")?;
        ensure!(len <= room, "the device has {room} bytes, and {len} are to be written");
        to.rewind().context("go to the device's start")?;
    }
    file.rewind().context("go to the start")?;
    match io::copy(&mut file, &mut to) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => bail!("its reader went away before the end"),
        copied => copied.context("write it")?,
    };
    if is_block {
        to.sync_all().context("write it out")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_knows_no_case_is_found_out() {
        let dir = tempfile::tempdir().unwrap();
        let temp = TempFile::new_in(dir.path()).unwrap();
        assert!(!folds_case(&temp));
        // The same file under the name in upper case, which such a directory shows without it.
        let upper = temp.path().file_name().unwrap().to_str().unwrap().to_uppercase();
        fs::hard_link(temp.path(), dir.path().join(upper)).unwrap();
        assert!(folds_case(&temp));
    }

    #[test]
    fn what_swallows_everything_is_the_same_as_nothing() {
        let null = Identity::of(&fs::metadata("/dev/null").unwrap());
        let zero = Identity::of(&fs::metadata("/dev/zero").unwrap());
        assert!(!null.is(&null) && zero.is(&zero) && !zero.is(&null));
    }

    #[test]
    fn a_file_is_found_in_a_directory_and_links_in_circles_have_an_end() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        std::os::unix::fs::symlink("..", at("a/b/up")).unwrap();
        fs::write(at("a/b/file"), "").unwrap();
        fs::hard_link(at("a/b/file"), at("other")).unwrap();
        fs::write(at("third"), "").unwrap();
        let identity = |name: &str| Identity::of(&fs::metadata(at(name)).unwrap());
        assert!(holds(&at("a"), &identity("other")) && !holds(&at("a"), &identity("third")));
        assert!(!holds(&at("nowhere"), &identity("other")));
    }
}
