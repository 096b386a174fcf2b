//! What a jar or a war says of itself.

use super::class::{self, Servlets};
use super::zip::{Entry, Problem, Zip};
use std::io::{Cursor, Read, Seek};

/// Where a war has its files.
pub(super) const WEB: &str = "WEB-INF/";

/// Where archives have the libraries that are jars themselves: Spring Boot's, and a war's.
const LIBRARIES: [&str; 2] = ["BOOT-INF/lib/", "WEB-INF/lib/"];

/// Where archives have their own classes, beside their root.
const CLASSES: [&str; 2] = ["BOOT-INF/classes/", "WEB-INF/classes/"];

/// Copies of classes for newer versions of Java (JAR File Specification, "Multi-release JAR files").
const VERSIONS: &str = "META-INF/versions/";

/// Bytes of a manifest, a class, a description of a war.
const LONGEST_TEXT: u64 = 1 << 20;

/// Classes of an archive that are looked at, and of a library in it.
const OWN_CLASSES: usize = 2000;
const LIBRARY_CLASSES: usize = 50;

/// Libraries in an archive that are looked at, bytes of one, and of all.
const MOST_LIBRARIES: usize = 500;
const LIBRARY: u64 = 64 << 20;
const ALL_LIBRARIES: u64 = 512 << 20;

/// What a jar or a war says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Jar {
    /// Main-Class of its manifest: what `java -jar` starts.
    pub main_class: Option<String>,
    /// Class-Path of its manifest: files beside it.
    pub class_path: Vec<String>,
    /// Implementation-Title.
    pub title: Option<String>,
    /// Implementation-Version.
    pub version: Option<String>,
    /// Whether it is a war.
    pub war: bool,
    /// Whether Spring Boot is in it.
    pub spring: bool,
    /// The version of Java that its classes need.
    pub java: Option<u32>,
    /// The servlets that it is written for, where its classes or WEB-INF/web.xml tell.
    pub servlets: Option<Servlets>,
}

/// What is gathered while the directory of an archive is read.
#[derive(Default)]
struct Directory {
    manifest: Option<Entry>,
    description: Option<Entry>,
    classes: Vec<Entry>,
    libraries: Vec<Entry>,
}

impl Jar {
    /// Reads what an archive says.
    pub(super) fn read(file: impl Read + Seek) -> Result<Self, Problem> {
        let zip = Zip::open(file)?;
        let mut jar = Jar::default();
        let directory = jar.directory(&zip)?;
        let mut main = Vec::new();
        if let Some(manifest) = &directory.manifest {
            main = jar.manifest(&zip.read(manifest, LONGEST_TEXT)?);
        }
        for class in main {
            let path = format!("{}.class", class.replace('.', "/"));
            for start in ["", CLASSES[0], CLASSES[1]] {
                if let Some(entry) = zip.entry(&format!("{start}{path}"))? {
                    jar.class(&zip.beginning(&entry, class::HEADER)?);
                }
            }
        }
        let mut servlets = Found::default();
        for entry in &directory.classes {
            let length = if jar.war { LONGEST_TEXT } else { class::HEADER };
            // A longer class is no servlet that somebody wrote.
            let bytes = zip.beginning(entry, length)?;
            jar.class(&bytes);
            servlets.add(class::servlets(&bytes));
        }
        let mut in_libraries = Found::default();
        let mut left = ALL_LIBRARIES;
        for entry in &directory.libraries {
            let bytes = zip.beginning(entry, LIBRARY.min(left))?;
            left -= bytes.len() as u64;
            jar.library(bytes, &mut in_libraries);
        }
        if jar.war {
            let text = directory.description.map(|entry| zip.read(&entry, LONGEST_TEXT)).transpose()?;
            let described = text.and_then(|text| describes(&text));
            jar.servlets = servlets.only().or(described).or(in_libraries.only());
        }
        Ok(jar)
    }

    /// Reads the archive's directory.
    fn directory<R: Read + Seek>(&mut self, zip: &Zip<R>) -> Result<Directory, Problem> {
        let mut directory = Directory::default();
        zip.for_each(|entry| {
            let name = entry.name.as_str();
            self.war |= name.starts_with(WEB);
            self.spring |= name.starts_with("BOOT-INF/") || name == "org/springframework/boot/SpringApplication.class";
            if name.eq_ignore_ascii_case("META-INF/MANIFEST.MF") {
                directory.manifest = Some(entry.clone());
            } else if name == "WEB-INF/web.xml" {
                directory.description = Some(entry.clone());
            } else if is_class(name) && directory.classes.len() < OWN_CLASSES {
                directory.classes.push(entry.clone());
            } else if is_library(name) && directory.libraries.len() < MOST_LIBRARIES {
                self.spring |= name.contains("/spring-boot-");
                directory.libraries.push(entry.clone());
            }
        })?;
        Ok(directory)
    }

