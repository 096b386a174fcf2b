//! Go.

use super::{Texts, host, plan, plan_of, refusal, started};
use crate::plan::{Artifact, Base, Wishes};

const MODULE: (&str, &str) = ("go.mod", "module example.com/me/shop/v2\n\ngo 1.22\n");
const MAIN: &str = "// A server.\npackage main\n\nfunc main() {}\n";

#[test]
fn one_program_is_built_and_started() {
    for (file, program, package) in [
        ("main.go", "shop", "."),
        ("server.go", "shop", "."),
        ("cmd/api/main.go", "api", "./cmd/api"),
        ("tools/run/x.go", "run", "./tools/run"),
    ] {
        let found = plan(&[MODULE, (file, MAIN), ("lib/lib.go", "package lib\n")]);
        assert_eq!(found.base, Base::None);
        assert_eq!(found.name.as_deref(), Some("shop"));
        let build = host(&found);
        let output = format!("bin/{program}");
        assert_eq!(build.argv, ["go", "build", "-trimpath", "-ldflags=-s -w", "-o", &output, package], "{file}");
        assert_eq!(build.env[0], ("CGO_ENABLED".to_owned(), "0".to_owned()));
        assert_eq!(build.result, Artifact::Programs(vec![output]), "{file}");
        assert_eq!((found.process.as_str(), started(&found)), ("web", format!("/app/bin/{program}")), "{file}");
    }
    let advice = "go is not there: install Go 1.22 or newer (https://go.dev/dl), or build elsewhere and name the program: \
                  builder ./PROGRAM";
    assert_eq!(host(&plan(&[MODULE, ("main.go", MAIN)])).advice, advice);
}

#[test]
fn several_programs_are_processes() {
    let files: Texts = &[MODULE, ("cmd/api/main.go", MAIN), ("cmd/work/main.go", MAIN), ("examples/x/main.go", MAIN)];
    assert_eq!(
        refusal(files),
        "go.mod has api and work, and none of them is web: choose with --process api or --process work"
    );
    let wishes = Wishes { process: Some("work".to_owned()), ..Wishes::default() };
    let found = plan_of(files, &wishes, &[]);
    assert_eq!(started(&found), "/app/bin/work");
    assert_eq!(host(&found).argv[4..], ["-o", "bin/", "./cmd/api", "./cmd/work"]);
    assert_eq!(found.processes.len(), 2);
    let found = plan_of(files, &Wishes::default(), &[("web", "bin/api -p $PORT")]);
    assert_eq!((started(&found).as_str(), found.processes.len()), ("sh: bin/api -p $PORT", 1));
    let root = plan(&[MODULE, ("main.go", MAIN), ("cmd/migrate/main.go", MAIN)]);
    assert_eq!((root.process.as_str(), started(&root).as_str()), ("shop", "/app/bin/shop"));
}

#[test]
fn what_is_no_program_of_the_module_is_passed_over() {
    let nothing = "nothing says how this go project is started: no directory has a file of package main; write a Procfile \
                   with `web: COMMAND`, or give --cmd";
    let files: &[Texts] = &[
        &[("x_test.go", MAIN)],
        &[("gen.go", "//go:build ignore\n\npackage main\n")],
        &[("vendor/x/main.go", MAIN)],
        &[("_old/main.go", MAIN)],
        &[("sub/go.mod", "module sub\n"), ("sub/main.go", MAIN)],
        &[("lib.go", "package lib\n// package main\n")],
    ];
    for files in files {
        assert_eq!(refusal(&[&[MODULE][..], files].concat()), nothing, "{files:?}");
    }
    let work = plan(&[("go.work", "go 1.22\nuse ./sub\n"), ("sub/go.mod", "module sub\n"), ("sub/main.go", MAIN)]);
    assert_eq!(started(&work), "/app/bin/sub");
}
