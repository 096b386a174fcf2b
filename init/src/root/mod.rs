//! The application's root: the squashed image, read-only, under an overlay that takes the writes, or without one.

pub mod writes;

use crate::log::OrWarn;
use crate::mounts;
use crate::sys::block::set_read_only;
use anyhow::{Context, Result, ensure};
use initramfs::image::Image;
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid, chownat, fstat, openat2,
    utimensat,
};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use sys_mount::{Mount, MountFlags};
use writes::WRITES;

/// The squashed image.
const LOWER: &str = "/lower";
/// What a read-only root lacks of the image: mount points.
const SKELETON: &str = "/overlay/skeleton";
/// Where the parts are joined before they become the machine's root.
const JOINED: &str = "/root";

/// The root of the application, as a directory that is open: init itself stays in the initramfs, and reaches into
/// the image only by paths that cannot leave it.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
    read_only: bool,
    overlay_mib: Option<u32>,
}

impl Root {
    /// Mounts the squashed image of a partition, what joins it with the writes, and all that belongs in and over it.
    /// It may take as long as the disk takes: it is for a child of init, whose mounts are init's.
    ///
    /// # Errors
    /// The step that failed, with its device or directory.
    pub fn mount(partition: &Path, image: &Image) -> Result<()> {
        protect(partition).or_warn("root");
        mount("squashfs", partition, LOWER, MountFlags::RDONLY, "")?;
        writes::mount(image.overlay_mib)?;
        if image.read_only {
            join_read_only(image)?;
        } else {
            join()?;
        }
        let root = Root::open(image)?;
        root.let_volumes_take_writes(&image.volumes);
        mounts::share_with(&root.directory, !image.pid1)
    }

    fn open(image: &Image) -> Result<Self> {
        let directory = open_directory(JOINED)?;
        Ok(Root { directory, read_only: image.read_only, overlay_mib: image.overlay_mib })
    }

    /// Opens what a child has mounted, and puts it in the place of the initramfs. The disk is not read for that.
    ///
    /// # Errors
    /// The step that failed, with its directory.
    pub fn enter(image: &Image) -> Result<Self> {
        let root = Root::open(image)?;
        // Over the initramfs, as switch_root(8) does it: a program whose root is not the root of its mounts counts as
        // locked into a chroot, and the kernel lets it make no user namespaces.
        rustix::mount::mount_move(JOINED, "/").context("move the image's root over the initramfs")?;
        Ok(root)
    }

    /// Lets more be written, now that there is swap.
    pub fn grow(&self) {
        writes::grow(self.overlay_mib).or_warn("root");
        mounts::grow().or_warn("root");
    }

    /// A volume is a file system of its own, as Docker makes it: what needs one (another overlay) works there. One that
    /// the image has put something into stays part of the root if that takes writes.
    fn let_volumes_take_writes(&self, volumes: &[String]) {
        let volumes = volumes.iter().map(String::as_str);
        let always = writes::WRITABLE.iter().copied().filter(|_| self.read_only);
        for (number, path) in always.chain(volumes).enumerate() {
            if self.read_only || self.is_empty_directory(path) {
                writes::make_writable(&self.directory, path, number).or_warn("root");
            }
        }
        for name in writes::NAMES.iter().filter(|_| self.read_only) {
            writes::bind_file(&self.directory, &format!("/etc/{name}"), name).or_warn("root");
        }
    }

    fn is_empty_directory(&self, path: &str) -> bool {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match openat2(&self.directory, path, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
            Ok(directory) => writes::is_empty(&directory).unwrap_or(false),
            Err(Errno::NOENT) => self.make_directory(path).is_ok(),
            Err(_) => false,
        }
    }

