//! The libraries that a loader would open for a program: the rules of ld.so(8) and of musl's ldso/dynlink.c.

use super::closure::Error;
use super::conf;
use super::image::Image;
use super::root::{Root, normal, parent};
use super::{Architecture, Unreadable};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;

/// Libraries of one program. The largest desktop programs have some 300.
const LIBRARIES: usize = 4096;

/// Directories of one list in a file.
const DIRECTORIES: usize = 1024;

/// A file that is loaded.
pub(super) struct Loaded {
    /// Where it is in the root, as the loader opens it.
    pub(super) source: String,
    /// Where it is in the machine.
    pub(super) place: String,
    /// The name that it was asked for by first.
    name: String,
    /// What it says.
    pub(super) image: Image,
    /// Which loaded file wanted it first.
    loader: Option<usize>,
    /// A copy for certain processors, which stands beside another that is for all.
    variant: bool,
}

/// A directory that is searched, in the root and in the machine: they differ where it is relative to the program.
#[derive(Clone)]
struct Directory {
    source: String,
    place: String,
    /// Only what ldconfig puts into its cache is found here.
    cached: bool,
}

impl Directory {
    fn of(path: &str, cached: bool) -> Self {
        Directory { source: path.to_owned(), place: path.to_owned(), cached }
    }
}

/// Whose rules hold.
enum Rules {
    Glibc { configured: Vec<String>, default: Vec<String> },
    Musl { directories: Vec<String> },
}

/// The files of a program, and how more are found.
pub(super) struct Libraries<'a> {
    root: &'a Root,
    architecture: Architecture,
    rules: Rules,
    pub(super) loaded: Vec<Loaded>,
    /// Every place in the machine, and the file of the root without links.
    pub(super) places: BTreeMap<String, String>,
    /// Directories of /etc/ld.so.conf where something was found: the machine has no cache that leads there.
    pub(super) configured: Vec<String>,
    /// The program's loader, without links.
    loader: String,
    /// Up to where the libraries of the loaded files were found.
    done: usize,
}

impl<'a> Libraries<'a> {
    /// Those of a program with a loader; so far only these two.
    pub(super) fn new(
        root: &'a Root,
        (source, place): (&str, &str),
        image: Image,
        interpreter: &str,
    ) -> Result<Self, Error> {
        let missing = || Error::NoLoader { program: source.to_owned(), interpreter: interpreter.to_owned() };
        let loader = root.resolve(interpreter).ok_or_else(missing)?;
        let file = root.file(interpreter).ok_or_else(missing)?;
        let architecture = image.architecture;
        let rules = if interpreter.rsplit('/').next().is_some_and(|name| name.starts_with("ld-musl-")) {
            let directories = conf::musl(root, &conf::musl_file(interpreter, architecture.name()));
            Rules::Musl { directories }
        } else {
            let default = default_directories(&file, architecture).map_err(|error| Error::read(interpreter, error))?;
            let mut configured = conf::ld_so_conf(root);
            configured.retain(|directory| !default.contains(directory));
            Rules::Glibc { configured, default }
        };
        let program = root.resolve(source).unwrap_or_else(|| source.to_owned());
        let mut libraries = Libraries {
            root,
            architecture,
            rules,
            loaded: Vec::new(),
            places: BTreeMap::from([(place.to_owned(), program), (normal(interpreter), loader.clone())]),
            configured: Vec::new(),
            loader,
            done: 0,
        };
        let file_of = |name: &str, source: &str, place: String, image, loader| Loaded {
            source: source.to_owned(),
            place,
            name: name.to_owned(),
            image,
            loader,
            variant: false,
        };
        libraries.loaded.push(file_of("", source, place.to_owned(), image, None));
        let image = read(&file, interpreter)?;
        libraries.loaded.push(file_of(interpreter, interpreter, normal(interpreter), image, Some(0)));
        Ok(libraries)
    }

