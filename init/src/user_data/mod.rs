//! User data: what an instance is told about itself when it starts, so that one image serves every environment.
//!
//! Two forms: lines of `KEY=VALUE` as Docker's `--env-file` takes them, or a JSON object with `env`, `args`, `hostname`,
//! `sysctls` and `stopTimeout`. User data often hold secrets, so that no message quotes a value.

pub mod answer;
mod gzip;
pub mod http;
pub mod imds;

use crate::errand::Errand;
use crate::log::timed;
use crate::machine::Machine;
use crate::platform::is_ec2;
use crate::{debug, error, info};
use answer::{Answer, Data};
use anyhow::{Result, bail};
use initramfs::image::{BadUserData, Image, MissingMetadata, UserData as When, is_sysctl};
use initramfs::{arguments, environment};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

/// What EC2 takes at most, and what it may be when it is unpacked: a machine's settings, no files.
pub const LONGEST: usize = 16 << 10;
/// What is left of the deadline for the child to say why there was no answer.
const LAST_WORDS: Duration = Duration::from_millis(250);
/// A day. Longer would be a mistake in the unit.
const LONGEST_STOP: u64 = 86_400;

/// What user data change of an image's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserData {
    /// Environment variables, in place of the image's own of the same name.
    pub env: Vec<(String, String)>,
    /// Arguments in place of the image's CMD, as after the image in `docker run`.
    pub args: Option<Vec<String>>,
    /// The machine's name, whatever the network says.
    pub hostname: Option<String>,
    /// Kernel settings, beside the image's own.
    pub sysctls: BTreeMap<String, String>,
    /// Seconds between the stop signal and SIGKILL.
    pub stop_timeout: Option<u32>,
}

/// Whether the machine asks for user data at all.
#[must_use]
pub fn is_wanted(image: &Image) -> bool {
    match image.user_data {
        When::Always => true,
        When::Ec2 => is_ec2(),
        When::Never => false,
    }
}

/// Why a machine is without its user data.
enum Fault {
    /// They cannot be acted on, or may not be asked for.
    Bad(String),
    /// Nobody has said whether there are any.
    NoAnswer(String),
}

/// Where the machine asks for user data: does so, and changes its image's configuration and its name by them.
///
/// # Errors
/// When they cannot be acted on, or nobody answers, and the image wants no machine without; [`crate::power::Asked`].
pub fn configure(machine: &mut Machine, image: &mut Image) -> Result<()> {
    if !is_wanted(image) {
        return Ok(());
    }
    let (problem, is_fatal, option) = match timed("user data", || take(machine, image))? {
        Ok(()) => return Ok(()),
        Err(Fault::Bad(problem)) => (problem, image.bad_user_data == BadUserData::Halt, "--bad-user-data"),
        Err(Fault::NoAnswer(problem)) => {
            (problem, image.missing_metadata == MissingMetadata::Halt, "--missing-metadata")
        }
    };
    if is_fatal {
        bail!("user data: {problem}; the machine ends (an image built with {option} ignore starts without them)");
    }
    error!("user data: {problem}; the application starts without them");
    Ok(())
}

/// The inner result is the image's choice, the outer one is not.
fn take(machine: &mut Machine, image: &mut Image) -> Result<Result<(), Fault>> {
    let with_hostname = machine.network.names().iter().all(|told| told.hostname.is_none());
    debug!("user data: asking the metadata service");
    let wait = machine.drivers.cmdline.metadata_wait().unwrap_or(imds::DEADLINE);
    let deadline = Instant::now() + wait;
    // The report has a line more than the data themselves.
    let errand = Errand::start(2 * LONGEST, |mut pipe| {
        let answer = imds::fetch(with_hostname, deadline - LAST_WORDS);
        pipe.write_all(&answer.encode()).map_or(1, |()| 0)
    })?;
    let answer = Answer::decode(&machine.hear(errand, Some(deadline))?.unwrap_or_default());
    if let Some(hostname) = answer.hostname {
        machine.rename(hostname, false);
    }
    let text = match answer.data {
        Data::Text(text) => text,
        Data::None => {
            info!("user data: none");
            return Ok(Ok(()));
        }
        Data::Bad(problem) => return Ok(Err(Fault::Bad(problem))),
        Data::Unknown(problem) => {
            let seconds = wait.as_secs();
            let problem = format!("no answer from the metadata service in {seconds} s: {problem}");
            return Ok(Err(Fault::NoAnswer(problem)));
        }
    };
    let applied = parse(&text).and_then(|data| {
        let hostname = data.hostname.clone();
        data.apply(image)?;
        hostname.into_iter().for_each(|hostname| machine.rename(hostname, true));
        Ok(())
    });
    Ok(applied.map_err(Fault::Bad))
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

fn too_long() -> String {
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
                return Err(format!("unknown key {key:?}: there are env, args, hostname, sysctls and stopTimeout"));
            }
        }
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
fn is_hostname(name: &str) -> bool {
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
    /// When the arguments leave no program to run, or are too long. The image is as it was then.
    pub fn apply(self, image: &mut Image) -> Result<(), String> {
        let argv = match self.args {
            Some(args) => image.entrypoint().iter().cloned().chain(args).collect(),
            None => image.argv.clone(),
        };
        if argv.first().is_none_or(String::is_empty) {
            return Err("args names no program, and the image has no ENTRYPOINT that would".to_owned());
        }
        let variables = self.env.into_iter().map(|(key, value)| format!("{key}={value}"));
        let env = environment::unique(image.env.iter().cloned().chain(variables));
        arguments::check(&argv, &env, &image.limits).map_err(|excess| excess.to_string())?;
        (image.argv, image.env) = (argv, env);
        image.sysctls.extend(self.sysctls);
        image.stop_timeout = self.stop_timeout.unwrap_or(image.stop_timeout);
        Ok(())
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
