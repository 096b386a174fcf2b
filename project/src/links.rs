//! Where symbolic links of a project lead.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Links that are followed for one, as Linux has it (path_resolution(7)).
const MOST: usize = 40;

/// Where a link leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leads {
    /// To this path of the project, which need not exist.
    Inside(PathBuf),
    /// Out of the project, or by an absolute path, which means another file in the machine.
    Outside,
    /// To itself.
    Nowhere,
}

/// Follows the link `target` in `directory`, a path relative to `root`, by way of every link that it passes.
#[must_use]
pub fn follow(root: &Path, directory: &Path, target: &Path) -> Leads {
    let mut path: Vec<OsString> = directory.iter().map(OsString::from).collect();
    let mut rest: VecDeque<OsString> = VecDeque::new();
    let mut followed = 0;
    let mut next = Some(target.to_owned());
    loop {
        if let Some(target) = next.take() {
            followed += 1;
            if followed > MOST {
                return Leads::Nowhere;
            }
            for component in target.components().rev() {
                match component {
                    Component::Prefix(_) | Component::RootDir => return Leads::Outside,
                    Component::CurDir => {}
                    Component::ParentDir | Component::Normal(_) => rest.push_front(component.as_os_str().to_owned()),
                }
            }
        }
        let Some(component) = rest.pop_front() else { return Leads::Inside(path.iter().collect()) };
        if component == ".." {
            if path.pop().is_none() {
                return Leads::Outside;
            }
            continue;
        }
        path.push(component);
        let here = root.join(path.iter().collect::<PathBuf>());
        // What is no link, or is not there, is a name like any other.
        if let Ok(target) = fs::read_link(here) {
            path.pop();
            next = Some(target);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_to_their_end() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/file"), "").unwrap();
        for (target, name) in [
            ("..", "a/up"),
            ("../..", "a/out"),
            ("/etc", "abs"),
            ("two", "one"),
            ("one", "two"),
            ("a/b/../file", "file"),
            ("file", "file2"),
        ] {
            symlink(target, root.join(name)).unwrap();
        }
        let leads = |directory: &str, target: &str| follow(root, Path::new(directory), Path::new(target));
        let inside = |path: &str| Leads::Inside(path.into());
        assert_eq!(leads("", "a/./file"), inside("a/file"));
        assert_eq!(leads("a/b", "../../file2"), inside("a/file"));
        assert_eq!(leads("a", "up/a/up/none/x"), inside("none/x"));
        assert_eq!(leads("a", "out"), Leads::Outside);
        assert_eq!(leads("a", "out/back"), Leads::Outside);
        assert_eq!(leads("a", "../abs/passwd"), Leads::Outside);
        assert_eq!(leads("", &root.join("a").display().to_string()), Leads::Outside);
        assert_eq!(leads("a/b", "../../.."), Leads::Outside);
        assert_eq!(leads("", "one/x"), Leads::Nowhere);
        assert_eq!(leads("a/b", "../.."), inside(""));
    }
}
