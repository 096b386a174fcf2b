//! Where loaders are told to look: /etc/ld.so.conf for glibc (ldconfig(8)), /etc/ld-musl-ARCH.path for musl.

use super::root::{Root, parent};

/// Bytes of one configuration file.
const LONGEST: u64 = 1 << 20;

/// Files that include each other; one includes the next, so that this bounds the depth, too.
const FILES: usize = 200;

/// The directories that ldconfig puts into ld.so's cache, in their order, without the default ones.
pub(super) fn ld_so_conf(root: &Root) -> Vec<String> {
    let mut directories = Vec::new();
    include(root, "/etc/ld.so.conf", &mut Vec::new(), &mut directories);
    directories
}

fn include(root: &Root, file: &str, files: &mut Vec<String>, directories: &mut Vec<String>) {
    // A file that includes itself says nothing new.
    if files.len() >= FILES || files.iter().any(|read| read == file) {
        return;
    }
    files.push(file.to_owned());
    let Some(text) = root.text(file, LONGEST) else { return };
    for line in text.lines() {
        let line = line.split_once('#').map_or(line, |(line, _)| line).trim();
        match line.split_once([' ', '\t']) {
            Some(("include", patterns)) => {
                for pattern in patterns.split_whitespace() {
                    for file in matching(root, &absolute(parent(file), pattern)) {
                        include(root, &file, files, directories);
                    }
                }
            }
            Some(("hwcap", _)) => {}
            _ => {
                // `DIRECTORY=libc6` of old: the type is of no interest.
                let directory = line.split_once('=').map_or(line, |(directory, _)| directory).trim_end();
                let directory = directory.trim_end_matches('/').to_owned();
                if directory.starts_with('/') && !directories.contains(&directory) {
                    directories.push(directory);
                }
            }
        }
    }
}

/// A path that is relative to this directory, if it is not absolute.
fn absolute(directory: &str, path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("{directory}/{path}") }
}

/// The files of a pattern whose last part may have `*` and `?`, in order.
fn matching(root: &Root, pattern: &str) -> Vec<String> {
    let directory = parent(pattern);
    let name = pattern.rsplit('/').next().unwrap_or_default();
    if !name.contains(['*', '?']) {
        return vec![pattern.to_owned()];
    }
    let names = root.names(directory).into_iter();
    let names = names.filter(|candidate| !candidate.starts_with('.') && glob(name.as_bytes(), candidate.as_bytes()));
    names.map(|name| format!("{directory}/{name}")).collect()
}

/// Whether a name is one of this pattern. The last `*` is the only one that takes more: no pattern is slow.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == b'?' || Some(c) == name.get(n) => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((at, taken)) = star else { return false };
                star = Some((at, taken + 1));
                p = at + 1;
                n = taken + 1;
            }
        }
    }
    pattern.iter().skip(p).all(|c| *c == b'*')
}

/// Where musl's loader finds the file that lists its directories: beside the tree that the loader lies in, as in
/// `PREFIX/lib/ld-musl-x86_64.so.1`.
pub(super) fn musl_file(interpreter: &str, architecture: &str) -> String {
    let prefix = parent(parent(interpreter)).trim_end_matches('/');
    format!("{prefix}/etc/ld-musl-{architecture}.path")
}

/// musl's directories (its ldso/dynlink.c): those of that file, one a line or with colons, else its own.
pub(super) fn musl(root: &Root, file: &str) -> Vec<String> {
    let text = root.text(file, LONGEST).unwrap_or_else(|| "/lib:/usr/local/lib:/usr/lib".to_owned());
    text.split(['\n', ':']).filter(|path| path.starts_with('/')).map(|path| path.trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    fn root(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let root = Root::new(directory.path()).unwrap();
        (directory, root)
    }

    #[test]
    fn ld_so_conf_with_includes() {
        let (_directory, root) = root(&[
            ("etc/ld.so.conf", "include ld.so.conf.d/*.conf\n/opt/last # said last\nhwcap 1 nosegneg\nrelative\n"),
            ("etc/ld.so.conf.d/b.conf", "/b/lib/\n/a/lib\n"),
            (
                "etc/ld.so.conf.d/a.conf",
                "# a comment\n  /a/lib=libc6\ninclude /etc/more/?.list\ninclude /etc/ld.so.conf\n",
            ),
            ("etc/ld.so.conf.d/.hidden.conf", "/hidden\n"),
            ("etc/ld.so.conf.d/a.conf.bak", "/backup\n"),
            ("etc/more/x.list", "/x\n"),
            ("etc/more/xy.list", "/xy\n"),
        ]);
        assert_eq!(ld_so_conf(&root), ["/a/lib", "/x", "/b/lib", "/opt/last"]);
        let (_directory, empty) = self::root(&[]);
        assert_eq!(ld_so_conf(&empty), [""; 0]);
    }

    #[test]
    fn the_directories_of_musl() {
        assert_eq!(musl_file("/lib/ld-musl-x86_64.so.1", "x86_64"), "/etc/ld-musl-x86_64.path");
        assert_eq!(musl_file("/opt/m/lib/ld-musl-aarch64.so.1", "aarch64"), "/opt/m/etc/ld-musl-aarch64.path");
        let (_directory, root) = root(&[("etc/ld-musl-x86_64.path", "/a:/b\n/c\n\n")]);
        assert_eq!(musl(&root, "/etc/ld-musl-x86_64.path"), ["/a", "/b", "/c"]);
        assert_eq!(musl(&root, "/etc/ld-musl-aarch64.path"), ["/lib", "/usr/local/lib", "/usr/lib"]);
    }

    /// The grammar as one writes it down.
    fn model(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) if model(rest, name) => true,
            (Some((b'*', _)), Some((_, shorter))) => model(pattern, shorter),
            (Some((b'?', rest)), Some((_, shorter))) => model(rest, shorter),
            (Some((a, rest)), Some((b, shorter))) => a == b && model(rest, shorter),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn patterns_match_as_their_grammar_says(pattern in "[ab*?]{0,6}", name in "[ab]{0,8}") {
            prop_assert_eq!(glob(pattern.as_bytes(), name.as_bytes()), model(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
