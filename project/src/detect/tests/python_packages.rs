//! Python: which packages are installed.

use super::{Texts, plan};
use crate::plan::{Build, PythonBuild};

#[track_caller]
fn packages(files: Texts) -> (PythonBuild, Vec<String>) {
    let found = plan(&[&[("main.py", "")][..], files].concat());
    match found.build {
        Build::Python(build) => (build, found.warnings),
        build => panic!("{build:?}"),
    }
}

#[test]
fn requirements_and_the_files_that_they_name() {
    let (build, _) = packages(&[
        ("requirements.txt", "-r requirements/base.txt\nflask\n"),
        ("requirements/base.txt", "-c ../pins.txt\n-r base.txt\n"),
        ("pins.txt", "flask==3.0\n"),
        ("uv.lock", "[[package]]\nname = 'flask'\nversion = '2.0'\n"),
    ]);
    assert_eq!(build.packages, ["-r", "requirements.txt"]);
    assert_eq!(build.lock_files, ["pins.txt", "requirements.txt", "requirements/base.txt"]);
    assert!(build.constraints.is_empty(), "requirements.txt is not the lock file's");
    let (build, _) = packages(&[
        ("requirements.txt", "-rbase.txt\n--requirement=more.txt\n"),
        ("base.txt", "six\n"),
        ("more.txt", ""),
    ]);
    assert_eq!(
        (&build.lock_files[..], build.local),
        (&["base.txt", "more.txt", "requirements.txt"].map(str::to_owned)[..], false)
    );
}

#[test]
fn packages_by_a_path_are_decided_by_all_files() {
    for line in [".", "./lib", "-e .", "--editable=lib", "a @ file:///srv/a", "/srv/a"] {
        let (build, _) = packages(&[("requirements.txt", &format!("flask\n{line}\n"))]);
        assert!(build.local, "{line}");
    }
}

#[test]
fn a_project_and_its_lock_file() {
    let project = "[project]\nname = 'shop'\nversion = '1.0'\nrequires-python = '>=3.11'\n\
                   dependencies = ['flask>=3', 'tomli; python_version < \"3.11\"', '--index-url=x']\n\
                   [dependency-groups]\ndev = ['pytest']\n";
    let lock = "[[package]]\nname = 'shop'\nversion = '1.0'\nsource = { editable = '.' }\n\
                [[package]]\nname = 'Flask'\nversion = '3.0.3'\nsource = { registry = 'https://pypi.org/simple' }\n\
                [[package]]\nname = 'numpy'\nversion = '1.26.4'\n\
                [[package]]\nname = 'numpy'\nversion = '2.1.0'\n\
                [[package]]\nname = 'odd'\nversion = '1; evil'\n";
    let (build, _) = packages(&[("pyproject.toml", project), ("uv.lock", lock)]);
    assert_eq!(build.packages, ["flask>=3", "tomli; python_version < \"3.11\""]);
    assert_eq!(build.constraints, ["flask==3.0.3"]);
    assert_eq!(build.lock_files, ["pyproject.toml", "uv.lock"]);
    assert_eq!(build.python, "3.13");

    let dynamic = "[project]\nname = 'shop'\ndynamic = ['dependencies']\n";
    assert_eq!(packages(&[("pyproject.toml", dynamic)]).0.packages, ["."]);
}

#[test]
fn poetry() {
    let project = "[tool.poetry]\nname = 'shop'\nversion = '2'\n[tool.poetry.dependencies]\npython = '^3.12'\nflask = '^3.0'\n\
                   uvicorn = { version = '*', extras = ['standard'] }\nextra = { version = '1', optional = true }\n\
                   own = { path = '../own' }\nhead = { git = 'https://example.com/h.git', rev = 'abc' }\n";
    let lock = "[[package]]\nname = 'flask'\nversion = '3.1.0'\n\
                [[package]]\nname = 'head'\nversion = '1'\nsource = { type = 'git', url = 'x' }\n\
                [[package]]\nname = 'private'\nversion = '4'\nsource = { type = 'legacy', url = 'x' }\n";
    let (build, warnings) = packages(&[("pyproject.toml", project), ("poetry.lock", lock)]);
    assert_eq!(build.packages, ["flask>=3.0,<4", "head @ git+https://example.com/h.git@abc", "uvicorn[standard]"]);
    assert_eq!(build.constraints, ["flask==3.1.0", "private==4"]);
    assert_eq!(warnings, ["own of pyproject.toml is a directory or file of this machine, and is not installed"]);
}

#[test]
fn pipenv() {
    let pipfile = "[packages]\nflask = '*'\nrequests = '>=2.30'\nwaitress = { version = '==3.0', markers = \"os_name == 'posix'\" }\n\
                   [dev-packages]\npytest = '*'\n";
    let lock = r#"{"default":{"flask":{"version":"==3.0.3"},"odd":{}},"develop":{"pytest":{"version":"==8"}}}"#;
    let (build, _) = packages(&[("Pipfile", pipfile), ("Pipfile.lock", lock)]);
    assert_eq!(build.packages, ["flask", "requests>=2.30", "waitress==3.0 ; os_name == 'posix'"]);
    assert_eq!(build.constraints, ["flask==3.0.3"]);
    assert_eq!(build.lock_files, ["Pipfile", "Pipfile.lock"]);
}
