//! Java: pom.xml, Gradle's files, a jar or a war.

use super::{Found, Refusal, kind, missing, owned, text};
use crate::files::Files;
use crate::plan::{Artifact, Base, Build, HostBuild, Kind, Plan};
use roxmltree::{Document, Node};

/// Releases of Java with long-term support, which have an image of a runtime: `eclipse-temurin:21-jre`.
const RUNTIMES: &[u32] = &[8, 11, 17, 21, 25];

/// The runtime where nothing says a version.
const RUNTIME: u32 = 21;

/// The plan of a jar or a war, or of what builds one. How it is started its own bytes say, which are not read here.
pub(super) fn plan(files: &Files, kind: Kind, port: u16) -> Result<Found, Refusal> {
    let mut plan = Plan::new(kind, Base::Image(runtime(RUNTIME)));
    let script = ["build.gradle", "build.gradle.kts", "gradlew"].into_iter().find(|file| files.has(file));
    let no_start = match script {
        _ if files.has("pom.xml") => {
            maven(files, &mut plan)?;
            None
        }
        Some(script) => {
            gradle(files, script, &mut plan)?;
            None
        }
        None => lone(files, &mut plan),
    };
    if spring(files) {
        plan.env.push(("SERVER_PORT".to_owned(), port.to_string()));
    }
    Ok((plan, no_start))
}

/// A jar or a war that is there already; the refusal of a project that has none or several, and no Procfile.
fn lone(files: &Files, plan: &mut Plan) -> Option<Refusal> {
    let war = plan.kind == Kind::War;
    if war {
        plan.base = Base::Image(tomcat(10, RUNTIME));
    }
    let archives = kind::archives(files, &[if war { ".war" } else { ".jar" }]);
    match archives.as_slice() {
        [] if war => Some(missing(plan.kind, "war, pom.xml, build.gradle or gradlew")),
        [] => Some(missing(plan.kind, "jar, pom.xml, build.gradle or gradlew")),
        [file] => {
            plan.build = Build::Ready(file.clone());
            None
        }
        _ => Some(Refusal::SeveralFiles(archives)),
    }
}

fn runtime(version: u32) -> String {
    format!("eclipse-temurin:{version}-jre")
}

/// Tomcat 9 runs what is written for javax.servlet, 10.1 what is written for jakarta.servlet.
fn tomcat(major: u32, java: u32) -> String {
    format!("tomcat:{}-jre{java}", if major == 9 { "9.0" } else { "10.1" })
}

/// The oldest runtime that runs what is compiled for a version; that version itself where none is known.
fn runs(version: u32) -> u32 {
    RUNTIMES.iter().copied().find(|&known| known >= version).unwrap_or(version)
}

fn maven(files: &Files, plan: &mut Plan) -> Result<(), Refusal> {
    let pom = text::text(files, "pom.xml")?.unwrap_or_default();
    let document = parsed(pom).map_err(|what| text::broken("pom.xml", what))?;
    let root = document.root_element();
    plan.name = value(root, &["artifactId"]);
    plan.version = value(root, &["version"]).or_else(|| value(root, &["parent", "version"]));
    let version = runs(maven_version(root).or_else(|| said(files)).unwrap_or(RUNTIME));
    let (module, packaging) = module(files, root)?;
    packed(plan, packaging.as_deref() == Some("war"), pom, version);
    plan.left_out = owned(&["target"]);
    let program = if files.has("mvnw") { "./mvnw" } else { "mvn" };
    plan.build = Build::Host(HostBuild {
        argv: owned(&[program, "--batch-mode", "-DskipTests", "package"]),
        env: Vec::new(),
        result: Artifact::Archive(format!("{module}target")),
        advice: advice("Maven", version),
    });
    Ok(())
}

/// What the archive of a build runs on, as far as the build's own text says.
fn packed(plan: &mut Plan, war: bool, text: &str, version: u32) {
    plan.kind = if war || plan.kind == Kind::War { Kind::War } else { Kind::Java };
    let javax = text.contains("javax.servlet") && !text.contains("jakarta.");
    plan.base = Base::Image(match plan.kind {
        Kind::War if javax => tomcat(9, version),
        Kind::War => tomcat(10, version.max(11)),
        _ => runtime(version),
    });
}

fn advice(tool: &str, version: u32) -> String {
    format!(
        "{tool} or a JDK of version {version} or newer is not there: install it, or build elsewhere and name the archive: \
         builder ./APP.jar"
    )
}

/// A document of XML. Entities of its own are refused, as they can grow without bound.
fn parsed(text: &str) -> Result<Document<'_>, String> {
    Document::parse(text).map_err(|error| format!("this is no XML: {error}"))
}

