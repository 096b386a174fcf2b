//! Resource limits (getrlimit(2)), by the names that Docker's `--ulimit` gives them.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Each resource's name and its number in Linux (`asm-generic/resource.h`, which x86 and ARM share).
pub const RESOURCES: &[(&str, u32)] = &[
    ("cpu", 0),
    ("fsize", 1),
    ("data", 2),
    ("stack", 3),
    ("core", 4),
    ("rss", 5),
    ("nproc", 6),
    ("nofile", 7),
    ("memlock", 8),
    ("as", 9),
    ("locks", 10),
    ("sigpending", 11),
    ("msgqueue", 12),
    ("nice", 13),
    ("rtprio", 14),
    ("rttime", 15),
];

/// What a process may use of one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// What it may use now, in the resource's own unit; [`Limit::UNLIMITED`] for no limit.
    pub soft: u64,
    /// What it may raise that to.
    pub hard: u64,
}

impl Limit {
    /// No limit (RLIM_INFINITY).
    pub const UNLIMITED: u64 = u64::MAX;
}

/// Limits by resource, each one of [`RESOURCES`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, Limit>", into = "BTreeMap<String, Limit>")]
pub struct Limits(BTreeMap<String, Limit>);

impl Limits {
    /// Adds a limit, in place of an earlier one for the same resource.
    pub fn set(&mut self, (resource, limit): (String, Limit)) {
        self.0.insert(resource, limit);
    }

    /// What a process may use at first of a resource; none where that is the default.
    #[must_use]
    pub fn soft(&self, resource: &str) -> Option<u64> {
        self.0.get(resource).map(|limit| limit.soft)
    }

    /// The limits, each with the number of its resource.
    pub fn iter(&self) -> impl Iterator<Item = (u32, Limit)> {
        self.0.iter().filter_map(|(name, limit)| Some((number(name)?, *limit)))
    }
}

fn number(resource: &str) -> Option<u32> {
    RESOURCES.iter().find(|(name, _)| *name == resource).map(|(_, number)| *number)
}

/// Why a text is not a limit.
#[derive(Debug, PartialEq, Eq)]
pub enum LimitError {
    /// There is no such resource.
    Resource(String),
    /// Not `NAME=SOFT[:HARD]` with numbers or `unlimited`.
    Form(String),
    /// The soft limit is above the hard one.
    Order(String),
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LimitError::Resource(name) => {
                let known: Vec<&str> = RESOURCES.iter().map(|(name, _)| *name).collect();
                write!(f, "there is no resource {name:?}; there are {}", known.join(", "))
            }
            LimitError::Form(text) => {
                write!(f, "{text:?} is not NAME=SOFT[:HARD], each a number or unlimited: nofile=1024:4096")
            }
            LimitError::Order(name) => write!(f, "the soft limit of {name} is above its hard limit"),
        }
    }
}

impl std::error::Error for LimitError {}

impl TryFrom<BTreeMap<String, Limit>> for Limits {
    type Error = LimitError;

    fn try_from(limits: BTreeMap<String, Limit>) -> Result<Self, LimitError> {
        for (name, limit) in &limits {
            check(name, *limit)?;
        }
        Ok(Limits(limits))
    }
}

impl From<Limits> for BTreeMap<String, Limit> {
    fn from(limits: Limits) -> Self {
        limits.0
    }
}

/// One limit as Docker's `--ulimit` takes it, `nofile=1024:4096`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedLimit(pub String, pub Limit);

impl FromStr for NamedLimit {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        let form = || LimitError::Form(text.to_owned());
        let amount = |text: &str| match text {
            "unlimited" | "-1" => Ok(Limit::UNLIMITED),
            number => number.parse().map_err(|_| form()),
        };
        let (name, amounts) = text.split_once('=').ok_or_else(form)?;
        let (soft, hard) = amounts.split_once(':').unwrap_or((amounts, amounts));
        let limit = Limit { soft: amount(soft)?, hard: amount(hard)? };
        check(name, limit)?;
        Ok(NamedLimit(name.to_owned(), limit))
    }
}

fn check(name: &str, limit: Limit) -> Result<(), LimitError> {
    number(name).ok_or_else(|| LimitError::Resource(name.to_owned()))?;
    if limit.soft > limit.hard { Err(LimitError::Order(name.to_owned())) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_docker_reads_them() {
        let limit = |text: &str| text.parse::<NamedLimit>().map(|named| (named.0, named.1.soft, named.1.hard));
        assert_eq!(limit("nofile=1024:4096"), Ok(("nofile".to_owned(), 1024, 4096)));
        assert_eq!(limit("core=0"), Ok(("core".to_owned(), 0, 0)));
        assert_eq!(limit("memlock=-1"), Ok(("memlock".to_owned(), u64::MAX, u64::MAX)));
        assert_eq!(limit("nofile=8:unlimited").unwrap().2, Limit::UNLIMITED);
        assert_eq!(limit("files=1"), Err(LimitError::Resource("files".to_owned())));
        assert_eq!(limit("nofile=9:8"), Err(LimitError::Order("nofile".to_owned())));
        for form in ["nofile", "nofile=", "nofile=x", "nofile=1:", "nofile=-2", "nofile=1:2:3"] {
            assert_eq!(limit(form), Err(LimitError::Form(form.to_owned())));
        }
    }

    #[test]
    fn limits_of_a_document_are_checked_like_typed_ones() {
        let read = |json: &str| serde_json::from_str::<Limits>(json).map_err(|error| error.to_string());
        let limits = read(r#"{"nofile":{"soft":1,"hard":2}}"#).unwrap();
        assert_eq!(limits.iter().collect::<Vec<_>>(), [(7, Limit { soft: 1, hard: 2 })]);
        assert!(read(r#"{"files":{"soft":1,"hard":2}}"#).unwrap_err().starts_with("there is no resource \"files\""));
        assert!(read(r#"{"nofile":{"soft":3,"hard":2}}"#).unwrap_err().starts_with("the soft limit of nofile"));
    }
}
