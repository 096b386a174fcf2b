//! Java.

use super::{base, host, plan, plan_of, refusal, started};
use crate::plan::{Artifact, Build, Kind, Wishes};

fn pom(inner: &str) -> String {
    format!("<?xml version=\"1.0\"?>\n<project xmlns=\"http://maven.apache.org/POM/4.0.0\">{inner}</project>")
}

#[test]
fn maven_builds_one_archive() {
    let text = pom("<parent><artifactId>spring-boot-starter-parent</artifactId><version>3.3.0</version></parent>\
        <artifactId>shop</artifactId><version>1.4</version><properties><java.version>17</java.version></properties>");
    let found = plan(&[("pom.xml", &text), ("mvnw", "")]);
    assert_eq!((found.name.as_deref(), found.version.as_deref()), (Some("shop"), Some("1.4")));
    assert_eq!(base(&found), "eclipse-temurin:17-jre");
    assert_eq!(host(&found).argv, ["./mvnw", "--batch-mode", "-DskipTests", "package"]);
    assert_eq!(host(&found).result, Artifact::Archive("target".to_owned()));
    assert_eq!(found.env, [("SERVER_PORT".to_owned(), "8080".to_owned())]);
    assert_eq!((found.process.as_str(), found.processes.len()), ("", 0), "the jar says how it is started");
    assert_eq!(host(&plan(&[("pom.xml", &pom(""))])).argv[0], "mvn");
    let wishes = Wishes { port: Some(80), ..Wishes::default() };
    assert_eq!(plan_of(&[("pom.xml", &text)], &wishes, &[]).env, [("SERVER_PORT".to_owned(), "80".to_owned())]);
    let plan = plan_of(&[("pom.xml", &text)], &Wishes::default(), &[("web", "java -jar target/shop.jar")]);
    assert_eq!(started(&plan), "sh: java -jar target/shop.jar");
}

#[test]
fn which_java() {
    let of = |inner: &str| base(&plan(&[("pom.xml", &pom(inner))])).to_owned();
    let properties = |inner: &str| of(&format!("<properties>{inner}</properties>"));
    assert_eq!(of(""), "eclipse-temurin:21-jre");
    assert_eq!(properties("<maven.compiler.release>11</maven.compiler.release>"), "eclipse-temurin:11-jre");
    assert_eq!(properties("<maven.compiler.target>1.8</maven.compiler.target>"), "eclipse-temurin:8-jre");
    assert_eq!(properties("<java.version>18</java.version>"), "eclipse-temurin:21-jre");
    assert_eq!(properties("<java.version>26</java.version>"), "eclipse-temurin:26-jre");
    assert_eq!(properties("<java.version>${v}</java.version><v>17</v>"), "eclipse-temurin:17-jre");
    let plugin =
        "<build><plugins><plugin><configuration><release>25</release></configuration></plugin></plugins></build>";
    assert_eq!(of(plugin), "eclipse-temurin:25-jre");
    let heroku = plan(&[("pom.xml", &pom("")), ("system.properties", "java.runtime.version=11\n")]);
    assert_eq!(base(&heroku), "eclipse-temurin:11-jre");
    let gradle = |text| base(&plan(&[("build.gradle.kts", text)])).to_owned();
    assert_eq!(gradle("java { toolchain { languageVersion = JavaLanguageVersion.of(17) } }"), "eclipse-temurin:17-jre");
    assert_eq!(gradle("kotlin { jvmToolchain(11) }"), "eclipse-temurin:11-jre");
    assert_eq!(gradle("sourceCompatibility = JavaVersion.VERSION_1_8\n"), "eclipse-temurin:8-jre");
    assert_eq!(gradle("sourceCompatibility = '17'\n"), "eclipse-temurin:17-jre");
}

#[test]
fn gradle_builds_one_archive() {
    let found = plan(&[
        ("gradlew", ""),
        ("build.gradle", "plugins { id 'org.springframework.boot' }\n"),
        ("settings.gradle", "rootProject.name = 'shop'\n"),
    ]);
    assert_eq!(host(&found).argv, ["./gradlew", "--no-daemon", "--console=plain", "assemble"]);
    assert_eq!(host(&found).result, Artifact::Archive("build/libs".to_owned()));
    assert_eq!((found.name.as_deref(), found.env.len()), (Some("shop"), 1));
    let found = plan(&[("gradlew", ""), ("app/build.gradle.kts", "")]);
    assert_eq!(host(&found).result, Artifact::Archive("app/build/libs".to_owned()));
    let found = plan(&[("build.gradle", "plugins {\n  id 'war'\n}\n")]);
    assert_eq!((found.kind, base(&found), host(&found).argv[0].as_str()), (Kind::War, "tomcat:10.1-jre21", "gradle"));
}

#[test]
fn wars_run_in_the_tomcat_of_their_servlets() {
    let of = |inner: &str| {
        let found = plan(&[("pom.xml", &pom(&format!("<packaging>war</packaging>{inner}")))]);
        (found.kind, base(&found).to_owned())
    };
    let old = "<dependencies><dependency><groupId>javax.servlet</groupId></dependency></dependencies>";
    assert_eq!(of(old), (Kind::War, "tomcat:9.0-jre21".to_owned()));
    assert_eq!(of(""), (Kind::War, "tomcat:10.1-jre21".to_owned()));
}

#[test]
fn the_module_that_is_started_is_found() {
    let root = pom("<modules><module>core</module><module>web</module></modules>");
    let starts = pom(
        "<artifactId>web</artifactId><build><plugins><plugin><artifactId>spring-boot-maven-plugin</artifactId></plugin></plugins></build>",
    );
    let found = plan(&[("pom.xml", &root), ("core/pom.xml", &pom("")), ("web/pom.xml", &starts)]);
    assert_eq!(host(&found).result, Artifact::Archive("web/target".to_owned()));
    assert_eq!(
        refusal(&[("pom.xml", &root), ("core/pom.xml", &starts), ("web/pom.xml", &starts)]),
        "pom.xml: its modules core and web make something that is started: make a machine of the directory of one of them"
    );
    assert_eq!(
        refusal(&[("pom.xml", &root), ("core/pom.xml", &pom(""))]),
        "pom.xml: it has modules, and none of them makes a jar with a main class, or a war, by itself; build it and name the \
         archive: builder ./APP.jar"
    );
    assert_eq!(
        refusal(&[("pom.xml", "<project>")]),
        "pom.xml: this is no XML: the root node was opened but never closed"
    );
}

#[test]
fn a_lone_archive_is_taken_as_it_is() {
    let found = plan(&[("shop.jar", "")]);
    assert_eq!((&found.build, found.process.as_str()), (&Build::Ready("shop.jar".to_owned()), ""));
    assert_eq!(base(&found), "eclipse-temurin:21-jre");
    let line = [("web", "java -cp a.jar:b.jar Main")];
    let several = plan_of(&[("a.jar", ""), ("b.jar", "")], &Wishes::default(), &line);
    assert_eq!((&several.build, started(&several).as_str()), (&Build::None, "sh: java -cp a.jar:b.jar Main"));
    assert_eq!(base(&plan(&[("shop.war", "")])), "tomcat:10.1-jre21");
}
