//! The two files with AWS profiles (AWS SDKs and Tools Reference Guide, "Shared config and credentials files"): as much of
//! them as tells whether there are credentials, and which region.

use std::collections::{BTreeMap, BTreeSet};

/// By section, then by key.
type Sections = BTreeMap<String, BTreeMap<String, String>>;

/// Settings that by themselves, or with others of a profile, lead the SDK to credentials.
const SOURCES: &[&str] =
    &["sso_session", "sso_start_url", "role_arn", "credential_process", "web_identity_token_file", "login_session"];

/// The profiles of both files.
#[derive(Debug)]
pub(super) struct Profiles {
    credentials: Sections,
    config: Sections,
}

impl Profiles {
    pub(super) fn parse(credentials: &str, config: &str) -> Self {
        let config = sections(config).into_iter().filter_map(|(name, settings)| {
            // In this file, and for all profiles but the default one, the word `profile` stands before the name.
            let profile = name.strip_prefix("profile ").map(|name| name.trim().to_owned());
            Some((profile.or_else(|| (name == "default").then_some(name))?, settings))
        });
        Profiles { credentials: sections(credentials), config: config.collect() }
    }

    pub(super) fn in_credentials(&self, name: &str) -> bool {
        self.credentials.contains_key(name)
    }

    pub(super) fn exists(&self, name: &str) -> bool {
        self.credentials.contains_key(name) || self.config.contains_key(name)
    }

    pub(super) fn names(&self) -> Vec<&str> {
        let names: BTreeSet<&String> = self.credentials.keys().chain(self.config.keys()).collect();
        names.into_iter().map(String::as_str).collect()
    }

    pub(super) fn gives_credentials(&self, name: &str) -> bool {
        let has = |key: &str| self.get(name, key).is_some();
        (has("aws_access_key_id") && has("aws_secret_access_key")) || SOURCES.iter().any(|key| has(key))
    }

    pub(super) fn region(&self, name: &str) -> Option<&str> {
        self.get(name, "region")
    }

    pub(super) fn ca_bundle(&self, name: &str) -> Option<&str> {
        self.get(name, "ca_bundle")
    }

    /// A setting; the credentials file has precedence.
    fn get(&self, name: &str, key: &str) -> Option<&str> {
        let of = |sections: &'_ Sections| sections.get(name).and_then(|settings| settings.get(key)).map(String::len);
        let sections = if of(&self.credentials).is_some() { &self.credentials } else { &self.config };
        let value = sections.get(name)?.get(key)?.as_str();
        (!value.is_empty()).then_some(value)
    }
}

fn sections(text: &str) -> Sections {
    let mut sections = Sections::new();
    let mut current: Option<String> = None;
    for line in text.lines() {
        // Indented lines are settings within a setting, none of which matters here.
        if line.is_empty() || line.starts_with([' ', '\t', '#', ';']) {
            continue;
        }
        if let Some(rest) = line.strip_prefix('[') {
            current = rest.split_once(']').map(|(name, _)| name.trim().to_owned());
            if let Some(name) = &current {
                sections.entry(name.clone()).or_default();
            }
        } else if let (Some(name), Some((key, value))) = (&current, line.split_once('=')) {
            let settings = sections.entry(name.clone()).or_default();
            settings.insert(key.trim().to_ascii_lowercase(), without_comment(value).trim().to_owned());
        }
    }
    sections
}

/// A comment within a line starts with a space.
fn without_comment(value: &str) -> &str {
    let end = [" #", " ;", "\t#", "\t;"].iter().filter_map(|mark| value.find(mark)).min();
    end.map_or(value, |end| &value[..end])
}
