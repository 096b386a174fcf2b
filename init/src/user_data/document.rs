//! The text of user data, in both of its forms, and what it changes. User data often hold secrets, so that no message
//! quotes a value.

use super::gzip;
use initramfs::image::{Image, is_sysctl};
use initramfs::{arguments, environment};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What EC2 takes at most, and what it may be when it is unpacked: a machine's settings, no files.
pub const LONGEST: usize = 16 << 10;
/// The keys of a JSON object.
const KEYS: &str = "env, process, args, hostname, sysctls and stopTimeout";
/// A day. Longer would be a mistake in the unit.
const LONGEST_STOP: u64 = 86_400;

/// What user data change of an image's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserData {
    /// Environment variables, in place of the image's own of the same name.
    pub env: Vec<(String, String)>,
    /// The process of the project that is started.
    pub process: Option<String>,
    /// Arguments in place of the image's CMD, as after the image in `docker run`.
    pub args: Option<Vec<String>>,
    /// The machine's name, whatever the network says.
    pub hostname: Option<String>,
    /// Kernel settings, beside the image's own.
    pub sysctls: BTreeMap<String, String>,
    /// Seconds between the stop signal and SIGKILL.
    pub stop_timeout: Option<u32>,
}

/// Reads user data as the metadata service gives them.
///
/// # Errors
/// A sentence that names the key or line that cannot be acted on.
pub fn parse(bytes: &[u8]) -> Result<UserData, String> {
    let text = unpack(bytes)?;
    let text = str::from_utf8(&text).map_err(|error| format!("not UTF-8, from byte {} on", error.valid_up_to() + 1))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim_start().starts_with('{') { from_json(text) } else { from_lines(text) }
}

/// The text itself, where it came compressed.
///
/// # Errors
/// When it is longer than [`LONGEST`], packed or unpacked, or damaged.
pub fn unpack(bytes: &[u8]) -> Result<Vec<u8>, String> {
    if bytes.len() > LONGEST {
        return Err(too_long());
    }
    if gzip::is_gzip(bytes) { gzip::unpack(bytes, LONGEST) } else { Ok(bytes.to_vec()) }
}

pub(super) fn too_long() -> String {
    format!("longer than {} KB", LONGEST >> 10)
}

/// As Docker's `--env-file`: blank lines and those that start with `#` are passed over; everything after `=` is the
/// value as it stands, quotes and spaces too.
fn from_lines(text: &str) -> Result<UserData, String> {
    let mut data = UserData::default();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once('=').ok_or_else(|| format!("line {number} is not KEY=VALUE"))?;
        data.env.push(variable(key, value).map_err(|problem| format!("line {number}: {problem}"))?);
    }
    Ok(data)
}

fn variable(key: &str, value: &str) -> Result<(String, String), String> {
    if key.is_empty() {
        return Err("a variable has no name".to_owned());
    }
    if key.contains(|character: char| character.is_whitespace() || character == '=' || character == '\0') {
        return Err(format!("{key:?} is no name of a variable"));
    }
    if value.contains('\0') {
        return Err(format!("{key} has a NUL byte, which no program can be given"));
    }
    Ok((key.to_owned(), value.to_owned()))
}

fn from_json(text: &str) -> Result<UserData, String> {
    let document: Map<String, Value> = serde_json::from_str(text).map_err(|error| syntax(&error))?;
    let mut data = UserData::default();
    for (key, value) in &document {
        match key.as_str() {
            "env" => {
                for (name, value) in strings(key, value)? {
                    data.env.push(variable(name, value).map_err(|problem| format!("env: {problem}"))?);
                }
            }
            "process" => data.process = Some(string(key, value)?),
            "args" => data.args = Some(arguments(value)?),
            "hostname" => data.hostname = Some(hostname(value)?),
            "sysctls" => {
                for (name, value) in strings(key, value)? {
                    if !is_sysctl(name) {
                        return Err(format!("sysctls: {name:?} is no kernel setting, such as vm.swappiness"));
                    }
                    data.sysctls.insert(name.to_owned(), value.to_owned());
                }
            }
            "stopTimeout" => data.stop_timeout = Some(seconds(value)?),
            _ => {
                return Err(format!("unknown key {key:?}: there are {KEYS}"));
            }
        }
    }
    if data.process.is_some() && data.args.is_some() {
        return Err("process and args exclude each other: each of them says what is started".to_owned());
    }
    Ok(data)
}

