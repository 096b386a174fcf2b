//! How a project is made into a machine: what detection decides, and the builder carries out.

use std::collections::BTreeMap;
use std::fmt;

/// Where the project's files lie in the machine.
pub const DIRECTORY: &str = "/app";

/// The directory of [`DIRECTORY`] that Python's packages lie in. `PYTHONPATH` leads to it.
pub const PACKAGES: &str = ".packages";

/// The port at which a web process listens where nobody says another: `PORT`.
pub const PORT: u16 = 8080;

/// The user that a program runs as where neither its base nor its port wants root.
pub const USER: &str = "1000:1000";

/// What a project or a payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A Dockerfile or Containerfile, which says everything itself.
    Dockerfile,
    /// package.json.
    Node,
    /// requirements.txt, pyproject.toml or Pipfile.
    Python,
    /// pom.xml, gradlew, or a jar.
    Java,
    /// A war.
    War,
    /// go.mod.
    Go,
    /// Cargo.toml.
    Rust,
    /// A program that Linux runs by itself.
    Elf,
    /// Files that a web server shows.
    Site,
    /// Anything else: a Procfile, and base and build in nanoos.toml.
    Other,
}

impl Kind {
    /// All of them, in the order in which a list of them is shown.
    pub const ALL: &[Kind] = &[
        Kind::Dockerfile,
        Kind::Node,
        Kind::Python,
        Kind::Java,
        Kind::War,
        Kind::Go,
        Kind::Rust,
        Kind::Elf,
        Kind::Site,
        Kind::Other,
    ];

    /// Its name, as `--kind` and nanoos.toml have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Dockerfile => "dockerfile",
            Kind::Node => "node",
            Kind::Python => "python",
            Kind::Java => "java",
            Kind::War => "war",
            Kind::Go => "go",
            Kind::Rust => "rust",
            Kind::Elf => "elf",
            Kind::Site => "site",
            Kind::Other => "other",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a project is made into a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What it is.
    pub kind: Kind,
    /// What decided that, for people: `package.json`, `--kind`.
    pub decided_by: String,
    /// The project's own name, where it says one.
    pub name: Option<String>,
    /// The project's own version, where it says one.
    pub version: Option<String>,
    /// What lies under its files.
    pub base: Base,
    /// How it is built.
    pub build: Build,
    /// The directory of the project whose contents are packed into [`DIRECTORY`], relative to its root; empty for all of it.
    pub packed: String,
    /// Directories of the project that the build makes anew, and that are not packed as they lie there: `target`.
    pub left_out: Vec<String>,
    /// Its processes by name, and what decided each, for people: `Procfile`, `scripts.start of package.json`.
    pub processes: BTreeMap<String, Process>,
    /// The name of the process that is started, one of [`Plan::processes`]; empty where the image itself, or the archive
    /// that the build leaves, or the command line ([`Wishes::command`]) says what is started.
    pub process: String,
    /// Variables for the program, beside `PORT`; the base's and the user's own come before and after.
    pub env: Vec<(String, String)>,
    /// Files that the plan adds to the machine, by absolute path: the configuration of a web server.
    pub added: BTreeMap<String, String>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

impl Plan {
    /// A plan that packs all files on this base, builds nothing and starts nothing yet.
    #[must_use]
    pub fn new(kind: Kind, base: Base) -> Self {
        Plan {
            kind,
            decided_by: String::new(),
            name: None,
            version: None,
            base,
            build: Build::None,
            packed: String::new(),
            left_out: Vec::new(),
            processes: BTreeMap::new(),
            process: String::new(),
            env: Vec::new(),
            added: BTreeMap::new(),
            warnings: Vec::new(),
        }
    }
}

/// What lies under a project's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// Nothing: the program brings all that it needs.
    None,
    /// An image, by Docker's rules for names: `node:20-slim`.
    Image(String),
    /// The image that the project's own Dockerfile makes.
    Built,
}

/// A process: what starts it, and what decided that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// What is started.
    pub command: Command,
    /// What decided it, for people: `Procfile`.
    pub decided_by: String,
}

impl Process {
    /// A program with these arguments.
    #[must_use]
    pub fn words(words: &[&str], decided_by: &str) -> Self {
        let words = words.iter().map(|&word| word.to_owned()).collect();
        Process { command: Command::Words(words), decided_by: decided_by.to_owned() }
    }

