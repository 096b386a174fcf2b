use super::*;
use crate::detect;
use crate::files::LONGEST_TEXT;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n-----END PRIVATE KEY-----\n";

/// A project of these files.
fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

fn walk(dir: &tempfile::TempDir) -> Tree {
    Packing::of(dir.path()).unwrap().walk(dir.path()).unwrap()
}

/// Paths of what is kept, directories with a slash behind them.
fn kept(tree: &Tree) -> Vec<String> {
    let end = |entry: &Entry| if entry.kind == Kind::Directory { "/" } else { "" };
    tree.kept.iter().map(|entry| format!("{}{}", entry.path.display(), end(entry))).collect()
}

fn left_out(tree: &Tree) -> Vec<String> {
    tree.left_out.iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_never_packed() {
    let dir = project(&[
        (".env", "A=1"),
        (".env.production", "A=1"),
        ("sub/.envrc", "A=1"),
        (".git/config", ""),
        ("lib/.git", "gitdir: ../.git/modules/lib"),
        ("certs/key.pem", KEY),
        ("certs/cert.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        ("nanoos.toml", "name = \"x\""),
        ("nanoos.lock", ""),
        ("sub/nanoos.toml", ""),
        ("sub/.nanoos-AbCdEf", ""),
        ("data.qcow2", "QFI\u{b}"),
        ("old.img", &(" ".repeat(512) + "EFI PART")),
        ("web.tar.gz", "not looked into"),
        ("env.py", ""),
        ("web.js", ""),
    ]);
    fs::write(dir.path().join("data.qcow2"), b"QFI\xfb\0\0\0\x03").unwrap();
    let outputs = vec![dir.path().join("web.tar.gz"), dir.path().join("not/there"), "/elsewhere".into()];
    let tree = Packing { outputs, ..Packing::default() }.walk(dir.path()).unwrap();
    let expected = ["certs/", "certs/cert.pem", "env.py", "lib/", "sub/", "sub/nanoos.toml", "web.js"];
    assert_eq!(kept(&tree), expected);
    assert_eq!(
        left_out(&tree),
        [
            ".env: it holds variables of one environment",
            ".env.production: it holds variables of one environment",
            ".git/: it is the project's history",
            "certs/key.pem: it holds a private key",
            "data.qcow2: it is a disk image (qcow2)",
            "lib/.git: it is the project's history",
            "nanoos.lock: it is builder's own",
            "nanoos.toml: it is builder's own",
            "old.img: it is a disk image (raw)",
            "sub/.envrc: it holds variables of one environment",
            "sub/.nanoos-AbCdEf: it is builder's own",
            "web.tar.gz: it is builder's own",
        ]
    );
    assert_eq!(
        tree.summary().unwrap(),
        "left out of the machine: 6 of builder, 2 of git, 1 with a private key, 3 with variables (.env*) (--dry-run lists them)"
    );
    assert_eq!(tree.warnings(), ["not packed: certs/key.pem: it holds a private key"]);
    assert_eq!(walk(&project(&[("a", "")])).summary(), None);
}

#[test]
fn an_output_is_known_by_any_of_its_names() {
    let dir = project(&[("web.raw", ""), ("sub/a", "")]);
    let packing = Packing { outputs: vec![dir.path().join("sub/../web.raw")], ..Packing::default() };
    assert_eq!(kept(&packing.walk(&dir.path().join("sub/..")).unwrap()), ["sub/", "sub/a"]);
}

#[test]
fn rules_are_those_of_the_first_file_that_is_there() {
    let files = [("a.md", ""), ("docs/b.md", ""), ("docs/c/d", ""), ("x/y", ""), (".dockerignore", "*.md\nx\n")];
    let dir = project(&files);
    assert_eq!(kept(&walk(&dir)), [".dockerignore", "docs/", "docs/b.md", "docs/c/", "docs/c/d"]);
    assert_eq!(left_out(&walk(&dir)), ["a.md: .dockerignore says so", "x/: .dockerignore says so"]);
    fs::write(dir.path().join(".nanoosignore"), "*\n!docs/c\n").unwrap();
    assert_eq!(kept(&walk(&dir)), ["docs/", "docs/c/", "docs/c/d"], "with the directory that it is in");
    assert_eq!(walk(&dir).summary().unwrap(), "left out of the machine: 5 by .nanoosignore (--dry-run lists them)",);
    fs::write(dir.path().join(".nanoosignore"), "a\n[").unwrap();
    let refused = Packing::of(dir.path()).unwrap_err().to_string();
    assert_eq!(refused, ".nanoosignore: line 2: a [ has no ] behind it");
}

#[test]
fn rules_cannot_take_in_what_is_never_packed() {
    let dir =
        project(&[(".env", ""), (".git/x", ""), ("key", KEY), (".nanoosignore", "*\n!.env\n!.git\n!key\n!.git/x")]);
    assert_eq!(kept(&walk(&dir)), [""; 0]);
}

#[test]
fn dependencies_are_not_filtered() {
    let dir = project(&[
        (".dockerignore", "**/node_modules\nvendor\n.venv\n**/*.pem\nold\n"),
        ("node_modules/a/.env", ""),
        ("node_modules/a/test/key.pem", KEY),
        ("node_modules/a/.git/x", ""),
        ("vendor/.env.production/secret", ""),
        (".venv/.env.example", ""),
        (".env/pyvenv.cfg", "version = 3.12.1"),
        ("packages/b/node_modules/c/index.js", ""),
        ("vendor/d.rb", ""),
        ("old/node_modules/e", ""),
        (".venv/pyvenv.cfg", "version = 3.12.1"),
        (".venv/lib/f.py", ""),
        ("lib/vendor/g.pem", ""),
        ("cert.pem", ""),
    ]);
    symlink("/usr/bin/python3", dir.path().join(".venv/python")).unwrap();
    symlink("../../elsewhere", dir.path().join("node_modules/linked")).unwrap();
    let tree = walk(&dir);
    let files: Vec<String> = kept(&tree).into_iter().filter(|path| !path.ends_with('/')).collect();
    assert_eq!(
        files,
        [
            ".dockerignore",
            ".env/pyvenv.cfg",
            ".venv/lib/f.py",
            ".venv/python",
            ".venv/pyvenv.cfg",
            "node_modules/a/test/key.pem",
            "packages/b/node_modules/c/index.js",
            "vendor/d.rb",
        ]
    );
    let own = |entry: &&Entry| !entry.is_dependency && entry.kind != Kind::Directory;
    assert_eq!(tree.kept.iter().filter(own).count(), 1);
    assert_eq!(
        left_out(&tree),
        [
            ".venv/.env.example: it holds variables of one environment",
            "cert.pem: .dockerignore says so",
            "lib/vendor/g.pem: .dockerignore says so",
            "node_modules/a/.env: it holds variables of one environment",
            "node_modules/a/.git/: it is the project's history",
            "node_modules/linked: it is a link out of the project, to ../../elsewhere",
            "old/: .dockerignore says so",
            "vendor/.env.production/: it holds variables of one environment",
        ]
    );
}

#[test]
fn our_own_rules_count_for_dependencies_too() {
    let dir = project(&[
        (".nanoosignore", "**/*.md\nvendor\nnode_modules/a\n!node_modules/a/keep.js\n!node_modules/b/.env\n"),
        ("node_modules/a/index.js", ""),
        ("node_modules/a/keep.js", ""),
        ("node_modules/b/README.md", ""),
        ("node_modules/b/.env", ""),
        ("node_modules/b/index.js", ""),
        ("vendor/c.go", ""),
    ]);
    let tree = walk(&dir);
    let files: Vec<String> = kept(&tree).into_iter().filter(|path| !path.ends_with('/')).collect();
    assert_eq!(files, [".nanoosignore", "node_modules/a/keep.js", "node_modules/b/index.js"]);
    assert_eq!(
        left_out(&tree),
        [
            "node_modules/a/index.js: .nanoosignore says so",
            "node_modules/b/.env: it holds variables of one environment",
            "node_modules/b/README.md: .nanoosignore says so",
            "vendor/: .nanoosignore says so",
        ]
    );
}

#[test]
fn credentials_that_are_packed_are_warned_of() {
    let said = |files: &[(&str, &str)]| credentials(&walk(&project(files)).kept);
    assert_eq!(said(&[("app.js", ""), (".envrc", ""), ("node_modules/a/.npmrc", ""), ("x.npmrc", "")]), None);
    assert_eq!(
        said(&[("deploy/prod.env", "")]).unwrap(),
        "deploy/prod.env looks like credentials, and is packed: name it in .nanoosignore if the machine does not need it"
    );
    let end = "look like credentials, and are packed: name them in .nanoosignore if the machine does not need them";
    let three = [(".npmrc", ""), ("home/.aws/credentials", ""), ("home/credentials", ""), ("terraform.tfstate", "")];
    assert_eq!(said(&three).unwrap(), format!(".npmrc, home/.aws/credentials and terraform.tfstate {end}"));
    let five = [(".npmrc", ""), (".netrc", ""), (".pypirc", ""), ("a.env", ""), ("b.env", "")];
    assert_eq!(said(&five).unwrap(), format!(".netrc, .npmrc, .pypirc and 2 more {end}"));
}

#[test]
fn what_is_named_is_packed_even_so() {
    let dir = project(&[
        (".dockerignore", "target\ndist\n"),
        ("target/release/app", ""),
        ("target/release/deps/x", ""),
        ("dist/a/.env", ""),
        ("dist/key.pem", KEY),
        (".git/hooks/named", ""),
        (".git/config", ""),
        (".git/objects/o", ""),
    ]);
    let named = ["target/release/app", "dist", ".git/hooks/named"].map(PathBuf::from).to_vec();
    let tree = Packing { named, ..Packing::of(dir.path()).unwrap() }.walk(dir.path()).unwrap();
    let files: Vec<String> = kept(&tree).into_iter().filter(|path| !path.ends_with('/')).collect();
    assert_eq!(files, [".dockerignore", ".git/hooks/named", "dist/a/.env", "dist/key.pem", "target/release/app"]);
    assert_eq!(
        left_out(&tree),
        [
            ".git/config: it is the project's history",
            ".git/objects/: it is the project's history",
            "target/release/deps/: .dockerignore says so",
        ]
    );
}

#[test]
fn links_stay_links_and_special_files_stay_here() {
    let dir = project(&[("a/file", "text"), ("run.sh", "")]);
    fs::set_permissions(dir.path().join("run.sh"), fs::Permissions::from_mode(0o700)).unwrap();
    let at = |name: &str| dir.path().join(name);
    for (target, name) in [
        ("a/file", "good"),
        ("../good", "a/up"),
        ("nothing", "dangling"),
        ("/etc/passwd", "absolute"),
        ("../x", "outside"),
        ("loop2", "loop1"),
        ("loop1", "loop2"),
        (".", "self"),
        ("../a", "a/again"),
    ] {
        symlink(target, at(name)).unwrap();
    }
    let _socket = UnixListener::bind(at("socket")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap();
    assert!(made.success());
    let tree = walk(&dir);
    assert_eq!(kept(&tree), ["a/", "a/again", "a/file", "a/up", "dangling", "good", "run.sh", "self"]);
    assert!(tree.kept.iter().any(|entry| entry.kind == Kind::Link("../good".into())));
    assert!(tree.kept.iter().any(|entry| entry.kind == Kind::File { is_executable: true, size: 0 }));
    assert!(tree.kept.iter().any(|entry| entry.kind == Kind::File { is_executable: false, size: 4 }));
    assert_eq!(
        left_out(&tree),
        [
            "absolute: it is a link out of the project, to /etc/passwd",
            "loop1: it is a link that leads to itself",
            "loop2: it is a link that leads to itself",
            "outside: it is a link out of the project, to ../x",
            "pipe: it is a pipe",
            "socket: it is a socket",
        ]
    );
    assert_eq!(tree.warnings().len(), 4);
    let files = tree.files(|_| true).unwrap();
    assert_eq!((files.text("good"), files.text("a/up"), files.text("dangling")), (Some("text"), Some("text"), None));
    assert!(files.has("self") && !files.has("absolute") && !files.has("pipe"));
}

#[test]
fn detection_sees_what_only_the_rules_leave_out_of_the_root() {
    let dir = project(&[
        (".dockerignore", "Dockerfile\nsub\n.env\nmain.py\nindex.html\nProcfile\n"),
        ("Dockerfile", "FROM scratch"),
        // It is not in the machine, and so cannot be started there.
        ("main.py", ""),
        ("index.html", ""),
        ("sub/Dockerfile", ""),
        (".env", "SECRET=1"),
        ("app.js", "code"),
    ]);
    fs::write(dir.path().join("long.txt"), vec![b'x'; LONGEST_TEXT as usize + 1]).unwrap();
    let tree = walk(&dir);
    let files = tree.files(|path| path != "app.js").unwrap();
    assert_eq!(files.paths().collect::<Vec<_>>(), [".dockerignore", "Dockerfile", "app.js", "long.txt"]);
    assert_eq!(files.text("Dockerfile"), Some("FROM scratch"));
    assert_eq!((files.text("app.js"), files.text("long.txt")), (None, None));
    fs::write(dir.path().join("Procfile"), "web: a").unwrap();
    let tree = walk(&dir);
    assert_eq!(tree.files(detect::wants).unwrap().text("Procfile"), Some("web: a"));
    assert!(tree.entry(Path::new("app.js")).is_some() && tree.entry(Path::new("Procfile")).is_none());
}

#[test]
fn what_says_what_a_project_is_is_read_before_data_fills_the_bound() {
    let dir = project(&[("requirements.txt", "flask\n"), ("a/b.py", "x = 1\n"), ("a-b", "")]);
    let long = "x".repeat(LONGEST_TEXT as usize);
    for number in 0..66 {
        fs::write(dir.path().join(format!("data{number}.txt")), &long).unwrap();
    }
    let tree = walk(&dir);
    let files = tree.files(detect::wants).unwrap();
    assert_eq!(files.text("requirements.txt"), Some("flask\n"));
    let texts = files.paths().filter(|path| files.text(path).is_some()).count();
    assert_eq!((texts, files.paths().count()), (2 + 63, 3 + 66), "what is left out is there by its name");
    // Sorted as bytes: a-b comes before a/b.py.
    assert!(["a", "a-b", "a/b.py"].iter().all(|path| tree.entry(Path::new(path)).is_some()));
}

#[test]
fn an_error_says_its_cause_once() {
    let error = Error::Read { path: "a".into(), error: io::Error::other("broken") };
    assert_eq!(error.to_string(), "a: broken; make it readable, or name it in .nanoosignore");
    assert!(std::error::Error::source(&error).is_none());
}

#[test]
fn names_need_not_be_text() {
    use std::os::unix::ffi::OsStrExt;
    let dir = project(&[(".nanoosignore", "b*\n")]);
    for name in [&b"a\xff"[..], b"b\xff"] {
        fs::write(dir.path().join(std::ffi::OsStr::from_bytes(name)), "").unwrap();
    }
    let tree = walk(&dir);
    assert_eq!((tree.kept.len(), tree.left_out.len()), (2, 1));
    assert_eq!(tree.files(|_| true).unwrap().paths().count(), 1);
}

#[test]
fn neither_depth_nor_width_overflows_anything() {
    let dir = project(&[]);
    let mut deep = dir.path().to_owned();
    // As deep as paths may be long (PATH_MAX is 4096).
    for _ in 0..1900 {
        deep.push("d");
    }
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("f"), "").unwrap();
    for number in 0..2_000 {
        fs::write(dir.path().join(number.to_string()), "").unwrap();
    }
    let tree = walk(&dir);
    assert_eq!(tree.kept.len(), 1900 + 1 + 2_000);
    assert_eq!(tree.files(|_| true).unwrap().paths().count(), 2_001);
}

#[test]
fn what_cannot_be_read_is_an_error_that_names_it() {
    let dir = project(&[]);
    let gone = dir.path().join("gone");
    let error = Packing::default().walk(&gone).unwrap_err().to_string();
    assert_eq!(error, format!("{}: No such file or directory (os error 2)", gone.display()));
}
