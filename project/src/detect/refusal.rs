//! Why a project cannot be made into a machine as it is.

use crate::plan::Kind;
use std::fmt::Display;

/// Why a project is refused: what is wrong, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no file.
    #[error("the project is empty: there is no file in it")]
    Empty,
    /// No file says what it is.
    #[error(
        "nothing says what this project is: there is no Dockerfile, package.json, requirements.txt, pyproject.toml, \
         Pipfile, pom.xml, gradlew, jar, war, go.mod, Cargo.toml or index.html; say how it is started in a Procfile, \
         and what it runs on with --base IMAGE (base in nanoos.toml)"
    )]
    Unknown,
    /// Files that say two kinds: each kind and the file that says it.
    #[error("this project is of more than one kind: {}; choose with {}", said(.0), options(.0))]
    Ambiguous(Vec<(Kind, String)>),
    /// The user says a kind for which there is nothing.
    #[error("the kind is {kind}, but there is no {missing} in the project")]
    Missing {
        /// What the user says.
        kind: Kind,
        /// The files that are not there.
        missing: String,
    },
    /// A file that is not what its name says.
    #[error("{file}: {what}")]
    Broken {
        /// The file.
        file: String,
        /// What is wrong with it, and what to do.
        what: String,
    },
    /// A version that is not known.
    #[error(
        "{said_by} says {said:?}, and no {language} that is known here ({known}) is that; say which image it runs on with \
         --base IMAGE (base in nanoos.toml)"
    )]
    Version {
        /// `engines.node of package.json`.
        said_by: String,
        /// What it says.
        said: String,
        /// `Node`.
        language: &'static str,
        /// The versions that are known.
        known: String,
    },
    /// Nothing says how it is started.
    #[error(
        "nothing says how this {kind} project is started: {looked_for}; write a Procfile with `web: COMMAND`, or give --cmd"
    )]
    NoStart {
        /// What it is.
        kind: Kind,
        /// Where the start was looked for.
        looked_for: String,
    },
    /// A Procfile without anything to run on.
    #[error(
        "the Procfile says how this project is started, but nothing says what it runs on: say --base IMAGE (base in \
         nanoos.toml), and --build COMMAND where it must be built"
    )]
    NoBase,
    /// Several processes, of which none is `web`.
    #[error("{said_by} has {}, and none of them is web: choose with {}", list(.names), each("--process", .names))]
    Several {
        /// What names them: `the Procfile`.
        said_by: String,
        /// Their names.
        names: Vec<String>,
    },
    /// Several files of which one is to be started.
    #[error("there are {}: remove all but one, or write a Procfile with `web: COMMAND`", list(.0))]
    SeveralFiles(Vec<String>),
    /// A process that nothing names.
    #[error("there is no process {wanted:?}: {}", if .names.is_empty() { "nothing names any".to_owned() } else { format!("there is {}", list(.names)) })]
    NoProcess {
        /// What the user says.
        wanted: String,
        /// The processes that there are.
        names: Vec<String>,
    },
    /// What the user says is of no use to this kind.
    #[error("{option} is of no use to this project: {why}")]
    Useless {
        /// `--base`.
        option: &'static str,
        /// Why, and what to do.
        why: String,
    },
}

/// `package.json says node and go.mod says go`.
fn said(matches: &[(Kind, String)]) -> String {
    list(&matches.iter().map(|(kind, file)| format!("{file} says {kind}")).collect::<Vec<_>>())
}

/// `--kind node or --kind go`.
fn options(matches: &[(Kind, String)]) -> String {
    each("--kind", &matches.iter().map(|(kind, _)| *kind).collect::<Vec<_>>())
}

/// `a, b and c`.
pub(super) fn list(names: &[impl Display]) -> String {
    joined(&names.iter().map(ToString::to_string).collect::<Vec<_>>(), "and")
}

/// `--process a or --process b`.
fn each(option: &str, names: &[impl Display]) -> String {
    joined(&names.iter().map(|name| format!("{option} {name}")).collect::<Vec<_>>(), "or")
}

fn joined(names: &[String], word: &str) -> String {
    match names {
        [] => String::new(),
        [name] => name.clone(),
        [names @ .., last] => format!("{} {word} {last}", names.join(", ")),
    }
}
