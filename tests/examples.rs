//! Each project of `examples/`, and payloads made of them, as people use them: `builder create` makes a disk on the
//! base it asks for, the disk is booted until its page is right, and the power button ends it.

use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use tests::process::{run, tool};
use tests::registry::Registry;
use tests::vm::{Options, Vm};
use tests::{bases, workspace};

/// How long the boot may take: a Java machine starts under emulation, on a busy host.
const PATIENCE: Duration = Duration::from_secs(300);
/// From the button to the power-off: less than the 10 s after which a program that ignores the stop signal is killed.
/// Two seconds are promised for an idle machine; what it took is printed.
const STOP: Duration = Duration::from_secs(8);
/// The port of every project that says none.
const PORT: u16 = 8080;

/// A project or payload, and what its machine answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Example {
    /// Of the test, after `example-`.
    pub(crate) name: &'static str,
    /// The directory of `examples/`.
    directory: &'static str,
    /// Makes of a copy of the directory what is given to `builder create`, by its path there.
    make: Option<fn(&Path) -> Result<&'static str>>,
    /// The image that it is built on.
    base: Option<&'static str>,
    /// User data, without which it does not start.
    config: Option<&'static str>,
    /// What its page has.
    page: &'static str,
}

const PLAIN: Example = Example { name: "", directory: "", make: None, base: None, config: None, page: "" };
const PYTHON: Option<&str> = Some("python:3.11-slim");

/// All of them.
pub(crate) const ALL: &[Example] = &[
    Example {
        name: "django",
        directory: "django",
        base: PYTHON,
        config: Some("SECRET_KEY=of-the-instance"),
        page: "Hello from Django",
        ..PLAIN
    },
    Example { name: "flask", directory: "flask", base: PYTHON, page: "Hello from Flask", ..PLAIN },
    Example { name: "node", directory: "node", base: Some("node:18-slim"), page: "Hello from Node 18.", ..PLAIN },
    Example { name: "other", directory: "other", base: PYTHON, page: "Hello from a page that was generated", ..PLAIN },
    Example { name: "rust", directory: "rust", page: "Hello from Rust", ..PLAIN },
    Example { name: "go", directory: "go", page: "Hello from Go", ..PLAIN },
    Example {
        name: "maven",
        directory: "java",
        base: Some("eclipse-temurin:17-jre"),
        page: "Hello from Java",
        ..PLAIN
    },
    Example {
        name: "jar",
        directory: "java",
        make: Some(jar),
        base: Some("eclipse-temurin:17-jre"),
        page: "Hello from Java",
        ..PLAIN
    },
    Example {
        name: "war",
        directory: "war",
        make: Some(war),
        base: Some("tomcat:10.1-jre17"),
        page: "Hello from a servlet",
        ..PLAIN
    },
    Example {
        name: "site",
        directory: "site",
        base: Some("nginx:stable-alpine"),
        page: "Hello from a static site",
        ..PLAIN
    },
    Example { name: "elf", directory: "c", make: Some(dynamic), page: "Hello from C", ..PLAIN },
    Example { name: "elf-static", directory: "c", make: Some(fixed), page: "Hello from C", ..PLAIN },
    Example { name: "dockerfile", directory: "go", make: Some(dockerfile), page: "Hello from Go", ..PLAIN },
    Example {
        name: "archive",
        directory: "node",
        make: Some(archive),
        base: Some("node:18-slim"),
        page: "Hello from Node 18.",
        ..PLAIN
    },
];

/// The test, for `boot.rs`.
pub(crate) fn check(example: &Example) -> Result<()> {
    let directory = tempfile::Builder::new().prefix("nanoos-example.").tempdir().context("make a directory")?;
    let project = directory.path().join(example.directory);
    let source = workspace::root().join("examples").join(example.directory);
    run(tool("cp", "coreutils")?.arg("-a").arg(source).arg(&project))?;
    let path = example.make.map_or(Ok("."), |make| make(&project))?;
    let disk = directory.path().join("disk.raw");
    let registry = example.base.map(serve).transpose()?;
    let mut create = tool(workspace::builder()?, "nothing: it is the workspace's own")?;
    create.arg("create").arg(path).arg("-o").arg(&disk).current_dir(&project);
    // Credentials of the person who runs the tests are no part of them.
    create.env("DOCKER_CONFIG", directory.path());
    if let Some(registry) = &registry {
        create.args(["--image-src", "registry", "--registry-mirror", &registry.url()]);
    }
    // Debian's Maven has its plugins beside it, and no other repository is reached.
    let home = directory.path().join("maven");
    fs::create_dir_all(home.join(".m2")).context("make a directory")?;
    fs::write(home.join(".m2/settings.xml"), MAVEN_SETTINGS).context("write Maven's settings")?;
    create.env("MAVEN_OPTS", format!("-Duser.home={}", home.display()));
    run(&mut create)?;
    boots(example, &disk)
}

