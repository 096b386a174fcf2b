//! Rust.

use super::{Texts, host, plan, plan_of, refusal, started};
use crate::plan::{Artifact, Base, Wishes};

const MANIFEST: (&str, &str) = ("Cargo.toml", "[package]\nname = 'shop'\nversion = '0.3.0'\n");

/// The programs that are built, and the one that is started.
#[track_caller]
fn programs(files: Texts) -> (Vec<String>, String) {
    let found = plan(files);
    match &host(&found).result {
        Artifact::CargoPrograms(names) => (names.clone(), started(&found)),
        result => panic!("{result:?}"),
    }
}

#[test]
fn one_program_is_built_and_started() {
    let found = plan(&[MANIFEST, ("src/main.rs", ""), ("Cargo.lock", "")]);
    assert_eq!((found.name.as_deref(), found.version.as_deref()), (Some("shop"), Some("0.3.0")));
    assert_eq!((&found.base, found.left_out.join(" ").as_str()), (&Base::None, "target"));
    let argv = [
        "cargo",
        "build",
        "--release",
        "--message-format=json-render-diagnostics",
        "--locked",
        "--package=shop",
        "--bin=shop",
    ];
    assert_eq!(host(&found).argv, argv);
    assert_eq!((found.process.as_str(), started(&found).as_str()), ("web", "/app/target/release/shop"));
}

#[test]
fn programs_are_those_of_cargo() {
    let of = |text: &'static str, paths: &[&'static str]| {
        let files: Vec<_> = paths.iter().map(|path| (*path, "")).chain([("Cargo.toml", text)]).collect();
        programs(&files).0
    };
    let named = "[package]\nname = 'shop'\n";
    assert_eq!(of(named, &["src/bin/api.rs"]), ["api"]);
    assert_eq!(of(named, &["src/bin/api/main.rs", "src/bin/api/x.rs"]), ["api"]);
    let renamed = "[package]\nname = 'shop'\n[[bin]]\nname = 'shopd'\npath = 'src/main.rs'\n";
    assert_eq!(of(renamed, &["src/main.rs"]), ["shopd"]);
    let featured =
        "[package]\nname = 'shop'\n[[bin]]\nname = 'tool'\npath = 'src/bin/tool.rs'\nrequired-features = ['x']\n";
    assert_eq!(of(featured, &["src/main.rs", "src/bin/tool.rs"]), ["shop"]);
    let manual = "[package]\nname = 'shop'\nautobins = false\n[[bin]]\nname = 'a'\n";
    assert_eq!(of(manual, &["src/main.rs", "src/bin/b.rs"]), ["a"]);
}

#[test]
fn several_programs_are_processes() {
    let files: Texts = &[MANIFEST, ("src/main.rs", ""), ("src/bin/worker.rs", "")];
    assert_eq!(
        refusal(files),
        "Cargo.toml has shop and worker, and none of them is web: choose with --process shop or --process worker"
    );
    let wishes = Wishes { process: Some("worker".to_owned()), ..Wishes::default() };
    assert_eq!(started(&plan_of(files, &wishes, &[])), "/app/target/release/worker");
    let text = "[package]\nname = 'shop'\ndefault-run = 'shop'\n";
    let (names, command) = programs(&[("Cargo.toml", text), ("src/main.rs", ""), ("src/bin/worker.rs", "")]);
    assert_eq!((names.join(" ").as_str(), command.as_str()), ("shop worker", "/app/target/release/shop"));
    let wishes = Wishes { build: vec!["make".to_owned(), "make strip".to_owned()], ..Wishes::default() };
    let found = plan_of(&[MANIFEST, ("src/main.rs", "")], &wishes, &[]);
    assert_eq!(host(&found).argv, ["/bin/sh", "-e", "-c", "make\nmake strip"]);
    assert_eq!(host(&found).result, Artifact::Programs(vec!["target/release/shop".to_owned()]));
}

#[test]
fn workspaces() {
    let member =
        |name: &str| format!("[package]\nname = '{name}'\nversion.workspace = true\n[dependencies]\nrocket = '0.5'\n");
    let (api, lib, old) = (member("api"), member("lib"), member("old"));
    let all = |root: &'static str| {
        plan(&[
            ("Cargo.toml", root),
            ("crates/api/Cargo.toml", &api),
            ("crates/api/src/main.rs", ""),
            ("crates/lib/Cargo.toml", &lib),
            ("crates/lib/src/lib.rs", ""),
            ("crates/old/Cargo.toml", &old),
            ("crates/old/src/main.rs", ""),
        ])
    };
    let found =
        all("[workspace]\nmembers = ['crates/*']\nexclude = ['crates/old']\n[workspace.package]\nversion = '7.1.0'\n");
    assert_eq!((started(&found).as_str(), found.version.as_deref()), ("/app/target/release/api", Some("7.1.0")));
    assert_eq!(host(&found).argv[4..], ["--package=api", "--bin=api"]);
    assert!(found.env.contains(&("ROCKET_ADDRESS".to_owned(), "0.0.0.0".to_owned())), "{:?}", found.env);
    let found = all("[workspace]\nmembers = ['crates/*']\ndefault-members = ['crates/o*']\n");
    assert_eq!(started(&found), "/app/target/release/old");
}

#[test]
fn broken_and_programless_manifests_are_refused() {
    assert_eq!(
        refusal(&[("Cargo.toml", "[package\nname = 1\n")]),
        "Cargo.toml: this is no TOML: unclosed table, expected `]` at line 1"
    );
    assert_eq!(
        refusal(&[MANIFEST, ("src/lib.rs", "")]),
        "nothing says how this rust project is started: Cargo.toml has no [[bin]], and there is no src/main.rs and no file \
         in src/bin; write a Procfile with `web: COMMAND`, or give --cmd"
    );
}
