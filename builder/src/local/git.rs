//! Which commit a project is, as git of this machine tells it.
//!
//! A repository's configuration may name programs: of file system monitors, hooks, filters, pagers. None of them is run: the
//! question whether the tree is clean is put to git with a configuration of our own, beside the repository's objects and a
//! copy of its index.

use super::tool;
use crate::bounded::INDEX;
use crate::cleanup::{TempDir, Tool};
use crate::progress::Progress;
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A commit, and whether the project's files are as it has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// Its name, in hexadecimal digits.
    pub commit: String,
    /// Whether no file is another than it has, and none is there beside it that would be packed. `None` where git can't
    /// tell, as of what is in a submodule.
    pub clean: Option<bool>,
}

/// The commit of a project; `None` where it is in no repository, or git is not there. `packed` says of a file, by its path in
/// the project, whether it is packed: others do not count as changes where git does not know them.
#[must_use]
pub fn commit(project: &Path, packed: &dyn Fn(&str) -> bool) -> Option<Commit> {
    let commit = git(project, &["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]).ok()?;
    let commit = commit.trim().to_owned();
    let is_name = matches!(commit.len(), 40 | 64) && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_name.then(|| {
        let clean = clean(project, &commit, packed).ok();
        Commit { commit, clean }
    })
}

/// What reads no configuration that a program's name stands in: `rev-parse` starts none.
fn git(directory: &Path, arguments: &[&str]) -> Result<String> {
    tool::output(command(directory).args(arguments), &Progress::silent())
}

fn command(directory: &Path) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(directory);
    for (name, _) in std::env::vars_os() {
        // Such as GIT_DIR, which a hook has set that this program was started by.
        if name.to_string_lossy().starts_with("GIT_") {
            command.env_remove(name);
        }
    }
    command.env("GIT_OPTIONAL_LOCKS", "0").env("GIT_TERMINAL_PROMPT", "0").env("LC_ALL", "C");
    command
}

fn clean(project: &Path, commit: &str, packed: &dyn Fn(&str) -> bool) -> Result<bool> {
    let place = |arguments: &[&str]| -> Result<PathBuf> {
        let path = git(project, &[&["rev-parse"], arguments].concat())?;
        Ok(project.join(path.trim_end_matches('\n')))
    };
    let top = place(&["--show-toplevel"])?;
    let objects = place(&["--git-path", "objects"])?.canonicalize().context("find git's objects")?;
    let index = place(&["--git-path", "index"])?;
    let prefix = git(project, &["rev-parse", "--show-prefix"])?;
    let prefix = prefix.trim_end_matches('\n');
    let own = own_directory(commit, &index)?;
    let ask = |arguments: &[&str], is_such: &dyn Fn(&[u8]) -> bool| -> Result<bool> {
        let mut asked = command(&top);
        asked.env("GIT_DIR", own.path()).env("GIT_WORK_TREE", &top).env("GIT_OBJECT_DIRECTORY", &objects);
        // The commit's attributes: one of the tree may be a pipe, which git would wait for.
        asked.env("GIT_ATTR_SOURCE", commit);
        // What the user's own configuration says of such programs is not wanted either.
        asked.args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"]);
        asked.args(arguments).arg("--").arg(if prefix.is_empty() { "." } else { prefix });
        any(&mut asked, is_such)
    };
    // Of submodules only the commits: git would look into one by the submodule's own configuration.
    let status =
        ["status", "--porcelain=v1", "-z", "--no-renames", "--ignore-submodules=dirty", "--untracked-files=no"];
    if ask(&status, &|change: &[u8]| !change.is_empty())? {
        return Ok(false);
    }
    // Those that lists of ignored files name are packed like any other, so no such list is read.
    let is_packed = |path: &[u8]| {
        // What is no text counts: nobody can be asked about it.
        let Ok(path) = str::from_utf8(path) else { return true };
        let path = path.strip_prefix(prefix).unwrap_or(path);
        path.is_empty() || packed(path)
    };
    if ask(&["ls-files", "-z", "--full-name", "--others"], &is_packed)? {
        return Ok(false);
    }
    let submodule = ask(&["ls-files", "-z", "--stage"], &|entry: &[u8]| entry.starts_with(b"160000 "))?;
    ensure!(!submodule, "whether a submodule's files are as its commit has them is not known");
    Ok(true)
}

/// Whether git prints an entry that is such; each ends with a NUL.
fn any(command: &mut Command, is_such: &dyn Fn(&[u8]) -> bool) -> Result<bool> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut tool = Tool::spawn(command)?;
    let printed = tool.child().stdout.take().context("read what git says")?;
    for entry in BufReader::new(printed).split(b'\0') {
        if is_such(&entry.context("read what git says")?) {
            return Ok(true);
        }
    }
    ensure!(tool.wait()?.success(), "git failed");
    Ok(false)
}