    /// Whether musl's rules hold.
    pub(super) fn is_musl(&self) -> bool {
        matches!(self.rules, Rules::Musl { .. })
    }

    /// The directories that ld.so searches on its own.
    pub(super) fn default_directories(&self) -> &[String] {
        match &self.rules {
            Rules::Glibc { default, .. } => default,
            Rules::Musl { directories } => directories,
        }
    }

    /// Finds all libraries that the loaded files name, theirs included, in the order in which ld.so does.
    pub(super) fn find_all(&mut self) -> Result<(), Error> {
        while let Some(file) = self.loaded.get(self.done) {
            for name in file.image.needed.clone() {
                if !self.find(&name, self.done)? {
                    return Err(self.missing(&name, self.done));
                }
            }
            self.done += 1;
        }
        Ok(())
    }

    /// Finds a library that is opened at run time by the file with this name, or by the program, if it is there.
    pub(super) fn find_optional(&mut self, name: &str, by: &str) -> Result<bool, Error> {
        let by = self.loaded.iter().position(|loaded| self.is_named(loaded, by)).unwrap_or_default();
        let (loaded, places, configured) = (self.loaded.len(), self.places.clone(), self.configured.len());
        match self.find(name, by).and_then(|found| self.find_all().map(|()| found)) {
            // What it needs itself is missing: it is like one that is not there, as it is to the program.
            Err(Error::Missing { .. }) => {
                self.loaded.truncate(loaded);
                self.places = places;
                self.configured.truncate(configured);
                self.done = loaded;
                Ok(false)
            }
            found => found,
        }
    }

