//! Projects and payloads of every kind that this machine has the tools for, made into images and run.

#[path = "support/part.rs"]
#[expect(dead_code, reason = "only run() is used here")]
mod part;
mod support;

use builder::cache::Cache;
use builder::flatten::Content;
use builder::local::{Local, Origin};
use builder::platform::Platform;
use builder::progress::Progress;
use builder::source::order::Order;
use builder::source::{Container, Fetch};
use part::run;
use project::plan::Wishes;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory with a project in it, and a cache.
struct Workshop {
    dir: tempfile::TempDir,
    cache: Cache,
}

impl Workshop {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(&dir.path().join("cache")).unwrap();
        let workshop = Workshop { dir, cache };
        for (name, text) in files {
            workshop.write(name, text);
        }
        workshop
    }

    fn project(&self) -> PathBuf {
        self.dir.path().join("project")
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.project().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn fetch(&self, name: &str, wishes: &Wishes) -> anyhow::Result<Container> {
        let progress = Progress::silent();
        let local = Local { path: self.project().join(name), wishes: wishes.clone(), results: Vec::new() };
        local.fetch(&Fetch {
            platform: Platform::host(),
            look: false,
            archives: false,
            order: &Order::registry(),
            registry_ca: None,
            debug: false,
            mirrors: &[],
            cache: &self.cache,
            progress: &progress,
        })
    }

    #[track_caller]
    fn made(&self, name: &str, wishes: &Wishes) -> Container {
        self.fetch(name, wishes).unwrap_or_else(|error| panic!("{error:#}"))
    }

    #[track_caller]
    fn refused(&self, name: &str, wishes: &Wishes) -> String {
        format!("{:#}", self.fetch(name, wishes).unwrap_err())
    }

    /// A tar of a root with these programs of this machine and what they need, for use as a base.
    fn base(&self, programs: &[&str]) -> String {
        let root = self.dir.path().join("base");
        for program in programs {
            let path = root.join(program.trim_start_matches('/'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::copy(program, &path).unwrap();
            for library in run(self.dir.path(), "libc-bin", &["ldd", program]).split_whitespace() {
                if library.starts_with('/') {
                    let path = root.join(library.trim_start_matches('/'));
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    fs::copy(library, &path).unwrap();
                }
            }
        }
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
        run(self.dir.path(), "tar", &["tar", "-C", "base", "-cf", "base.tar", "."]);
        format!("rootfs:{}", self.dir.path().join("base.tar").display())
    }

    /// The image's own layers as a directory of files.
    fn unpacked(&self, container: &Container, name: &str) -> PathBuf {
        let root = self.dir.path().join(name);
        fs::create_dir_all(&root).unwrap();
        for layer in &container.layers {
            let Content::Blob(blob) = &layer.content else { continue };
            fs::write(self.dir.path().join("layer.tar"), blob.read_all(1 << 30).unwrap()).unwrap();
            run(self.dir.path(), "tar", &["tar", "-C", name, "-xf", "layer.tar"]);
        }
        root
    }
}

fn origin(container: &Container) -> Origin {
    container.config.config.project.clone().unwrap().origin.unwrap()
}

fn processes(container: &Container) -> BTreeMap<String, Vec<String>> {
    container.config.config.project.clone().unwrap().processes
}

/// What the image's own program prints, in a root that has nothing but the image.
#[track_caller]
fn runs(root: &Path, argv: &[String]) -> String {
    let root = root.to_str().unwrap();
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    run(Path::new("/"), "util-linux", &[&["unshare", "--map-root-user", "chroot", root][..], &argv].concat())
}

const HELLO: &str = "#include <stdio.h>\n#include <math.h>\n#include <stdlib.h>\nint main(int c, char **v) { volatile double two = 2; \
                     printf(\"hello %.3f %s\\n\", sqrt(two) + pow(two, c), getenv(\"NOTHING\") ? \"\" : \"world\"); return 0; }\n";

#[test]
fn a_program_in_c_runs_with_the_libraries_that_it_needs_and_nothing_else() {
    let workshop = Workshop::new(&[("hello.c", HELLO)]);
    run(&workshop.project(), "gcc", &["gcc", "-o", "hello", "hello.c", "-lm"]);
    let made = workshop.made("hello", &Wishes::default());
    assert_eq!(made.config.config.cmd, ["/app/hello"]);
    assert_eq!((made.config.config.user.as_str(), made.config.config.working_dir.as_str()), ("1000:1000", "/app"));
    assert!(made.config.config.env.contains(&"PORT=8080".to_owned()), "{:?}", made.config.config.env);
    assert_eq!(origin(&made).kind, "elf");
    let root = workshop.unpacked(&made, "root");
    assert_eq!(runs(&root, &made.config.config.cmd), "hello 3.414 world");
    assert!(!root.join("bin").exists());
    // Libraries are a layer under the program, and stay the same when that is another.
    fs::write(workshop.project().join("hello.c"), HELLO.replace("hello", "servus")).unwrap();
    run(&workshop.project(), "gcc", &["gcc", "-o", "hello", "hello.c", "-lm"]);
    let again = workshop.made("hello", &Wishes::default());
    assert_eq!(again.layers[0].diff_id, made.layers[0].diff_id);
    assert_ne!(again.layers[1].diff_id, made.layers[1].diff_id);
    assert_ne!(origin(&again).payload, origin(&made).payload);
}

#[test]
fn a_project_of_cargo_is_built_in_a_copy() {
    let workshop = Workshop::new(&[
        ("Cargo.toml", "[package]\nname = \"hello\"\nversion = \"1.2.3\"\nedition = \"2021\"\n"),
        ("src/main.rs", "fn main() { println!(\"hello from {:?}\", std::env::current_dir().unwrap()); }\n"),
        ("assets/a.txt", "a"),
        (".env", "SECRET=1"),
    ]);
    let made = workshop.made("", &Wishes::default());
    let left: Vec<String> = support::names(&workshop.project());
    assert_eq!(left, [".env", "Cargo.toml", "assets", "src"]);
    let Origin { kind, name, version, payload, git } = origin(&made);
    assert_eq!((kind.as_str(), name.as_deref(), version.as_deref()), ("rust", Some("hello"), Some("1.2.3")));
    assert!(payload.is_some() && git.is_none());
    let root = workshop.unpacked(&made, "root");
    assert_eq!(runs(&root, &made.config.config.cmd), "hello from \"/\"");
    assert!(root.join("app/assets/a.txt").exists() && !root.join("app/.env").exists());
    // Nothing is compiled anew, and the image is the same.
    assert_eq!(workshop.made("", &Wishes::default()).id, made.id);
    workshop.write("src/main.rs", "fn main() { nonsense }\n");
    let refused = workshop.refused("", &Wishes::default());
    assert!(refused.contains("cargo failed with exit status: 101") && refused.contains("nonsense"), "{refused}");
}

#[test]
fn flask_comes_from_pypi_once_and_its_project_answers() {
    let python =
        run(Path::new("/"), "python3", &["python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]);
    let workshop = Workshop::new(&[
        ("requirements.txt", "flask==3.1.2\n"),
        (".python-version", &python),
        (
            "app.py",
            "from flask import Flask\napp = Flask(__name__)\n\n@app.get('/')\ndef hello():\n    return 'hello'\n",
        ),
    ]);
    let wishes = Wishes { base: Some(workshop.base(&["/bin/sh"])), ..Wishes::default() };
    let made = workshop.made("", &wishes);
    let [_, packages, _] = &made.layers[..] else { panic!("{:?}", made.layers) };
    assert_eq!(packages.name, "the dependencies");
    let config = &made.config.config;
    assert!(config.env.contains(&"PYTHONPATH=/app/.packages".to_owned()), "{:?}", config.env);
    assert!(config.env.iter().any(|entry| entry.starts_with("PATH=/app/.packages/bin:/")), "{:?}", config.env);
    let root = workshop.unpacked(&made, "root");
    let script = fs::read_to_string(root.join("app/.packages/bin/flask")).unwrap();
    assert!(script.starts_with("#!/usr/bin/env python3\n"), "{script}");
    let program = "import app; print(app.app.test_client().get('/').text)";
    let mut python = Command::new("python3");
    python.args(["-c", program]).current_dir(root.join("app")).env("PYTHONPATH", root.join("app/.packages"));
    assert_eq!(String::from_utf8(python.output().unwrap().stdout).unwrap(), "hello\n");
    // Another code, the same packages, without the network.
    workshop.write("app.py", "from flask import Flask\napp = Flask('other')\n");
    let again = workshop.made("", &wishes);
    assert_eq!(again.layers[1].diff_id, packages.diff_id);
    assert_ne!(again.id, made.id);
}

#[test]
fn packages_are_compiled_where_this_machine_has_the_bases_python() {
    let version = "import sys; print('%d.%d' % sys.version_info[:2])";
    let version = run(Path::new("/"), "python3", &["python3", "-c", version]);
    let workshop = Workshop::new(&[
        ("requirements.txt", "itsdangerous==2.2.0\n"),
        (".python-version", &version),
        ("main.py", "import itsdangerous\n"),
    ]);
    let wishes = Wishes { base: Some(workshop.base(&["/bin/sh"])), ..Wishes::default() };
    let root = workshop.unpacked(&workshop.made("", &wishes), "root");
    let compiled = format!("app/.packages/itsdangerous/__pycache__/__init__.cpython-{}.pyc", version.replace('.', ""));
    let bytes = fs::read(root.join(compiled)).unwrap();
    // PEP 552: a hash of the source stands in it, which is not compared.
    assert_eq!(bytes[4..8], 1u32.to_le_bytes());
    let place = b"/app/.packages/itsdangerous/__init__.py";
    assert!(bytes.windows(place.len()).any(|window| window == place), "it names another place");
}

#[test]
fn a_projects_own_pip_is_not_run_for_pip() {
    let workshop = Workshop::new(&[
        ("requirements.txt", "itsdangerous==2.1.2\n"),
        ("pip.py", "raise SystemExit('a pip of the project is run')\n"),
        ("main.py", "import itsdangerous\n"),
    ]);
    let wishes = Wishes { base: Some(workshop.base(&["/bin/sh"])), ..Wishes::default() };
    let root = workshop.unpacked(&workshop.made("", &wishes), "root");
    assert!(root.join("app/.packages/itsdangerous/__init__.py").exists());
}

#[test]
fn a_package_that_does_not_exist_is_told_in_pips_words() {
    let workshop = Workshop::new(&[
        ("requirements.txt", "flask==0.0.999\n"),
        ("app.py", "from flask import Flask\napp = Flask(__name__)\n"),
    ]);
    let wishes = Wishes { base: Some(workshop.base(&["/bin/sh"])), ..Wishes::default() };
    let refused = workshop.refused("", &wishes);
    assert!(refused.starts_with("the packages for Python 3."), "{refused}");
    assert!(refused.contains("No matching distribution found for flask==0.0.999"), "{refused}");
}

#[test]
fn a_jar_of_javac_is_started_by_java_and_lies_in_the_project() {
    let workshop = Workshop::new(&[(
        "Hello.java",
        "public class Hello { public static void main(String[] words) { System.out.println(\"hello\"); } }\n",
    )]);
    run(&workshop.project(), "default-jdk", &["javac", "--release", "11", "Hello.java"]);
    run(
        &workshop.project(),
        "default-jdk",
        &["jar", "--create", "--file", "hello.jar", "--main-class", "Hello", "Hello.class"],
    );
    let wishes = Wishes { base: Some(workshop.base(&["/bin/sh"])), ..Wishes::default() };
    let made = workshop.made("hello.jar", &wishes);
    let argv = &made.config.config.cmd;
    assert_eq!((argv[0].as_str(), argv.last().map(String::as_str)), ("java", Some("/app/hello.jar")));
    let root = workshop.unpacked(&made, "root");
    let jar = root.join("app/hello.jar");
    assert_eq!(run(Path::new("/"), "default-jre", &["java", "-jar", jar.to_str().unwrap()]), "hello");
    assert_eq!(origin(&made).payload, Some(builder::digest::Digest::of(&fs::read(jar).unwrap())));
}

#[test]
fn a_site_is_its_directorys_files_and_a_web_server() {
    let workshop = Workshop::new(&[
        ("public/index.html", "<h1>hello</h1>"),
        ("public/style/a.css", "a {}"),
        ("Makefile", "all:\n"),
    ]);
    let wishes =
        Wishes { base: Some(workshop.base(&["/bin/sh"])), kind: Some(project::plan::Kind::Site), ..Wishes::default() };
    let made = workshop.made("", &wishes);
    let root = workshop.unpacked(&made, "root");
    assert_eq!(fs::read_to_string(root.join("app/index.html")).unwrap(), "<h1>hello</h1>");
    assert!(root.join("app/style/a.css").exists() && !root.join("app/Makefile").exists());
    assert!(fs::read_to_string(root.join("etc/nanoos/nginx.conf")).unwrap().contains("listen 8080;"));
    assert_eq!(made.config.config.cmd[0], "nginx");
}

#[test]
fn a_dockerfile_is_built_by_an_engine_and_runs_as_it_says() {
    let workshop = Workshop::new(&[
        ("Dockerfile", "FROM scratch\nCOPY hello /bin/hello\nUSER 7\nENV A=1\nCMD [\"/bin/hello\"]\n"),
        ("Procfile", "web: /bin/hello --web\n"),
        ("hello.c", HELLO),
    ]);
    run(&workshop.project(), "gcc", &["gcc", "-static", "-o", "hello", "hello.c", "-lm"]);
    let made = workshop.made("", &Wishes::default());
    assert_eq!(
        (made.config.config.user.as_str(), &made.config.config.env[..]),
        ("7", &["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(), "A=1".to_owned()][..])
    );
    assert_eq!(processes(&made)["web"], ["/bin/hello", "--web"]);
    assert_eq!(made.layers.len(), 1);
}

#[test]
fn commands_run_in_the_base_and_what_they_leave_is_normalized() {
    let workshop = Workshop::new(&[
        ("Procfile", "web: cat out/b $FILE\n"),
        ("a", "from the project\n"),
        (".dockerignore", "ignored\n"),
        ("ignored", ""),
        (".env", "SECRET=1"),
    ]);
    let base = workshop.base(&["/bin/sh", "/bin/cat", "/bin/mkdir", "/bin/rm", "/bin/date", "/bin/ls"]);
    let build = [
        "mkdir -p out /tmp && cat a > out/b && date +%s%N > /tmp/now",
        "ls -a > out/list; echo x > /etc/made; rm /etc/passwd",
    ];
    let build = build.map(str::to_owned).to_vec();
    let wishes = Wishes { base: Some(base), build, ..Wishes::default() };
    let made = workshop.made("", &wishes);
    assert_eq!(processes(&made)["web"], ["/bin/sh", "-c", "cat out/b $FILE"]);
    let root = workshop.unpacked(&made, "root");
    assert_eq!(fs::read_to_string(root.join("app/out/b")).unwrap(), "from the project\n");
    assert_eq!(fs::read_to_string(root.join("etc/made")).unwrap(), "x\n");
    assert!(root.join("etc/.wh.passwd").exists() && !root.join("tmp/now").exists());
    let list = fs::read_to_string(root.join("app/out/list")).unwrap();
    assert!(list.contains("Procfile") && !list.contains("ignored") && !list.contains(".env"), "{list}");
    assert_eq!(fs::metadata(root.join("app/out/b")).unwrap().permissions().mode() & 0o777, 0o644);
    // Another time, another container, the same layers.
    let tag = "localhost/nanoos-build";
    let images = run(Path::new("/"), "docker.io", &["docker", "image", "ls", "--quiet", tag]);
    for image in images.lines() {
        let _ = Command::new("docker").args(["rmi", "--force", image]).output();
    }
    assert_eq!(workshop.made("", &wishes).id, made.id);
}

#[test]
fn a_line_that_needs_a_shell_is_refused_where_there_is_none() {
    let workshop = Workshop::new(&[("Procfile", "web: run --port $PORT\nworker: run --worker\n")]);
    let base = workshop.base(&["/bin/cat"]);
    let wishes = Wishes { base: Some(base.clone()), ..Wishes::default() };
    let refused = workshop.refused("", &wishes);
    let expected = "the process web, by Procfile: \"run --port $PORT\" needs a shell, and the image has no /bin/sh: write a \
                    program and plain words, or take a base that has one";
    assert_eq!(refused, expected);
    workshop.write("Procfile", "web: run --port 80\nworker: run --worker\n");
    let made = workshop.made("", &wishes);
    assert_eq!(processes(&made)["web"], ["run", "--port", "80"]);
    assert_eq!(processes(&made)["worker"], ["run", "--worker"]);
    // A link of the base counts as what it leads to.
    fs::create_dir_all(workshop.dir.path().join("base/usr/bin")).unwrap();
    fs::write(workshop.dir.path().join("base/usr/bin/dash"), "").unwrap();
    symlink("../usr/bin/dash", workshop.dir.path().join("base/bin/sh")).unwrap();
    run(workshop.dir.path(), "tar", &["tar", "-C", "base", "-cf", "base.tar", "."]);
    assert_eq!(processes(&workshop.made("", &wishes))["web"], ["/bin/sh", "-c", "run --port 80"]);
}

#[test]
fn an_archive_is_what_it_holds() {
    let workshop = Workshop::new(&[("app/Procfile", "web: sh start\n"), ("app/start", "echo hello\n")]);
    run(&workshop.project(), "tar", &["tar", "-czf", "app.tar.gz", "app"]);
    let wishes = Wishes { base: Some(workshop.base(&["/bin/sh"])), ..Wishes::default() };
    let made = workshop.made("app.tar.gz", &wishes);
    assert!(workshop.unpacked(&made, "root").join("app/start").exists());
    assert!(origin(&made).payload.is_some());
    // The same as the directory itself, but for what its provenance tells.
    let directory = workshop.made("app", &wishes);
    assert_eq!(directory.id, made.id);
    let layers = |made: &Container| made.layers.iter().map(|layer| layer.diff_id).collect::<Vec<_>>();
    assert_eq!(layers(&directory), layers(&made));
}

#[test]
fn a_build_that_fails_leaves_no_copy_of_the_project() {
    let workshop = Workshop::new(&[
        ("Cargo.toml", "[package]\nname = \"hello\"\nversion = \"1.2.3\"\nedition = \"2021\"\n"),
        ("src/main.rs", "fn main() { nonsense }\n"),
        ("key", "secret"),
    ]);
    let refused = workshop.refused("", &Wishes::default());
    assert!(refused.contains("nonsense"), "{refused}");
    let builds = workshop.cache.directory().join("builds");
    assert_eq!(fs::metadata(&builds).unwrap().permissions().mode() & 0o777, 0o700);
    let places: Vec<PathBuf> = fs::read_dir(&builds).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [place] = &places[..] else { panic!("{places:?}") };
    // What cargo compiled stays, for the next time.
    assert!(!place.join("source").exists() && place.join("target").exists());
}