/// A repository without configuration: at this commit, with a copy of the index.
fn own_directory(commit: &str, index: &Path) -> Result<TempDir> {
    let own = TempDir::new()?;
    let write = |name: &str, text: &str| fs::write(own.path().join(name), text).context("write a git directory");
    let format = if commit.len() == 64 { "[extensions]\nobjectFormat = sha256\n" } else { "" };
    write("config", &format!("[core]\nrepositoryFormatVersion = 1\n{format}"))?;
    write("HEAD", &format!("{commit}\n"))?;
    fs::create_dir(own.path().join("refs")).context("write a git directory")?;
    let mut copied = 0;
    let mut copy = |from: &Path, name: &OsStr| -> Result<()> {
        let bytes = match INDEX.read_regular(from) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            read => read.context("copy git's index")?,
        };
        // Of all its parts together.
        copied += bytes.len() as u64;
        INDEX.check(copied).context("copy git's index")?;
        fs::write(own.path().join(name), bytes).context("copy git's index")
    };
    copy(index, OsStr::new("index"))?;
    // A split index has the rest of it beside.
    for entry in index.parent().and_then(|parent| fs::read_dir(parent).ok()).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("sharedindex.") {
            copy(&entry.path(), &entry.file_name())?;
        }
    }
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn repository() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("app")).unwrap();
        fs::write(dir.path().join("app/main.py"), "print(1)\n").unwrap();
        fs::write(dir.path().join("other"), "").unwrap();
        fs::write(dir.path().join(".gitignore"), "*.log\n").unwrap();
        run(dir.path(), &["init", "-q"]);
        run(dir.path(), &["add", "."]);
        run(dir.path(), &["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "first"]);
        dir
    }

    fn run(directory: &Path, arguments: &[&str]) {
        git(directory, arguments).unwrap();
    }

    fn clean(directory: &Path) -> Option<bool> {
        commit(directory, &|path| !path.ends_with(".raw")).unwrap().clean
    }

    #[test]
    fn a_commit_is_clean_until_a_file_that_is_packed_is_another() {
        let dir = repository();
        let app = dir.path().join("app");
        assert_eq!(commit(&app, &|_| true).unwrap().commit.len(), 40);
        assert_eq!(clean(&app), Some(true));
        // What is not packed, and what is of another project, is no change.
        for name in ["app/disk.raw", "other2"] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        assert_eq!(clean(&app), Some(true));
        assert_eq!(clean(dir.path()), Some(false));
        fs::write(app.join("new.py"), "").unwrap();
        assert_eq!(clean(&app), Some(false));
        fs::remove_file(app.join("new.py")).unwrap();
        // What is ignored is packed all the same.
        fs::write(app.join("a.log"), "").unwrap();
        assert_eq!(clean(&app), Some(false));
        fs::remove_file(app.join("a.log")).unwrap();
        assert_eq!(clean(&app), Some(true));
        fs::write(app.join("main.py"), "print(2)\n").unwrap();
        assert_eq!(clean(&app), Some(false));
        run(dir.path(), &["add", "."]);
        assert_eq!(clean(&app), Some(false));
    }

    #[test]
    fn pipes_and_links_in_a_repository_are_neither_waited_for_nor_read() {
        let dir = repository();
        let app = dir.path().join("app");
        let pipe = |path: &str| {
            assert!(Command::new("mkfifo").arg(dir.path().join(path)).status().unwrap().success());
        };
        let exclude = dir.path().join(".git/info/exclude");
        fs::create_dir_all(exclude.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&exclude);
        std::os::unix::fs::symlink("/dev/zero", &exclude).unwrap();
        assert_eq!(clean(&app), Some(true));
        fs::remove_file(&exclude).unwrap();
        pipe(".git/info/exclude");
        assert_eq!(clean(&app), Some(true));
        pipe(".git/sharedindex.x");
        assert_eq!(clean(&app), None);
        fs::remove_file(dir.path().join(".git/sharedindex.x")).unwrap();
        fs::remove_file(dir.path().join(".git/index")).unwrap();
        pipe(".git/index");
        assert_eq!(clean(&app), None);
    }

    #[test]
    fn what_is_in_a_submodule_is_not_known_to_be_clean() {
        let dir = repository();
        let app = dir.path().join("app");
        let of = format!("160000,{},app/sub", "1".repeat(40));
        run(dir.path(), &["update-index", "--add", "--cacheinfo", &of]);
        run(dir.path(), &["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "second"]);
        fs::create_dir(app.join("sub")).unwrap();
        assert_eq!(clean(&app), None);
        fs::write(app.join("main.py"), "print(2)\n").unwrap();
        assert_eq!(clean(&app), Some(false));
    }

    #[test]
    fn what_is_no_repository_has_no_commit() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(commit(dir.path(), &|_| true), None);
        run(dir.path(), &["init", "-q"]);
        assert_eq!(commit(dir.path(), &|_| true), None);
    }

    #[test]
    fn no_program_that_a_repository_names_is_run() {
        let dir = repository();
        let trap = dir.path().join("trap.sh");
        fs::write(&trap, format!("#!/bin/sh\ntouch {}/sprung\ncat\n", dir.path().display())).unwrap();
        fs::set_permissions(&trap, fs::Permissions::from_mode(0o755)).unwrap();
        let trap = trap.to_str().unwrap();
        run(dir.path(), &["config", "core.fsmonitor", trap]);
        run(dir.path(), &["config", "filter.x.clean", trap]);
        run(dir.path(), &["config", "filter.x.process", trap]);
        run(dir.path(), &["config", "core.pager", trap]);
        run(dir.path(), &["config", "alias.status", &format!("!{trap}")]);
        run(dir.path(), &["config", "alias.rev-parse", &format!("!{trap}")]);
        fs::write(dir.path().join(".gitattributes"), "* filter=x\n").unwrap();
        let hook = dir.path().join(".git/hooks/post-index-change");
        fs::create_dir_all(hook.parent().unwrap()).unwrap();
        fs::copy(trap, &hook).unwrap();
        // Same size, another time: git has to read it.
        fs::write(dir.path().join("app/main.py"), "print(3)\n").unwrap();
        let sprung = dir.path().join("sprung");
        assert_eq!(clean(&dir.path().join("app")), Some(false));
        assert!(!sprung.exists());
        // Git's own answer springs it.
        run(dir.path(), &["status", "--porcelain"]);
        assert!(sprung.exists());
    }
}
