//! Projects and payloads as people name them: the grammar, `builder init`, `create`, `update`, and what is said before a build.

mod support;
#[path = "support/terminal.rs"]
mod terminal;

use std::fs;
use std::path::Path;
use std::process::Command;
use support::{builder, kernel, names, refusal, simple_layout, stderr, succeed};
use terminal::Terminal;

/// A directory with files of these names and texts, and a kernel beside them.
fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    kernel(&dir.path().join("kernel"));
    for (name, text) in files {
        let path = dir.path().join("shop").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

/// Flask by its requirements.
const FLASK: &[(&str, &str)] =
    &[("requirements.txt", "flask==3.0.3\n"), ("app.py", "from flask import Flask\napp = Flask(__name__)\n")];

/// The command in the project.
fn inside(dir: &tempfile::TempDir, arguments: &[&str]) -> Command {
    let mut command = builder(dir.path(), arguments);
    command.current_dir(dir.path().join("shop"));
    command
}

fn stdout(command: Command) -> String {
    String::from_utf8(succeed(command).stdout).unwrap()
}

fn text(dir: &tempfile::TempDir, name: &str) -> String {
    fs::read_to_string(dir.path().join("shop").join(name)).unwrap()
}

/// A disk as far as it is looked at: the header of a partition table.
fn disk(path: &Path) {
    let mut bytes = vec![0; 4096];
    bytes[512..520].copy_from_slice(b"EFI PART");
    fs::write(path, bytes).unwrap();
}

#[test]
fn errors_of_the_grammar_name_both_readings() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    disk(&path("web.raw"));
    disk(&path("disk.of.another.name"));
    fs::write(path("noise.jar"), "noise").unwrap();
    fs::create_dir(path("empty")).unwrap();
    fs::write(path("empty/README"), "").unwrap();
    let at = |arguments: &[&str]| refusal(builder(dir.path(), arguments));
    for arguments in [&["./x"][..], &["run", "./x"]] {
        assert_eq!(
            at(arguments),
            "builder: ./x: no such file or directory; for an image of that name write docker://x"
        );
    }
    assert_eq!(
        at(&["create", "nginx"]),
        "builder: nginx: no such file or directory; for an image of that name write docker://nginx"
    );
    for name in ["./web.raw", "web.raw", "./disk.of.another.name"] {
        let image = name.trim_start_matches("./");
        assert_eq!(
            at(&[name]),
            format!(
                "builder: {name} is a disk that is built already: builder run {name} boots it, builder publish {name} makes \
                 an AMI of it; for an image of that name write docker://{image}"
            )
        );
    }
    let noise = at(&["noise.jar"]);
    assert!(
        noise.starts_with("builder: noise.jar is a text file: ") && noise.ends_with("docker://noise.jar"),
        "{noise}"
    );
    // Nobody answers at this address, and the name is a directory's as well.
    let unreached = |name: &str| {
        let mut command =
            builder(dir.path(), &["--image-src", "registry", "--registry-mirror", "http://127.0.0.1:1", name]);
        command.env("HTTPS_PROXY", "http://127.0.0.1:1");
        refusal(command)
    };
    let directory = unreached("empty");
    assert!(directory.ends_with("; for the directory of that name write ./empty"), "{directory}");
    let file = unreached("no.jar");
    assert!(file.ends_with("; nor is there a file no.jar here"), "{file}");
    let given = at(&["--kind", "node", "oci:image"]);
    assert_eq!(given, "builder: --kind: oci:image is an image, and only a project is built");
    assert_eq!(
        at(&["run", "./disk.of.another.name", "--process", "web"]),
        "builder: --process: ./disk.of.another.name is built already; with a disk, run takes -p, -m, --smp and --config only"
    );
}

#[test]
fn a_port_is_a_number() {
    let dir = project(FLASK);
    for port in ["0", "65536", "abc", "80 "] {
        let refused = refusal(inside(&dir, &["create", "--dry-run", "-e", &format!("PORT={port}")]));
        assert_eq!(refused, format!("builder: -e PORT={port}: a port is a number from 1 to 65535"));
    }
}

#[cfg(feature = "aws")]
#[test]
fn a_project_is_published_by_no_other_name() {
    let dir = project(FLASK);
    let refused = refusal(builder(dir.path(), &["publish", "shop"]));
    assert_eq!(refused, "builder: shop is no disk: builder ./shop makes an AMI of it");
}

