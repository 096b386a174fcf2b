//! Where output goes: through links, into pipes and devices, over nothing that is read or written already, and for whose eyes.

#[allow(dead_code)] // what it runs are tools here, and no parts
#[path = "support/part.rs"]
mod part;
mod support;

use part::run;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use support::{builder, file, kernel, names, refusal, simple_layout, stderr, succeed, tar};

/// A directory with an image `image`, a kernel `kernel`, and the disk that is made of them, `disk.raw`.
fn workshop() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    simple_layout(&dir.path().join("image"));
    kernel(&dir.path().join("kernel"));
    succeed(build(dir.path(), &["-o", "disk.raw"]));
    dir
}

fn build(dir: &Path, more: &[&str]) -> Command {
    builder(dir, &[&["oci:image", "--kernel", "kernel"], more].concat())
}

/// The same command below a shell's line, which calls it as `"$@"`.
fn shell(dir: &Path, line: &str, command: &Command) -> Command {
    let mut bash = Command::new("bash");
    // A terminal shows colours.
    bash.env("NO_COLOR", "1");
    bash.args(["-c", line, "bash"]).arg(command.get_program()).args(command.get_args()).current_dir(dir);
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bash.env(name, value),
            None => bash.env_remove(name),
        };
    }
    bash
}

fn read(dir: &Path, name: &str) -> Vec<u8> {
    fs::read(dir.join(name)).unwrap()
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_link_is_written_through_and_stays() {
    let dir = workshop();
    let (dir, at) = (dir.path(), |name: &str| dir.path().join(name));
    fs::create_dir(at("there")).unwrap();
    fs::write(at("there/old.raw"), "old").unwrap();
    symlink("there/old.raw", at("link")).unwrap();
    symlink("link", at("chain")).unwrap();
    symlink(at("there/new.raw"), at("dangling")).unwrap();
    symlink("there", at("directory")).unwrap();
    for (given, written) in [("chain", "there/old.raw"), ("dangling", "there/new.raw"), ("directory/x", "there/x")] {
        succeed(build(dir, &["-o", given, "--provenance", "x.json"]));
        assert!(read(dir, written) == read(dir, "disk.raw"), "{given}");
        assert!(!at(written).symlink_metadata().unwrap().is_symlink());
    }
    for link in ["link", "chain", "dangling", "directory"] {
        assert!(at(link).symlink_metadata().unwrap().is_symlink(), "{link} was replaced");
    }
    assert_eq!(names(&at("there")), ["new.raw", "old.raw", "x"]);
    // The format goes by the name that was given.
    symlink("there/y", at("y.qcow2")).unwrap();
    succeed(build(dir, &["-o", "y.qcow2"]));
    assert!(read(dir, "there/y").starts_with(b"QFI\xfb"));
    symlink("nowhere/x", at("broken")).unwrap();
    let refused = refusal(build(dir, &["-o", "broken"]));
    assert!(
        refused.starts_with("builder: -o broken: there is no directory ") && refused.ends_with("/nowhere"),
        "{refused}"
    );
}

#[test]
fn pipes_are_written_into_in_every_format() {
    let dir = workshop();
    let dir = dir.path();
    let node = || fs::symlink_metadata("/dev/stdout").unwrap().ino();
    let before = node();
    for name in ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"] {
        assert!(succeed(build(dir, &["-o", name])).stdout == read(dir, "disk.raw"), "{name}");
    }
    assert_eq!(node(), before);
    for format in ["qcow2", "vmdk", "vhd", "tar.gz"] {
        let name = format!("x.{format}");
        succeed(build(dir, &["-o", &name]));
        let piped = succeed(build(dir, &["-o", "/dev/stdout", "--format", format, "-q"]));
        assert!(piped.stdout == read(dir, &name), "{format}");
        assert_eq!(stderr(&piped), "");
    }
    // As bash calls a process.
    succeed(shell(
        dir,
        r#""$@" -o >(cat >bash.raw; touch done); while [ ! -e done ]; do sleep 0.05; done"#,
        &build(dir, &[]),
    ));
    assert!(read(dir, "bash.raw") == read(dir, "disk.raw"));
    run(dir, "coreutils", &["mkfifo", "fifo"]);
    // QEMU could not boot from it, and nobody reads it.
    let refused = refusal(builder(dir, &["run", "oci:image", "--kernel", "kernel", "-o", "fifo"]));
    assert_eq!(refused, "builder: -o fifo: QEMU boots from a file; name one");
    let fifo = dir.join("fifo");
    let reader = thread::spawn(move || fs::read(fifo).unwrap());
    succeed(build(dir, &["-o", "fifo", "--json"]));
    assert!(reader.join().unwrap() == read(dir, "disk.raw"));
    assert!(dir.join("fifo").symlink_metadata().unwrap().file_type().is_fifo());
    // What is written about it is not what it is.
    let words = stderr(&succeed(build(dir, &["-o", "/dev/null"])));
    assert!(!words.contains("To boot it here") && !words.contains("builder publish"), "{words}");
    assert!(fs::symlink_metadata("/dev/null").unwrap().file_type().is_char_device());
    let provenance = succeed(build(dir, &["-o", "y.raw", "--provenance", "-"])).stdout;
    assert!(serde_json::from_slice::<serde_json::Value>(&provenance).unwrap()["kernel"]["release"] == "6.12.0");
}

