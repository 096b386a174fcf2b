//! Node: package.json.

use super::processes::WEB;
use super::range::Range;
use super::{Found, Refusal, listening, owned, text};
use crate::files::Files;
use crate::plan::{Base, Build, InBase, Kind, Plan, Process};
use serde_json::Value;

const PACKAGE: &str = "package.json";

/// Release lines of Node, the preferred first: the one with long-term support that packages are tried with, then the
/// others with it from the newest, then those without. Each is a tag of the image `node`.
const VERSIONS: &[&[u32]] =
    &[&[24], &[26], &[22], &[20], &[18], &[16], &[14], &[12], &[25], &[23], &[21], &[19], &[17], &[15], &[13]];

/// Names that .nvmrc may have for release lines: <https://github.com/nodejs/Release>.
const NAMES: &[(&str, &str)] = &[
    ("node", ">=26"),
    ("stable", ">=26"),
    ("latest", ">=26"),
    ("lts/*", "*"),
    ("lts/krypton", "24"),
    ("lts/jod", "22"),
    ("lts/iron", "20"),
    ("lts/hydrogen", "18"),
    ("lts/gallium", "16"),
    ("lts/fermium", "14"),
    ("lts/erbium", "12"),
];

/// What installs packages, by its lock file.
struct Manager {
    name: &'static str,
    lock_files: &'static [&'static str],
    install: &'static [&'static str],
    prune: &'static str,
}

/// npm is the last: it is what installs where there is no lock file.
const MANAGERS: &[Manager] = &[
    Manager {
        name: "pnpm",
        lock_files: &["pnpm-lock.yaml"],
        install: &["npm install --global pnpm@VERSION", "pnpm install --frozen-lockfile"],
        prune: "pnpm prune --prod --ignore-scripts",
    },
    Manager {
        name: "yarn",
        lock_files: &["yarn.lock"],
        install: &["yarn install --frozen-lockfile"],
        prune: "yarn install --frozen-lockfile --production --ignore-scripts --prefer-offline",
    },
    Manager {
        name: "npm",
        lock_files: &["package-lock.json", "npm-shrinkwrap.json"],
        install: &["npm ci"],
        prune: "npm prune --omit=dev --ignore-scripts",
    },
];

/// Yarn from version 2 on, whose lock file has another grammar.
const BERRY: Manager = Manager {
    name: "yarn",
    lock_files: &["yarn.lock"],
    install: &[
        "npm install --global --force @yarnpkg/cli-dist@VERSION",
        "YARN_NODE_LINKER=node-modules yarn install --immutable",
    ],
    prune: "YARN_NODE_LINKER=node-modules yarn workspaces focus --production",
};

/// Files beside package.json and its lock file that decide what is installed.
const SETTINGS: &[&str] = &[".npmrc", ".yarnrc", ".yarnrc.yml", "pnpm-workspace.yaml", ".pnpmfile.cjs"];

/// Scripts that npm runs after installing, which may read any file of the project.
const INSTALLING: &[&str] = &["preinstall", "install", "postinstall", "prepare"];

pub(super) fn plan(files: &Files) -> Result<Found, Refusal> {
    let package = text::json(files, PACKAGE)?.unwrap_or_default();
    let base = Base::Image(format!("node:{}-slim", version(files, &package)?));
    let mut plan = Plan::new(Kind::Node, base);
    plan.name = string(&package, &["name"]).map(str::to_owned);
    plan.version = string(&package, &["version"]).map(str::to_owned);
    plan.env = vec![("NODE_ENV".to_owned(), "production".to_owned())];
    if has_package(&package, "dependencies", "astro") {
        plan.env.push(("HOST".to_owned(), "0.0.0.0".to_owned()));
    }
    let started = start(files, &package);
    plan.build = build(files, &package, started.as_ref(), &mut plan.warnings)?;
    let no_start = Refusal::NoStart { kind: Kind::Node, looked_for: "package.json has no scripts.start, the file that its \
        main names is not there, and neither server.js nor index.js is; if it is built into files for a web server, build \
        it and say --kind site".to_owned() };
    let none = started.is_none().then_some(no_start);
    if let Some((process, added)) = started {
        plan.warnings.extend(added.map(|added| format!("{}: {added}", process.decided_by)));
        plan.processes.insert(WEB.to_owned(), process);
    }
    Ok((plan, none))
}

