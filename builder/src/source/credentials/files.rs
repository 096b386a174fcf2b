//! Where credentials are kept, and how much of those files is understood. People and programs write into them by hand:
//! what is not understood says so only where a registry then refuses.

use crate::bounded::SETTINGS;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A file, as far as it tells credentials.
#[derive(Debug, Default, Clone)]
pub(super) struct Config {
    /// Its name, for messages.
    pub(super) path: String,
    pub(super) auths: BTreeMap<String, Entry>,
    pub(super) helpers: BTreeMap<String, String>,
    pub(super) store: Option<String>,
    /// What can't be understood of it.
    pub(super) complaint: Option<String>,
}

/// What `docker login` keeps for a registry.
#[derive(Default, Clone)]
pub(super) struct Entry {
    pub(super) auth: String,
    pub(super) username: String,
    pub(super) password: String,
    pub(super) identity: String,
    pub(super) token: String,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<redacted>")
    }
}

/// How a file is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// With `auths`, `credHelpers` and `credsStore`.
    Sections,
    /// What is in `auths` else, and nothing more: Docker's before version 1.7.
    Legacy,
}

/// Where credentials may be, in the order in which they are looked at: what variables name, what podman and skopeo keep
/// (containers-auth.json(5), "FILES"), what Docker keeps.
pub(super) fn locations(variable: impl Fn(&str) -> Option<OsString>, user: u32) -> Vec<(PathBuf, Form)> {
    let path = |name: &str| variable(name).map(PathBuf::from);
    let home = path("HOME");
    let in_home = |name: &str| home.as_ref().map(|home| home.join(name));
    let runtime = path("XDG_RUNTIME_DIR").map(|directory| directory.join("containers/auth.json"));
    let docker = path("DOCKER_CONFIG").map(|directory| directory.join("config.json"));
    let usual_docker = if docker.is_some() { None } else { in_home(".docker/config.json") };
    let files = [
        path("REGISTRY_AUTH_FILE"),
        docker,
        runtime.or_else(|| Some(format!("/run/containers/{user}/auth.json").into())),
        path("XDG_CONFIG_HOME").or_else(|| in_home(".config")).map(|directory| directory.join("containers/auth.json")),
        usual_docker,
    ];
    let files = files.into_iter().flatten().map(|file| (file, Form::Sections));
    files.chain(in_home(".dockercfg").map(|file| (file, Form::Legacy))).collect()
}