#[test]
fn standard_output_may_be_a_file_with_something_in_it_already() {
    let dir = workshop();
    let dir = dir.path();
    let disk = read(dir, "disk.raw");
    for line in [
        r#"(printf before; "$@" -o /dev/stdout; printf after) >x"#,
        r#"printf before >x; "$@" -o - >>x; printf after >>x"#,
        r#"printf before >x; exec 3>>x; "$@" -o /dev/fd/3; printf after >&3"#,
        // The place in a file is shared, and nothing is appended to what lies behind it.
        r#"exec 3>x; printf before >&3; "$@" -o /dev/fd/3; printf after >&3"#,
        r#"printf overwritten >x; exec 3<>x; printf before >&3; "$@" -o /proc/self/fd/3; printf after >&3"#,
    ] {
        succeed(shell(dir, line, &build(dir, &[])));
        assert!(read(dir, "x") == [&b"before"[..], &disk, b"after"].concat(), "{line}");
    }
}

#[test]
fn what_can_take_no_disk_is_refused_in_a_sentence() {
    let dir = workshop();
    let dir = dir.path();
    let refused = |line: &str, more: &[&str]| {
        let mut command = shell(dir, line, &build(dir, more));
        let Output { status, stdout, stderr } = command.output().unwrap();
        let said = [stdout, stderr].concat();
        assert!(!status.success(), "{line}");
        String::from_utf8_lossy(&said).trim_end().lines().last().unwrap_or_default().trim_end().to_owned()
    };
    assert_eq!(
        refused(r#""$@" -o /dev/stdout >&-"#, &[]),
        "builder: -o /dev/stdout: it is closed: name a file, or send it into a pipe"
    );
    assert_eq!(
        refused(r#"script --quiet --return --command "$(printf '%q ' "$@" -o /dev/stdout)" /dev/null"#, &[]),
        "builder: -o /dev/stdout: a terminal can't show it: name a file, or send it into a pipe"
    );
    assert_eq!(
        refused(r#"script --quiet --return --command "$(printf '%q ' "$@" -o /dev/tty)" /dev/null"#, &[]),
        "builder: -o /dev/tty: a terminal can't show it: name a file, or send it into a pipe"
    );
    assert_eq!(
        refused(r#""$@" -o /dev/stderr 2>&1 | cat; exit ${PIPESTATUS[0]}"#, &[]),
        "builder: -o /dev/stderr: messages are written there: name a file, or send them elsewhere with 2>FILE"
    );
    assert!(
        refused(r#""$@" -o log.raw 2>log.raw; s=$?; cat log.raw; exit $s"#, &[])
            .starts_with("builder: -o log.raw: messages are written there: ")
    );
    assert_eq!(refused(r#""$@" -o /dev/fd/9 9<disk.raw"#, &[]), "builder: -o /dev/fd/9: it is open for reading only");
    assert!(
        refused(r#"set -o pipefail; "$@" -o - | head -c 1 >x"#, &[]).ends_with("its reader went away before the end")
    );
    assert_eq!(
        refused(r#""$@""#, &["-o", "/dev/stdout", "--json"]),
        "builder: --json prints on standard output: -o /dev/stdout is written there, too: name another file"
    );
    assert_eq!(
        refused(r#""$@" >x.raw"#, &["-o", "x.raw", "-q"]),
        "builder: -q prints on standard output: -o x.raw is written there, too: name another file"
    );
    assert_eq!(refused(r#""$@""#, &["-o", "new/"]), "builder: -o new/: this is a directory; name a file");
    let listener = std::os::unix::net::UnixListener::bind(dir.join("socket")).unwrap();
    assert!(refused(r#""$@""#, &["-o", "socket"]).starts_with("builder: -o socket: this is a socket, "));
    drop(listener);
}

#[test]
fn nothing_that_is_read_is_written() {
    let dir = workshop();
    let (dir, at) = (dir.path(), |name: &str| dir.path().join(name));
    let app = tar(&[file("app", b"x")]);
    let config = r#"{"config":{"Cmd":["/app"]}}"#;
    let list = br#"[{"Config":"c.json","Layers":["l.tar"]}]"#;
    let archive = tar(&[file("l.tar", &app), file("c.json", config.as_bytes()), file("manifest.json", list)]);
    fs::write(at("in.tar"), archive).unwrap();
    fs::write(at("root.tar"), &app).unwrap();
    fs::write(at("env"), "A=1\n").unwrap();
    fs::copy(env!("CARGO_BIN_EXE_builder"), at("init")).unwrap();
    fs::write(at("ca.pem"), "-----BEGIN CERTIFICATE-----\n").unwrap();
    fs::hard_link(at("in.tar"), at("hard")).unwrap();
    symlink("in.tar", at("soft")).unwrap();
    let refuse = |image: &str, output: &str, more: &[&str], what: &str| {
        for option in ["-o", "--provenance"] {
            let other = if option == "-o" { "--provenance" } else { "-o" };
            let words = [&[image, "--kernel", "kernel", option, output, other, "fresh"], more].concat();
            let expected =
                format!("builder: {option} {output}: it belongs to {what}, which is read: name another file");
            assert_eq!(refusal(builder(dir, &words)), expected);
            assert!(!at("fresh").exists());
        }
        let dry = refusal(builder(dir, &[&[image, "--kernel", "kernel", "--dry-run", "-o", output], more].concat()));
        assert!(dry.contains("which is read"), "{dry}");
    };
    for output in ["in.tar", "./in.tar", "image/../in.tar", "hard", "soft", "/proc/self/cwd/in.tar"] {
        refuse("docker-archive:in.tar", output, &[], "the image");
    }
    refuse("docker-archive:soft", "hard", &[], "the image");
    refuse("rootfs:root.tar", "root.tar", &["--entrypoint", "/app"], "the image");
    refuse("oci:image", "image/index.json", &[], "the image");
    let blob = names(&at("image/blobs/sha256")).remove(0);
    refuse("oci:image", &format!("image/blobs/sha256/{blob}"), &[], "the image");
    refuse("oci:image", "kernel/vmlinuz", &[], "--kernel");
    refuse("oci:image", "kernel/manifest.json", &[], "--kernel");
    let secrets = [
        ("no-docker/config.json", "the configuration of registries"),
        (".config/containers/auth.json", "the configuration of registries"),
        (".config/containers/certs.d/registry.example/ca.crt", "the certificates that are trusted"),
        (".aws/credentials", "the configuration of AWS"),
        (".aws/config", "the configuration of AWS"),
    ];
    for (secret, what) in secrets {
        fs::create_dir_all(at(secret).parent().unwrap()).unwrap();
        fs::write(at(secret), "").unwrap();
        refuse("oci:image", secret, &[], what);
    }
    refuse("oci:image", "env", &["--env-file", "env"], "--env-file");
    assert!(read(dir, "in.tar") == read(dir, "hard") && read(dir, "env") == b"A=1\n");
    // What is beside a layout is not part of it.
    for _ in 0..2 {
        succeed(builder(&at("image"), &["oci:.", "--kernel", "../kernel", "-o", "image.raw"]));
    }
}

#[test]
fn nothing_is_written_twice() {
    let dir = workshop();
    let (dir, at) = (dir.path(), |name: &str| dir.path().join(name));
    fs::write(at("there"), "old").unwrap();
    fs::hard_link(at("there"), at("hard")).unwrap();
    symlink("new", at("soft")).unwrap();
    run(dir, "coreutils", &["mkfifo", "fifo"]);
    for (disk, provenance) in
        [("./new", "new"), ("soft", "new"), ("there", "hard"), ("kernel/../new", "soft"), ("-", "/dev/stdout")]
    {
        let refused = refusal(build(dir, &["-o", disk, "--provenance", provenance]));
        let expected =
            format!("builder: --provenance {provenance}: -o {disk} is written there, too: name another file");
        assert_eq!(refused, expected);
    }
    assert_eq!((read(dir, "there"), at("new").exists()), (b"old".to_vec(), false));
    assert_eq!(names(dir), ["cache", "disk.raw", "fifo", "hard", "image", "kernel", "soft", "there"]);
}

#[test]
fn only_its_owner_may_read_what_may_hold_passwords() {
    let dir = workshop();
    let (dir, at) = (dir.path(), |name: &str| dir.path().join(name));
    for (umask, expected) in [("000", 0o600), ("022", 0o600), ("077", 0o600), ("277", 0o400), ("777", 0)] {
        for format in ["raw", "qcow2"] {
            let name = format!("{umask}.{format}");
            let json = format!("{umask}.{format}.json");
            let command = build(dir, &["-o", &name, "--provenance", &json, "-e", "PASSWORD=hunter2"]);
            succeed(shell(dir, &format!("umask {umask}; NANOOS_CACHE=$PWD/cache exec \"$@\""), &command));
            assert_eq!((mode(&at(&name)), mode(&at(&json))), (expected, expected), "{umask}");
        }
    }
    // One that was there is another file afterwards, as for docker save.
    fs::write(at("old.raw"), "old").unwrap();
    fs::set_permissions(at("old.raw"), fs::Permissions::from_mode(0o666)).unwrap();
    succeed(build(dir, &["-o", "old.raw"]));
    assert_eq!(mode(&at("old.raw")), 0o600);
}

#[test]
fn the_cache_is_its_owners_alone() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    simple_layout(&dir.join("image"));
    kernel(&dir.join("kernel"));
    succeed(shell(dir, r#"umask 000; exec "$@""#, &build(dir, &["-o", "x.raw"])));
    fn walk(path: &Path, found: &mut Vec<(String, u32)>) {
        let kind = path.metadata().unwrap();
        let expected = if kind.is_dir() { 0o700 } else { 0o600 };
        if mode(path) != expected {
            found.push((path.display().to_string(), mode(path)));
        }
        if kind.is_dir() {
            names(path).iter().for_each(|name| walk(&path.join(name), found));
        }
    }
    let mut wrong = Vec::new();
    walk(&dir.join("cache"), &mut wrong);
    assert_eq!(wrong, []);
    assert!(names(&dir.join("cache")).contains(&"packed".to_owned()));
}

/// A file as a block device, as long as this lives.
struct Loop(String);

impl Loop {
    fn of(dir: &Path, name: &str, bytes: u64) -> Self {
        let mut file = File::create(dir.join(name)).unwrap();
        let noise = vec![0xA5; 1 << 20];
        for _ in 0..bytes >> 20 {
            file.write_all(&noise).unwrap();
        }
        Loop(run(dir, "mount", &["losetup", "--find", "--show", name]))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

#[test]
fn a_disk_is_written_onto_a_disk_and_none_that_is_in_use_or_too_small() {
    let dir = workshop();
    let dir = dir.path();
    let disk = read(dir, "disk.raw");
    let device = Loop::of(dir, "device", (disk.len() as u64).next_multiple_of(1 << 20) + (4 << 20));
    succeed(build(dir, &["-o", &device.0]));
    let mut written = vec![0; disk.len()];
    File::open(&device.0).unwrap().read_exact(&mut written).unwrap();
    assert!(written == disk, "what was on the device shows through the disk's zeros");
    assert!(fs::symlink_metadata(&device.0).unwrap().file_type().is_block_device());
    let small = Loop::of(dir, "small", 1 << 20);
    let refused = refusal(build(dir, &["-o", &small.0]));
    assert!(refused.starts_with(&format!("builder: -o {}: the device has 1048576 bytes, and ", small.0)), "{refused}");
    assert!(fs::read(&small.0).unwrap() == vec![0xA5; 1 << 20]);
    // A file system that is mounted from it.
    run(dir, "e2fsprogs", &["mkfs.ext4", "-q", &device.0]);
    fs::create_dir(dir.join("mounted")).unwrap();
    let line = format!("mount {} mounted && exec \"$@\"", device.0);
    let inner = shell(dir, &line, &build(dir, &["-o", &device.0]));
    let mut command = Command::new("unshare");
    command.arg("-m").arg(inner.get_program()).args(inner.get_args()).current_dir(dir);
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let refused = refusal(command);
    assert_eq!(refused, format!("builder: -o {}: it is in use: unmount what is on it first", device.0));
}

#[test]
fn a_file_that_is_mounted_over_is_refused_before_any_work() {
    let dir = workshop();
    let dir = dir.path();
    fs::write(dir.join("x.raw"), "old").unwrap();
    let inner = shell(dir, "mount --bind x.raw x.raw && exec \"$@\"", &build(dir, &["-o", "x.raw"]));
    let mut command = Command::new("unshare");
    command.arg("-m").arg(inner.get_program()).args(inner.get_args()).current_dir(dir);
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let refused = refusal(command);
    assert!(refused.starts_with("builder: -o x.raw: another file is mounted over this one, "), "{refused}");
    assert_eq!(read(dir, "x.raw"), b"old");
}

#[test]
fn a_dry_run_opens_nothing() {
    let dir = workshop();
    let dir = dir.path();
    run(dir, "coreutils", &["mkfifo", "fifo"]);
    // Nobody reads it: to open it would wait for ever.
    let mut command = build(dir, &["--dry-run", "-o", "fifo"]);
    command.stdin(Stdio::null());
    succeed(command);
    let before = names(dir);
    succeed(build(dir, &["--dry-run", "-o", "none.raw"]));
    assert_eq!(names(dir), before);
}
