//! Which kind a project is.

use super::{Texts, plan, plan_of, refusal, refusal_of, started};
use crate::plan::{Base, Build, Kind, Wishes};

const NODE: (&str, &str) = ("package.json", r#"{"scripts":{"start":"node x.js"},"dependencies":{"express":"4"}}"#);
const ASSETS: (&str, &str) = ("package.json", r#"{"scripts":{"build":"vite build"},"devDependencies":{"vite":"6"}}"#);
const PYTHON: (&str, &str) = ("requirements.txt", "flask\n");
const APP: (&str, &str) = ("app.py", "from flask import Flask\napp = Flask(__name__)\n");

#[test]
fn each_kind_is_recognized_by_its_files() {
    let cases: &[(Texts, Kind, &str)] = &[
        (&[("Dockerfile", "")], Kind::Dockerfile, "Dockerfile"),
        (&[("Containerfile", "")], Kind::Dockerfile, "Containerfile"),
        // As at Fly and Railway: who writes a Dockerfile wants it used.
        (&[("Dockerfile", ""), NODE, ("go.mod", "")], Kind::Dockerfile, "Dockerfile"),
        (&[NODE], Kind::Node, "package.json"),
        (&[PYTHON, APP], Kind::Python, "requirements.txt"),
        (&[("pyproject.toml", "[project]\n"), APP], Kind::Python, "pyproject.toml"),
        (&[("Pipfile", ""), APP], Kind::Python, "Pipfile"),
        (&[("pom.xml", "<project/>")], Kind::Java, "pom.xml"),
        (&[("gradlew", "")], Kind::Java, "gradlew"),
        (&[("app.jar", "")], Kind::Java, "app.jar"),
        (&[("shop.war", "")], Kind::War, "shop.war"),
        (&[("go.mod", "module x\n"), ("main.go", "package main\n")], Kind::Go, "go.mod"),
        (&[("Cargo.toml", "[package]\nname = 'x'\n"), ("src/main.rs", "")], Kind::Rust, "Cargo.toml"),
        (&[("index.html", "")], Kind::Site, "index.html"),
        (&[("public/index.html", "")], Kind::Site, "public/index.html"),
        // Files that say nothing where another says something.
        (&[NODE, ("public/index.html", ""), ("lib.jar", ""), ("main.py", "")], Kind::Node, "package.json"),
        (&[NODE, ("pyproject.toml", "[tool.ruff]\n")], Kind::Node, "package.json"),
        (&[("main.py", ""), ("index.html", "")], Kind::Python, "main.py"),
        // Assets of another language.
        (&[ASSETS, PYTHON, APP], Kind::Python, "requirements.txt"),
    ];
    for (files, kind, by) in cases {
        let plan = plan(files);
        assert_eq!((plan.kind, plan.decided_by.as_str()), (*kind, *by), "{files:?}");
    }
}

#[test]
fn assets_of_another_language_are_not_built_and_that_is_said() {
    let said = "package.json has nothing that is started, only what builds assets, and is not built: have its results in \
                the project before";
    assert_eq!(plan(&[ASSETS, PYTHON, APP]).warnings, [said]);
}

#[test]
fn a_procfile_says_which_of_two_kinds() {
    let web = |line| plan_of(&[NODE, PYTHON], &Wishes::default(), &[("worker", "node w.js"), ("web", line)]);
    let plan = web("FOO=1 exec gunicorn app:app");
    assert_eq!((plan.kind, plan.decided_by.as_str()), (Kind::Python, "gunicorn of web in Procfile"));
    assert_eq!(web("npm start").kind, Kind::Node);
    let alone = plan_of(&[("server.py", "")], &Wishes::default(), &[("web", "python3 server.py")]);
    assert_eq!((alone.kind, started(&alone).as_str()), (Kind::Python, "sh: python3 server.py"));
}

#[test]
fn what_the_user_says_comes_first() {
    let wishes = Wishes { kind: Some(Kind::Node), ..Wishes::default() };
    let plan = plan_of(&[("Dockerfile", ""), NODE, PYTHON], &wishes, &[]);
    assert_eq!((plan.kind, plan.decided_by.as_str()), (Kind::Node, "--kind"));

    let wishes = Wishes { base: Some("debian:12".to_owned()), build: vec!["make".to_owned()], ..Wishes::default() };
    let plan = plan_of(&[("Makefile", "")], &wishes, &[("web", "./server")]);
    assert_eq!((plan.kind, plan.decided_by.as_str()), (Kind::Other, "Procfile"));
    assert_eq!(plan.base, Base::Image("debian:12".to_owned()));
    assert!(matches!(&plan.build, Build::InBase(build) if build.build == ["make"]), "{:?}", plan.build);

    let wishes = Wishes { base: Some("python:3.11.2-slim".to_owned()), ..Wishes::default() };
    let plan = plan_of(&[PYTHON, APP], &wishes, &[]);
    assert_eq!(plan.base, Base::Image("python:3.11.2-slim".to_owned()));
    assert!(matches!(&plan.build, Build::Python(build) if build.python == "3.11"), "{:?}", plan.build);
}

#[test]
fn a_dockerfile_says_its_build_and_what_is_started() {
    let plan = plan(&[("Dockerfile", "FROM scratch\n")]);
    assert_eq!((&plan.base, plan.process.as_str()), (&Base::Built, ""));
    assert_eq!(plan.build, Build::Containerfile("Dockerfile".to_owned()));
    let plan = plan_of(&[("Dockerfile", "")], &Wishes::default(), &[("worker", "./work")]);
    assert_eq!((plan.process.as_str(), started(&plan).as_str()), ("worker", "sh: ./work"));
}

#[test]
fn refusals_name_what_where_and_what_to_do() {
    assert_eq!(refusal(&[]), "the project is empty: there is no file in it");
    assert_eq!(
        refusal(&[("README.md", "")]),
        "nothing says what this project is: there is no Dockerfile, package.json, requirements.txt, pyproject.toml, \
         Pipfile, pom.xml, gradlew, jar, war, go.mod, Cargo.toml or index.html; say how it is started in a Procfile, and \
         what it runs on with --base IMAGE (base in nanoos.toml)"
    );
    assert_eq!(
        refusal(&[NODE, PYTHON]),
        "this project is of more than one kind: package.json says node and requirements.txt says python; choose with \
         --kind node or --kind python"
    );
    assert_eq!(
        refusal(&[NODE, PYTHON, ("go.mod", "")]),
        "this project is of more than one kind: package.json says node, requirements.txt says python and go.mod says go; \
         choose with --kind node, --kind python or --kind go"
    );
    assert_eq!(
        refusal(&[("a.jar", ""), ("b.jar", "")]),
        "there are a.jar and b.jar: remove all but one, or write a Procfile with `web: COMMAND`"
    );
    assert_eq!(
        refusal_of(&[("run.sh", ""), ("index.html", "")], &Wishes::default(), &[("web", "./run.sh")]),
        "the Procfile says how this project is started, but nothing says what it runs on: say --base IMAGE (base in \
         nanoos.toml), and --build COMMAND where it must be built"
    );
}

#[test]
fn a_kind_without_its_files_is_refused() {
    let of = |kind| refusal_of(&[("x", "")], &Wishes { kind: Some(kind), ..Wishes::default() }, &[]);
    assert_eq!(of(Kind::Rust), "the kind is rust, but there is no Cargo.toml in the project");
    assert_eq!(
        of(Kind::Elf),
        "--kind elf is of no use to this project: a program is named by itself: builder ./PROGRAM"
    );
    assert_eq!(of(Kind::Go), "the kind is go, but there is no go.mod in the project");
    assert_eq!(
        of(Kind::Java),
        "the kind is java, but there is no jar, pom.xml, build.gradle or gradlew in the project"
    );
    assert_eq!(
        of(Kind::Dockerfile),
        "the kind is dockerfile, but there is no Dockerfile and no Containerfile in the project"
    );
    let base = Wishes { base: Some("x".to_owned()), ..Wishes::default() };
    assert_eq!(
        refusal_of(&[("Dockerfile", "")], &base, &[]),
        "--base is of no use to this project: its Dockerfile says it; choose another kind with --kind"
    );
}

#[test]
fn a_database_in_the_project_is_warned_of() {
    let said = "data/db.sqlite3 looks like a SQLite database: what is written to it does not outlive the machine, as its \
                disk is read-only and writes are kept in memory; put it on a volume, or use a database elsewhere \
                (DATABASE_URL)";
    assert_eq!(plan(&[("index.html", ""), ("data/db.sqlite3", "")]).warnings, [said]);
    assert!(plan(&[("index.html", ""), ("node_modules/x/test.db", "")]).warnings.is_empty());
}

#[test]
fn texts_are_read_where_they_say_something() {
    for path in [
        "Procfile",
        "package.json",
        "yarn.lock",
        "web/pom.xml",
        "vendor/pom.xml",
        "vendor/crate/Cargo.toml",
        "src/shop/main.py",
        "a/b/c/d/settings/prod.py",
        "requirements/base.txt",
        "requirements/base",
        "deps/prod.in",
        "a/b/c/d/requirements.pip",
        "runtime.txt",
        "cmd/x/main.go",
        "app/build.gradle.kts",
    ] {
        assert!(crate::detect::wants(path), "{path}");
    }
    for path in [
        "photo.jpg",
        "node_modules/x/package.json",
        "node_modules/x/Cargo.toml",
        ".venv/lib/site.py",
        "target/doc/x.txt",
        "data/texts/2024/1.txt",
        "package-lock.json",
        "index.html",
        "server.js",
    ] {
        assert!(!crate::detect::wants(path), "{path}");
    }
}

#[test]
fn what_is_not_packed_may_describe_the_project_and_not_start_it() {
    for path in ["Dockerfile", "Containerfile", "Procfile", "Cargo.lock", "package-lock.json", "requirements-dev.txt"] {
        assert!(crate::detect::describes(path), "{path}");
    }
    for path in ["main.py", "app.py", "manage.py", "server.js", "index.html", "app.jar", "requirements.py"] {
        assert!(!crate::detect::describes(path), "{path}");
    }
    for path in ["sub/Dockerfile", "sub/requirements.txt", "notes.txt"] {
        assert!(!crate::detect::describes(path), "{path}");
    }
    for (file, _) in super::super::kind::MARKERS {
        assert!(crate::detect::describes(file), "{file}");
    }
}

#[test]
fn texts_without_end_are_refused() {
    let deep = |open: &str| open.repeat(200_000);
    for (file, text) in [
        ("package.json", format!("{{\"a\":{}", deep("["))),
        ("pyproject.toml", format!("[project]\na = {}", deep("["))),
        ("Cargo.toml", format!("a = {}", deep("{a="))),
        ("pom.xml", deep("<a>")),
        ("pom.xml", format!("<!DOCTYPE a [<!ENTITY a \"b\">]><a>{}</a>", "&a;".repeat(9))),
    ] {
        let text = refusal(&[(file, &text)]);
        assert!(text.starts_with(&format!("{file}: this is no ")), "{text}");
    }
}
