//! How much is read of what others give: registries, token services, container engines, helpers, files that the user names.
//! Every length is theirs to choose, so each kind has a bound, and what is longer is refused before it is in memory.

use crate::blob::Blob;
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A manifest or an index of images: registries' own limit (distribution, `maxManifestBodySize`).
pub const MANIFEST: Bound = Bound::new("a manifest", 4 << 20);
/// The list of the images of an archive or a layout.
pub const LIST: Bound = Bound::new("a list of images", 4 << 20);
/// An image's configuration, and what an engine says of an image. Labels of several MiB are in use.
pub const CONFIGURATION: Bound = Bound::new("an image's configuration", 32 << 20);
/// What a token service answers: tokens have some thousand bytes.
pub const TOKEN: Bound = Bound::new("a token", 1 << 20);
/// What comes with a refusal, of which one line is shown.
pub const COMPLAINT: Bound = Bound::new("a refusal", 64 << 10);
/// What a credential helper prints.
pub const CREDENTIALS: Bound = Bound::new("a helper's answer", 1 << 20);
/// A file that people or tools write by hand: settings with credentials, certificates, a kernel's configuration.
pub const SETTINGS: Bound = Bound::new("such a file", 16 << 20);
/// Variables: what a program can be given at once is far less (execve(2)).
pub const VARIABLES: Bound = Bound::new("a file of variables", 4 << 20);
/// An index of git: those of the largest repositories have some tens of MiB.
pub const INDEX: Bound = Bound::new("git's index", 256 << 20);
/// A program that boots: init, a kernel, an EFI stub. Firmware loads them into memory together.
pub const PROGRAM: Bound = Bound::new("a program that boots", 512 << 20);

/// The most that is read of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// What it is, for messages.
    what: &'static str,
    bytes: u64,
}

/// Something that is longer than it can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is longer than {} MiB, the most that is read of {}", .0.bytes.div_ceil(1 << 20), .0.what)]
pub struct TooLong(Bound);

/// Why the body of an answer was not read.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// There is more of it than is read.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// It did not come.
    #[error(transparent)]
    Broken(#[from] reqwest::Error),
}

impl From<TooLong> for io::Error {
    fn from(error: TooLong) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

impl Bound {
    const fn new(what: &'static str, bytes: u64) -> Self {
        Bound { what, bytes }
    }

    /// The bound in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.bytes
    }

    /// Refuses a length that somebody claims, before anything is read.
    ///
    /// # Errors
    /// When it is beyond the bound.
    pub fn check(self, bytes: u64) -> Result<(), TooLong> {
        if bytes > self.bytes { Err(TooLong(self)) } else { Ok(()) }
    }

