//! nanoos.toml as projects have it, through the program itself.

mod support;

use std::fs;
use std::process::Command;
use support::{builder, kernel, refusal, succeed};

/// A static site with this nanoos.toml, and a kernel beside it.
fn site(settings: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    kernel(&dir.path().join("kernel"));
    fs::create_dir(dir.path().join("shop")).unwrap();
    fs::write(dir.path().join("shop/index.html"), "hello").unwrap();
    fs::write(dir.path().join("shop/nanoos.toml"), settings).unwrap();
    dir
}

/// The command in the project.
fn inside(dir: &tempfile::TempDir, arguments: &[&str]) -> Command {
    let mut command = builder(dir.path(), arguments);
    command.current_dir(dir.path().join("shop"));
    command
}

#[test]
fn every_command_of_a_project_reads_it() {
    let dir = site(
        "kernel = \"../kernel\"\nbase = \"nginx:1.27\"\noutput = \"web.qcow2\"\ndry-run = true\nregion = \"eu-west-1\"\n",
    );
    let told = |arguments: &[&str]| String::from_utf8(succeed(inside(&dir, arguments)).stdout).unwrap();
    for arguments in [&["create"][..], &["."], &["create", "../shop"]] {
        let told = told(arguments);
        assert!(told.contains("base          nginx:1.27\n"), "{told}");
        assert!(told.contains("web.qcow2, qcow2\n"), "{told}");
    }
    let other = told(&[".", "--base", "nginx:1.26", "-o", "x.raw"]);
    assert!(other.contains("base          nginx:1.26\n") && other.contains("x.raw, raw\n"), "{other}");
}

#[test]
fn its_errors_name_the_line() {
    let dir = site("# a site\n\nregoin = \"eu-west-1\"\n");
    let error = "line 3: regoin: there is no such key; near to it is region";
    for command in [&["create"][..], &["."], &["run", "."], &["update"], &["init"]] {
        let mut command = inside(&dir, command);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(told.trim_end(), format!("builder: nanoos.toml: {error}"));
    }
    // An image has none, whatever lies beside it.
    let image = refusal(inside(&dir, &["oci:nowhere"]));
    assert!(!image.contains("nanoos.toml"), "{image}");
}