/// Where JSON breaks off, without what stands there.
fn syntax(error: &serde_json::Error) -> String {
    format!("not a JSON object: line {}, column {}", error.line(), error.column())
}

fn strings<'a>(key: &str, value: &'a Value) -> Result<Vec<(&'a str, &'a str)>, String> {
    let object = value.as_object().ok_or_else(|| format!("{key} is not an object"))?;
    let string = |(name, value): (&'a String, &'a Value)| {
        value.as_str().map(|value| (name.as_str(), value)).ok_or_else(|| format!("{key}: {name} is not a string"))
    };
    object.iter().map(string).collect()
}

fn string(key: &str, value: &Value) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| format!("{key} is not a string"))
}

fn arguments(value: &Value) -> Result<Vec<String>, String> {
    let string = |value: &Value| value.as_str().filter(|text| !text.contains('\0')).map(str::to_owned);
    let strings = value.as_array().and_then(|values| values.iter().map(string).collect());
    strings.ok_or_else(|| "args is not an array of strings".to_owned())
}

fn hostname(value: &Value) -> Result<String, String> {
    let name = value.as_str().filter(|name| is_hostname(name));
    name.map(str::to_owned).ok_or_else(|| "hostname is not letters, digits and hyphens, of 64 at most".to_owned())
}

fn seconds(value: &Value) -> Result<u32, String> {
    let seconds = value.as_u64().filter(|seconds| *seconds <= LONGEST_STOP);
    let seconds = seconds.and_then(|seconds| u32::try_from(seconds).ok());
    seconds.ok_or_else(|| format!("stopTimeout is not a number of seconds, of {LONGEST_STOP} at most"))
}

/// As Linux and DNS take it (RFC 1123): 64 bytes, letters, digits and hyphens between dots.
pub(super) fn is_hostname(name: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(inside) && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= 64 && name.split('.').all(is_label)
}

impl UserData {
    /// Changes an image's configuration; the host name is for whoever names the machine.
    ///
    /// # Errors
    /// When the image has no such process, the arguments leave no program to run, or are too long. The image is as it was
    /// then.
    pub fn apply(self, image: &mut Image) -> Result<(), String> {
        let argv = match (&self.process, self.args) {
            (Some(process), _) => image.processes.get(process).ok_or_else(|| unknown_process(image))?.clone(),
            (None, Some(args)) => image.entrypoint().iter().cloned().chain(args).collect(),
            (None, None) => image.argv.clone(),
        };
        if argv.first().is_none_or(String::is_empty) {
            return Err("args names no program, and the image has no ENTRYPOINT that would".to_owned());
        }
        let variables = self.env.into_iter().map(|(key, value)| format!("{key}={value}"));
        let env = environment::unique(image.env.iter().cloned().chain(variables));
        arguments::check(&argv, &env, &image.limits).map_err(|excess| excess.to_string())?;
        if image.argv != argv {
            image.process = self.process.unwrap_or_default();
        }
        (image.argv, image.env) = (argv, env);
        image.sysctls.extend(self.sysctls);
        image.stop_timeout = self.stop_timeout.unwrap_or(image.stop_timeout);
        Ok(())
    }
}

