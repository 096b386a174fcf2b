//! Tables of projects, and what they become.

mod go;
mod java;
mod kinds;
mod node;
mod processes;
mod python;
mod python_packages;
mod rust;
mod site;

use super::detect;
use crate::files::Files;
use crate::plan::{Base, Command, InBase, Plan, Wishes};
use crate::plan::{Build, HostBuild};

type Texts<'a> = &'a [(&'a str, &'a str)];

/// What files of these names and texts become.
#[track_caller]
fn plan(files: Texts) -> Plan {
    plan_of(files, &Wishes::default(), &[])
}

#[track_caller]
fn plan_of(files: Texts, wishes: &Wishes, procfile: Texts) -> Plan {
    try_plan(files, wishes, procfile).unwrap_or_else(|refusal| panic!("refused: {refusal}"))
}

/// The words of the refusal of these files.
#[track_caller]
fn refusal(files: Texts) -> String {
    refusal_of(files, &Wishes::default(), &[])
}

#[track_caller]
fn refusal_of(files: Texts, wishes: &Wishes, procfile: Texts) -> String {
    match try_plan(files, wishes, procfile) {
        Ok(plan) => panic!("not refused: {plan:?}"),
        Err(refusal) => refusal,
    }
}

fn try_plan(files: Texts, wishes: &Wishes, procfile: Texts) -> Result<Plan, String> {
    let procfile: Vec<_> = procfile.iter().map(|(name, line)| ((*name).to_owned(), (*line).to_owned())).collect();
    let procfile = (!procfile.is_empty()).then_some(procfile.as_slice());
    detect(&Files::of(files.iter().copied()), wishes, procfile).map_err(|refusal| refusal.to_string())
}

/// The command of the process that is started, its words separated by spaces.
#[track_caller]
fn started(plan: &Plan) -> String {
    match &plan.processes.get(&plan.process).expect("a process is started").command {
        Command::Shell(line) => format!("sh: {line}"),
        Command::Words(words) => words.join(" "),
    }
}

#[track_caller]
fn base(plan: &Plan) -> &str {
    match &plan.base {
        Base::Image(image) => image,
        base => panic!("{base:?}"),
    }
}

#[track_caller]
fn in_base(plan: &Plan) -> &InBase {
    match &plan.build {
        Build::InBase(build) => build,
        build => panic!("{build:?}"),
    }
}

#[track_caller]
fn host(plan: &Plan) -> &HostBuild {
    match &plan.build {
        Build::Host(build) => build,
        build => panic!("{build:?}"),
    }
}

/// Texts of the kinds of files that detection reads, whole and damaged.
const TEXTS: &[&str] = &[
    "",
    "{",
    "[]",
    r#"{"scripts":{"start":"vite"},"main":"./","engines":{"node":"^"},"dependencies":{"a":1},"workspaces":[]}"#,
    r#"{"scripts":{"start":"node a b","build":"b"},"devDependencies":{"vite":"1"},"packageManager":"yarn@"}"#,
    "[project]\ndependencies = ['fastapi[standard]', '']\nrequires-python = '>=3.9,<'\n",
    "[tool.poetry.dependencies]\npython = '^3'\nflask = '^'\nx = { git = '' }\n[packages]\n'' = '*'\n",
    "[package]\nname = 'a'\ndefault-run = 'b'\n[[bin]]\nname = 'b'\npath = 'src/bin/'\n[workspace]\nmembers = ['*', 'é*']\n",
    "[[package]]\nname = '-'\nversion = ''\n",
    "<project><modules><module/><module>é</module></modules><properties><java.version>${java.version}</java.version></properties></project>",
    "module é\ngo \npackage main\n",
    "os.environ.setdefault('DJANGO_SETTINGS_MODULE', '.')\nWSGI_APPLICATION = '\nSTATIC_ROOT",
    "app: = FastAPI(\n= Flask(\ndef create_app(\nimport Flask",
    "-r requirements.txt\n-r ../../x\n--requirement\n",
    "__metadata:\n\u{feff}",
];

/// Names of files that detection knows.
const NAMES: &[&str] = &[
    "Dockerfile",
    "package.json",
    "package-lock.json",
    "yarn.lock",
    "pnpm-lock.yaml",
    ".nvmrc",
    "server.js",
    "requirements.txt",
    "pyproject.toml",
    "Pipfile",
    "Pipfile.lock",
    "uv.lock",
    "poetry.lock",
    ".python-version",
    "runtime.txt",
    "manage.py",
    "main.py",
    "src/main.py",
    "a/__init__.py",
    "pom.xml",
    "é/pom.xml",
    "gradlew",
    "build.gradle",
    "settings.gradle",
    "app.jar",
    "app.war",
    "go.mod",
    "go.work",
    "main.go",
    "cmd/a/main.go",
    "Cargo.toml",
    "a/Cargo.toml",
    "src/main.rs",
    "src/bin/b.rs",
    "src/bin/.rs",
    "index.html",
    "dist/index.html",
    "db.sqlite3",
    "system.properties",
    "a",
    "/",
    "",
];

proptest::proptest! {
    /// Whatever lies in a project, it becomes a plan whose process is one of its own, or a sentence.
    #[test]
    fn detection_never_panics(
        known in proptest::collection::vec((0..NAMES.len(), 0..TEXTS.len()), 0..8),
        strange in proptest::collection::vec(("[a-z./é]{0,12}", ".{0,40}"), 0..3),
        kind in 0..20_usize,
        command in proptest::bool::ANY,
        process in proptest::option::of("web|a|"),
        base in proptest::option::of("python:3|python:3.1é|:|"),
        procfile in proptest::collection::vec(("web|worker|release", ".{0,30}"), 0..3),
    ) {
        let mut files = Files::of(known.iter().map(|&(name, text)| (NAMES[name], TEXTS[text])));
        for (name, text) in &strange {
            if text.len() % 3 == 0 { files.add(name) } else { files = with(&files, name, text) }
        }
        let kind = crate::plan::Kind::ALL.get(kind).copied();
        let wishes = Wishes { kind, base, command, process, ..Wishes::default() };
        match detect(&files, &wishes, Some(&procfile)) {
            Ok(plan) => proptest::prop_assert!(plan.process.is_empty() || plan.processes.contains_key(&plan.process)),
            Err(refusal) => proptest::prop_assert!(!refusal.to_string().is_empty()),
        }
    }
}

fn with(files: &Files, name: &str, text: &str) -> Files {
    let known: Vec<(&str, &str)> = files.paths().filter_map(|path| Some((path, files.text(path)?))).collect();
    Files::of(known.into_iter().chain([(name, text)]))
}