/// Whether package.json has only what builds assets for a project in another language: nothing that is started, and no
/// packages but those for development.
pub(super) fn only_builds(files: &Files) -> Result<bool, Refusal> {
    let package = text::json(files, PACKAGE)?.unwrap_or_default();
    Ok(!has_packages(&package, "dependencies") && start(files, &package).is_none())
}

/// What starts it, and a sentence about what was added to it: `scripts.start`, `main`, server.js (which npm starts by
/// itself), index.js.
fn start(files: &Files, package: &Value) -> Option<(Process, Option<String>)> {
    if let Some(line) = string(package, &["scripts", "start"]) {
        let by = "scripts.start of package.json";
        return Some(script(package, line, by));
    }
    let built = build_script(package).is_some();
    let main = string(package, &["main"]).map(|main| main.trim_start_matches("./"));
    let main = main.and_then(|main| {
        let candidates = [main.to_owned(), format!("{main}.js"), format!("{}/index.js", main.trim_end_matches('/'))];
        // A file that is not there yet may be what building makes.
        candidates.into_iter().find(|file| files.has(file)).or((built && main != "index.js").then(|| main.to_owned()))
    });
    if let Some(main) = main {
        return Some((Process::words(&["node", &main], "main of package.json"), None));
    }
    let file = ["server.js", "index.js"].into_iter().find(|file| files.has(file))?;
    Some((Process::words(&["node", file], file), None))
}

/// `scripts.start`: by itself where it is `node FILE …`, so that nothing stands between the machine and the program; by a
/// shell that finds the commands of packages; by npm where other scripts belong to it.
fn script(package: &Value, line: &str, by: &str) -> (Process, Option<String>) {
    let needs_npm = ["npm", "yarn", "pnpm"].iter().any(|name| line.contains(name))
        || ["prestart", "poststart"].iter().any(|name| string(package, &["scripts", name]).is_some());
    if needs_npm {
        return (Process::words(&["npm", "start"], by), None);
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let plain = line.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" ./_-=:,@+".contains(&byte));
    if plain && words.first() == Some(&"node") {
        return (Process::words(&words, by), None);
    }
    let (line, added) = listening::everywhere(line);
    (Process::shell(format!("export PATH=\"$PWD/node_modules/.bin:$PATH\"; {line}"), by), added)
}

fn build(
    files: &Files,
    package: &Value,
    started: Option<&(Process, Option<String>)>,
    warnings: &mut Vec<String>,
) -> Result<Build, Refusal> {
    let script = build_script(package);
    let development = has_packages(package, "devDependencies");
    let packages =
        development || has_packages(package, "dependencies") || has_packages(package, "optionalDependencies");
    let build: Vec<String> = script.map(|name| format!("npm run {name}")).into_iter().collect();
    if !packages && !has_workspaces(package) {
        return Ok(if build.is_empty() { Build::None } else { Build::InBase(InBase { build, ..InBase::default() }) });
    }
    let (manager, lock_file) = manager(files, package)?;
    let mut install = if lock_file.is_some() { owned(manager.install) } else { owned(&["npm install"]) };
    if lock_file.is_none() {
        warnings.push(
            "package.json names packages, and no lock file their versions: they are what they are on the day of the build; \
             run npm install and keep package-lock.json"
                .to_owned(),
        );
    }
    let version = manager_version(package, manager);
    install.iter_mut().for_each(|line| *line = line.replace("VERSION", &version));
    let needed = started.and_then(|(process, _)| development_command(package, process));
    let prune = if development && needed.is_none() { owned(&[manager.prune]) } else { Vec::new() };
    let lock_files = lock_files(files, package, lock_file);
    let mut steps = InBase { lock_files, install, build, prune, dependencies: Some("node_modules".to_owned()) };
    if INSTALLING.iter().any(|name| string(package, &["scripts", name]).is_some()) {
        steps.build.splice(0..0, std::mem::take(&mut steps.install));
    }
    Ok(Build::InBase(steps))
}

/// The package for development whose command starts the project, `vite`: such packages are kept.
fn development_command(package: &Value, process: &Process) -> Option<String> {
    let crate::plan::Command::Shell(line) = &process.command else { return None };
    let named = |word: &str| {
        let name = if word == "ng" { "@angular/cli" } else { word };
        has_package(package, "devDependencies", name).then(|| name.to_owned())
    };
    line.split_whitespace().find_map(named)
}