    /// Takes what the manifest says, and gives the classes that are started.
    fn manifest(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut start_class = None;
        for (name, value) in attributes(bytes) {
            match name.to_ascii_lowercase().as_str() {
                "main-class" => self.main_class = Some(value),
                "start-class" => start_class = Some(value),
                "class-path" => self.class_path = value.split_whitespace().map(str::to_owned).collect(),
                "implementation-title" => self.title = Some(value),
                "implementation-version" => self.version = Some(value),
                "spring-boot-version" => self.spring = true,
                _ => {}
            }
        }
        self.spring |= start_class.is_some();
        self.main_class.iter().cloned().chain(start_class).collect()
    }

    /// Takes the version that a class needs.
    fn class(&mut self, bytes: &[u8]) {
        self.java = self.java.max(class::java(bytes));
    }

    /// Takes what a library needs. One that is damaged, or too long to be read whole, says nothing.
    fn library(&mut self, bytes: Vec<u8>, servlets: &mut Found) {
        let Ok(zip) = Zip::open(Cursor::new(bytes)) else { return };
        let mut classes = Vec::new();
        let read = zip.for_each(|entry| {
            if is_class(&entry.name) && classes.len() < LIBRARY_CLASSES {
                classes.push(entry.clone());
            }
        });
        if read.is_err() {
            return;
        }
        for entry in classes {
            let length = if self.war { LONGEST_TEXT } else { class::HEADER };
            if let Ok(bytes) = zip.beginning(&entry, length) {
                self.class(&bytes);
                servlets.add(class::servlets(&bytes));
            }
        }
    }
}

/// Servlets that were found in several classes.
#[derive(Default)]
struct Found {
    javax: usize,
    jakarta: usize,
}

impl Found {
    fn add(&mut self, servlets: Option<Servlets>) {
        match servlets {
            Some(Servlets::Javax) => self.javax += 1,
            Some(Servlets::Jakarta) => self.jakarta += 1,
            None => {}
        }
    }

    /// Those that were found, where it is only the one kind.
    fn only(&self) -> Option<Servlets> {
        match (self.javax, self.jakarta) {
            (1.., 0) => Some(Servlets::Javax),
            (0, 1..) => Some(Servlets::Jakarta),
            _ => None,
        }
    }
}

/// Whether it is a class that every Java reads: module-info is of a newer one in libraries that need it not.
fn is_class(name: &str) -> bool {
    name.ends_with(".class") && !name.starts_with(VERSIONS) && !name.ends_with("module-info.class")
}

/// Whether it is a library in an archive.
fn is_library(name: &str) -> bool {
    name.ends_with(".jar") && LIBRARIES.iter().any(|directory| name.starts_with(directory))
}

/// The servlets that a WEB-INF/web.xml is for: by its name space.
fn describes(text: &[u8]) -> Option<Servlets> {
    let has = |name: &str| memchr::memmem::find(text, name.as_bytes()).is_some();
    if has("jakarta.ee/xml/ns") {
        Some(Servlets::Jakarta)
    } else {
        (has("java.sun.com/") || has("xmlns.jcp.org/xml/ns/javaee")).then_some(Servlets::Javax)
    }
}

/// The attributes of a manifest's main section (JAR File Specification, "JAR Manifest"): a line that begins with a
/// space goes on with the one before, in the middle of a character even.
fn attributes(bytes: &[u8]) -> Vec<(String, String)> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match (line.strip_prefix(b" "), lines.last_mut()) {
            (Some(more), Some(last)) => last.extend(more),
            _ if line.is_empty() => break,
            _ => lines.push(line.to_vec()),
        }
    }
    let attribute = |line: Vec<u8>| {
        let line = String::from_utf8(line).ok()?;
        let (name, value) = line.split_once(':')?;
        let value = value.trim();
        (!value.is_empty()).then(|| (name.trim().to_owned(), value.to_owned()))
    };
    lines.into_iter().filter_map(attribute).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_of_lines_that_go_on() {
        let text = "Manifest-Version: 1.0\r\nMain-Class: com.exam\r\n ple.Main\nclass-path: lib/a.jar\n  lib/b.jar\n\
                    Empty: \n\n\
                    Name: other\nMain-Class: not.this\n";
        let mut jar = Jar::default();
        assert_eq!(jar.manifest(text.as_bytes()), ["com.example.Main"]);
        assert_eq!(jar.class_path, ["lib/a.jar", "lib/b.jar"]);
        let split = ["Implementation-Title: Caf".as_bytes(), b"\xc3\n \xa9\n"].concat();
        jar.manifest(&split);
        assert_eq!(jar.title.as_deref(), Some("Café"), "a line that ends within a character");
    }

    #[test]
    fn servlets_of_a_description() {
        assert_eq!(describes(b"<web-app xmlns=\"https://jakarta.ee/xml/ns/jakartaee\">"), Some(Servlets::Jakarta));
        assert_eq!(describes(b"<web-app xmlns=\"http://xmlns.jcp.org/xml/ns/javaee\">"), Some(Servlets::Javax));
        assert_eq!(
            describes(b"<!DOCTYPE web-app SYSTEM \"http://java.sun.com/dtd/web-app_2_3.dtd\">"),
            Some(Servlets::Javax)
        );
        assert_eq!(describes(b"<web-app/>"), None);
    }
}