/// A registry that has the base.
fn serve(base: &str) -> Result<Registry> {
    let registry = Registry::start()?;
    registry.push(&bases::layout(base)?, &format!("library/{base}"))?;
    Ok(registry)
}

fn boots(example: &Example, disk: &Path) -> Result<()> {
    let config = example.config.map(str::to_owned);
    let options = Options { ports: vec![PORT], memory: Some(768), config, ..Options::default() };
    let mut vm = Vm::boot(disk, &options)?;
    let result = answers_and_stops(example, &mut vm);
    result.map_err(|error| anyhow::anyhow!("{error:#}\n\nconsole of the machine:\n{}", vm.console().transcript()))
}

fn answers_and_stops(example: &Example, vm: &mut Vm) -> Result<()> {
    let start = Instant::now();
    let response = vm.wait_for_http(PORT, "/", PATIENCE)?;
    let (body, answered) = (String::from_utf8_lossy(&response.body), start.elapsed());
    ensure!(response.status == 200 && body.contains(example.page), "it answers {} with {body:?}", response.status);
    vm.press_power_button()?;
    let pressed = Instant::now();
    vm.wait_for_power_off(STOP)?;
    println!(
        "{}: answered after {:.1} s, off {:.1} s after the button",
        example.name,
        answered.as_secs_f64(),
        pressed.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Debian's repository of Maven, alone.
const MAVEN_SETTINGS: &str = "<settings><localRepository>/usr/share/maven-repo</localRepository><offline>true</offline>\
                              </settings>\n";

/// `javac` and `jar`, by hand.
fn jar(project: &Path) -> Result<&'static str> {
    javac(project, &["--release", "17", "-d", "classes", "src/main/java/Hello.java"])?;
    let words = ["--create", "--file", "hello.jar", "--main-class", "Hello", "-C", "classes", "."];
    run(tool("jar", "openjdk-17-jdk-headless")?.args(words).current_dir(project))?;
    Ok("./hello.jar")
}

/// A servlet of its source's first line.
fn war(project: &Path) -> Result<&'static str> {
    let servlets = "/usr/share/java/tomcat10-servlet-api.jar";
    javac(project, &["--release", "17", "-cp", servlets, "-d", "WEB-INF/classes", "src/Hello.java"])?;
    let words = ["--create", "--file", "hello.war", "WEB-INF"];
    run(tool("jar", "openjdk-17-jdk-headless")?.args(words).current_dir(project))?;
    Ok("./hello.war")
}

fn javac(project: &Path, words: &[&str]) -> Result<()> {
    run(tool("javac", "openjdk-17-jdk-headless")?.args(words).current_dir(project))?;
    Ok(())
}

fn dynamic(project: &Path) -> Result<&'static str> {
    cc(project, &[])
}

fn fixed(project: &Path) -> Result<&'static str> {
    cc(project, &["-static"])
}

fn cc(project: &Path, more: &[&str]) -> Result<&'static str> {
    run(tool("cc", "gcc")?.args(["-O2", "-o", "hello", "hello.c"]).args(more).current_dir(project))?;
    Ok("./hello")
}

/// An image that an engine builds from nothing. Its program is PID 1, as an image's is: Go's programs end on SIGTERM
/// even so.
fn dockerfile(project: &Path) -> Result<&'static str> {
    let mut go = tool("go", "golang-go")?;
    run(go.args(["build", "-o", "hello", "."]).env("CGO_ENABLED", "0").current_dir(project))?;
    let text = "FROM scratch\nCOPY hello /hello\nENV PORT=8080\nCMD [\"/hello\"]\n";
    fs::write(project.join("Dockerfile"), text).context("write a Dockerfile")?;
    Ok(".")
}

fn archive(project: &Path) -> Result<&'static str> {
    let files = ["Procfile", "package.json", "server.js", "worker.js"];
    run(tool("tar", "tar")?.args(["-czf", "../shop-1.0.tar.gz"]).args(files).current_dir(project))?;
    Ok("../shop-1.0.tar.gz")
}