/// Heroku's own name for the script comes before the common one.
fn build_script(package: &Value) -> Option<&'static str> {
    ["heroku-postbuild", "build"].into_iter().find(|name| string(package, &["scripts", name]).is_some())
}

/// What installs packages: what packageManager names, else what the one lock file belongs to.
fn manager<'a>(files: &Files, package: &Value) -> Result<(&'a Manager, Option<&'static str>), Refusal> {
    let wanted = string(package, &["packageManager"]).and_then(|said| said.split('@').next());
    let mut found = Vec::new();
    for manager in MANAGERS {
        let lock_file = manager.lock_files.iter().find(|file| files.has(file));
        found.extend(lock_file.map(|file| (manager, *file)));
    }
    let (manager, lock_file) = match (found.as_slice(), wanted) {
        ([], _) => return Ok((MANAGERS.last().unwrap_or(&BERRY), None)),
        ([only], _) => *only,
        (several, wanted) => *several.iter().find(|(manager, _)| Some(manager.name) == wanted).ok_or_else(|| {
            let names: Vec<&str> = several.iter().map(|(_, file)| *file).collect();
            let what = format!(
                "{} are lock files of different package managers: keep one of them",
                super::refusal::list(&names)
            );
            text::broken(PACKAGE, what)
        })?,
    };
    let berry = lock_file == "yarn.lock" && files.text(lock_file).is_some_and(|text| text.contains("__metadata:"));
    Ok((if berry { &BERRY } else { manager }, Some(lock_file)))
}

/// The version of the package manager that packageManager fixes, `9.1.0` of `pnpm@9.1.0+sha512.…`.
fn manager_version(package: &Value, manager: &Manager) -> String {
    let said = string(package, &["packageManager"]).and_then(|said| said.strip_prefix(manager.name)?.strip_prefix('@'));
    let version = said.and_then(|said| said.split('+').next()).unwrap_or("latest");
    let plain =
        !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
    if plain { version.to_owned() } else { "latest".to_owned() }
}

/// The files that decide which packages are installed.
fn lock_files(files: &Files, package: &Value, lock_file: Option<&str>) -> Vec<String> {
    let settings = SETTINGS.iter().copied().filter(|file| files.has(file));
    let mut names: Vec<String> = [PACKAGE].into_iter().chain(lock_file).chain(settings).map(str::to_owned).collect();
    if has_workspaces(package) || files.has("pnpm-workspace.yaml") {
        let members = files.paths().filter(|path| path.ends_with("/package.json") && !path.contains("node_modules/"));
        names.extend(members.map(str::to_owned));
    }
    names
}

/// The tag of the image `node`: by engines.node, .nvmrc, .node-version.
fn version(files: &Files, package: &Value) -> Result<String, Refusal> {
    let engines = string(package, &["engines", "node"]).map(|said| (said, "engines.node of package.json"));
    let by_file = |file: &'static str| text::first_line(files, file).map(|said| (said, file));
    let said = engines.or_else(|| by_file(".nvmrc")).or_else(|| by_file(".node-version"));
    let (said, said_by) = said.unwrap_or(("*", ""));
    let named = NAMES.iter().find(|(name, _)| said.eq_ignore_ascii_case(name)).map_or(said, |(_, range)| range);
    Range::parse(named).and_then(|range| range.tag(VERSIONS)).ok_or_else(|| Refusal::Version {
        said_by: said_by.to_owned(),
        said: said.to_owned(),
        language: "Node",
        known: "12 to 26".to_owned(),
    })
}

/// The string at this path of objects, if it is one and not blank.
fn string<'a>(package: &'a Value, path: &[&str]) -> Option<&'a str> {
    let value = path.iter().try_fold(package, |value, key| value.get(key))?;
    value.as_str().map(str::trim).filter(|text| !text.is_empty())
}

fn has_packages(package: &Value, list: &str) -> bool {
    package.get(list).and_then(Value::as_object).is_some_and(|packages| !packages.is_empty())
}

fn has_package(package: &Value, list: &str, name: &str) -> bool {
    package.get(list).is_some_and(|packages| packages.get(name).is_some())
}

fn has_workspaces(package: &Value) -> bool {
    package.get("workspaces").is_some()
}
