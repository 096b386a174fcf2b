//! How a project of Python is started: Django, FastAPI, Starlette, Flask, or a lone program.

use super::packages::Packages;
use crate::files::Files;
use crate::plan::Process;

/// Where a start was looked for, for people.
pub(super) const LOOKED_FOR: &str = "there is no manage.py that names settings with a WSGI module, no file that makes an \
    application of FastAPI, Starlette or Flask, no main.py and no app.py";

/// Names of files in which an application is looked for first.
const LIKELY: &[&str] = &["main", "app", "wsgi", "asgi", "api", "server", "application", "run", "__init__"];

/// Directories that hold no application.
const STRANGE: &[&str] =
    &["tests", "test", "docs", "examples", "migrations", "node_modules", "venv", "env", "build", "dist"];

/// What Django and its settings ask for while static files are collected; no machine has it.
const THROW_AWAY: &str = "SECRET_KEY=only-for-collectstatic DJANGO_SECRET_KEY=only-for-collectstatic";

/// A process, and the package that starts it where nothing lists it.
pub(super) struct Web {
    pub(super) process: Process,
    pub(super) needs: Option<String>,
    /// What the user should know where nothing lists the framework.
    pub(super) warning: Option<String>,
}

/// A web framework, and the server that runs its applications.
struct Framework {
    package: &'static str,
    class: &'static str,
    server: Server,
}

#[derive(Clone, Copy)]
enum Server {
    Gunicorn,
    Uvicorn,
}

const FRAMEWORKS: &[Framework] = &[
    Framework { package: "fastapi", class: "FastAPI", server: Server::Uvicorn },
    Framework { package: "starlette", class: "Starlette", server: Server::Uvicorn },
    Framework { package: "flask", class: "Flask", server: Server::Gunicorn },
];

/// What starts the project, if anything does.
pub(super) fn start(files: &Files, packages: &Packages) -> Option<Web> {
    if let Some(module) = django(files) {
        let by = "the settings that manage.py names";
        return Some(served(Server::Gunicorn, &module, false, packages, by));
    }
    let modules = modules(files);
    let framework = FRAMEWORKS.iter().find_map(|framework| {
        let found = modules.iter().find_map(|(path, text)| Some((path, application(text, framework)?)));
        found.map(|(path, name)| (framework, *path, name))
    });
    if let Some((framework, path, name)) = framework {
        let (source, rest) = path.strip_prefix("src/").map_or((false, path), |rest| (true, rest));
        let module = rest.trim_end_matches(".py").trim_end_matches("/__init__").replace('/', ".");
        let by = format!("{} in {path}", framework.class);
        let listed = packages.has(framework.package) || framework.package == "starlette" && packages.has("fastapi");
        let warning = format!(
            "{path} makes an application of {}, and nothing lists the package {}: write it into requirements.txt",
            framework.class, framework.package
        );
        let served = served(framework.server, &format!("{module}:{name}"), source, packages, &by);
        return Some(Web { warning: (!listed).then_some(warning), ..served });
    }
    let script = ["main.py", "app.py"].into_iter().find(|file| files.has(file))?;
    Some(Web { process: Process::words(&["python", script], script), needs: None, warning: None })
}

/// An application behind its server; `source` says that its modules lie in src/.
fn served(server: Server, application: &str, source: bool, packages: &Packages, by: &str) -> Web {
    match server {
        // It listens at 0.0.0.0:$PORT by itself where PORT is set.
        Server::Gunicorn => {
            let mut words = vec!["python", "-m", "gunicorn"];
            words.extend(source.then_some(["--pythonpath", "src"]).into_iter().flatten());
            words.push(application);
            let needs = (!packages.has("gunicorn")).then(|| "gunicorn".to_owned());
            Web { process: Process::words(&words, by), needs, warning: None }
        }
        Server::Uvicorn => {
            let source = if source { " --app-dir src" } else { "" };
            let line = format!("exec python -m uvicorn {application}{source} --host 0.0.0.0 --port $PORT");
            let listed = packages.has("uvicorn") || packages.has_extra("fastapi", &["standard", "all"]);
            let needs = (!listed).then(|| "uvicorn".to_owned());
            Web { process: Process::shell(line, by), needs, warning: None }
        }
    }
}

/// Modules in which an application may be made: likely names and short paths first.
fn modules(files: &Files) -> Vec<(&str, &str)> {
    let ordinary = |part: &str| {
        part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && !part.starts_with(|c: char| c.is_ascii_digit())
            && !STRANGE.contains(&part)
    };
    let is_module = |path: &&str| {
        let stem = path.strip_suffix(".py");
        stem.is_some_and(|stem| stem.split('/').count() <= 4 && stem.split('/').all(ordinary))
    };
    let mut modules: Vec<(&str, &str)> =
        files.paths().filter(is_module).filter_map(|path| Some((path, files.text(path)?))).collect();
    let rank = |path: &str| {
        let stem = path.rsplit('/').next().unwrap_or(path).trim_end_matches(".py");
        let likely = LIKELY.iter().position(|name| *name == stem).unwrap_or(LIKELY.len());
        (path.split('/').count(), likely)
    };
    modules.sort_by_key(|(path, _)| rank(path));
    modules
}

