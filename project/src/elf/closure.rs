//! What goes into a machine for one program.

use super::image::{Image, Unreadable};
use super::libraries::{Libraries, read};
use super::root::{Root, normal};
use super::{Architecture, runtime};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

/// What goes into a machine for one program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Closure {
    /// Files by their absolute path in the machine, and where they are on this machine. Two paths of one file are one
    /// file in the machine, too (a hard link): a loader that meets it by both must see that it is the same.
    pub files: BTreeMap<String, PathBuf>,
    /// Variables that the program needs to find them: `LD_LIBRARY_PATH` where /etc/ld.so.conf led to something, as the
    /// machine has no /etc/ld.so.cache.
    pub env: Vec<(String, String)>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Why a program cannot be made into a machine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// Which, in the root.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file is no program or library for any machine.
    #[error("{path}: {problem}")]
    Unreadable {
        /// Which, in the root.
        path: String,
        /// Why.
        problem: Unreadable,
    },
    /// The program is for another architecture than the machine.
    #[error(
        "{path} is for {found}, the machine is {wanted}: compile it for {wanted}, or make the machine with \
         --arch {found}"
    )]
    Architecture {
        /// Which, in the root.
        path: String,
        /// What it is for.
        found: Architecture,
        /// What the machine is.
        wanted: Architecture,
    },
    /// A library is named in place of a program.
    #[error("{path} is a shared library, not a program: name the program that uses it")]
    Library {
        /// Which, in the root.
        path: String,
    },
    /// The program's loader is not on this machine.
    #[error(
        "{program} is started by {interpreter}, which is not on this machine: install the C library that it was \
         compiled for, link it statically, or make a container image of it"
    )]
    NoLoader {
        /// The program.
        program: String,
        /// Its loader.
        interpreter: String,
    },
    /// A library is not on this machine.
    #[error(
        "{library}, which {by} needs, is not on this machine for {architecture}{elsewhere}; {}: install it, put it \
         where {by} looks, or link statically",
        places(searched)
    )]
    Missing {
        /// The library's name.
        library: String,
        /// What needs it.
        by: String,
        /// The directories where a loader would look.
        searched: Vec<String>,
        /// What there is of that name, as the end of a sentence.
        elsewhere: String,
        /// What it has to be for.
        architecture: Architecture,
    },
    /// Two files would lie at one place.
    #[error("{one} and {other} would both be {place} in the machine: remove one, or make a container image of it")]
    Collision {
        /// Where, in the machine.
        place: String,
        /// A file of this machine.
        one: String,
        /// Another one.
        other: String,
    },
    /// More libraries than any program has.
    #[error("{program} needs more libraries than are followed: make a container image of it")]
    TooMany {
        /// The program.
        program: String,
    },
}

impl Error {
    pub(super) fn read(path: &str, source: io::Error) -> Self {
        Error::Read { path: path.to_owned(), source }
    }
}

/// Where a library was looked for, for people.
fn places(searched: &[String]) -> String {
    if searched.is_empty() {
        "no directory is searched for it".to_owned()
    } else {
        format!("searched: {}", searched.join(", "))
    }
}

/// The program alone, for a machine that has all that it needs.
///
/// # Errors
/// When it is no program, or is for another architecture.
pub fn alone(root: &Root, program: &str, place: &str, wanted: Architecture) -> Result<Closure, Error> {
    let (file, _) = check(root, program, wanted)?;
    Ok(Closure { files: BTreeMap::from([(normal(place), file)]), ..Closure::default() })
}

/// Finds what a program needs: `program` is its path in `root`, `place` is where it will be in the machine.
///
/// # Errors
/// When it is no program, is for another architecture, or something that it names is not there.
pub fn closure(root: &Root, program: &str, place: &str, wanted: Architecture) -> Result<Closure, Error> {
    let (file, image) = check(root, program, wanted)?;
    let place = normal(place);
    let mut closure = Closure { files: BTreeMap::from([(place.clone(), file.clone())]), ..Closure::default() };
    let mut needs = runtime::Needs::of_bytes(&file).map_err(|error| Error::read(program, error))?;
    if let Some(interpreter) = image.interpreter.clone() {
        dynamic(root, (program, &place), image, &interpreter, &mut needs, &mut closure)?;
    }
    runtime::add_data(root, needs, &mut closure);
    Ok(closure)
}

/// Reads a program, and checks that the machine can run it.
fn check(root: &Root, program: &str, wanted: Architecture) -> Result<(PathBuf, Image), Error> {
    let not_found = || Error::read(program, io::Error::from(io::ErrorKind::NotFound));
    let file = root.file(program).ok_or_else(not_found)?;
    let image = read(&file, program)?;
    if image.architecture != wanted {
        let (path, found) = (program.to_owned(), image.architecture);
        return Err(Error::Architecture { path, found, wanted });
    }
    if !image.program {
        return Err(Error::Library { path: program.to_owned() });
    }
    Ok((file, image))
}

/// What a program with a loader needs.
fn dynamic(
    root: &Root,
    program: (&str, &str),
    image: Image,
    interpreter: &str,
    needs: &mut runtime::Needs,
    closure: &mut Closure,
) -> Result<(), Error> {
    let mut libraries = Libraries::new(root, program, image, interpreter)?;
    libraries.find_all()?;
    runtime::add_libraries(root, &mut libraries, needs, closure)?;
    let files = libraries.places.iter().filter_map(|(place, source)| Some((place.clone(), libraries.file(source)?)));
    closure.files.extend(files);
    if !libraries.configured.is_empty() {
        closure.env.push(("LD_LIBRARY_PATH".to_owned(), libraries.configured.join(":")));
    }
    Ok(())
}