    /// Everything that a reader gives.
    ///
    /// # Errors
    /// What the reader answers; [`TooLong`] as `InvalidData`.
    pub fn read(self, reader: impl Read) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        reader.take(self.bytes.saturating_add(1)).read_to_end(&mut bytes)?;
        self.check(bytes.len() as u64)?;
        Ok(bytes)
    }

    /// What a reader gives up to the bound, and up to where it breaks: for words that are only shown.
    #[must_use]
    pub fn start_of(self, reader: impl Read) -> Vec<u8> {
        let mut bytes = Vec::new();
        // What came before it broke says enough.
        let _ = reader.take(self.bytes).read_to_end(&mut bytes);
        bytes
    }

    /// A file, whose size is told first where it is a regular one. Pipes and devices will do as well.
    ///
    /// # Errors
    /// As [`Bound::read`], and when it can't be opened.
    pub fn read_file(self, path: &Path) -> io::Result<Vec<u8>> {
        let file = File::open(path)?;
        self.check(file.metadata()?.len())?;
        self.read(file)
    }

    /// A regular file, where a project that others wrote may have something else: no link is followed, and no pipe is
    /// waited for.
    ///
    /// # Errors
    /// As [`Bound::read_file`]; `InvalidInput` for what is no regular file.
    pub fn read_regular(self, path: &Path) -> io::Result<Vec<u8>> {
        let irregular = || io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file");
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path);
        // What open(2) answers for a link and for a socket.
        let file = opened.map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::LOOP | Errno::NXIO) => irregular(),
            _ => error,
        })?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(irregular());
        }
        self.check(metadata.len())?;
        self.read(file)
    }

    /// As [`Bound::read_file`], for text.
    ///
    /// # Errors
    /// As [`Bound::read_file`]; `InvalidData` for what is not UTF-8.
    pub fn read_text(self, path: &Path) -> io::Result<String> {
        String::from_utf8(self.read_file(path)?)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
    }

    /// A blob, whose length is known.
    ///
    /// # Errors
    /// As [`Bound::read`].
    pub fn read_blob(self, blob: &Blob) -> io::Result<Vec<u8>> {
        self.check(blob.len())?;
        blob.read_all(self.bytes)
    }

    /// The body of an answer.
    ///
    /// # Errors
    /// [`Unread`]; a length that the answer claims is refused before anything comes.
    pub async fn body(self, mut answer: reqwest::Response) -> Result<Vec<u8>, Unread> {
        self.check(answer.content_length().unwrap_or_default())?;
        let mut bytes = Vec::new();
        while let Some(more) = answer.chunk().await? {
            self.check((bytes.len() + more.len()) as u64)?;
            bytes.extend_from_slice(&more);
        }
        Ok(bytes)
    }

    /// As [`Bound::start_of`], of the body of an answer.
    pub async fn start_of_body(self, mut answer: reqwest::Response) -> Vec<u8> {
        let mut bytes: Vec<u8> = Vec::new();
        while let Ok(Some(more)) = answer.chunk().await {
            let left = usize::try_from(self.bytes).map_or(usize::MAX, |bound| bound.saturating_sub(bytes.len()));
            bytes.extend_from_slice(&more[..more.len().min(left)]);
            if more.len() >= left {
                break;
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Bound = Bound::new("a test", 3);

    #[test]
    fn what_is_longer_is_refused_and_no_more_of_it_is_read() {
        assert_eq!(SMALL.read(&b"abc"[..]).unwrap(), b"abc");
        let mut endless = io::repeat(b'x').take(1000);
        let refused = SMALL.read(&mut endless).unwrap_err();
        assert_eq!(refused.to_string(), "it is longer than 1 MiB, the most that is read of a test");
        assert_eq!(endless.limit(), 996);
        assert_eq!(SMALL.start_of(io::repeat(b'x')), b"xxx");
        assert!(SMALL.read_blob(&Blob::Memory(b"abcd"[..].into())).is_err());
    }

    #[test]
    fn files_without_an_end_are_refused_and_pipes_are_read() {
        let refused = SETTINGS.read_file(Path::new("/dev/zero")).unwrap_err().to_string();
        assert_eq!(refused, "it is longer than 16 MiB, the most that is read of such a file");
        assert!(SETTINGS.read_text(Path::new("/proc/self/status")).unwrap().starts_with("Name:"));
        // A length that is claimed is enough: nothing of a hole is read.
        let hole = tempfile::NamedTempFile::new().unwrap();
        hole.as_file().set_len(1 << 40).unwrap();
        assert!(SETTINGS.read_file(hole.path()).is_err());
    }

    #[test]
    fn only_regular_files_are_read_where_others_may_have_laid_something_else() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("file"), "abc").unwrap();
        assert_eq!(SMALL.read_regular(&at("file")).unwrap(), b"abc");
        assert_eq!(SMALL.read_regular(&at("absent")).unwrap_err().kind(), io::ErrorKind::NotFound);
        std::os::unix::fs::symlink("file", at("link")).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for path in [at("link"), at("pipe"), at("socket"), dir.path().to_owned(), "/dev/zero".into()] {
            let refused = SMALL.read_regular(&path).unwrap_err().to_string();
            assert_eq!(refused, "it is no regular file", "{}", path.display());
        }
        std::fs::write(at("file"), "abcd").unwrap();
        assert!(SMALL.read_regular(&at("file")).is_err());
    }
}
