//! Builds init and the example program as static binaries, and writes the list of files that builder carries inside
//! itself: those two, the kernel's build script, and QEMU's boot script.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, exit};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_else(|| fail("cargo sets no OUT_DIR")));
    let manifest = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| fail("cargo sets no CARGO_MANIFEST_DIR"));
    let manifest = PathBuf::from(manifest);
    let workspace = manifest.parent().unwrap_or_else(|| fail("builder lies outside the workspace"));
    for input in ["init", "initramfs", "examples/hello", "kernel", "qemu", "Cargo.toml", "Cargo.lock"] {
        println!("cargo:rerun-if-changed={}", workspace.join(input).display());
    }
    println!("cargo:rerun-if-env-changed=NANOOS_LIBC");

    let programs = build_programs(workspace, &out.join("static"));
    let mut source = String::new();
    for (constant, package, what) in
        [("INIT", "nanoos-init", "PID 1."), ("HELLO", "hello", "The example: a small static HTTP server.")]
    {
        let path = programs.path(package);
        let _ = writeln!(source, "/// {what}\npub static {constant}: &[u8] = include_bytes!({path:?});");
    }
    for (constant, folder, what) in [
        ("KERNEL", "kernel", "The folder `kernel/`, which builds the kernel."),
        ("QEMU", "qemu", "The folder `qemu/`, which boots a disk."),
    ] {
        let _ = writeln!(source, "/// {what}\npub static {constant}: &[File] = &[");
        list(&workspace.join(folder), "", &mut source);
        source.push_str("];\n");
    }
    if let Err(error) = fs::write(out.join("embedded.rs"), source) {
        fail(&format!("write {}: {error}", out.join("embedded.rs").display()));
    }
}

/// What init/build.sh made.
struct Programs(String);

impl Programs {
    /// Its lines are `PACKAGE<TAB>PATH`.
    fn path(&self, package: &str) -> &str {
        let line = self.0.lines().find_map(|line| line.strip_prefix(package)?.strip_prefix('\t'));
        line.unwrap_or_else(|| fail(&format!("init/build.sh said nothing of {package}:\n{}", self.0)))
    }
}

fn build_programs(workspace: &Path, target: &Path) -> Programs {
    let script = workspace.join("init/build.sh");
    let output = Command::new("bash")
        .arg(&script)
        .args(["--arch", &env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default()])
        .arg("--target-dir")
        .arg(target)
        .args(["nanoos-init", "hello"])
        .stderr(Stdio::inherit())
        .output()
        .unwrap_or_else(|error| fail(&format!("start bash {}: {error}", script.display())));
    if !output.status.success() {
        fail(&format!("{} ended with {}: its messages are above", script.display(), output.status));
    }
    let programs = Programs(String::from_utf8_lossy(&output.stdout).into_owned());
    if programs.path("flavour") == "glibc" {
        // So that following the advice below has an effect: both change when a musl toolchain comes.
        for path in [sysroot().join("lib/rustlib/components"), PathBuf::from("/var/lib/dpkg/status")] {
            if path.exists() {
                println!("cargo:rerun-if-changed={}", path.display());
            }
        }
        println!(
            "cargo:warning=init is linked with glibc and about twice its size: \
             rustup target add {}-unknown-linux-musl, or on Debian apt-get install rustc-web rust-web-src musl-dev",
            env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default()
        );
    }
    programs
}

/// Where the compiler's own libraries lie; empty if it does not say.
fn sysroot() -> PathBuf {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).args(["--print", "sysroot"]).output();
    output.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())).unwrap_or_default()
}

/// Lists a folder's files, sorted, as items of a `&[File]`. Its own tests are of no use to who runs it.
fn list(folder: &Path, below: &str, source: &mut String) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| fail(&format!("list {}: {error}", folder.display())));
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    for path in paths {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if name.starts_with('.') || name == "tests" {
            continue;
        }
        let shown = format!("{below}{name}");
        if path.is_dir() {
            list(&path, &format!("{shown}/"), source);
            continue;
        }
        let mode = path.metadata().map(|metadata| metadata.permissions().mode()).unwrap_or_default();
        let _ = writeln!(
            source,
            "    File {{ path: {shown:?}, executable: {}, content: include_bytes!({:?}) }},",
            mode & 0o111 != 0,
            path.display().to_string()
        );
    }
}

/// A build script reports by what it prints and how it ends.
fn fail(message: &str) -> ! {
    eprintln!("builder's build script: {message}");
    exit(1);
}