    /// Makes a file with this content and mode 0644, in place of whatever the image has there.
    ///
    /// It is written beside and renamed: nobody reads half of it, and what stood there (a symbolic link to a
    /// daemon's file, a device) is not followed or opened.
    ///
    /// # Errors
    /// The step that failed, with the path.
    pub fn write_file(&self, directory: &str, name: &str, content: &[u8]) -> Result<()> {
        if self.read_only {
            return self.rewrite_file(directory, name, content).with_context(|| format!("write {directory}/{name}"));
        }
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

    /// A root that takes no writes has files of init's own at the few places that init writes to.
    fn rewrite_file(&self, directory: &str, name: &str, content: &[u8]) -> Result<()> {
        let path = format!("{}/{name}", directory.trim_start_matches('/'));
        // O_NONBLOCK: the application may have put a fifo there, which would wait for a reader forever.
        let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat2(&self.directory, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)?;
        File::from(file).write_all(content)?;
        Ok(())
    }

    /// Reads a regular file of at most `limit` bytes; `None` if the image has none such.
    ///
    /// # Errors
    /// When it is something else, too long, or cannot be read.
    pub fn read_file(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let attempt = || -> Result<Option<Vec<u8>>> {
            // O_NONBLOCK: opening a fifo would wait for a writer forever.
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = match openat2(&self.directory, path, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
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

    /// The path that a path of the image leads to, without symbolic links; `None` if there is nothing.
    #[must_use]
    pub fn real_path(&self, path: &str) -> Option<PathBuf> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let file = openat2(&self.directory, path, flags, Mode::empty(), ResolveFlags::IN_ROOT).ok()?;
        fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()
    }

    /// A directory inside the root, made where it is missing; symbolic links are followed as the application would.
    fn make_directory(&self, path: &str) -> Result<OwnedFd> {
        make_directories(&self.directory, Path::new(path))
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// A directory below another one, which is `/` to symbolic links; made with those above it where they are missing.
fn make_directories(root: &OwnedFd, path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = |path: &Path| openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT);
    let mut at = open(Path::new("/"))?;
    let mut above = PathBuf::from("/");
    for part in path.components().filter(|part| *part != Component::RootDir) {
        above.push(part);
        at = match open(&above) {
            Err(Errno::NOENT) => {
                rustix::fs::mkdirat(&at, part.as_os_str(), Mode::from_raw_mode(0o755))?;
                open(&above)?
            }
            result => result?,
        };
    }
    Ok(at)
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

/// The squashed image under an overlay that takes the writes.
fn join() -> Result<()> {
    let upper = make_directory(&format!("{WRITES}/upper"))?;
    let work = make_directory(&format!("{WRITES}/work"))?;
    let lower = open_directory(LOWER)?;
    // The joined root shows the upper directory's owner, mode and time: they must be the image's own.
    copy_attributes_of(&lower, &upper).context("give the overlay the attributes of the image's root")?;
    mount_overlay(LOWER, &upper, &work, JOINED)
}

/// Mounts an overlay that keeps, of a file or directory whose owner, mode, times, attributes or name change, just
/// that in its upper directory: what is written is memory. Content is copied there when a file is opened for writing.
///
/// The kernel asks for layers that nobody else has prepared (Documentation/filesystems/overlayfs.rst): the upper one is
/// new and empty, its attributes are hidden in the overlay, and the builder leaves them out of the image.
fn mount_overlay(lower: &str, upper: &str, work: &str, at: &str) -> Result<()> {
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work},metacopy=on,redirect_dir=on");
    mount("overlay", Path::new("overlay"), at, MountFlags::empty(), &options)
}

/// The squashed image alone; or, where it has not all of the mount points, joined with what it lacks.
fn join_read_only(image: &Image) -> Result<()> {
    let volumes = image.volumes.iter().map(String::as_str);
    let directories: Vec<&str> = volumes.chain([image.cwd.as_str()]).collect();
    let lower = open_directory(LOWER)?;
    if writes::complete(&lower, SKELETON, &directories).context("complete a root that takes no writes")? {
        writes::join_read_only(SKELETON, LOWER, JOINED)
    } else {
        make_directory(JOINED)?;
        rustix::mount::mount_move(LOWER, JOINED).context("move the squashed image")
    }
}

/// Lets nobody write to the disk that the image is on, the application's mistakes included.
fn protect(partition: &Path) -> Result<()> {
    let name = partition.file_name().unwrap_or_default();
    let sysfs = fs::canonicalize(Path::new("/sys/class/block").join(name)).context("find the root's disk")?;
    let disk = sysfs.parent().and_then(Path::file_name).map(|disk| Path::new("/dev").join(disk));
    for device in [Some(partition.to_owned()), disk].into_iter().flatten() {
        let set = File::open(&device).and_then(set_read_only);
        set.with_context(|| format!("make {} read-only", device.display()))?;
    }
    Ok(())
}

fn open_directory(path: &str) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).with_context(|| format!("open {path}"))
}

/// Gives a directory the owner, mode and time of another one.
fn copy_attributes_of(from: &OwnedFd, to: &str) -> Result<()> {
    copy_attributes_to(from, CWD, Path::new(to))
}

fn copy_attributes_to(from: &OwnedFd, base: impl AsFd, to: &Path) -> Result<()> {
    let Stat { st_mode, st_uid, st_gid, st_mtime, st_mtime_nsec, .. } = fstat(from)?;
    chownat(&base, to, Some(Uid::from_raw(st_uid)), Some(Gid::from_raw(st_gid)), AtFlags::empty())?;
    rustix::fs::chmodat(&base, to, Mode::from_raw_mode(st_mode), AtFlags::empty())?;
    let time = Timespec { tv_sec: st_mtime, tv_nsec: i64::try_from(st_mtime_nsec)? };
    utimensat(base, to, &Timestamps { last_access: time, last_modification: time }, AtFlags::empty())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_made_with_those_above_it_and_never_outside_of_the_root() {
        let root = std::env::temp_dir().join(format!("nanoos-root-{}", std::process::id()));
        fs::create_dir_all(root.join("run")).unwrap();
        fs::create_dir_all(root.join("var")).unwrap();
        std::os::unix::fs::symlink("/run", root.join("var/run")).unwrap();
        let open = rustix::fs::open(&root, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        for path in ["/var/lib/app/data", "var/run/nanoos-test/app", "/"] {
            make_directories(&open, Path::new(path)).unwrap();
        }
        assert!(root.join("var/lib/app/data").is_dir() && root.join("run/nanoos-test/app").is_dir());
        assert!(!Path::new("/run/nanoos-test").exists());
        fs::remove_dir_all(&root).unwrap();
    }
}
