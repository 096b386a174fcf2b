//! A directory that stands for `/`: where a program's loader and libraries are looked for.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Symbolic links that one path may lead through, as in Linux (path_resolution(7)).
const LINKS: u32 = 40;

/// Names that are taken of one directory.
const NAMES: usize = 20_000;

/// Depth to which a directory is walked.
const DEPTH: u32 = 8;

/// A directory that stands for `/`. Paths in it are absolute; no symbolic link and no `..` leads out of it.
#[derive(Debug, Clone)]
pub struct Root {
    directory: PathBuf,
}

impl Root {
    /// The root at this directory: `/` for this machine's own.
    ///
    /// # Errors
    /// When the directory is not there.
    pub fn new(directory: &Path) -> io::Result<Self> {
        Ok(Root { directory: directory.canonicalize()? })
    }

    /// Where a path of this root is on this machine, links not followed.
    fn outside(&self, path: &str) -> PathBuf {
        self.directory.join(path.trim_start_matches('/'))
    }

    /// The path without links at which the kernel would find this path, were this directory its root.
    #[must_use]
    pub fn resolve(&self, path: &str) -> Option<String> {
        let mut rest: VecDeque<String> = parts(path).collect();
        let mut found: Vec<String> = Vec::new();
        let mut links = 0;
        while let Some(part) = rest.pop_front() {
            if part == ".." {
                found.pop();
                continue;
            }
            found.push(part);
            let here = self.outside(&found.join("/"));
            let kind = fs::symlink_metadata(&here).ok()?.file_type();
            if !kind.is_symlink() {
                if !rest.is_empty() && !kind.is_dir() {
                    return None;
                }
                continue;
            }
            links += 1;
            if links > LINKS {
                return None;
            }
            let target = fs::read_link(&here).ok()?.into_os_string().into_string().ok()?;
            if target.starts_with('/') {
                found.clear();
            } else {
                found.pop();
            }
            for part in parts(&target).rev() {
                rest.push_front(part);
            }
        }
        Some(format!("/{}", found.join("/")))
    }

    /// Where the regular file at this path is on this machine.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<PathBuf> {
        let file = self.outside(&self.resolve(path)?);
        fs::symlink_metadata(&file).ok()?.is_file().then_some(file)
    }

    /// A small file's text: nothing where it is not there, is not text, or is longer than `limit` bytes.
    #[must_use]
    pub fn text(&self, path: &str, limit: u64) -> Option<String> {
        let mut bytes = Vec::new();
        fs::File::open(self.file(path)?).ok()?.take(limit + 1).read_to_end(&mut bytes).ok()?;
        if bytes.len() as u64 > limit { None } else { String::from_utf8(bytes).ok() }
    }

    /// The names in a directory, sorted; none where there is no such directory.
    #[must_use]
    pub fn names(&self, path: &str) -> Vec<String> {
        let Some(directory) = self.resolve(path) else { return Vec::new() };
        let Ok(entries) = fs::read_dir(self.outside(&directory)) else { return Vec::new() };
        let name = |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
        let mut names: Vec<String> = entries.take(NAMES).filter_map(name).collect();
        names.sort();
        names
    }

    /// Every regular file below a directory, by its path below the directory as it is written.
    #[must_use]
    pub fn files_below(&self, path: &str) -> Vec<String> {
        let mut files = Vec::new();
        self.walk(path, DEPTH, &mut files);
        files
    }

    fn walk(&self, path: &str, depth: u32, files: &mut Vec<String>) {
        for name in self.names(path) {
            let entry = format!("{path}/{name}");
            if files.len() >= NAMES {
                return;
            }
            if self.file(&entry).is_some() {
                files.push(entry);
            } else if depth > 0 {
                self.walk(&entry, depth - 1, files);
            }
        }
    }
}

/// The names that a path is made of, but for `.`.
fn parts(path: &str) -> impl DoubleEndedIterator<Item = String> + '_ {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").map(str::to_owned)
}

/// A path without `.`, `..` and doubled slashes, as where no link is on the way.
#[must_use]
pub(crate) fn normal(path: &str) -> String {
    let mut normal: Vec<String> = Vec::new();
    for part in parts(path) {
        if part == ".." {
            normal.pop();
        } else {
            normal.push(part);
        }
    }
    format!("/{}", normal.join("/"))
}

/// The directory of an absolute path: `/` for what lies in the root.
#[must_use]
pub(crate) fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        None | Some(("", _)) => "/",
        Some((parent, _)) => parent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_and_dots_stay_in_the_root() {
        let outer = tempfile::tempdir().unwrap();
        fs::create_dir_all(outer.path().join("root/usr/lib")).unwrap();
        fs::write(outer.path().join("secret"), "outside").unwrap();
        fs::write(outer.path().join("root/usr/lib/libx.so.1.2"), "inside").unwrap();
        for (link, target) in [
            ("lib", "usr/lib"),
            ("usr/lib/libx.so.1", "/usr/lib/libx.so.1.2"),
            ("usr/lib/up", "../../../secret"),
            ("usr/lib/absolute", "/secret"),
            ("usr/lib/loop", "loop"),
        ] {
            symlink(target, outer.path().join("root").join(link)).unwrap();
        }
        let root = Root::new(&outer.path().join("root")).unwrap();
        assert_eq!(root.resolve("/lib/./libx.so.1").as_deref(), Some("/usr/lib/libx.so.1.2"));
        assert_eq!(root.text("/lib/../lib//libx.so.1", 6).as_deref(), Some("inside"));
        assert_eq!(root.text("/lib/libx.so.1", 5), None, "longer than the limit");
        for path in
            ["/usr/lib/up", "/usr/lib/absolute", "/../secret", "/usr/lib/loop", "/usr/lib/libx.so.1.2/x", "/lib"]
        {
            assert_eq!(root.file(path), None, "{path}");
        }
        assert_eq!(root.names("/lib"), ["absolute", "libx.so.1", "libx.so.1.2", "loop", "up"]);
        assert_eq!(root.files_below("/lib"), ["/lib/libx.so.1", "/lib/libx.so.1.2"]);
    }

    #[test]
    fn paths_are_made_normal_as_in_a_tree_without_links() {
        for (path, expected) in [("/app/../lib/x", "/lib/x"), ("//a/./b", "/a/b"), ("/..", "/"), ("/a/../../b", "/b")] {
            assert_eq!(normal(path), expected);
        }
        assert_eq!((parent("/app/x"), parent("/x"), parent("x")), ("/app", "/", "/"));
    }
}