/// The variable of a module that holds an application of this framework, or the call of the function that makes one.
fn application(text: &str, framework: &Framework) -> Option<String> {
    let imports = |line: &&str| line.starts_with("from ") || line.starts_with("import ");
    let mut factory = None;
    let mentioned =
        text.lines().any(|line| line.contains(framework.class) || imports(&line) && line.contains(framework.package));
    for line in text.lines() {
        match assigned(line) {
            Some((name, called)) if called == framework.class => return Some(name.to_owned()),
            Some((name, "create_app" | "make_app")) if framework.class == "Flask" => return Some(name.to_owned()),
            _ => {}
        }
        let makes = ["create_app", "make_app"].into_iter().find(|name| line.starts_with(&format!("def {name}(")));
        factory = factory.or(makes.filter(|_| mentioned));
    }
    factory.filter(|_| framework.class == "Flask").map(|name| format!("{name}()"))
}

/// The variable that a line at the left margin sets, and the function or class that makes its value: `app` and `Flask` of
/// `app: Flask = flask.Flask(__name__)`.
fn assigned(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once('=')?;
    let name = name.split(':').next().unwrap_or(name).trim_end();
    let (called, _) = value.trim_start().split_once('(')?;
    let identifier = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    identifier.then_some((name, called.rsplit('.').next().unwrap_or(called)))
}

/// The WSGI application of a Django project, `site.wsgi` or `site.wsgi:application`: what the settings that manage.py
/// names say, else wsgi.py beside the settings or above them.
fn django(files: &Files) -> Option<String> {
    let settings = settings(files)?;
    let said = settings_texts(files, &settings).find_map(|text| {
        let line = text.lines().find(|line| line.starts_with("WSGI_APPLICATION"))?;
        let (module, variable) = quoted(line)?.rsplit_once('.')?;
        Some(format!("{module}:{variable}"))
    });
    if let Some(said) = said {
        let path = said.split(':').next().unwrap_or_default().replace('.', "/");
        if files.has(&format!("{path}.py")) {
            return Some(said);
        }
    }
    let parts: Vec<&str> = settings.split('.').collect();
    (0..parts.len()).rev().find_map(|length| {
        let package = parts.get(..length)?;
        let path: Vec<&str> = package.iter().copied().chain(["wsgi.py"]).collect();
        let module: Vec<&str> = package.iter().copied().chain(["wsgi"]).collect();
        files.has(&path.join("/")).then(|| format!("{}:application", module.join(".")))
    })
}

/// The module of settings that manage.py names: `site.settings`.
fn settings(files: &Files) -> Option<String> {
    let line = files
        .text("manage.py")?
        .lines()
        .find(|line| line.contains("\"DJANGO_SETTINGS_MODULE\"") || line.contains("'DJANGO_SETTINGS_MODULE'"))?;
    let (_, after) = line.split_once("DJANGO_SETTINGS_MODULE")?;
    let module = quoted(after.get(1..)?)?;
    let plain = module.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._".contains(&byte));
    (plain && !module.is_empty()).then(|| module.to_owned())
}

/// The texts of the settings: the module's own, and, where it lies in a package of settings, those beside it.
fn settings_texts<'a>(files: &'a Files, settings: &str) -> impl Iterator<Item = &'a str> {
    let path = settings.replace('.', "/");
    let package = path.rsplit_once('/').map(|(package, _)| format!("{package}/"));
    let own = format!("{path}.py");
    let beside = move |path: &&str| {
        let of_package = package.as_ref().filter(|package| package.ends_with("settings/"));
        **path == *own || of_package.is_some_and(|package| path.starts_with(package.as_str()) && path.ends_with(".py"))
    };
    files.paths().filter(beside).filter_map(|path| files.text(path))
}

/// What collects Django's static files, where its settings say to which directory.
pub(super) fn collect_static(files: &Files) -> Vec<String> {
    let has_root = |text: &str| text.lines().any(|line| line.starts_with("STATIC_ROOT"));
    let wanted = settings(files).is_some_and(|settings| settings_texts(files, &settings).any(has_root));
    if wanted { vec![format!("{THROW_AWAY} python manage.py collectstatic --noinput")] } else { Vec::new() }
}

/// The first quoted text of a line.
fn quoted(line: &str) -> Option<&str> {
    let start = line.find(['"', '\''])?;
    let quote = line.get(start..)?.chars().next()?;
    line.get(start + 1..)?.split(quote).next()
}
