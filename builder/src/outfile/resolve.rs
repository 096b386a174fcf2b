//! From the path that the user gives to the one name that is written, or to an open descriptor: links are followed once, here.

use anyhow::{Context, Result, bail, ensure};
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Links that lead to links: Linux's own limit (path_resolution(7)).
const MAX_LINKS: usize = 40;
/// Users may not remove what others have in the directory (inode(7), "sticky bit").
const STICKY: u32 = 0o1000;
const WRITABLE_FOR_ALL: u32 = 0o002;
/// The descriptor of standard output.
const STDOUT: RawFd = 1;

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// A name in a directory, neither of which is a link. There may be nothing of that name yet.
    Name(PathBuf, OsString),
    /// A descriptor of this process: `-`, `/dev/stdout`, or what a shell makes of `>(…)`.
    Descriptor(RawFd),
}

/// Follows links.
///
/// # Errors
/// When there is no such directory, or the path can name no file.
pub(super) fn resolve(given: &Path) -> Result<Target> {
    if given == Path::new("-") {
        return Ok(Target::Descriptor(STDOUT));
    }
    let own = Path::new("/proc/self/fd").canonicalize().ok();
    let mut path = given.to_owned();
    for _ in 0..MAX_LINKS {
        let bytes = path.as_os_str().as_bytes();
        let name = path.file_name().filter(|_| !bytes.ends_with(b"/") && !bytes.ends_with(b"/."));
        let name = name.context("this is a directory; name a file")?.to_owned();
        let parent = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
        let directory = match parent.canonicalize() {
            Ok(directory) if directory.is_dir() => directory,
            Ok(_) => bail!("there is no directory {}", parent.display()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                bail!("there is no directory {}", parent.display())
            }
            Err(error) => return Err(error).with_context(|| format!("look for the directory {}", parent.display())),
        };
        if own.as_ref() == Some(&directory)
            && let Some(number) =
                name.to_str().and_then(|name| name.parse::<RawFd>().ok()).filter(|number| *number >= 0)
        {
            return Ok(Target::Descriptor(number));
        }
        let found = directory.join(&name);
        match fs::symlink_metadata(&found) {
            Ok(link) if link.is_symlink() => {
                check_link(&directory, &link)?;
                let target = fs::read_link(&found).with_context(|| format!("read the link {}", found.display()))?;
                path = directory.join(target);
            }
            Ok(_) => return Ok(Target::Name(directory, name)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Target::Name(directory, name)),
            Err(error) => return Err(error).with_context(|| format!("look at {}", found.display())),
        }
    }
    bail!("it is a link that leads to links, again and again")
}

/// The kernel's rule for links that are opened (proc_sys_fs(5), `protected_symlinks`), which following them by hand would break:
/// in a directory that everybody may write to, such as /tmp, a link may be somebody else's trap.
fn check_link(directory: &Path, link: &Metadata) -> Result<()> {
    let of_directory = directory.metadata().with_context(|| format!("look at {}", directory.display()))?;
    let shared = of_directory.mode() & (STICKY | WRITABLE_FOR_ALL) == STICKY | WRITABLE_FOR_ALL;
    let own = rustix::process::geteuid().as_raw();
    ensure!(
        !shared || link.uid() == own || link.uid() == of_directory.uid(),
        "it is a link that another user made, in {}, which everybody may write to: name the file that it leads to",
        directory.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, lchown, symlink};

    #[test]
    fn links_are_followed_to_what_is_there_and_to_what_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().canonicalize().unwrap().join(name);
        fs::create_dir(at("d")).unwrap();
        symlink("d", at("directory")).unwrap();
        symlink("../link", at("d/up")).unwrap();
        symlink("d/none", at("link")).unwrap();
        symlink("loop", at("loop")).unwrap();
        for name in ["d/none", "directory/none", "link", "directory/up", "d/../link", "./link"] {
            assert_eq!(resolve(&at(name)).unwrap(), Target::Name(at("d"), "none".into()), "{name}");
        }
        let refused = |path: &Path| resolve(path).unwrap_err().to_string();
        assert_eq!(refused(&at("loop")), "it is a link that leads to links, again and again");
        assert_eq!(refused(&at("d/new/")), "this is a directory; name a file");
        assert_eq!(refused(&at("d/..")), "this is a directory; name a file");
        assert_eq!(refused(&at("no/x")), format!("there is no directory {}", at("no").display()));
    }

    #[test]
    fn descriptors_are_found_under_all_their_names() {
        for (name, number) in [("-", 1), ("/dev/stdout", 1), ("/dev/fd/63", 63), ("/proc/self/fd/2", 2)] {
            assert_eq!(resolve(Path::new(name)).unwrap(), Target::Descriptor(number), "{name}");
        }
        assert!(matches!(resolve(Path::new("./-")).unwrap(), Target::Name(..)));
    }

    #[test]
    fn anothers_link_in_a_directory_for_all_is_not_followed() {
        // Only root can make another user's link, as other tests here need root.
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("x.raw");
        symlink("elsewhere", &link).unwrap();
        lchown(&link, Some(4242), None).unwrap();
        assert!(resolve(&link).is_ok());
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        assert!(resolve(&link).unwrap_err().to_string().starts_with("it is a link that another user made, in "));
        lchown(&link, Some(rustix::process::geteuid().as_raw()), None).unwrap();
        assert!(resolve(&link).is_ok());
    }
}