/// Reads a file; `None` where there is none.
pub(super) fn read(path: &Path, form: Form) -> Option<Config> {
    let shown = path.display().to_string();
    match SETTINGS.read_file(path) {
        Ok(bytes) => Some(Config::parse(shown, &bytes, form)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => None,
        Err(error) => Some(Config { complaint: Some(format!("{shown}: {error}")), path: shown, ..Config::default() }),
    }
}

impl Config {
    pub(super) fn parse(path: String, bytes: &[u8], form: Form) -> Self {
        // Editors of Windows begin files with a mark.
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii();
        let mut config = Config { path, ..Config::default() };
        match serde_json::from_slice(if text.is_empty() { b"{}" } else { text }) {
            Ok(Value::Object(mut document)) => {
                if form == Form::Legacy {
                    config.take_auths(document);
                    return config;
                }
                if let Some(auths) = config.object(&mut document, "auths") {
                    config.take_auths(auths);
                }
                for (key, helper) in config.object(&mut document, "credHelpers").unwrap_or_default() {
                    if let Some(helper) = config.text(&format!("credHelpers of {key}"), helper) {
                        config.helpers.insert(key, helper);
                    }
                }
                config.store = document.remove("credsStore").and_then(|store| config.text("credsStore", store));
            }
            Ok(_) => config.complain("it is no JSON object"),
            // Where it is, and not what is there.
            Err(error) => {
                config.complain(&format!("it is no JSON (line {}, column {})", error.line(), error.column()));
            }
        }
        config
    }

    fn take_auths(&mut self, auths: Map<String, Value>) {
        for (key, entry) in auths {
            let mut entry = match entry {
                Value::Object(entry) => entry,
                Value::Null => continue,
                _ => {
                    self.complain(&format!("the entry of {key} is no object"));
                    continue;
                }
            };
            let mut field = |name: &str| {
                let value = entry.remove(name).unwrap_or_default();
                self.text(&format!("{name} of {key}"), value).unwrap_or_default()
            };
            let entry = Entry {
                auth: field("auth"),
                username: field("username"),
                password: field("password"),
                identity: field("identitytoken"),
                token: field("registrytoken"),
            };
            self.auths.insert(key, entry);
        }
    }

    fn object(&mut self, document: &mut Map<String, Value>, name: &str) -> Option<Map<String, Value>> {
        match document.remove(name)? {
            Value::Object(object) => Some(object),
            Value::Null => None,
            _ => {
                self.complain(&format!("{name} is no object"));
                None
            }
        }
    }

    /// A text that is not empty.
    fn text(&mut self, name: &str, value: Value) -> Option<String> {
        match value {
            Value::String(text) => Some(text).filter(|text| !text.is_empty()),
            Value::Null => None,
            _ => {
                self.complain(&format!("{name} is no text"));
                None
            }
        }
    }

    /// The first complaint is enough.
    fn complain(&mut self, what: &str) {
        let path = &self.path;
        self.complaint.get_or_insert_with(|| format!("{path}: {what}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Config {
        Config::parse("f".to_owned(), bytes, Form::Sections)
    }

    #[test]
    fn files_are_looked_for_where_each_tool_keeps_them() {
        let at = |set: &[(&str, &str)]| {
            let variable = |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into());
            let files = locations(variable, 7).into_iter();
            files.map(|(file, _)| file.display().to_string()).collect::<Vec<_>>()
        };
        let usual = [
            "/run/containers/7/auth.json",
            "/h/.config/containers/auth.json",
            "/h/.docker/config.json",
            "/h/.dockercfg",
        ];
        assert_eq!(at(&[("HOME", "/h")]), usual);
        assert_eq!(
            at(&[("HOME", "/h"), ("DOCKER_CONFIG", "/d"), ("XDG_RUNTIME_DIR", "/r"), ("XDG_CONFIG_HOME", "/c")]),
            ["/d/config.json", "/r/containers/auth.json", "/c/containers/auth.json", "/h/.dockercfg"]
        );
        assert_eq!(
            at(&[("REGISTRY_AUTH_FILE", "/a"), ("DOCKER_CONFIG", "/d"), ("XDG_RUNTIME_DIR", "/r")]),
            ["/a", "/d/config.json", "/r/containers/auth.json"]
        );
    }

    #[test]
    fn what_other_programs_leave_behind_is_no_mistake() {
        for text in [
            "",
            " \n",
            "\u{feff}",
            "{}",
            "\u{feff}{\"auths\":{}}",
            r#"{"auths":null,"credHelpers":null,"credsStore":null}"#,
            r#"{"auths":{"a":null,"b":{},"c":{"auth":null,"email":7}},"HttpHeaders":{"x":1},"plugins":[]}"#,
        ] {
            let config = parse(text.as_bytes());
            assert_eq!(config.complaint, None, "{text:?}");
        }
        assert_eq!(parse(b"\xef\xbb\xbf{\"credsStore\":\"s\"}").store.as_deref(), Some("s"));
    }

    #[test]
    fn what_is_wrong_is_told_by_name_and_the_rest_is_taken() {
        let config =
            parse(br#"{"auths":{"a":"secret","b":{"auth":["secret"]},"c":{"username":"u"}},"credHelpers":["secret"]}"#);
        assert_eq!(config.complaint.as_deref(), Some("f: the entry of a is no object"));
        assert_eq!(config.auths["c"].username, "u");
        for (text, complaint) in [
            (r#"{"auths":["secret"]}"#, "f: auths is no object"),
            (r#"{"auths":{"b":{"auth":["secret"]}}}"#, "f: auth of b is no text"),
            (r#"{"credHelpers":{"h":1}}"#, "f: credHelpers of h is no text"),
            (r#"{"credsStore":{"x":"secret"}}"#, "f: credsStore is no text"),
            (r#"["secret"]"#, "f: it is no JSON object"),
            ("{\"auths\":\n{secret", "f: it is no JSON (line 2, column 2)"),
        ] {
            assert_eq!(parse(text.as_bytes()).complaint.as_deref(), Some(complaint), "{text}");
        }
    }

    #[test]
    fn a_file_that_can_not_be_read_is_told_and_one_that_is_not_there_is_not() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(&dir.path().join("x"), Form::Sections).is_none());
        let complaint = read(dir.path(), Form::Sections).unwrap().complaint.unwrap();
        assert!(complaint.starts_with(&format!("{}: Is a directory", dir.path().display())), "{complaint}");
        let legacy = dir.path().join(".dockercfg");
        std::fs::write(&legacy, r#"{"https://quay.io":{"username":"u","password":"p"}}"#).unwrap();
        assert_eq!(read(&legacy, Form::Legacy).unwrap().auths["https://quay.io"].username, "u");
    }
}
