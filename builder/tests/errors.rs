//! What goes wrong is told in one sentence with the cause and the way out. Each is asserted as it is printed.

mod support;

use builder::digest::Digest;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::thread;
use support::{PLAIN, builder, file, kernel, layout, names, simple_layout, stderr, tar};

/// A directory with an image `image` and a kernel `kernel`.
fn workshop() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    simple_layout(&dir.path().join("image"));
    kernel(&dir.path().join("kernel"));
    dir
}

/// What a command that must fail with this status says, without the word before it.
#[track_caller]
fn complaint(mut command: Command, status: i32) -> String {
    let output = command.output().unwrap();
    let words = stderr(&output);
    assert_eq!(output.status.code(), Some(status), "{words}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "errors are no output");
    let line = words.lines().find_map(|line| line.strip_prefix("builder: "));
    line.unwrap_or_else(|| panic!("no complaint in: {words}")).to_owned()
}

#[test]
fn wrong_command_lines() {
    let dir = tempfile::tempdir().unwrap();
    let cases: &[(&[&str], &str)] = &[
        (
            &["-w", "x", "app"],
            "invalid value 'x' for '--swap <GIB>': it is not a number of GiB, or of MiB with an M behind it",
        ),
        (
            &["-w", "4M", "app"],
            "invalid value '4M' for '--swap <GIB>': swap has 8 MiB at least and 1024 GiB at most; 0 is none",
        ),
        (
            &["-s", "vm.swappiness", "app"],
            "invalid value 'vm.swappiness' for '--sysctl <NAME=VALUE>': it is not NAME=VALUE",
        ),
        (&["--tag", "x", "app"], "invalid value 'x' for '--tag <KEY=VALUE>': it is not KEY=VALUE"),
        (
            &["--name", "a:b", "app"],
            "invalid value 'a:b' for '--name <NAME>': a name has 3 to 128 letters, digits, spaces and ()[]./-'@_, \
             and no dot before them",
        ),
        (
            &["-r", "frankfurt", "app"],
            "invalid value 'frankfurt' for '--region <REGION>': it is no region of AWS, such as eu-central-1",
        ),
        (
            &["--platform", "plan9/mips", "app"],
            "invalid value 'plan9/mips' for '--platform <OS/ARCH>': platform \"plan9/mips\" is not supported: \
             choose one of linux/amd64, linux/arm64",
        ),
        (
            &["--user", "a:", "app"],
            "invalid value 'a:' for '--user <USER[:GROUP]>': it is not NAME or UID, with :GROUP or :GID behind it or not",
        ),
        (
            &["--workdir", "srv", "app"],
            "invalid value 'srv' for '--workdir <DIR>': it is not an absolute path of the image",
        ),
        (
            &["--cmd", "[x]", "app"],
            "invalid value '[x]' for '--cmd <WORD|JSON>': what starts with [ is a JSON array of strings, \
             as [\"nginx\", \"-g\", \"daemon off;\"]",
        ),
        (
            &["--hostname", "a_b", "app"],
            "invalid value 'a_b' for '--hostname <NAME>': it is not letters, digits and hyphens, of 64 at most",
        ),
        (&["--stop-timeout", "-1", "app"], "invalid value '-1' for '--stop-timeout <SECONDS>': -1 is not in 0..=86400"),
        (&["-q", "--json", "app"], "the argument '--quiet' cannot be used with '--json'"),
        (
            &["run", "app", "-p", "80"],
            "invalid value '80' for '--port <HOST:GUEST>': it is not HOST:GUEST, such as 8080:80",
        ),
        (&["--no-such-option", "app"], "unexpected argument '--no-such-option' found"),
    ];
    for (arguments, expected) in cases {
        assert_eq!(complaint(builder(dir.path(), arguments), 2), *expected, "{arguments:?}");
    }
    let name = complaint(builder(dir.path(), &["NGINX"]), 2);
    assert!(
        name.starts_with("invalid value 'NGINX' for '<IMAGE|PATH>': \"NGINX\" is not the name of an image: "),
        "{name}"
    );
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn what_can_be_refused_is_refused_before_any_work() {
    let dir = workshop();
    fs::write(dir.path().join("bad.env"), "A=1\n=2\n").unwrap();
    fs::write(dir.path().join("disk.raw"), "").unwrap();
    let home = dir.path().display();
    let foreign = if cfg!(target_arch = "x86_64") { "linux/arm64" } else { "linux/amd64" };
    let arch = std::env::consts::ARCH;
    let cases: &[(&[&str], String)] = &[
        (
            &["-q"],
            format!(
                "there are no AWS credentials, and an image of EC2 is what -q, -r, --profile and their like ask for: put them into a \
                 profile [vmify] of {home}/.aws/credentials, or name a profile with --profile, or set AWS_ACCESS_KEY_ID \
                 and AWS_SECRET_ACCESS_KEY; -o FILE builds a disk image without any"
            ),
        ),
        (
            &["--profile", "x"],
            format!(
                "--profile x: neither {home}/.aws/credentials nor {home}/.aws/config has such a profile; \
                 there are: none at all"
            ),
        ),
        (&["--env-file", "no.env"], "--env-file no.env: No such file or directory (os error 2)".to_owned()),
        (
            &["--env-file", "bad.env"],
            "--env-file bad.env: line 2: the name of the variable is missing before the =".to_owned(),
        ),
        (&["--init", "no"], "--init no: No such file or directory (os error 2)".to_owned()),
        (&["--init", "bad.env"], "--init bad.env: it is not a program (an ELF file)".to_owned()),
        (
            &["--platform", foreign],
            format!(
                "this builder carries init for {arch} only, not for {foreign}: build on such a machine, or name one with \
                 --init FILE"
            ),
        ),
        (
            &["-k", "a\nb"],
            "-k \"a\\nb\": kernel arguments stand on one line, without NUL bytes or line ends".to_owned(),
        ),
        (&["-o", "no/x.raw"], "-o no/x.raw: there is no directory no".to_owned()),
        (&["-o", "image"], "-o image: this is a directory; name a file".to_owned()),
        (&["--kernel", "nowhere"], "kernel nowhere: no such directory".to_owned()),
    ];
    for (arguments, expected) in cases {
        let all = [&["--kernel", "kernel", "oci:image"], *arguments].concat();
        let all = if arguments[0] == "--kernel" { [&["oci:image"], *arguments].concat() } else { all };
        assert_eq!(complaint(builder(dir.path(), &all), 1), *expected, "{arguments:?}");
    }
    // Of our own kernel the settings are known; of another they are not.
    let unknown = complaint(builder(dir.path(), &["oci:image", "-s", "vm.swapiness=1"]), 1);
    let near = "-s vm.swapiness: the kernel has no setting vm.swapiness; near to it are: vm.swappiness";
    assert!(unknown.starts_with(near), "{unknown}");
    let fixed = complaint(builder(dir.path(), &["oci:image", "-s", "kernel.ostype=x"]), 1);
    assert_eq!(fixed, "-s kernel.ostype: kernel.ostype can only be read: the kernel lets nobody set it");
    let refused = complaint(builder(dir.path(), &["run", "./disk.raw", "-e", "A=1"]), 1);
    assert_eq!(refused, "--env: ./disk.raw is built already; with a disk, run takes -p, -m, --smp and --config only");
    let refused = complaint(builder(dir.path(), &["run", "./disk.raw", "--config", "no.env"]), 1);
    assert!(refused.starts_with("--config no.env: No such file or directory"), "{refused}");
    let never = ["run", "--kernel", "kernel", "oci:image", "--user-data", "never", "--config", "bad.env"];
    let refused = complaint(builder(dir.path(), &never), 1);
    assert_eq!(refused, "--config: with --user-data never the machine takes none; leave one of them out");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let forward = format!("{}:80", taken.local_addr().unwrap().port());
    let refused = complaint(builder(dir.path(), &["run", "./disk.raw", "-p", &forward]), 1);
    assert!(refused.starts_with(&format!("-p {forward}: port ")) && refused.contains("choose another"), "{refused}");
    assert_eq!(
        names(dir.path()).into_iter().filter(|name| name != "cache").collect::<Vec<_>>(),
        ["bad.env", "disk.raw", "image", "kernel"]
    );
}

#[test]
fn images_that_can_be_no_machine() {
    let dir = workshop();
    let app = tar(&[file("app", b"x")]);
    let id = Digest::of(&app);
    let at = |name: &str, layers: &[(&str, Vec<u8>)], config: &str, arguments: &[&str]| {
        layout(&dir.path().join(name), layers, &vec![id; layers.len()], config);
        let image = format!("oci:{name}");
        complaint(builder(dir.path(), &[&[image.as_str(), "--kernel", "kernel"], arguments].concat()), 1)
    };
    let good = || vec![(PLAIN, app.clone())];
    let no_program = "has neither ENTRYPOINT nor CMD, and a machine needs a program to run: \
                      name one with --entrypoint, or set it in the image";
    assert_eq!(at("a", &good(), "{}", &[]), format!("image oci:a {no_program}"));
    // As docker run --entrypoint '' has it.
    assert_eq!(at("b", &good(), r#"{"Cmd":["/app"]}"#, &["--entrypoint", ""]), format!("image oci:b {no_program}"));
    // An init for the other machine, as far as it is looked at: an ELF header and one segment.
    let mut elf = [0; 64 + 56];
    elf[..20].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0");
    (elf[20], elf[32], elf[52], elf[54], elf[56], elf[64]) = (1, 64, 64, 56, 1, 1);
    fs::write(dir.path().join("init-arm64"), elf).unwrap();
    assert_eq!(
        at("c", &good(), r#"{"Cmd":["/app"]}"#, &["--platform", "linux/arm64", "--init", "init-arm64"]),
        "oci:c: the image is made for linux/amd64, not for linux/arm64: choose with --platform, or build it for linux/arm64"
    );
    let host = complaint(builder(dir.path(), &["oci:c", "--kernel", "kernel", "--init", "init-arm64"]), 1);
    assert_eq!(
        host,
        "--init init-arm64: it is a program for another processor than linux/amd64 has (ELF machine 183, not 62)"
    );
    // Its name promises other bytes.
    fs::write(dir.path().join("c/blobs/sha256").join(id.hex()), &app[..app.len() - 512]).unwrap();
    let truncated = complaint(builder(dir.path(), &["oci:c", "--kernel", "kernel"]), 1);
    let blamed = format!("layer {}: it is damaged: its content has the digest sha256:", id.short());
    assert!(truncated.starts_with(&blamed), "{truncated}");
}

/// A registry on loopback that answers every request the same.
fn registry(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            lines.map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
            // A client that hung up is part of the game.
            let _ = write!(stream, "HTTP/1.1 {answer}");
        }
    });
    address
}

#[test]
fn a_variable_that_is_none_is_refused_without_its_value() {
    let dir = workshop();
    let at = |variable: &str| complaint(builder(dir.path(), &["oci:image", "-e", variable]), 1);
    assert_eq!(at("=hunter2"), "-e =…: the name of the variable is missing before the =");
    assert_eq!(at("A B=hunter2"), "-e A B=…: \"A B\" has a space in it, which no variable's name has");
}

#[test]
fn registries_that_refuse() {
    let dir = workshop();
    let at = |address: &str, tag: &str| {
        complaint(builder(dir.path(), &[&format!("docker://{address}/app{tag}"), "--kernel", "kernel"]), 1)
    };
    let unknown = registry("404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert!(at(&unknown, "").ends_with(": it has no such image or tag"));
    assert!(at(&unknown, ":1.2").starts_with(&format!("docker://{unknown}/app:1.2: ")));
    let closed = registry("401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert!(at(&closed, "").ends_with(&format!("or you may not read it: log in with docker login {closed}")));
    let broken = registry("503 Unavailable\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbusy");
    assert!(at(&broken, "").contains("it answers 503: busy"));
    let down = at("127.0.0.1:1", "");
    assert!(down.starts_with("docker://127.0.0.1:1/app:latest: ") && down.contains("refused"), "{down}");
}

/// The command in a mount namespace of its own, with a file system on `out` that is mounted so.
fn on(directory: &Path, options: &str) -> Command {
    fs::create_dir_all(directory.join("out")).unwrap();
    let inner = builder(directory, &["oci:image", "--kernel", "kernel", "-o", "out/x.raw"]);
    let mut outer = Command::new("unshare");
    outer.args(["-m", "sh", "-c", "mount -t tmpfs -o \"$0\" none out && exec \"$@\"", options]);
    outer.arg(inner.get_program()).args(inner.get_args()).current_dir(directory);
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    outer
}

#[test]
fn places_that_cannot_be_written() {
    let dir = workshop();
    let read_only = complaint(on(dir.path(), "ro"), 1);
    let out = dir.path().canonicalize().unwrap().join("out");
    let cause =
        format!("-o out/x.raw: create a temporary file in {}: Read-only file system (os error 30)", out.display());
    assert!(read_only.starts_with(&cause), "{read_only}");
    let full = complaint(on(dir.path(), "size=400k"), 1);
    assert!(full.to_lowercase().contains("no space left"), "{full}");
}
