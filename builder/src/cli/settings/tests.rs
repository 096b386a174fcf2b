use super::*;
use std::fs;

/// A project with this nanoos.toml.
fn project_of(text: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(FILE), text).unwrap();
    dir
}

fn parse_in(dir: &Path, typed: &[&str]) -> Result<(Cli, ArgMatches), clap::Error> {
    let arguments: Vec<_> = std::iter::once("builder").chain(typed.iter().copied()).map(OsString::from).collect();
    parse_for(&arguments, |_| Some(dir.to_owned()))
}

/// The values of an option, as words of a command line, where the user typed this in a project with this nanoos.toml.
#[track_caller]
fn values(text: &str, typed: &[&str], option: &str) -> Vec<String> {
    let dir = project_of(text);
    let (_, matches) = parse_in(dir.path(), typed).unwrap();
    let matches = matches.subcommand().map_or(&matches, |(_, matches)| matches);
    let values = matches.get_raw(option).into_iter().flatten();
    values.map(|value| value.to_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn refused(text: &str, typed: &[&str]) -> String {
    let dir = project_of(text);
    let error = parse_in(dir.path(), typed).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    let text = error.render().to_string();
    text.trim_end().replace(&format!("error: {}/", dir.path().display()), "")
}

#[test]
fn every_shape_of_a_value_becomes_words() {
    let text = r#"
        swap = 2
        pid1 = false
        read-only = true
        reboot = false
        stop-timeout = 0x10
        user-data = "never"
        region = ["eu-west-1", "us-east-1"]
        registry-mirror = "http://a"
        entrypoint = ["/bin/server", "[x]", "a b", "-c"]
        cmd = "a b"
        ulimit = ["core=-1"]
        sysctl = { "vm.swappiness" = 1, "kernel.core_pattern" = "|/x a=b" }

        [env]
        A = true
        B = 1.10
        C = "a=b\n"
    "#;
    let at = |option: &str| values(text, &["app"], option);
    assert_eq!(
        (at("swap"), at("pid1"), at("read_only")),
        (vec!["2".to_owned()], vec!["no".to_owned()], vec!["true".to_owned()])
    );
    assert_eq!(
        (at("reboot"), at("stop_timeout"), at("user_data")),
        (vec!["false".to_owned()], vec!["16".to_owned()], vec!["never".to_owned()])
    );
    assert_eq!(at("region"), ["eu-west-1", "us-east-1"]);
    assert_eq!(at("registry_mirror"), ["http://a"]);
    assert_eq!(at("entrypoint"), [r#"["/bin/server","[x]","a b","-c"]"#]);
    assert_eq!((at("cmd"), at("ulimit")), (vec!["a b".to_owned()], vec!["core=-1".to_owned()]));
    assert_eq!(at("sysctl"), ["kernel.core_pattern=|/x a=b", "vm.swappiness=1"]);
    assert_eq!(at("env"), ["A=true", "B=1.10", "C=a=b\n"]);
    assert_eq!(values("pid1 = true", &["app"], "pid1"), ["yes"]);
    assert_eq!(values("env = \"A=1\"", &["app"], "env"), ["A=1"]);
    assert_eq!(values("", &["app"], "env"), [""; 0]);
}

#[test]
fn the_command_line_beats_the_file() {
    assert_eq!(values("swap = 2", &["-w", "3", "app"], "swap"), ["3"]);
    assert_eq!(values("region = [\"eu-west-1\"]", &["app", "-r", "us-east-1"], "region"), ["us-east-1"]);
    assert_eq!(values("cmd = [\"a\", \"b\"]", &["app", "--cmd", "c"], "cmd"), ["c"]);
    // What cannot stand beside what the user typed is left aside, whichever of the two says so.
    assert_eq!(values("region = \"eu-west-1\"", &["app", "--all-regions"], "region"), [""; 0]);
    assert_eq!(values("all-regions = true", &["app", "-r", "eu-west-1"], "all_regions"), ["false"]);
    assert_eq!(values("quiet = true", &["app", "--json"], "quiet"), ["false"]);
    assert_eq!(values("json = true", &["app", "--quiet"], "json"), ["false"]);
    assert_eq!(values("quiet = true", &["app", "--dry-run"], "quiet"), ["false"]);
}

#[test]
fn tables_are_joined_by_name_and_the_users_come_last() {
    let text = "env = { A = 1, B = 2 }\ntag = [\"a=1\", \"b=2\"]\nsysctl = { \"vm.swappiness\" = 1 }";
    let typed = ["app", "-e", "A=3", "--tag", "b=4", "-s:vm.swappiness=9", "-e", "C"];
    assert_eq!(values(text, &typed, "env"), ["B=2", "A=3", "C"]);
    assert_eq!(values(text, &typed, "tag"), ["a=1", "b=4"]);
    assert_eq!(values(text, &typed, "sysctl"), [":vm.swappiness=9"]);
}

#[test]
fn options_that_mean_nothing_to_the_command_are_left_aside() {
    let text = "region = \"eu-west-1\"\nname = \"web\"\nverify = \"tcp:80\"\nport = \"80:80\"\nswap = 2";
    assert_eq!(values(text, &["run", "app"], "port"), ["80:80"]);
    assert_eq!(values(text, &["run", "app"], "swap"), ["2"]);
    assert_eq!(values(text, &["app"], "region"), ["eu-west-1"]);
    // A disk image knows its name only.
    for file in [&["-o", "x.raw", "app"][..], &["--format", "raw", "app"]] {
        assert_eq!(values(text, file, "region"), [""; 0]);
        assert_eq!(values(text, file, "verify"), [""; 0]);
        assert_eq!(values(text, file, "name"), ["web"]);
    }
    let of_file = format!("format = \"qcow2\"\n{text}");
    assert_eq!(values(&of_file, &["app"], "region"), [""; 0]);
    assert_eq!(values(&of_file, &["app", "-r", "us-east-1"], "format"), [""; 0]);
    assert_eq!(values(&of_file, &["app", "-r", "us-east-1"], "verify"), ["tcp:80"]);
    // What an option wants beside it may be in the file.
    assert_eq!(values(text, &["app", "--verify-type", "t3.nano"], "verify"), ["tcp:80"]);
}

#[test]
fn paths_are_relative_to_the_file() {
    let text = "env-file = [\"a.env\", \"sub/b.env\"]\noutput = \"-\"\nworkdir = \"/srv\"\nkernel = \"../k\"";
    let dir = project_of(text);
    let (_, matches) = parse_in(dir.path(), &["app"]).unwrap();
    let at = |option: &str| matches.get_raw(option).unwrap().map(PathBuf::from).collect::<Vec<_>>();
    assert_eq!(at("env_file"), [dir.path().join("a.env"), dir.path().join("sub/b.env")]);
    assert_eq!(at("kernel"), [dir.path().join("../k")]);
    assert_eq!((at("output"), at("workdir")), (vec!["-".into()], vec!["/srv".into()]));
}

#[test]
fn an_unknown_key_is_named_with_the_nearest() {
    let refused = |text: &str| refused(text, &["app"]);
    assert_eq!(
        refused("swap = 1\n\nregoin = 1"),
        "nanoos.toml: line 3: regoin: there is no such key; near to it is region"
    );
    assert_eq!(
        refused("read_only = true"),
        "nanoos.toml: line 1: read_only: there is no such key; near to it is read-only"
    );
    let far = "there is no such key; docs/reference.md lists them";
    assert_eq!(refused("[[zzz]]\na = 1"), format!("nanoos.toml: line 1: zzz: {far}"));
    for name in ["version", "\"\"", "builder"] {
        assert!(refused(&format!("{name} = 1")).contains(": there is no such key; "), "{name}");
    }
}

#[test]
fn a_value_that_the_option_does_not_take_is_named_by_its_line() {
    let refused = |text: &str| refused(text, &["app"]);
    assert_eq!(
        refused("\n\nswap = \"x\""),
        "nanoos.toml: line 3: swap: it is not a number of GiB, or of MiB with an M behind it"
    );
    assert_eq!(refused("swap = true"), "nanoos.toml: line 1: swap: it takes a text or a number");
    assert_eq!(refused("swap = [1]"), "nanoos.toml: line 1: swap: it takes a text or a number");
    assert_eq!(refused("swap = 2020-01-01"), "nanoos.toml: line 1: swap: it takes a text or a number");
    assert_eq!(refused("read-only = \"yes\""), "nanoos.toml: line 1: read-only: it takes true or false");
    assert_eq!(refused("pid1 = \"perhaps\""), "nanoos.toml: line 1: pid1: it is yes or no");
    assert_eq!(refused("format = \"iso\""), "nanoos.toml: line 1: format: it is none of raw, qcow2, vmdk, vhd, tar.gz");
    assert_eq!(refused("env = [[\"A=1\"]]"), "nanoos.toml: line 1: env: it takes a table, or a list of texts");
    assert_eq!(refused("[env]\nA = { b = 1 }"), "nanoos.toml: line 1: env: it takes a table, or a list of texts");
    assert_eq!(
        refused("region = { a = 1 }"),
        "nanoos.toml: line 1: region: it takes a text or a number, or a list of them"
    );
    assert_eq!(
        refused("sysctl = [\n  \"vm.swappiness=1\",\n  \"x\",\n]"),
        "nanoos.toml: line 3: sysctl: it is not NAME=VALUE"
    );
    assert_eq!(
        refused("[tag]\na = 1\n\"aws:b\" = 2"),
        "nanoos.toml: line 3: tag: keys that start with aws: are AWS's own"
    );
    assert_eq!(refused("stop-timeout = -1"), "nanoos.toml: line 1: stop-timeout: -1 is not in 0..=86400");
    let both = refused("read-only = true\noverlay-size = 9");
    assert!(
        both.starts_with("nanoos.toml: line 1: read-only: ") || both.starts_with("nanoos.toml: line 2: overlay-size: "),
        "{both}"
    );
    let alone = refused("verify-type = \"t3.nano\"");
    assert!(alone.contains("--verify <CHECK>"), "{alone}");
}

#[test]
fn what_is_no_toml_is_named_by_its_line_and_shows_no_value() {
    let text = refused("swap = 1\nenv = { PASSWORD = \"hunter2\"", &["app"]);
    assert!(text.starts_with("nanoos.toml: line 2: ") && !text.contains("hunter2"), "{text}");
    let twice = refused("swap = 1\nswap = 2", &["app"]);
    assert!(twice.starts_with("nanoos.toml: line 2: "), "{twice}");
    assert!(!refused("swap = \"hunter2", &["app"]).contains("hunter2"));
}

#[test]
fn only_faults_of_the_file_are_blamed_on_it() {
    let typed = refused("sysctl = [\"vm.swappiness=1\"]", &["app", "-w", "x"]);
    assert!(typed.contains("invalid value 'x' for '--swap <GIB>'"), "{typed}");
    // It is not read where the command line is wrong itself, or names no project.
    assert!(refused("x", &["app", "--no-such"]).contains("unexpected argument"));
    let arguments = ["builder", "app"].map(OsString::from).to_vec();
    assert!(parse(&arguments).is_ok());
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_and_none_is_not() {
    let dir = tempfile::tempdir().unwrap();
    assert!(parse_in(dir.path(), &["app"]).is_ok());
    fs::create_dir(dir.path().join(FILE)).unwrap();
    let error = parse_in(dir.path(), &["app"]).unwrap_err().render().to_string();
    assert!(error.trim_end().ends_with("nanoos.toml: it is no file"), "{error}");
    assert!(parse_in(&dir.path().join("none"), &["app"]).is_ok());
}

#[test]
fn options_stand_before_the_users_own_words() {
    // An image may be called as a command, or as the program.
    for typed in [&["builder"][..], &["run", "run"]] {
        assert_eq!(values("swap = 2", typed, "swap"), ["2"]);
    }
}

#[test]
fn a_project_of_somebody_elses_writes_and_packs_nothing_of_this_machine() {
    let refused = |text: &str| refused(text, &["app"]);
    let outside = "it lies outside of the project, where only the command line may name a file";
    for name in ["output", "provenance", "env-file"] {
        for path in ["/etc/shadow", "../x", "a/../../x"] {
            assert_eq!(refused(&format!("\n{name} = \"{path}\"")), format!("nanoos.toml: line 2: {name}: {outside}"));
        }
    }
    let alone = "a name alone takes its value from the environment of the build: write NAME=VALUE, or -e NAME on the command line";
    assert_eq!(refused("env = [\"A=1\", \"AWS_SECRET_ACCESS_KEY\"]"), format!("nanoos.toml: line 1: env: {alone}"));
    assert_eq!(refused("env = 5"), format!("nanoos.toml: line 1: env: {alone}"));
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/etc", dir.path().join("link")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("file")).unwrap();
    for (path, inside) in [("a", true), ("./new/a", true), ("link/a", false), ("file", false), ("link/new/a", false)] {
        assert_eq!(super::lies_in(dir.path(), Path::new(path)), inside, "{path}");
    }
}