/// The directory of the module that makes the archive, with a slash at its end, and how it is packed.
///
/// A pom.xml of several modules makes none itself: the module is the only one that a plugin makes startable, or that is
/// packed as a war.
fn module(files: &Files, root: Node<'_, '_>) -> Result<(String, Option<String>), Refusal> {
    let modules: Vec<&str> = child(root, "modules")
        .into_iter()
        .flat_map(|list| list.children())
        .filter_map(|module| module.text())
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect();
    if modules.is_empty() {
        return Ok((String::new(), value(root, &["packaging"])));
    }
    let mut found = Vec::new();
    for module in modules {
        let path = format!("{}/pom.xml", module.trim_end_matches('/'));
        let Some(text) = text::text(files, &path)? else { continue };
        let document = parsed(text).map_err(|what| text::broken(&path, what))?;
        let packaging = value(document.root_element(), &["packaging"]);
        let startable = ["spring-boot-maven-plugin", "maven-shade-plugin", "maven-assembly-plugin", "mainClass"];
        if packaging.as_deref() == Some("war") || startable.iter().any(|word| text.contains(word)) {
            found.push((format!("{}/", module.trim_end_matches('/')), packaging));
        }
    }
    match found.as_slice() {
        [found] => Ok(found.clone()),
        [] => Err(text::broken(
            "pom.xml",
            "it has modules, and none of them makes a jar with a main class, or a war, by \
            itself; build it and name the archive: builder ./APP.jar"
                .to_owned(),
        )),
        _ => {
            let names: Vec<&str> = found.iter().map(|(module, _)| module.trim_end_matches('/')).collect();
            let what = format!(
                "its modules {} make something that is started: make a machine of the directory of one of \
                them",
                super::refusal::list(&names)
            );
            Err(text::broken("pom.xml", what))
        }
    }
}

/// The version of Java that pom.xml compiles for.
fn maven_version(root: Node<'_, '_>) -> Option<u32> {
    let property = |name: &str| value(root, &["properties", name]);
    let plugins = root.descendants().filter(|node| node.tag_name().name() == "configuration");
    let configured: Vec<String> =
        plugins.flat_map(|node| ["release", "target"].map(|name| value(node, &[name]))).flatten().collect();
    let said = ["maven.compiler.release", "java.version", "maven.compiler.target", "maven.compiler.source"];
    said.into_iter().filter_map(property).chain(configured).find_map(|value| {
        let name = value.strip_prefix("${").and_then(|name| name.strip_suffix('}'));
        number(&name.map_or(Some(value.clone()), property)?)
    })
}

/// `17` of `17`, `1.8` as 8.
fn number(version: &str) -> Option<u32> {
    let version = version.trim();
    let version = version.strip_prefix("1.").filter(|rest| !rest.is_empty()).unwrap_or(version);
    let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok().filter(|version| (5..100).contains(version))
}

fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.children().find(|child| child.tag_name().name() == name)
}

/// The text of the element at this path of elements.
fn value(node: Node<'_, '_>, path: &[&str]) -> Option<String> {
    let node = path.iter().try_fold(node, |node, name| child(node, name))?;
    node.text().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn gradle(files: &Files, file: &str, plan: &mut Plan) -> Result<(), Refusal> {
    let mut text = String::new();
    let scripts = ["build.gradle", "build.gradle.kts", "app/build.gradle", "app/build.gradle.kts"];
    for script in scripts {
        text.push_str(text::text(files, script)?.unwrap_or_default());
        text.push('\n');
    }
    let version = runs(gradle_version(&text).or_else(|| said(files)).unwrap_or(RUNTIME));
    let war = ["id 'war'", "id(\"war\")", "id \"war\"", "war", "`war`", "apply plugin: 'war'"];
    packed(plan, text.lines().any(|line| war.contains(&line.trim())), &text, version);
    plan.left_out = owned(&["build", ".gradle"]);
    let settings =
        ["settings.gradle", "settings.gradle.kts"].iter().find_map(|name| files.text(name)).unwrap_or_default();
    plan.name = settings.lines().find_map(|line| {
        let value = line.trim().strip_prefix("rootProject.name")?.trim_start().strip_prefix('=')?;
        Some(value.trim().trim_matches(['"', '\'']).to_owned()).filter(|name| !name.is_empty())
    });
    let single = file != "gradlew" || !(files.has("app/build.gradle") || files.has("app/build.gradle.kts"));
    let program = if files.has("gradlew") { "./gradlew" } else { "gradle" };
    plan.build = Build::Host(HostBuild {
        argv: owned(&[program, "--no-daemon", "--console=plain", "assemble"]),
        env: Vec::new(),
        result: Artifact::Archive(if single { "build/libs" } else { "app/build/libs" }.to_owned()),
        advice: advice("Gradle", version),
    });
    Ok(())
}

/// The version of Java in a script of Gradle: its toolchain's, else what it compiles for.
fn gradle_version(script: &str) -> Option<u32> {
    let after = |word: &str| {
        let (_, rest) = script.split_once(word)?;
        let line = rest.lines().next()?;
        number(line.trim_start_matches(|c: char| !c.is_ascii_digit()).trim_start_matches("1_"))
    };
    ["JavaLanguageVersion.of(", "jvmToolchain(", "targetCompatibility", "sourceCompatibility", "jvmTarget"]
        .into_iter()
        .find_map(after)
}

/// The version in Heroku's system.properties, or in .java-version.
fn said(files: &Files) -> Option<u32> {
    let properties = files.text("system.properties").unwrap_or_default();
    let mut lines = properties.lines().filter_map(|line| line.split_once('='));
    let property = lines.find(|(key, _)| key.trim() == "java.runtime.version").and_then(|(_, value)| number(value));
    property.or_else(|| number(text::first_line(files, ".java-version")?))
}

/// Whether the project is Spring Boot's.
fn spring(files: &Files) -> bool {
    let described = |path: &str| {
        ["pom.xml", "build.gradle", "build.gradle.kts"]
            .iter()
            .any(|name| path == *name || path.ends_with(&format!("/{name}")))
    };
    let names_it = |text: &str| text.contains("spring-boot") || text.contains("org.springframework.boot");
    files.paths().filter(|path| described(path)).filter_map(|path| files.text(path)).any(names_it)
}