/// It may be a secret that was put in the wrong place, so that it is not quoted.
fn unknown_process(image: &Image) -> String {
    let names: Vec<&str> = image.processes.keys().map(String::as_str).collect();
    match names[..] {
        [] => "process is for images of projects, and this one has no processes".to_owned(),
        [only] => format!("process is none of the image's: it has {only} alone"),
        [ref names @ .., last] => format!("process is none of the image's: there are {} and {last}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use initramfs::guid::ESP_TYPE;
    use proptest::prelude::*;

    fn refusal(text: &str) -> String {
        parse(text.as_bytes()).unwrap_err()
    }

    fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn lines_are_read_as_docker_reads_an_env_file() {
        let text = "# comment\n\n  A=1\r\n\tB = \"quoted\" # no comment\nC=\nD==a=b\n";
        let refused = refusal(text);
        assert_eq!(refused, "line 4: \"B \" is no name of a variable");
        let data = parse(text.replace("B =", "B=").as_bytes()).unwrap();
        assert_eq!(data.env, env(&[("A", "1"), ("B", " \"quoted\" # no comment"), ("C", ""), ("D", "=a=b")]));
        assert_eq!(parse(b"").unwrap(), UserData::default());
    }

    #[test]
    fn an_object_says_the_rest() {
        let data = parse(
            br#" {"env":{"A":"1"},"args":["-v"],"hostname":"web-1","sysctls":{"vm.swappiness":"1"},"stopTimeout":90}"#,
        );
        let expected = UserData {
            env: env(&[("A", "1")]),
            process: None,
            args: Some(vec!["-v".to_owned()]),
            hostname: Some("web-1".to_owned()),
            sysctls: [("vm.swappiness".to_owned(), "1".to_owned())].into(),
            stop_timeout: Some(90),
        };
        assert_eq!(data, Ok(expected));
    }

    #[test]
    fn what_cannot_be_acted_on_is_named_and_no_value_is_quoted() {
        for (text, message) in [
            (r#"{"colour":"s3cret"}"#, "unknown key \"colour\""),
            (r#"{"env":["A=s3cret"]}"#, "env is not an object"),
            (r#"{"env":{"PORT":80}}"#, "env: PORT is not a string"),
            (r#"{"env":{"":"s3cret"}}"#, "env: a variable has no name"),
            (r#"{"env":{"A":"s3cret\u0000"}}"#, "env: A has a NUL byte"),
            (r#"{"process":["s3cret"]}"#, "process is not a string"),
            (r#"{"process":"s3cret","args":["s3cret"]}"#, "process and args exclude each other"),
            (r#"{"args":"s3cret"}"#, "args is not an array of strings"),
            (r#"{"args":["s3cret",1]}"#, "args is not an array of strings"),
            (r#"{"hostname":"s3cret!"}"#, "hostname is not letters"),
            (r#"{"sysctls":{"swappiness":"s3cret"}}"#, "sysctls: \"swappiness\" is no kernel setting"),
            (r#"{"sysctls":{"vm.swappiness":60}}"#, "sysctls: vm.swappiness is not a string"),
            (r#"{"stopTimeout":"s3cret"}"#, "stopTimeout is not a number of seconds"),
            (r#"{"stopTimeout":-1}"#, "stopTimeout is not a number of seconds"),
            (r#"{"env":{"A":"s3cret"}"#, "not a JSON object: line 1, column 21"),
            ("#!/bin/sh\necho s3cret\n", "line 2 is not KEY=VALUE"),
        ] {
            let refused = refusal(text);
            assert!(refused.starts_with(message), "{text}: {refused}");
            assert!(!refused.contains("s3cret"), "{refused}");
        }
        assert_eq!(parse(b"A=\xff").unwrap_err(), "not UTF-8, from byte 3 on");
        assert_eq!(refusal(&"#".repeat(LONGEST + 1)), "longer than 16 KB");
        assert!(refusal(&format!("{{\"env\":{}", "[".repeat(1000))).starts_with("not a JSON object"));
    }

    fn image() -> Image {
        let mut image = Image::new(["nginx", "-g", "x"].map(str::to_owned).to_vec(), ESP_TYPE);
        image.entrypoint_words = 1;
        image.env = vec!["A=0".to_owned(), "B=0".to_owned()];
        image
    }

    #[test]
    fn they_change_the_image() {
        let mut image = image();
        let data = parse(br#"{"env":{"A":"1","C":"2"},"args":["-v"],"sysctls":{"vm.x":"1"},"stopTimeout":5}"#).unwrap();
        data.apply(&mut image).unwrap();
        assert_eq!(image.argv, ["nginx", "-v"]);
        assert_eq!(image.env, ["A=1", "B=0", "C=2"]);
        assert_eq!((image.sysctls.len(), image.stop_timeout), (1, 5));
    }

    #[test]
    fn they_choose_a_process() {
        let mut image = image();
        let choose = |image: &mut Image, name: &str| {
            parse(format!(r#"{{"process":"{name}","env":{{"A":"2"}}}}"#).as_bytes()).unwrap().apply(image)
        };
        let before = image.clone();
        let refused = choose(&mut image, "s3cret").unwrap_err();
        assert_eq!(refused, "process is for images of projects, and this one has no processes");
        for (name, expected) in [
            ("web", "process is none of the image's: it has web alone"),
            ("worker", "process is none of the image's: there are web and worker"),
            ("release", "process is none of the image's: there are release, web and worker"),
        ] {
            let argv = if name == "web" { image.argv.clone() } else { vec!["/bin/sh".to_owned(), name.to_owned()] };
            image.processes.insert(name.to_owned(), argv);
            assert_eq!(choose(&mut image, "s3cret").unwrap_err(), expected);
        }
        assert_eq!((&image.argv, &image.env), (&before.argv, &before.env));
        image.process = "web".to_owned();
        choose(&mut image, "worker").unwrap();
        assert_eq!(
            (image.argv.join(" "), image.process.as_str(), image.env[0].as_str()),
            ("/bin/sh worker".to_owned(), "worker", "A=2")
        );
        parse(br#"{"args":["-v"]}"#).unwrap().apply(&mut image).unwrap();
        assert_eq!((image.argv.join(" "), image.process.as_str()), ("/bin/sh -v".to_owned(), ""));
        choose(&mut image, "web").unwrap();
        assert_eq!((image.argv.join(" "), image.process.as_str()), ("nginx -g x".to_owned(), "web"));
    }

    #[test]
    fn of_a_variable_that_is_there_twice_the_last_one_counts() {
        let mut image = image();
        image.env = ["A=0", "A=1", "B=0"].map(str::to_owned).to_vec();
        parse(b"B=1\nB=2\nC=1\n").unwrap().apply(&mut image).unwrap();
        assert_eq!(image.env, ["A=1", "B=2", "C=1"]);
        parse(b"A=2\n").unwrap().apply(&mut image).unwrap();
        assert_eq!(image.env, ["A=2", "B=2", "C=1"]);
    }

    #[test]
    fn what_is_more_than_linux_gives_a_program_is_refused() {
        let mut image = image();
        image.env = (0..16).map(|number| format!("A{number}={}", "x".repeat(130_000))).collect();
        let before = image.clone();
        let data = format!("B={}\n", "x".repeat(10_000));
        let refused = parse(data.as_bytes()).unwrap().apply(&mut image).unwrap_err();
        assert!(refused.starts_with("the program's arguments and environment have 2090"), "{refused}");
        assert_eq!(image, before);
    }

    #[test]
    fn without_an_entrypoint_the_arguments_are_the_program() {
        let mut image = image();
        image.entrypoint_words = 0;
        parse(br#"{"args":["sh","-c"]}"#).unwrap().apply(&mut image).unwrap();
        assert_eq!(image.argv, ["sh", "-c"]);
        assert!(parse(br#"{"args":[]}"#).unwrap().apply(&mut image).unwrap_err().starts_with("args names no program"));
        assert_eq!(image.argv, ["sh", "-c"]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }

        #[test]
        fn no_object_makes_it_panic(text in r#"\{("[a-zA-Z]{0,9}":([0-9]{1,4}|"x?"|\[\]|\{\}),?){0,4}\}"#) {
            let _ = parse(text.as_bytes());
        }

        #[test]
        fn what_lines_say_arrives(key in "[A-Za-z_][A-Za-z0-9_.-]{0,20}", value in "[^\0\r\n]{0,99}") {
            let data = parse(format!("{key}={value}\n").as_bytes()).unwrap();
            prop_assert_eq!(data.env, vec![(key, value)]);
        }
    }
}
