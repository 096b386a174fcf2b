//! The command as people type it.

mod support;

use builder::digest::Digest;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;
use support::{PLAIN, builder, file, kernel, layout, names, refusal, simple_layout, succeed, tar};

/// A directory with an image `image` and a kernel `kernel`.
fn workshop() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    simple_layout(&dir.path().join("image"));
    kernel(&dir.path().join("kernel"));
    dir
}

#[test]
fn the_same_image_gives_the_same_disk_whenever_and_wherever_it_is_built() {
    let (one, other) = (workshop(), workshop());
    succeed(builder(one.path(), &["oci:image", "--kernel", "kernel"]));
    // Times in file systems have seconds.
    std::thread::sleep(Duration::from_millis(1100));
    let image = one.path().join("image").display().to_string();
    let mut second = builder(other.path(), &[&format!("oci:{image}"), "--kernel", "kernel", "-o", "x.img"]);
    // One processor, another time zone, another user's mask.
    second.env("TZ", "Asia/Tokyo");
    let mut pinned = Command::new("taskset");
    pinned.args(["--cpu-list", "0", "sh", "-c", "umask 077; exec \"$@\"", "sh"]);
    pinned.arg(second.get_program()).args(second.get_args()).current_dir(other.path());
    for (name, value) in second.get_envs() {
        match value {
            Some(value) => pinned.env(name, value),
            None => pinned.env_remove(name),
        };
    }
    succeed(pinned);
    let disk = fs::read(one.path().join("image.raw")).unwrap();
    assert!(disk == fs::read(other.path().join("x.img")).unwrap(), "two builds differ");
    assert_eq!(names(one.path()), ["cache", "image", "image.raw", "kernel"]);
    let mode = one.path().join("image.raw").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn options_reach_the_command_line_and_the_machine() {
    let dir = workshop();
    let config = |arguments: &[&str]| {
        succeed(builder(dir.path(), &[&["oci:image", "--kernel", "kernel", "-o", "x.raw"], arguments].concat()));
        let esp = format!("{}@@{}", dir.path().join("x.raw").display(), 32 * 1024);
        let uki = dir.path().join("uki");
        let mut mcopy = Command::new("mcopy");
        mcopy.args(["-n", "-o", "-i", &esp, "::/EFI/BOOT/BOOTX64.EFI"]).arg(&uki);
        assert!(mcopy.status().expect("mcopy is missing: apt-get install mtools").success());
        let section = |name: &str| {
            let out = dir.path().join("section");
            let mut objcopy = Command::new("objcopy");
            objcopy.args(["-O", "binary", &format!("--only-section={name}")]).arg(&uki).arg(&out);
            assert!(objcopy.status().expect("objcopy is missing: apt-get install binutils").success());
            fs::read(out).unwrap()
        };
        let initrd = String::from_utf8_lossy(&section(".initrd")).into_owned();
        let start = initrd.find(r#"{"version""#).unwrap();
        let json = initrd[start..].lines().next().unwrap().to_owned();
        (String::from_utf8(section(".cmdline")).unwrap(), initramfs::image::Image::parse(json.as_bytes()).unwrap())
    };
    let (cmdline, image) = config(&[]);
    assert!(cmdline.trim_end_matches('\0').ends_with(" quiet"), "{cmdline}");
    assert_eq!(
        (image.argv, image.on_exit, image.debug),
        (vec!["/app".to_owned()], initramfs::image::OnExit::PowerOff, false)
    );
    let (cmdline, image) = config(&["-b", "-d", "-k", "loglevel=7"]);
    assert!(cmdline.trim_end_matches('\0').ends_with(" loglevel=7"), "{cmdline}");
    assert_eq!((image.on_exit, image.debug), (initramfs::image::OnExit::Reboot, true));
    // VMify's own line.
    let (cmdline, image) = config(&["-d", "-s:dev.hpet.max-user-freq=64", "-s:vm.panic_on_oom=0"]);
    assert!(image.debug && !cmdline.contains("quiet"));
    let sysctls: Vec<String> = image.sysctls.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(sysctls, ["dev.hpet.max-user-freq=64", "vm.panic_on_oom=0"]);
    // docker run's.
    fs::write(dir.path().join("env"), "A=file\nB=file\n").unwrap();
    let application = ["--env-file", "env", "-e", "B=1", "-e", "PATH=/x", "--user", "1:2", "--workdir", "/srv"];
    let (_, image) = config(&[&application[..], &["--cmd", "-v", "--cmd", "x y"]].concat());
    assert_eq!(image.env, ["A=file", "B=1", "PATH=/x"]);
    assert_eq!((image.user.as_str(), image.cwd.as_str()), ("1:2", "/srv"));
    assert_eq!(image.argv, ["/app", "-v", "x y"]);
    let (_, image) = config(&["--entrypoint", r#"["/bin/sh","-c"]"#, "--cmd", "true", "--hostname", "box"]);
    assert_eq!((image.argv, image.hostname.as_str()), (["/bin/sh", "-c", "true"].map(str::to_owned).into(), "box"));
}

#[test]
fn scripts_get_the_result_on_standard_output_and_nothing_else() {
    let dir = workshop();
    let run = |arguments: &[&str]| {
        let output =
            succeed(builder(dir.path(), &[&["oci:image", "--kernel", "kernel", "-o", "x.raw"], arguments].concat()));
        (String::from_utf8(output.stdout.clone()).unwrap(), support::stderr(&output))
    };
    assert_eq!(run(&["-q"]), ("x.raw\n".to_owned(), String::new()));
    let (json, _) = run(&["--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let size = dir.path().join("x.raw").metadata().unwrap().len();
    assert_eq!((&json["path"], &json["format"], &json["size"]), (&"x.raw".into(), &"raw".into(), &size.into()));
    assert_eq!((&json["platform"], &json["kernel"]), (&"linux/amd64".into(), &"6.12.0".into()));
    assert!(json["image"].as_str().unwrap().starts_with("sha256:") && json["manifest"] != json["image"]);
    let (out, words) = run(&["-t"]);
    assert_eq!(out, "");
    assert!(words.starts_with("resolve oci:image for linux/amd64\n"), "{words}");
    assert!(words.contains("\nTo boot it here: builder run ./x.raw\n"), "{words}");
    assert_eq!(words.ends_with("\nTo make an AMI of it: builder publish x.raw\n"), cfg!(feature = "aws"), "{words}");
    let (_, words) = run(&[]);
    assert!(words.lines().next().unwrap().ends_with(" s  resolve oci:image for linux/amd64"), "{words}");
}

#[test]
fn a_dry_run_tells_and_writes_nothing() {
    let dir = workshop();
    let output = succeed(builder(dir.path(), &["--dry-run", "-e", "A=hunter2", "oci:image", "--kernel", "kernel"]));
    let told = String::from_utf8(output.stdout).unwrap();
    for part in [
        "image         oci:image for linux/amd64\n",
        "layers        1, 1.1 MiB\n",
        "kernel        Linux 6.12.0\n",
        "command line  console=ttyS0,115200n8 ",
        "\"A\"",
        "output        image.raw, raw, about ",
    ] {
        assert!(told.contains(part), "{part:?} is not in:\n{told}");
    }
    assert!(!told.contains("hunter2"), "{told}");
    assert_eq!(names(dir.path()), ["cache", "image", "kernel"]);
}

#[test]
fn colours_are_for_those_who_want_them() {
    let dir = tempfile::tempdir().unwrap();
    let words = |name: &str, value: &str| {
        let mut command = builder(dir.path(), &["oci:nowhere"]);
        command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").env(name, value);
        support::stderr(&command.output().unwrap())
    };
    assert!(words("TERM", "xterm").contains("builder: oci:nowhere: "));
    assert!(words("CLICOLOR_FORCE", "1").contains("\x1b[1;31mbuilder:\x1b[0m oci:nowhere: "));
    assert!(!words("NO_COLOR", "1").contains('\x1b'));
}

#[test]
fn completions_and_the_manual_page_are_what_shells_and_man_read() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = succeed(builder(dir.path(), &["completions", shell])).stdout;
        assert!(String::from_utf8(script).unwrap().contains("no-timings"), "{shell}");
    }
    let mut bash = Command::new("bash");
    bash.args(["-c", "source <(\"$0\" completions bash) && complete -p builder"]).arg(env!("CARGO_BIN_EXE_builder"));
    let said = String::from_utf8(succeed(bash).stdout).unwrap();
    assert!(said.starts_with("complete ") && said.trim_end().ends_with(" -F _builder builder"), "{said}");
    let page = String::from_utf8(succeed(builder(dir.path(), &["man"])).stdout).unwrap();
    for part in [
        ".TH builder 1",
        ".SH \"BUILDER RUN\"",
        ".SH \"EXIT STATUS\"",
        "\\-\\-env\\-file",
        "\nbuilder \\-\\-dry\\-run nginx",
    ] {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn refusals_are_one_sentence_with_the_cause() {
    let dir = workshop();
    fs::write(dir.path().join("noise"), vec![b'x'; 4000]).unwrap();
    fs::write(dir.path().join("empty.tar"), vec![0; 1024]).unwrap();
    let at = |image: &str| refusal(builder(dir.path(), &[image, "--kernel", "kernel"]));
    assert_eq!(at("oci:nowhere"), "builder: oci:nowhere: no such directory");
    assert_eq!(
        at("oci:noise"),
        "builder: oci:noise: not a directory: for a file that docker save wrote, use docker-archive:"
    );
    assert_eq!(at("oci:image:1.2"), "builder: oci:image:1.2: no image has the tag \"1.2\"; its tags are: latest");
    assert_eq!(at("docker-archive:nowhere.tar"), "builder: docker-archive:nowhere.tar: no such archive");
    assert_eq!(
        at("docker-archive:image"),
        "builder: docker-archive:image: a directory, not an archive: for an OCI layout, use oci:"
    );
    assert_eq!(
        at("docker-archive:noise"),
        "builder: docker-archive:noise: not a tar archive: what follows is not a tar header (its checksum is wrong)"
    );
    assert_eq!(
        at("docker-archive:empty.tar"),
        "builder: docker-archive:empty.tar: it has neither manifest.json nor index.json, so it is not an image that docker save wrote"
    );
    let with = |arguments: &[&str]| refusal(builder(dir.path(), &[&["oci:image"], arguments].concat()));
    assert_eq!(with(&["--kernel", "image"]).split(':').nth(2), Some(" there is no kernel in it"));
    assert_eq!(with(&["--kernel", "kernel", "-o", "no/x.raw"]), "builder: -o no/x.raw: there is no directory no");
    assert!(with(&["--kernel", "kernel", "-k", "a\nb"]).contains("kernel arguments stand on one line"));
    assert_eq!(names(dir.path()), ["cache", "empty.tar", "image", "kernel", "noise"]);
}

#[test]
fn images_that_can_be_no_machine_are_refused_by_name() {
    let dir = workshop();
    let tar = tar(&[file("app", b"x")]);
    let id = Digest::of(&tar);
    let at = |name: &str, layers: &[(&str, Vec<u8>)], config: &str| {
        layout(&dir.path().join(name), layers, &vec![id; layers.len()], config);
        refusal(builder(dir.path(), &[&format!("oci:{name}"), "--kernel", "kernel"]))
    };
    let good = || vec![(PLAIN, tar.clone())];
    assert_eq!(
        at("a", &good(), "{}"),
        "builder: image oci:a has neither ENTRYPOINT nor CMD, and a machine needs a program to run: name one with --entrypoint, or set it in the image"
    );
    let long = format!(r#"{{"Cmd":["/app"],"Env":["A={}"]}}"#, "x".repeat(140_000));
    assert_eq!(
        at("b", &good(), &long),
        "builder: the application could not be started: the variable A has 140002 bytes with its name, and Linux takes 131071 at most in one; give it to the program in a file of the image"
    );
    assert!(at("c", &[("application/wasm", tar.clone())], "{}").contains("has media type \"application/wasm\""));
    assert!(at("d", &[], "{}").contains("the image has no layers"));
    let damaged = dir.path().join("e");
    layout(&damaged, &good(), &[id], r#"{"Cmd":["/app"]}"#);
    fs::write(damaged.join("blobs/sha256").join(id.hex()), &tar[..tar.len() - 1]).unwrap();
    let refusal = refusal(builder(dir.path(), &["oci:e", "--kernel", "kernel"]));
    let blamed = format!("builder: layer {}: it is damaged: its content has the digest sha256:", id.short());
    assert!(refusal.starts_with(&blamed), "{refusal}");
}

#[test]
fn megabytes_of_labels_are_read() {
    let dir = workshop();
    let tar = tar(&[file("app", b"x")]);
    let config = format!(r#"{{"Cmd":["/app"],"Labels":{{"a":"{}"}}}}"#, "x".repeat(5 << 20));
    layout(&dir.path().join("a"), &[(PLAIN, tar.clone())], &[Digest::of(&tar)], &config);
    succeed(builder(dir.path(), &["oci:a", "--kernel", "kernel", "-o", "a.raw"]));
}

#[test]
fn what_docker_save_writes_is_read_plain_and_compressed() {
    let dir = workshop();
    let app = tar(&[file("app", b"x")]);
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Cmd":["/app"]}},"rootfs":{{"diff_ids":["{0}","{0}"]}}}}"#,
        Digest::of(&app)
    );
    let manifest =
        |tags: &str| format!(r#"{{"Config":"c.json","RepoTags":[{tags}],"Layers":["1/layer.tar","2/layer.tar"]}}"#);
    // Old versions of docker save wrote equal layers once, and links to them.
    let link = support::entry("2/layer.tar", builder::tarball::Kind::Symlink(b"../1/layer.tar".to_vec()), 0o777);
    let archive = |manifest: String| {
        tar(&[
            file("1/layer.tar", &app),
            (link.clone(), Vec::new()),
            file("c.json", config.as_bytes()),
            file("manifest.json", manifest.as_bytes()),
        ])
    };
    let one = archive(format!("[{}]", manifest("\"app:1\"")));
    fs::write(dir.path().join("one.tar"), &one).unwrap();
    fs::write(dir.path().join("one.tar.zst"), zstd::encode_all(&one[..], 1).unwrap()).unwrap();
    let two = archive(format!("[{},{}]", manifest("\"app:1\""), manifest("\"app:2\"")));
    fs::write(dir.path().join("two.tar"), two).unwrap();
    let build = |image: &str, output: &str| builder(dir.path(), &[image, "--kernel", "kernel", "-o", output]);
    succeed(build("docker-archive:one.tar", "a"));
    succeed(build("docker-archive:one.tar.zst", "b"));
    succeed(build("docker-archive:two.tar:app:2", "c"));
    let read = |name: &str| fs::read(dir.path().join(name)).unwrap();
    assert!(read("a") == read("b") && read("a") == read("c"));
    let refused = refusal(build("docker-archive:two.tar", "d"));
    assert_eq!(refused, "builder: docker-archive:two.tar: it has 2 images: add :TAG, one of app:1, app:2");
}

#[test]
fn a_disk_tells_what_it_is_made_of_and_whether_it_still_is() {
    let dir = workshop();
    let options = ["-o", "x.raw", "--provenance", "x.json", "-e", "SECRET=hunter2", "--hostname", "web"];
    succeed(builder(dir.path(), &[&["oci:image", "--kernel", "kernel"], &options[..]].concat()));
    let json = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
    let mut beside = json(&fs::read(dir.path().join("x.json")).unwrap());
    let inside = json(&succeed(builder(dir.path(), &["inspect", "--json", "x.raw"])).stdout);
    assert_eq!((&inside["options"]["hostname"], &inside["options"]["env"][1]), (&"web".into(), &"SECRET".into()));
    assert!(!inside.to_string().contains("hunter2"));
    assert_eq!(inside["kernel"]["release"], "6.12.0");
    let config = Digest::of(b"CONFIG_RD_ZSTD=y\n").to_string();
    assert_eq!(inside["kernel"]["config"], config);
    assert_eq!(inside["parts"]["vmlinuz"]["digest"], Digest::of(&[0x4D; 100_000]).to_string());
    // The image's manifest is only told beside the disk, which is the same wherever the image came from.
    assert!(beside["image"].as_object_mut().unwrap().remove("manifest").is_some());
    assert_eq!(beside, inside);
    let text = succeed(builder(dir.path(), &["inspect", "x.raw"])).stdout;
    let text = String::from_utf8_lossy(&text);
    assert_eq!(text.matches(", as built\n").count(), 4, "{text}");

    // A byte of the root, the first of whose partition's sectors stands in the table's second entry.
    let mut disk = fs::read(dir.path().join("x.raw")).unwrap();
    let sector = u64::from_le_bytes(disk[1024 + 128 + 32..1024 + 128 + 40].try_into().unwrap());
    disk[sector as usize * 512 + 5000] ^= 1;
    fs::write(dir.path().join("x.raw"), &disk).unwrap();
    assert_eq!(refusal(builder(dir.path(), &["inspect", "x.raw"])), "builder: x.raw: no longer what was built: root");
    fs::write(dir.path().join("y.raw"), vec![0; 1 << 20]).unwrap();
    let none = refusal(builder(dir.path(), &["inspect", "y.raw"]));
    assert!(none.starts_with("builder: y.raw: it has no partition table that can be read"), "{none}");
    fs::write(dir.path().join("y.raw"), b"QFI\xfb and more").unwrap();
    assert!(
        refusal(builder(dir.path(), &["inspect", "y.raw"]))
            .contains("this is a qcow2 disk, and only raw disks are read")
    );
}

#[test]
fn missing_tools_are_named_with_the_command_that_installs_them() {
    let dir = workshop();
    let mut command = builder(dir.path(), &["run", "oci:image", "--kernel", "kernel"]);
    command.env("PATH", dir.path());
    let refused = refusal(command);
    assert!(
        refused.starts_with("builder: missing: qemu-system-x86_64")
            && refused.contains(". On Debian or Ubuntu: sudo apt-get install qemu-system-x86"),
        "{refused}"
    );
}

#[test]
fn an_interrupted_build_leaves_nothing_behind() {
    for signal in ["-INT", "-TERM"] {
        let dir = workshop();
        // A registry that never answers.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let image = format!("docker://{}/app", silent.local_addr().unwrap());
        let mut command = builder(dir.path(), &[&image, "--kernel", "kernel", "-o", "x.raw"]);
        let mut running = command.stderr(Stdio::null()).spawn().unwrap();
        let (_connection, _) = silent.accept().unwrap();
        assert!(names(dir.path()).iter().any(|name| name.starts_with(".nanoos-")), "{:?}", names(dir.path()));
        let mut kill = Command::new("kill");
        kill.args([signal, &running.id().to_string()]);
        succeed(kill);
        assert_eq!(running.wait().unwrap().code(), Some(130));
        assert_eq!(names(dir.path()), ["cache", "image", "kernel"]);
    }
}

#[test]
fn usage_errors_end_with_status_two_and_help_has_examples() {
    let dir = tempfile::tempdir().unwrap();
    for arguments in [
        &[][..],
        &["--no-such-option", "x"],
        &["NGINX"],
        &["x", "--platform", "plan9/mips"],
        &["x", "--registry-mirror", "y"],
    ] {
        let output = builder(dir.path(), arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
    // Set, and empty: as if it were not.
    let mut command = builder(dir.path(), &["oci:nowhere"]);
    command.env("NANOOS_REGISTRY_MIRROR", "");
    assert_eq!(refusal(command), "builder: oci:nowhere: no such directory");
    let output = succeed(builder(dir.path(), &["--help"]));
    let help = String::from_utf8_lossy(&output.stdout);
    for line in ["builder nginx", "docker-archive:FILE", "oci:DIR", "demo", "NANOOS_CACHE", "SOURCE_DATE_EPOCH"] {
        assert!(help.contains(line), "{line}");
    }
    let short = |option: &str| String::from_utf8(succeed(builder(dir.path(), &[option])).stdout).unwrap();
    assert_eq!(short("-h"), short("-?"));
    assert!(short("-h").len() < help.len() && !short("-h").contains("SOURCE_DATE_EPOCH"));
}