    /// Finds one library for the loaded file at `by`.
    fn find(&mut self, name: &str, by: usize) -> Result<bool, Error> {
        if self.loaded.iter().any(|loaded| !loaded.variant && self.is_named(loaded, name)) {
            return Ok(true);
        }
        if self.is_musl() && is_musl_itself(name) {
            return Ok(true);
        }
        if name.contains('/') {
            let Some(path) = self.expand(name, by) else { return Ok(false) };
            return self.open((&path.source, &path.place), name, by, false);
        }
        for directory in self.directories(by) {
            if directory.cached && !is_cached(name) {
                continue;
            }
            let hwcaps = if self.is_musl() { &[] } else { self.architecture.hwcaps() };
            for hwcap in hwcaps {
                self.open_in(&directory, &format!("glibc-hwcaps/{hwcap}/{name}"), name, by)?;
            }
            if self.open_in(&directory, name, name, by)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Loads what is at this path below a directory; another path than the name itself is a variant.
    fn open_in(&mut self, directory: &Directory, path: &str, name: &str, by: usize) -> Result<bool, Error> {
        let source = format!("{}/{path}", directory.source);
        let place = normal(&format!("{}/{path}", directory.place));
        let found = self.open((&source, &place), name, by, path != name)?;
        if found && directory.cached && !self.configured.contains(&directory.place) {
            self.configured.push(directory.place.clone());
        }
        Ok(found)
    }

    /// Loads the file at this path, if it is there and for this architecture.
    fn open(&mut self, (source, place): (&str, &str), name: &str, by: usize, variant: bool) -> Result<bool, Error> {
        let (Some(resolved), Some(file)) = (self.root.resolve(source), self.root.file(source)) else {
            return Ok(false);
        };
        let image = match read(&file, source) {
            Ok(image) if image.architecture == self.architecture => image,
            // ld.so goes on where a file is for another machine or is no library (a linker script).
            Ok(_) | Err(Error::Unreadable { problem: Unreadable::Foreign(_) | Unreadable::NotElf, .. }) => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        if let Some(other) = self.places.get(place) {
            if *other != resolved {
                return Err(Error::Collision { place: place.to_owned(), one: other.clone(), other: resolved });
            }
            return Ok(true);
        }
        if self.loaded.len() >= LIBRARIES {
            return Err(Error::TooMany { program: self.loaded.first().map_or("", |file| &file.source).to_owned() });
        }
        // The same file by another name is not loaded a second time, but has to be there by that name, too.
        let known = self.places.values().any(|known| *known == resolved);
        self.places.insert(place.to_owned(), resolved);
        if !known {
            let (source, place, name) = (source.to_owned(), place.to_owned(), name.to_owned());
            self.loaded.push(Loaded { source, place, name, image, loader: Some(by), variant });
        }
        Ok(true)
    }

    /// The directories that are searched for what the file at `by` names, in order.
    fn directories(&self, by: usize) -> Vec<Directory> {
        let Some(file) = self.loaded.get(by) else { return Vec::new() };
        let of = |index: usize, list: &Option<String>| {
            let paths = list.iter().flat_map(|list| list.split(':')).take(DIRECTORIES);
            paths.filter_map(|path| self.expand(path, index)).collect::<Vec<_>>()
        };
        // From the file to the one that wanted it, and so on up to the program.
        let chain = std::iter::successors(Some(by), |index| self.loaded.get(*index).and_then(|file| file.loader));
        let chain = chain.take(LIBRARIES).filter_map(|index| Some((index, self.loaded.get(index)?)));
        match &self.rules {
            Rules::Musl { directories } => {
                // musl takes both lists for the same, of every file of the chain.
                let lists = chain.flat_map(|(index, file)| {
                    if file.image.runpath.is_some() {
                        of(index, &file.image.runpath)
                    } else {
                        of(index, &file.image.rpath)
                    }
                });
                lists.chain(directories.iter().map(|path| Directory::of(path, false))).collect()
            }
            Rules::Glibc { configured, default } => {
                let own = of(by, &file.image.runpath);
                let mut directories: Vec<Directory> = if file.image.runpath.is_some() {
                    own
                } else {
                    chain.flat_map(|(index, file)| of(index, &file.image.rpath)).collect()
                };
                directories.extend(configured.iter().map(|path| Directory::of(path, true)));
                if !file.image.no_default {
                    directories.extend(default.iter().map(|path| Directory::of(path, false)));
                }
                directories
            }
        }
    }

    /// A path with its tokens replaced (ld.so(8), "Dynamic string tokens"), in the root and in the machine; nothing if
    /// it is not absolute then, as the loader would take it relative to whatever directory the program is started in.
    fn expand(&self, path: &str, by: usize) -> Option<Directory> {
        let file = self.loaded.get(by)?;
        // The program's is where it really lies; a library's is the directory that it was opened in.
        let real = if by == 0 { self.root.resolve(&file.source) } else { Some(file.source.clone()) };
        let origin = real.as_deref().map(parent).unwrap_or_default().to_owned();
        let replaced = |origin: &str| {
            let mut path = path.replace("${ORIGIN}", origin).replace("$ORIGIN", origin);
            if !self.is_musl() {
                path = path.replace("${LIB}", self.lib()).replace("$LIB", self.lib());
                let platform = self.architecture.name();
                path = path.replace("${PLATFORM}", platform).replace("$PLATFORM", platform);
            }
            path
        };
        let (source, place) = (replaced(&origin), replaced(parent(&file.place)));
        // musl does not take a list with a token that it does not know.
        let usable = source.starts_with('/') && !(self.is_musl() && source.contains('$'));
        usable.then(|| Directory { source, place: normal(&place), cached: false })
    }

    /// What `$LIB` is: the last part of the first directory that was compiled into ld.so.
    fn lib(&self) -> &str {
        let first = self.default_directories().first().map_or("/lib64", String::as_str);
        first.trim_start_matches("/usr").trim_start_matches('/')
    }

    /// What is wrong where no directory has a library, and what of that name is for another machine.
    fn missing(&self, name: &str, by: usize) -> Error {
        let directories = self.directories(by);
        let elsewhere = directories.iter().find_map(|directory| {
            let path = format!("{}/{name}", directory.source);
            let file = self.root.file(&path)?;
            let problem = match read(&file, &path) {
                Ok(image) => format!("is for {}", image.architecture),
                Err(Error::Unreadable { problem: Unreadable::Foreign(machine), .. }) => format!("is for {machine}"),
                Err(_) => return None,
            };
            Some(format!("; {path} {problem}"))
        });
        let only = self.architecture.hwcaps().iter().find_map(|hwcap| {
            let end = format!("/glibc-hwcaps/{hwcap}/{name}");
            let found = self.loaded.iter().find(|file| file.variant && file.source.ends_with(&end))?;
            Some(format!("; {} is only for processors of the level {hwcap}", found.source))
        });
        Error::Missing {
            library: name.to_owned(),
            by: self.loaded.get(by).map_or_else(String::new, |file| file.source.clone()),
            searched: directories.into_iter().map(|directory| directory.source).collect(),
            elsewhere: elsewhere.or(only).unwrap_or_default(),
            architecture: self.architecture,
        }
    }

    /// Where the file of a place is on this machine.
    pub(super) fn file(&self, resolved: &str) -> Option<PathBuf> {
        self.root.file(resolved)
    }

    /// Whether it is the loader, or musl's libc, which is its loader, or glibc's.
    pub(super) fn is_libc(&self, file: &Loaded) -> bool {
        self.root.resolve(&file.source).is_some_and(|path| path == self.loader) || self.is_named(file, "libc.so.6")
    }

    /// Whether a library that is asked for by this name is this one: musl compares with what was asked for before,
    /// glibc with the file's path and the library's own name, too.
    fn is_named(&self, file: &Loaded, name: &str) -> bool {
        let own = file.source == name || file.image.soname.as_deref() == Some(name);
        file.name == name || (own && !self.is_musl())
    }
}

/// What musl's loader takes for itself: `libc.so`, `libc.musl-x86_64.so.1`, `libpthread.so.0` …
fn is_musl_itself(name: &str) -> bool {
    let own = ["c", "pthread", "rt", "m", "dl", "util", "xnet"];
    name.strip_prefix("lib").and_then(|rest| rest.split_once('.')).is_some_and(|(stem, _)| own.contains(&stem))
}

/// Whether ldconfig puts a file of this name into its cache.
fn is_cached(name: &str) -> bool {
    (name.starts_with("lib") || name.starts_with("ld-")) && name.contains(".so")
}

/// The directories that are compiled into a glibc's loader: strings, each with a slash and a zero behind it, and in
/// front of it nothing that would make it a part of a longer path.
fn default_directories(loader: &std::path::Path, architecture: Architecture) -> std::io::Result<Vec<String>> {
    /// Bytes of a loader; glibc's have 200 KiB, and some MiB with symbols.
    const LONGEST: u64 = 64 << 20;
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(File::open(loader)?, LONGEST), &mut bytes)?;
    let compiled = |directory: &&&str| {
        let string = format!("{directory}/\0");
        let starts = |at: usize| !bytes.get(at.wrapping_sub(1)).is_some_and(u8::is_ascii_alphanumeric);
        memchr::memmem::find_iter(&bytes, string.as_bytes()).any(starts)
    };
    let all = architecture.directories();
    let found: Vec<String> = all.iter().filter(compiled).map(|directory| (*directory).to_owned()).collect();
    Ok(if found.is_empty() { all.iter().map(|directory| (*directory).to_owned()).collect() } else { found })
}

/// Reads a file of the root.
pub(super) fn read(file: &std::path::Path, path: &str) -> Result<Image, Error> {
    let opened = File::open(file).map_err(|error| Error::read(path, error))?;
    Image::read(opened).map_err(|problem| Error::Unreadable { path: path.to_owned(), problem })
}
