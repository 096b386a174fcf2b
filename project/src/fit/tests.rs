//! Dependencies made by this machine's compiler and its Python.

use super::*;
use std::fs::File;
use std::process::Command;

fn target(libc: Libc) -> Target {
    let architecture = std::env::consts::ARCH.parse().unwrap();
    let env = [("PATH", "/bin"), ("NODE_VERSION", "20.11.1"), ("PYTHON_VERSION", "3.12.1")];
    Target::of_env("some:base", architecture, libc, env)
}

/// Compiles a shared library from these lines of C.
fn library(path: &Path, code: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let source = path.with_extension("c");
    fs::write(&source, code).unwrap();
    let output = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([path, &source]).output();
    let output = output.expect("cc is missing: install gcc and libc6-dev");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::remove_file(source).unwrap();
}

/// A copy that is for the other architecture.
fn of_other_architecture(from: &Path, to: &Path) {
    let mut bytes = fs::read(from).unwrap();
    let other: u16 = if bytes[18] == 62 { 183 } else { 62 };
    bytes[18..20].copy_from_slice(&other.to_le_bytes());
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::write(to, bytes).unwrap();
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

const NAPI: &str = "#include <stdio.h>\nvoid napi_register_module_v1(void) { puts(\"x\"); }";
const GLIBC: Libc = Libc::Glibc(None);

/// A project with an empty `node_modules`.
fn modules() -> (tempfile::TempDir, PathBuf) {
    let project = tempfile::tempdir().unwrap();
    let modules = project.path().join("node_modules");
    fs::create_dir(&modules).unwrap();
    write(&modules.join("pure/index.js"), "module.exports = 1");
    (project, modules)
}

#[test]
fn variables_of_official_images_say_their_versions() {
    let target = target(GLIBC);
    assert_eq!((target.node, target.python), (Some(20), Some((3, 12))));
}

#[test]
fn pure_javascript_and_node_api_fit_every_node() {
    let (_project, modules) = modules();
    node(&modules, &target(Libc::Musl)).unwrap();
    library(&modules.join("n/build/Release/n.node"), NAPI);
    node(&modules, &target(GLIBC)).unwrap();
    let error = node(&modules, &target(Libc::Musl)).unwrap_err().to_string();
    let start =
        "node_modules/n/build/Release/n.node needs glibc, and some:base has musl: install for it (npm ci --os=linux";
    assert!(error.starts_with(start) && error.contains(" --libc=musl, "), "{error}");
}

#[test]
fn an_addon_of_another_node_is_named() {
    let (_project, modules) = modules();
    let addon = modules.join("old/build/Release/old.node");
    let of = |version: u32| format!("void node_register_module_v{version}(void) {{}}");
    library(&addon, &of(115));
    node(&modules, &target(GLIBC)).unwrap();
    library(&addon, &of(108));
    let start = "node_modules/old/build/Release/old.node is for NODE_MODULE_VERSION 108 (Node 18), and some:base has \
                 Node 20, which is 115: ";
    let error = node(&modules, &target(GLIBC)).unwrap_err().to_string();
    assert!(error.starts_with(start), "{error}");
    // Without the symbol the build's own configuration says it.
    library(&addon, "int nothing;");
    node(&modules, &target(GLIBC)).unwrap();
    write(&modules.join("old/build/config.gypi"), "# generated\n{\"variables\": {\"node_module_version\": 108}}\n");
    assert!(node(&modules, &target(GLIBC)).unwrap_err().to_string().starts_with(start));
}

#[test]
fn of_addons_for_several_platforms_one_has_to_fit() {
    let (_project, modules) = modules();
    let here = modules.join("u/prebuilds/linux-x64/node.napi.node");
    library(&here, NAPI);
    of_other_architecture(&here, &modules.join("u/prebuilds/linux-arm64/node.napi.node"));
    write(&modules.join("u/prebuilds/darwin-arm64/node.napi.node"), "\u{feff} for another system");
    node(&modules, &target(GLIBC)).unwrap();
    fs::remove_file(&here).unwrap();
    let error = node(&modules, &target(GLIBC)).unwrap_err().to_string();
    assert!(
        error.starts_with("node_modules/u/prebuilds/darwin-arm64/node.napi.node is not for Linux, and "),
        "{error}"
    );
}

#[test]
fn addons_for_other_systems_only_are_not_asked_for() {
    let (_project, modules) = modules();
    write(&modules.join("fsevents/fsevents.node"), "for macOS");
    assert!(node(&modules, &target(GLIBC)).unwrap_err().to_string().contains("fsevents.node is not for Linux"));
    write(&modules.join("fsevents/package.json"), r#"{"name": "fsevents", "os": ["darwin"]}"#);
    node(&modules, &target(GLIBC)).unwrap();
}

#[test]
fn a_newer_glibc_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let module = directory.path().join("packages/m.abi3.so");
    library(&module, "#include <stdio.h>\nvoid m(void) { puts(\"x\"); }");
    let wants = Image::read(File::open(&module).unwrap()).unwrap().glibc.unwrap();
    assert!(wants >= (2, 2), "{wants:?}");
    let packages = directory.path().join("packages");
    python(&packages, &target(Libc::Glibc(Some(wants)))).unwrap();
    let older = Libc::Glibc(Some((wants.0, wants.1 - 1)));
    let error = python(&packages, &target(older)).unwrap_err().to_string();
    let start =
        format!("packages/m.abi3.so needs glibc {}.{}, and some:base has glibc 2.{}", wants.0, wants.1, wants.1 - 1);
    assert!(error.starts_with(&start), "{error}");
}

#[test]
fn an_environment_of_this_machine_fits_its_own_python_only() {
    let project = tempfile::tempdir().unwrap();
    let venv = project.path().join(".venv");
    let output = Command::new("python3").args(["-m", "venv", "--without-pip"]).arg(&venv).output();
    let output = output.expect("python3 is missing: install python3 and python3-venv");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let version = Command::new(venv.join("bin/python"))
        .args(["-c", "import sys; print(*sys.version_info[:2], sep='.')"])
        .output();
    let version = String::from_utf8(version.unwrap().stdout).unwrap();
    let own = crate::elf::version_of(version.trim()).unwrap();
    let with = |python| Target { python: Some(python), ..target(GLIBC) };
    let found = python(&venv, &with(own)).unwrap().unwrap();
    assert_eq!(found.python, own);
    assert!(venv.join(found.packages).is_dir());
    let error = python(&venv, &with((own.0, own.1 + 1))).unwrap_err().to_string();
    let start = format!(
        ".venv/pyvenv.cfg is for Python {}.{}, and some:base has Python 3.{}: remove it",
        own.0,
        own.1,
        own.1 + 1
    );
    assert!(error.starts_with(&start), "{error}");
}

#[test]
fn modules_for_another_python_system_or_architecture_are_named() {
    let project = tempfile::tempdir().unwrap();
    let packages = project.path().join("vendor");
    write(&packages.join("pure/__init__.py"), "");
    write(&packages.join("script.so"), "/* GNU ld script */ INPUT(libx.so.1)");
    assert_eq!(python(&packages, &target(GLIBC)).unwrap(), None);
    let module = packages.join("x/x.cpython-312-x86_64-linux-gnu.so");
    library(&module, "int x;");
    python(&packages, &target(GLIBC)).unwrap();
    let error = |path: &str| {
        let path = packages.join(path);
        let error = python(&packages, &target(GLIBC)).unwrap_err().to_string();
        fs::remove_file(path).unwrap();
        error.split(", and ").next().unwrap().to_owned()
    };
    fs::copy(&module, packages.join("y.cpython-311-x86_64-linux-gnu.so")).unwrap();
    assert_eq!(
        error("y.cpython-311-x86_64-linux-gnu.so"),
        "vendor/y.cpython-311-x86_64-linux-gnu.so is for Python 3.11"
    );
    of_other_architecture(&module, &packages.join("lib.so.1"));
    let other = if cfg!(target_arch = "x86_64") { "aarch64" } else { "x86_64" };
    assert_eq!(error("lib.so.1"), format!("vendor/lib.so.1 is for {other}"));
    fs::write(packages.join("z.so"), b"\xcf\xfa\xed\xfe\x07\0\0\x01\xff").unwrap();
    assert_eq!(error("z.so"), "vendor/z.so is not for Linux");
}