    /// A line for the shell.
    #[must_use]
    pub fn shell(line: impl Into<String>, decided_by: &str) -> Self {
        Process { command: Command::Shell(line.into()), decided_by: decided_by.to_owned() }
    }
}

/// What starts a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A line for `/bin/sh -c`.
    Shell(String),
    /// A program and its arguments.
    Words(Vec<String>),
}

/// How a project is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Build {
    /// Not at all: its files are taken as they are.
    None,
    /// Not at all: this jar or war of the project is there already. What it runs on and how it is started its bytes say
    /// better than [`Plan::base`], and alone where no Procfile does.
    Ready(String),
    /// By an engine, from this file of the project: `Dockerfile`.
    Containerfile(String),
    /// Python packages are fetched by pip or uv of this machine, for the base's Python and platform.
    Python(PythonBuild),
    /// By commands inside the base, by an engine.
    InBase(InBase),
    /// By a program of this machine, in a copy of the project.
    Host(HostBuild),
}

/// Python packages, and what is done once they are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PythonBuild {
    /// The base's version of Python, `3.12`.
    pub python: String,
    /// Where packages are listed: arguments of `pip install`, relative to the project, such as `-r requirements.txt`.
    pub packages: Vec<String>,
    /// The versions that a lock file has fixed, `flask==3.0.3`: lines of a file for `pip install --constraint`. Empty where
    /// there is no lock file but requirements.txt.
    pub constraints: Vec<String>,
    /// The files that decide which packages these are.
    pub lock_files: Vec<String>,
    /// Whether a file of requirements names a package by a path: it is built where it lies, and all files decide what
    /// it is.
    pub local: bool,
    /// Packages beside these that the started program needs, such as gunicorn where nothing lists it.
    pub more: Vec<String>,
    /// Commands inside the base afterwards, with the packages in place: Django's collectstatic.
    pub then: Vec<String>,
}

/// Commands inside the base. The dependencies' come first and see only the files that decide them, so that what they
/// make is kept until one of these changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InBase {
    /// The files that the dependencies are decided by: `package.json`, `package-lock.json`.
    pub lock_files: Vec<String>,
    /// Commands that fetch dependencies: `npm ci`.
    pub install: Vec<String>,
    /// Commands that build, with all of the project's files there: `npm run build`.
    pub build: Vec<String>,
    /// Commands that remove what only building needs: `npm prune --omit=dev`.
    pub prune: Vec<String>,
    /// The directory that holds the dependencies once they are fetched: `node_modules`. Where the project has it, and no
    /// engine is there, it is taken as it is.
    pub dependencies: Option<String>,
}

/// A build by a program of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostBuild {
    /// Program and arguments, run in the copy of the project; a program that begins with `./` is the project's own.
    pub argv: Vec<String>,
    /// Variables that it is given beside those of the environment.
    pub env: Vec<(String, String)>,
    /// What it leaves.
    pub result: Artifact,
    /// What is wrong where the program is not there, and what to do.
    pub advice: String,
}

/// What a build leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Artifact {
    /// The one jar with a main class, or the one war, in this directory: `target`, `build/libs`. As for [`Build::Ready`],
    /// its bytes say the rest.
    Archive(String),
    /// Programs at these paths of the copy, where they are packed, too: `bin/server`.
    Programs(Vec<String>),
    /// Programs of these names, below any directory that cargo names: the path is in the JSON messages on its standard
    /// output (`--message-format=json…`), by the name of the binary. They are packed as `target/release/NAME`, where a
    /// Procfile expects them.
    CargoPrograms(Vec<String>),
}

/// What the user wants other than the files say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    /// `--kind`, and where it was said, for people.
    pub kind: Option<Kind>,
    /// `--base`.
    pub base: Option<String>,
    /// `--build`: commands in place of the kind's own.
    pub build: Vec<String>,
    /// Whether `--cmd` or `--entrypoint` says what is started: then the project's files need not.
    pub command: bool,
    /// `--process`.
    pub process: Option<String>,
    /// The port that the environment names, for kinds that write it into a configuration.
    pub port: Option<u16>,
}
