//! How jars and wars are started.

use super::class::Servlets;
use super::jar::Jar;
use super::{Error, Fused, PROCESS};
use crate::plan::{Base, Build, Command, DIRECTORY, Kind, PORT, Plan, Process, Wishes};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path};

/// Versions of Java that get updates for years, and have images.
const LONG_TERM: [u32; 5] = [8, 11, 17, 21, 25];

/// The part of the machine's memory that Java's heap may take. Its own default is a quarter, and the machine has
/// nothing else to do.
const MEMORY: &str = "-XX:MaxRAMPercentage=75";

/// Tomcat in its images.
const TOMCAT: &str = "/usr/local/tomcat";

/// Messages to the console: files would be in the machine's memory.
const LOGGING: &str = "handlers = java.util.logging.ConsoleHandler
.handlers = java.util.logging.ConsoleHandler
java.util.logging.ConsoleHandler.level = FINE
java.util.logging.ConsoleHandler.formatter = org.apache.juli.OneLineFormatter
java.util.logging.ConsoleHandler.encoding = UTF-8
";

/// The base for a version of Java.
///
/// # Errors
/// When no Java that has images runs it.
pub fn base(java: u32) -> Result<String, String> {
    Ok(format!("eclipse-temurin:{}-jre", long_term(java)?))
}

/// The first Java with long-term support that runs this version.
fn long_term(java: u32) -> Result<u32, String> {
    LONG_TERM.into_iter().find(|version| *version >= java).ok_or_else(|| {
        let [.., newest] = LONG_TERM;
        format!(
            "it is compiled for Java {java}, and the newest with long-term support is {newest}: compile it for that, \
                 or name an image that has it with --base"
        )
    })
}

/// A jar or a war as a machine. `path` is the archive's.
///
/// # Errors
/// When it cannot be read, or says too little to be started.
pub fn archive(path: &Path, wishes: &Wishes) -> Result<Fused, Error> {
    let shown = path.display().to_string();
    let file = File::open(path).map_err(|source| Error::Read { path: shown.clone(), source })?;
    let java = |problem: String| Error::Java { path: shown.clone(), problem };
    let jar = Jar::read(file).map_err(|problem| java(problem.to_string()))?;
    let name =
        path.file_name().and_then(|name| name.to_str()).ok_or_else(|| java("its name is not UTF-8".to_owned()))?;
    let place = format!("{DIRECTORY}/{name}");
    let mut fused = Fused { plan: plan(&jar, name, &place, wishes).map_err(java)?, files: BTreeMap::new() };
    fused.files.insert(place, path.to_owned());
    for entry in if jar.war { &[][..] } else { &jar.class_path } {
        let beside = path.with_file_name(entry);
        if is_beside(path, entry) && is_archive(&beside) {
            fused.files.insert(format!("{DIRECTORY}/{entry}"), beside);
        } else {
            fused.plan.warnings.push(format!(
                "Class-Path of {name} names {entry}, which is no jar beside it and will not be in the machine"
            ));
        }
    }
    Ok(fused)
}

/// Whether what Class-Path names lies beside the jar or below, by way of no link: it is a stranger's to say.
fn is_beside(jar: &Path, entry: &str) -> bool {
    let plain = !entry.contains(':') && Path::new(entry).components().all(|part| matches!(part, Component::Normal(_)));
    let directory = jar.with_file_name("");
    let mut ancestors = Path::new(entry).ancestors().filter(|path| !path.as_os_str().is_empty());
    plain && !ancestors.any(|path| directory.join(path).is_symlink())
}

/// Whether a file begins as a zip archive does (APPNOTE.TXT 4.3.7), so that nothing else is packed in its name.
fn is_archive(path: &Path) -> bool {
    let mut magic = [0; 4];
    path.is_file()
        && File::open(path).is_ok_and(|mut file| file.read_exact(&mut magic).is_ok())
        && magic == *b"PK\x03\x04"
}

