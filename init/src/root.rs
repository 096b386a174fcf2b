//! The application's root: the squashed image, read-only, under an overlay that takes the writes.

use crate::drivers::Drivers;
use crate::mounts;
use anyhow::{Context, Result, ensure};
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid, chownat, openat2, stat,
    utimensat,
};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use sys_mount::{Mount, MountFlags};

/// The squashed image.
const LOWER: &str = "/lower";
/// The file system in memory that holds what the application writes.
const WRITES: &str = "/overlay";
/// Where the two are joined before they become the machine's root.
const JOINED: &str = "/root";

/// The root of the application, as a directory that is open: init itself stays in the initramfs, and reaches into
/// the image only by paths that cannot leave it.
#[derive(Debug)]
pub struct Root(OwnedFd);

impl Root {
    /// Mounts the squashed image of a partition, and all that belongs in and over it.
    ///
    /// # Errors
    /// The step that failed, with its device or directory.
    pub fn mount(partition: &Path, drivers: &mut Drivers) -> Result<Self> {
        drivers.file_system("squashfs")?;
        drivers.file_system("overlay")?;
        let nodev = MountFlags::NODEV;
        mount("squashfs", partition, LOWER, MountFlags::RDONLY, "")?;
        mount("tmpfs", Path::new("tmpfs"), WRITES, nodev, "mode=0755")?;
        let upper = make_directory(&format!("{WRITES}/upper"))?;
        let work = make_directory(&format!("{WRITES}/work"))?;
        copy_attributes(LOWER, &upper).context("give the overlay the attributes of the image's root")?;
        let layers = format!("lowerdir={LOWER},upperdir={upper},workdir={work}");
        mount("overlay", Path::new("overlay"), JOINED, MountFlags::empty(), &layers)?;

        let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(JOINED, directory, Mode::empty()).context("open the image's root")?;
        mounts::share_with(&root)?;
        // Over the initramfs, as switch_root(8) does it: a program whose root is not the root of its mounts counts as
        // locked into a chroot, and the kernel lets it make no user namespaces.
        rustix::mount::mount_move(JOINED, "/").context("move the image's root over the initramfs")?;
        Ok(Root(root))
    }

    /// Makes a file with this content and mode 0644, in place of whatever the image has there.
    ///
    /// It is written beside and renamed: nobody reads half of it, and what stood there (a symbolic link to a
    /// daemon's file, a device) is not followed or opened.
    ///
    /// # Errors
    /// The step that failed, with the path.
    pub fn write_file(&self, directory: &str, name: &str, content: &[u8]) -> Result<()> {
        let attempt = || -> Result<()> {
            let directory = self.make_directory(directory)?;
            let temporary = format!(".{name}.nanoos");
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let _ = rustix::fs::unlinkat(&directory, temporary.as_str(), AtFlags::empty());
            let file = rustix::fs::openat(&directory, temporary.as_str(), flags, Mode::from_raw_mode(0o644))?;
            // The mode above went through the umask.
            rustix::fs::fchmod(&file, Mode::from_raw_mode(0o644))?;
            File::from(file).write_all(content)?;
            rustix::fs::renameat(&directory, temporary.as_str(), &directory, name)?;
            Ok(())
        };
        attempt().with_context(|| format!("write {directory}/{name}"))
    }

    /// Reads a regular file of at most `limit` bytes; `None` if the image has none such.
    ///
    /// # Errors
    /// When it is something else, too long, or cannot be read.
    pub fn read_file(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let attempt = || -> Result<Option<Vec<u8>>> {
            // O_NONBLOCK: opening a fifo would wait for a writer forever.
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = match openat2(&self.0, path, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
                Ok(file) => file,
                Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            };
            let kind = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
            ensure!(kind == FileType::RegularFile, "not a regular file");
            let mut content = Vec::new();
            File::from(file).take(limit + 1).read_to_end(&mut content)?;
            ensure!(content.len() as u64 <= limit, "longer than {limit} bytes");
            Ok(Some(content))
        };
        attempt().with_context(|| format!("read {path} of the image"))
    }

    /// A directory inside the root, made where it is missing; symbolic links are followed as the application would.
    fn make_directory(&self, path: &str) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = || openat2(&self.0, path, flags, Mode::empty(), ResolveFlags::IN_ROOT);
        match open() {
            Err(Errno::NOENT) => {
                rustix::fs::mkdirat(&self.0, path.trim_start_matches('/'), Mode::from_raw_mode(0o755))?;
                Ok(open()?)
            }
            result => Ok(result?),
        }
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn mount(what: &str, source: &Path, at: &str, flags: MountFlags, data: &str) -> Result<()> {
    make_directory(at)?;
    Mount::builder()
        .fstype(what)
        .flags(flags)
        .data(data)
        .mount(source, at)
        .map(|_| ())
        .with_context(|| format!("mount {what} {} on {at}", source.display()))
}

fn make_directory(path: &str) -> Result<String> {
    fs::create_dir_all(path).with_context(|| format!("make directory {path}"))?;
    Ok(path.to_owned())
}

/// The joined root shows the upper directory's owner, mode and time: they must be the image's own.
fn copy_attributes(from: &str, to: &str) -> Result<()> {
    let Stat { st_mode, st_uid, st_gid, st_mtime, st_mtime_nsec, .. } = stat(from)?;
    chownat(CWD, to, Some(Uid::from_raw(st_uid)), Some(Gid::from_raw(st_gid)), AtFlags::empty())?;
    rustix::fs::chmod(to, Mode::from_raw_mode(st_mode))?;
    let time = Timespec { tv_sec: st_mtime, tv_nsec: i64::try_from(st_mtime_nsec)? };
    utimensat(CWD, to, &Timestamps { last_access: time, last_modification: time }, AtFlags::empty())?;
    Ok(())
}
