//! What `docker run` makes of an image's configuration, and what a machine makes of it: arguments and environment of
//! the program must be the same, by a real Docker Engine. Each image has one program, env(1) with its libraries.

#[allow(dead_code)] // nothing is started here
#[path = "support/part.rs"]
mod part;
mod support;

use builder::application::Application;
use builder::application::environment::Variable;
use builder::digest::Digest;
use builder::machine::{self, Options};
use builder::manifest::ImageConfig;
use initramfs::guid::ESP_TYPE;
use part::run;
use std::fs;
use std::path::Path;
use std::process::Command;
use support::{file, tar};

/// What Docker and init add each by themselves.
const ADDED: &[&str] = &["HOME=", "HOSTNAME="];

/// env(1) where an image may look for it, and what it is linked with, where the loader looks for it.
fn layer() -> Vec<u8> {
    let program = fs::read("/usr/bin/env").expect("env of coreutils is missing");
    let list = Command::new("ldd").arg("/usr/bin/env").output().expect("ldd of libc-bin is missing").stdout;
    let list = String::from_utf8(list).unwrap();
    let libraries = list.split_whitespace().filter(|word| word.starts_with('/'));
    let libraries = libraries.map(|path| (path.trim_start_matches('/').to_owned(), fs::read(path).unwrap()));
    let programs = ["env", "bin1/env", "bin2/env"].map(|path| (path.to_owned(), program.clone()));
    let mut entries: Vec<_> = programs.into_iter().chain(libraries).map(|(path, bytes)| file(&path, &bytes)).collect();
    entries.iter_mut().for_each(|(entry, _)| entry.attributes.mode = 0o755);
    tar(&entries)
}

fn config(config: &str, layer: &[u8]) -> String {
    let id = Digest::of(layer);
    format!(
        r#"{{"architecture":"amd64","os":"linux","config":{config},"rootfs":{{"type":"layers","diff_ids":["{id}"]}}}}"#
    )
}

fn is_added(entry: &str) -> bool {
    ADDED.iter().any(|added| entry.starts_with(added))
}

/// Arguments, and the sorted environment, of a container that docker run starts with these options.
fn docker(directory: &Path, json: &str, layer: &[u8], options: &[&str]) -> (Vec<String>, Vec<String>) {
    let name = format!("nanoos-test-run-{}:latest", std::process::id());
    let manifest = format!(r#"[{{"Config":"c.json","RepoTags":["{name}"],"Layers":["l.tar"]}}]"#);
    let archive = [("l.tar", layer), ("c.json", json.as_bytes()), ("manifest.json", manifest.as_bytes())];
    fs::write(directory.join("image.tar"), tar(&archive.map(|(name, content)| file(name, content)))).unwrap();
    let docker = |line: &[&str]| run(directory, "docker.io", &[&["docker"], line].concat());
    docker(&["load", "--quiet", "--input", "image.tar"]);
    let id = docker(&[&["create"], options, &[&name]].concat());
    let argv = docker(&["inspect", "--format", "{{json .Path}} {{json .Args}}", &id]);
    let (program, arguments) = argv.split_once(' ').unwrap();
    let program: String = serde_json::from_str(program).unwrap();
    let arguments: Vec<String> = serde_json::from_str(arguments).unwrap();
    let environment = docker(&["start", "--attach", &id]);
    docker(&["rm", &id]);
    docker(&["rmi", "--force", &name]);
    let mut environment: Vec<String> = environment.lines().filter(|line| !is_added(line)).map(str::to_owned).collect();
    environment.sort();
    ([vec![program], arguments].concat(), environment)
}

/// The same of a machine.
fn machine(json: &str, options: &[&str]) -> (Vec<String>, Vec<String>) {
    let mut config = ImageConfig::parse(json.as_bytes(), "linux/amd64".parse().unwrap()).unwrap().config;
    let variables = options.iter().filter(|word| **word != "-e");
    let environment = variables.map(|text| Variable::parse(text, |_| None).unwrap()).collect();
    Application { environment, ..Application::default() }.apply(&mut config);
    let (image, _) = machine::configure("x", &config, ESP_TYPE, &Options::default()).unwrap();
    let mut environment: Vec<String> = image.env.into_iter().filter(|entry| !is_added(entry)).collect();
    environment.sort();
    (image.argv, environment)
}

#[test]
fn arguments_and_environment_are_those_of_docker_run() {
    let directory = tempfile::tempdir().unwrap();
    let layer = layer();
    let twice = r#"{"Entrypoint":["env"],"Env":["PATH=/none","A=0","PATH=/bin2:/bin1","A=1","B","C=","A=2"]}"#;
    let own = r#"{"Entrypoint":["env"],"Env":["A=0","PATH=/bin2:/bin1","A=1","C="]}"#;
    let labels = format!(r#"{{"Cmd":["/env"],"Labels":{{"a":"{}"}}}}"#, "x".repeat(5 << 20));
    let cases: &[(&str, &[&str])] = &[
        (twice, &[]),
        // Beside any -e, Docker takes the first value of what an image says twice, by the way its merge goes (moby,
        // daemon/commit.go): a machine does not change one variable for another's sake.
        (own, &["-e", "A=mine", "-e", "C=1", "-e", "A=again"]),
        (own, &["-e", "A"]),
        (r#"{"Entrypoint":[""],"Cmd":["/env","-uD"]}"#, &["-e", "PATH=/bin1"]),
        (r#"{"Entrypoint":"/env","Cmd":"-uE F"}"#, &[]),
        (r#"{"Entrypoint":null,"Cmd":["/env"],"Env":null,"Labels":null,"Volumes":null}"#, &[]),
        (r#"{"entrypoint":["/env"],"env":["A=1"]}"#, &[]),
        (r#"{"Cmd":["/env"],"StopSignal":"SIGNOPE"}"#, &[]),
        (r#"{"Cmd":["/env"],"StopSignal":"sigpoll"}"#, &[]),
        (&labels, &[]),
    ];
    for (image, options) in cases {
        let json = config(image, &layer);
        let shown = &image[..image.len().min(200)];
        assert_eq!(machine(&json, options), docker(directory.path(), &json, &layer, options), "{shown} {options:?}");
    }
}