/// The base for an archive: the Java that runs its classes, and the Tomcat that has its servlets.
fn own_base(jar: &Jar) -> Result<String, String> {
    // An archive without classes runs anywhere: in the middle of them.
    let java = jar.java.unwrap_or(17);
    if !jar.war {
        return base(java);
    }
    // Without servlets in sight it is pages only, which are the same to both.
    Ok(match jar.servlets.unwrap_or(Servlets::Jakarta) {
        Servlets::Javax => format!("tomcat:9-jre{}", long_term(java)?),
        // Tomcat 10.1 itself needs Java 11.
        Servlets::Jakarta => format!("tomcat:10.1-jre{}", long_term(java.max(11))?),
    })
}

/// How an archive that lies at `place` in the machine is started.
fn plan(jar: &Jar, name: &str, place: &str, wishes: &Wishes) -> Result<Plan, String> {
    if !jar.war && jar.main_class.is_none() {
        return Err(format!(
            "its manifest has no Main-Class, so that `java -jar {name}` starts nothing: build one that has (Maven: \
             manifest.mainClass of the jar plugin; Gradle: the attribute Main-Class of the task jar), or name its \
             directory, with a Procfile: `{PROCESS}: java -cp {name} CLASS`"
        ));
    }
    let base = match &wishes.base {
        Some(base) => base.clone(),
        None => own_base(jar)?,
    };
    let command = if jar.war { vec!["catalina.sh", "run"] } else { vec!["java", MEMORY, "-jar", place] };
    let command = Command::Words(command.into_iter().map(str::to_owned).collect());
    let decided_by = if jar.war { "WEB-INF/" } else { "Main-Class in META-INF/MANIFEST.MF" };
    let mut plan = Plan {
        kind: if jar.war { Kind::War } else { Kind::Java },
        decided_by: name.to_owned(),
        name: jar.title.clone(),
        version: jar.version.clone(),
        base: Base::Image(base),
        build: Build::None,
        packed: String::new(),
        left_out: Vec::new(),
        processes: BTreeMap::from([(PROCESS.to_owned(), Process { command, decided_by: decided_by.to_owned() })]),
        process: PROCESS.to_owned(),
        env: Vec::new(),
        added: BTreeMap::new(),
        warnings: Vec::new(),
    };
    if jar.war {
        serve(&mut plan, place);
    } else if jar.spring {
        plan.env.push(("SERVER_PORT".to_owned(), wishes.port.unwrap_or(PORT).to_string()));
    }
    Ok(plan)
}

/// Has Tomcat serve the war at `/`, and at the port of `PORT`. What it unpacks is below /tmp, as the program's user
/// writes nowhere else.
fn serve(plan: &mut Plan, place: &str) {
    let war: String = place.chars().map(escaped).collect();
    let server = format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<Server port="-1" shutdown="SHUTDOWN">
  <Service name="Catalina">
    <Connector port="${{PORT}}" protocol="HTTP/1.1"/>
    <Engine name="Catalina" defaultHost="localhost">
      <Host name="localhost" appBase="/tmp/webapps" workDir="/tmp/work" xmlBase="/tmp/conf" autoDeploy="false"
            deployOnStartup="false">
        <Context path="" docBase="{war}"/>
      </Host>
    </Engine>
  </Service>
</Server>
"#
    );
    plan.added.insert(format!("{TOMCAT}/conf/server.xml"), server);
    plan.added.insert(format!("{TOMCAT}/conf/logging.properties"), LOGGING.to_owned());
    let options = format!(
        "{MEMORY} -Dorg.apache.tomcat.util.digester.PROPERTY_SOURCE=\
         org.apache.tomcat.util.digester.EnvironmentPropertySource"
    );
    plan.env.push(("CATALINA_OPTS".to_owned(), options));
    plan.env.push(("CATALINA_TMPDIR".to_owned(), "/tmp".to_owned()));
}

/// A character in an attribute of XML.
fn escaped(character: char) -> String {
    match character {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '"' => "&quot;".to_owned(),
        other => other.to_string(),
    }
}
