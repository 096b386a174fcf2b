//! A project's files, as detection sees them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

/// Bytes of a text that is read: descriptions of projects are small, and lock files are only asked whether they are there.
pub const LONGEST_TEXT: u64 = 1 << 20;

/// Files of a project: paths relative to its root with `/` between their parts, and the texts of the small ones.
///
/// Directories are in it only by what they hold; links to files are followed where they stay in the project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    files: BTreeMap<String, Content>,
}

/// What is known of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    /// All of it.
    Text(String),
    /// It is there, and is not text, or too long to be read.
    Other,
}

impl Files {
    /// Files of these names and texts.
    pub fn of<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let text = |(path, text): (&str, &str)| (path.to_owned(), Content::Text(text.to_owned()));
        Files { files: files.into_iter().map(text).collect() }
    }

    /// Whether there is such a file.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    /// Whether there is a file below this directory.
    #[must_use]
    pub fn has_directory(&self, path: &str) -> bool {
        let prefix = format!("{}/", path.trim_end_matches('/'));
        self.files.range(prefix.clone()..).next().is_some_and(|(name, _)| name.starts_with(&prefix))
    }

    /// The text of a file, if it is there, is text, and is no longer than [`LONGEST_TEXT`].
    #[must_use]
    pub fn text(&self, path: &str) -> Option<&str> {
        match self.files.get(path)? {
            Content::Text(text) => Some(text),
            Content::Other => None,
        }
    }

    /// Every path, sorted.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Adds a file that is known by its name only.
    pub fn add(&mut self, path: &str) {
        self.files.insert(path.to_owned(), Content::Other);
    }

    /// Adds a file, and its text where it is one and `wants` it.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(&mut self, path: &str, file: &Path) -> io::Result<()> {
        let mut bytes = Vec::new();
        fs::File::open(file)?.take(LONGEST_TEXT + 1).read_to_end(&mut bytes)?;
        let text = if bytes.len() as u64 > LONGEST_TEXT { None } else { String::from_utf8(bytes).ok() };
        self.files.insert(path.to_owned(), text.map_or(Content::Other, Content::Text));
        Ok(())
    }
}