#[test]
fn a_build_says_first_what_it_makes_and_where() {
    let dir = project(FLASK);
    fs::write(dir.path().join("shop/.env"), "TOKEN=hunter2\n").unwrap();
    let run = |arguments: &[&str]| {
        let output = succeed(inside(&dir, &[arguments, &["--dry-run", "--kernel", "../kernel"]].concat()));
        (String::from_utf8(output.stdout.clone()).unwrap(), stderr(&output))
    };
    let (told, _) = run(&["create"]);
    for part in [
        "project       shop: a Python project, by ",
        "base          python:3.",
        "starts        web: ",
        "left out      .env: ",
    ] {
        assert!(told.contains(part), "{part:?} is not in:\n{told}");
    }
    assert!(told.ends_with("output        shop.raw, raw\n"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
    assert_eq!(run(&["."]).0, told);
    let other = run(&["../shop", "-o", "../x.qcow2", "--cmd", "true", "--base", "python:3.11"]).0;
    assert!(
        other.contains("base          python:3.11\n")
            && other.contains("starts        what cmd and entrypoint say (of the command line, or of nanoos.toml)\n")
            && other.ends_with("output        ../x.qcow2, qcow2\n"),
        "{other}"
    );
    assert_eq!(names(&dir.path().join("shop")), [".env", "app.py", "requirements.txt"]);
}

#[test]
fn two_kinds_are_an_error_that_names_both_and_a_question_on_a_terminal() {
    let dir = project(&[FLASK, &[("package.json", r#"{"scripts":{"start":"node a.js"}}"#), ("a.js", "")]].concat());
    for arguments in [&["create", "--dry-run"][..], &["init"], &[".", "--dry-run"], &["update"]] {
        let refused = refusal(inside(&dir, arguments));
        for part in ["python", "node", "--kind"] {
            assert!(refused.contains(part), "{arguments:?}: {refused}");
        }
    }
    assert!(stdout(inside(&dir, &["create", "--dry-run", "--kind", "node"])).contains("a Node project"));
    let mut terminal = Terminal::start(inside(&dir, &["init"]));
    terminal.answer("which of them is it: ", "cobol");
    terminal.answer("or a name", "python");
    terminal.answer("region of AWS [eu-central-1]: ", "");
    let said = terminal.end(0);
    assert!(said.contains("wrote ./nanoos.toml") && said.contains("wrote ./Procfile"), "{said}");
    assert!(text(&dir, "nanoos.toml").contains("\nkind = \"python\"\n"));
}

#[test]
fn init_asks_on_a_terminal_and_writes_what_a_build_takes() {
    let dir = project(FLASK);
    fs::create_dir(dir.path().join(".aws")).unwrap();
    let keys = "aws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = hunter2\n";
    fs::write(dir.path().join(".aws/credentials"), format!("[default]\n{keys}[work]\n{keys}")).unwrap();
    fs::write(dir.path().join(".aws/config"), "[profile work]\nregion = us-west-2\n").unwrap();
    let mut terminal = Terminal::start(inside(&dir, &["init"]));
    terminal.answer("profile with AWS credentials (default, work) [default]: ", "none");
    terminal.answer("profile with AWS credentials (default, work) [default]: ", "work");
    terminal.answer("region of AWS [us-west-2]: ", "mars");
    terminal.answer("region of AWS [us-west-2]: ", "");
    let said = terminal.end(0);
    assert!(said.contains("\"none\" is no profile with credentials"), "{said}");
    assert!(said.contains("it is no region of AWS, such as eu-central-1"), "{said}");
    assert!(said.contains("shop: a Python project, by ") && said.contains("Next: builder create"), "{said}");
    let settings = text(&dir, "nanoos.toml");
    for line in ["name = \"shop\"", "region = \"us-west-2\"", "profile = \"work\""] {
        assert!(settings.lines().any(|other| other == line), "{line} is not in:\n{settings}");
    }
    assert!(!settings.contains("hunter2") && !settings.contains("AKIA"), "{settings}");
    assert!(text(&dir, "Procfile").starts_with("web: "));

    // What was written is taken, and the same is found again.
    let told = stdout(inside(&dir, &["create", "--dry-run", "--to", "file"]));
    assert!(told.contains("shop: a Python project"), "{told}");
    let before = (text(&dir, "nanoos.toml"), text(&dir, "Procfile"));
    let said = stderr(&succeed(inside(&dir, &["init"])));
    for name in ["nanoos.toml", "Procfile"] {
        assert!(said.contains(&format!("./{name} is there, and stays as it is")), "{said}");
    }
    assert_eq!((text(&dir, "nanoos.toml"), text(&dir, "Procfile")), before);
}

#[test]
fn without_a_terminal_init_takes_the_defaults_and_says_so() {
    let dir = project(FLASK);
    fs::write(dir.path().join("shop/Procfile"), "web: python app.py\nworker: python -m shop\n").unwrap();
    let said = stderr(&succeed(builder(dir.path(), &["init", "shop"])));
    assert!(said.contains("There is no terminal to ask at: region eu-central-1\n"), "{said}");
    assert!(said.contains("wrote shop/nanoos.toml\n") && said.contains("shop/Procfile is there"), "{said}");
    assert!(said.ends_with("Next: builder create shop, or builder run ./shop -p 8080:8080\n"), "{said}");
    assert_eq!(text(&dir, "Procfile"), "web: python app.py\nworker: python -m shop\n");
    assert_eq!(names(&dir.path().join("shop")), ["Procfile", "app.py", "nanoos.toml", "requirements.txt"]);
    // A region in nanoos.toml is no wish for EC2.
    let told = stdout(inside(&dir, &["create", "--dry-run"]));
    assert!(told.contains("starts        web: python app.py (by Procfile)\nor            worker: "), "{told}");
    assert!(told.ends_with("output        shop.raw, raw\n"), "{told}");
    let worker = stdout(inside(&dir, &["create", "--dry-run", "--process", "worker"]));
    assert!(worker.contains("starts        worker: python -m shop (by Procfile)\nor            web: "), "{worker}");
    let insists = refusal(inside(&dir, &["create", "--dry-run", "--to", "ec2"]));
    assert!(insists.starts_with("builder: there are no AWS credentials"), "{insists}");
    let both = refusal(inside(&dir, &["create", "-o", "x.raw", "--to", "ec2"]));
    assert_eq!(both, "builder: -o asks for a disk image, and --to ec2 is for an image of EC2: leave out one of them");
}

#[test]
fn the_schema_and_the_containerfile_are_printed_and_nothing_else_happens() {
    let dir = project(FLASK);
    let schema: serde_json::Value = serde_json::from_str(&stdout(inside(&dir, &["init", "--schema"]))).unwrap();
    for key in ["region", "process", "kind", "base", "build", "sysctl", "name"] {
        assert!(schema["properties"][key].is_object(), "{key}");
    }
    let containerfile = stdout(inside(&dir, &["init", "--containerfile"]));
    assert!(containerfile.lines().any(|line| line.starts_with("FROM python:3.")), "{containerfile}");
    assert_eq!(names(&dir.path().join("shop")), ["app.py", "requirements.txt"]);
    let file = refusal(builder(dir.path(), &["init", "shop/app.py"]));
    assert_eq!(file, "builder: shop/app.py: a file needs no nanoos.toml: builder ./FILE makes a machine of it");
    assert_eq!(refusal(builder(dir.path(), &["init", "no"])), "builder: no: no such directory");
}

#[test]
fn images_keep_pid_1_and_disks_are_not_overwritten_by_what_they_are_made_of() {
    let dir = project(FLASK);
    simple_layout(&dir.path().join("image"));
    let told = stdout(builder(dir.path(), &["--dry-run", "oci:image", "--kernel", "kernel"]));
    assert!(told.contains("\"pid1\": true"), "{told}");
    let told = stdout(builder(dir.path(), &["--dry-run", "--pid1=no", "oci:image", "--kernel", "kernel"]));
    assert!(told.contains("\"pid1\": false"), "{told}");
    let write = |name: &str| inside(&dir, &["create", "--dry-run", "-o", name]);
    assert_eq!(
        refusal(write("app.py")),
        "builder: -o app.py: it belongs to the project, which is read: name another file"
    );
    // Nor is anything overwritten that is not packed.
    fs::write(dir.path().join("shop/.env"), "TOKEN=1\n").unwrap();
    fs::write(dir.path().join("shop/nanoos.lock"), "").unwrap();
    for name in [".env", "nanoos.lock"] {
        let kept = format!("builder: -o {name}: it belongs to the project, which is read: name another file");
        assert_eq!(refusal(write(name)), kept);
        let mut command = write("x.raw");
        command.args(["--provenance", name]);
        assert!(refusal(command).contains("it belongs to the project"), "{name}");
    }
    // What an earlier build made is no part of it, in whatever format.
    disk(&dir.path().join("shop/shop.raw"));
    fs::write(dir.path().join("shop/shop.tar.gz"), [0x1f, 0x8b]).unwrap();
    for name in ["shop.raw", "shop.tar.gz"] {
        let told = stdout(write(name));
        assert!(told.contains(&format!("output        {name}, ")), "{told}");
    }
}
