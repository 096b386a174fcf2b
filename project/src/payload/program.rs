//! How a program for Linux is started.

use super::{Error, Fused, PROCESS};
use crate::elf::{Architecture, Closure, Root, alone, closure};
use crate::plan::{Base, Build, Command, DIRECTORY, Kind, Plan, Process, Wishes};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// A program as a machine, with what it needs of this one. Where a base is wanted, that has to have its libraries.
///
/// # Errors
/// When it cannot be read, is for another architecture, or a library is missing.
pub fn program(path: &Path, wishes: &Wishes, architecture: Architecture) -> Result<Fused, Error> {
    let read = |source| Error::Read { path: path.display().to_string(), source };
    let real = path.canonicalize().map_err(read)?;
    let unnamed = || read(io::Error::new(io::ErrorKind::InvalidInput, "its name is not UTF-8"));
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(unnamed)?;
    let place = format!("{DIRECTORY}/{name}");
    let root = Root::new(Path::new("/")).map_err(read)?;
    let source = real.to_str().ok_or_else(unnamed)?;
    let Closure { files, env, warnings } = match wishes.base {
        None => closure(&root, source, &place, architecture)?,
        Some(_) => alone(&root, source, &place, architecture)?,
    };
    let process = Process { command: Command::Words(vec![place]), decided_by: "the program".to_owned() };
    let plan = Plan {
        kind: Kind::Elf,
        decided_by: name.to_owned(),
        name: None,
        version: None,
        base: wishes.base.clone().map_or(Base::None, Base::Image),
        build: Build::None,
        packed: String::new(),
        left_out: Vec::new(),
        processes: BTreeMap::from([(PROCESS.to_owned(), process)]),
        process: PROCESS.to_owned(),
        env,
        added: BTreeMap::new(),
        warnings,
    };
    Ok(Fused { plan, files })
}
