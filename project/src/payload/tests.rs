//! Archives as Java's tools write them, and files of other kinds.

use super::*;
use crate::plan::{Base, Command, Wishes};
use proptest::prelude::*;
use rawzip::{CompressionMethod, ZipArchiveWriter};
use std::fs;
use std::io::{Cursor, Write};
use std::os::unix::fs::symlink;
use std::path::Path;

const JAVA8: &[u8] = include_bytes!("../../testdata/main_java8.class");
const JAVA21: &[u8] = include_bytes!("../../testdata/main_java21.class");
const JAVAX: &[u8] = include_bytes!("../../testdata/javax_servlet_java8.class");
const JAKARTA: &[u8] = include_bytes!("../../testdata/jakarta_servlet_java17.class");
const MANIFEST: &str = "META-INF/MANIFEST.MF";

/// A zip archive of these files, compressed as Java's tools do; those that end in `.jar` are not.
fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut archive = ZipArchiveWriter::new(&mut bytes);
    for (name, content) in files {
        let stored = name.ends_with(".jar");
        let method = if stored { CompressionMethod::STORE } else { CompressionMethod::DEFLATE };
        let (mut entry, config) = archive.new_file(*name).compression_method(method).start().unwrap();
        if stored {
            let mut writer = config.wrap(&mut entry);
            writer.write_all(content).unwrap();
            let (_, descriptor) = writer.finish().unwrap();
            entry.finish(descriptor).unwrap();
        } else {
            let encoder = flate2::write::DeflateEncoder::new(&mut entry, flate2::Compression::default());
            let mut writer = config.wrap(encoder);
            writer.write_all(content).unwrap();
            let (encoder, descriptor) = writer.finish().unwrap();
            encoder.finish().unwrap();
            entry.finish(descriptor).unwrap();
        }
    }
    archive.finish().unwrap();
    bytes
}

fn recognized(bytes: &[u8]) -> Result<Payload, String> {
    recognize("./it", &mut Cursor::new(bytes)).map_err(|error| error.to_string())
}

const READINGS: &str = ". A path is a project's directory, a jar, a war, a program for Linux, a tar archive (.tar, \
                        .tar.gz, .tar.zst) or a disk; an image of that name is docker://it";

#[test]
fn files_are_recognized_by_their_bytes() {
    let at = |offset: usize, magic: &[u8]| [&vec![0; offset][..], magic, &vec![0; 2048]].concat();
    let tar = {
        let mut header = vec![0; 1024];
        header[..4].copy_from_slice(b"file");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        header
    };
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let footer = [vec![0; 4096], b"conectix".to_vec(), vec![0; 504]].concat();
    for (bytes, expected) in [
        (at(512, b"EFI PART"), Payload::Disk(Disk::Raw)),
        (at(4096, b"EFI PART"), Payload::Disk(Disk::Raw)),
        (at(0, b"QFI\xfb"), Payload::Disk(Disk::Qcow2)),
        (at(0, b"KDMV"), Payload::Disk(Disk::Vmdk)),
        (at(0, b"conectix"), Payload::Disk(Disk::Vhd)),
        (footer, Payload::Disk(Disk::Vhd)),
        (at(0, b"\x7fELF"), Payload::Program),
        (tar.clone(), Payload::Archive(Packing::Plain)),
        (gzip(&tar), Payload::Archive(Packing::Gzip)),
        (at(0, b"\x28\xb5\x2f\xfd"), Payload::Archive(Packing::Zstd)),
        (zip(&[(MANIFEST, b"Main-Class: A\n")]), Payload::Jar),
        (zip(&[(MANIFEST, b""), ("WEB-INF/web.xml", b"")]), Payload::War),
    ] {
        assert_eq!(recognized(&bytes), Ok(expected));
    }
    for (bytes, expected) in [
        (
            b"#!/bin/bash -e\necho\n".to_vec(),
            "a script for /bin/bash -e: it does not say what has to be there to run it; name its \
            directory, with a Procfile that starts it",
        ),
        (gzip(b"notes"), "compressed by gzip, but no tar archive: unpack it, or pack the directory of the project"),
        (
            zip(&[("notes.txt", b"x")]),
            "a zip archive without META-INF/, neither a jar nor a war: pack it again as .tar.gz, or \
            unpack it and name the directory",
        ),
        (JAVA8.to_vec(), "a class file of Java: pack it into a jar with a Main-Class"),
        (b"\xca\xfe\xba\xbe\0\0\0\x02".to_vec(), "a program for macOS: compile it for Linux"),
        (b"MZ\x90".to_vec(), "a program for Windows or UEFI: compile it for Linux"),
        (b"caf\xc3".to_vec(), "a text file: name the directory of the project in its place"),
        (b"\0\x01".to_vec(), "of an unknown format: name the directory of the project in its place"),
        (Vec::new(), "empty: write it again"),
    ] {
        assert_eq!(recognized(&bytes), Err(format!("./it is {expected}{READINGS}")));
    }
    let mut partitioned = vec![0; 8192];
    partitioned[510..512].copy_from_slice(&[0x55, 0xaa]);
    assert_eq!(
        recognized(&partitioned),
        Err(format!("./it is a disk without a partition table of type GPT: convert it with gdisk{READINGS}"))
    );
    assert_eq!(sniff(Path::new("/")).unwrap(), Payload::Directory);
    assert_eq!(sniff(Path::new("./none.jar")).unwrap_err().to_string(), "./none.jar cannot be read");
}

fn jar_of(files: &[(&str, &[u8])]) -> Jar {
    Jar::read(Cursor::new(zip(files))).unwrap()
}

#[test]
fn a_jar_needs_the_java_of_its_classes() {
    let of = |files: &[(&str, &[u8])]| jar_of(&[&[(MANIFEST, &b"Main-Class: Main\n"[..])], files].concat()).java;
    assert_eq!(of(&[("Main.class", JAVA8)]), Some(8));
    assert_eq!(of(&[("Main.class", JAVA8), ("other/X.class", JAVA21)]), Some(21));
    let newer = [("Main.class", JAVA8), ("META-INF/versions/21/Main.class", JAVA21), ("module-info.class", JAVA21)];
    assert_eq!(of(&newer), Some(8), "what only a newer Java reads");
    assert_eq!(of(&[]), None);
    let bases = [8, 9, 11, 12, 17, 18, 21, 22, 25].map(|java| base(java).unwrap());
    let expected = [8, 11, 11, 17, 17, 21, 21, 25, 25].map(|java| format!("eclipse-temurin:{java}-jre"));
    assert_eq!(bases, expected);
    assert_eq!(
        base(26).unwrap_err(),
        "it is compiled for Java 26, and the newest with long-term support is 25: compile it for that, or name an \
         image that has it with --base"
    );
}

#[test]
fn the_main_class_counts_even_behind_many_others() {
    let names: Vec<String> = (0..2100).map(|number| format!("a/A{number}.class")).collect();
    let mut files: Vec<(&str, &[u8])> = vec![(MANIFEST, b"Main-Class: z.Main\n")];
    files.extend(names.iter().map(|name| (name.as_str(), JAVA8)));
    files.push(("z/Main.class", JAVA21));
    assert_eq!(jar_of(&files).java, Some(21));
}

#[test]
fn libraries_inside_count() {
    let library = zip(&[("lib/L.class", JAVA21), ("META-INF/versions/9/module-info.class", JAVA21)]);
    let manifest = b"Main-Class: org.springframework.boot.loader.launch.JarLauncher\nStart-Class: Main\n";
    let files: [(&str, &[u8]); 4] = [
        (MANIFEST, manifest),
        ("BOOT-INF/classes/Main.class", JAVA8),
        ("BOOT-INF/lib/l.jar", &library),
        ("BOOT-INF/lib/damaged.jar", b"PK\x03\x04 no more"),
    ];
    let jar = jar_of(&files);
    assert_eq!((jar.java, jar.spring, jar.war), (Some(21), true, false));
}

#[test]
fn a_war_needs_the_tomcat_of_its_servlets() {
    let library = zip(&[("A.class", JAVAX)]);
    let javax: (&str, &[u8]) = ("WEB-INF/classes/Hello.class", JAVAX);
    let jakarta: (&str, &[u8]) = ("WEB-INF/classes/Hello.class", JAKARTA);
    for (files, expected) in [
        (vec![javax], "tomcat:9-jre8"),
        (vec![jakarta], "tomcat:10.1-jre17"),
        (vec![("WEB-INF/lib/a.jar", &library[..])], "tomcat:9-jre8"),
        (vec![jakarta, ("WEB-INF/lib/a.jar", &library[..])], "tomcat:10.1-jre17"),
        (vec![("WEB-INF/web.xml", b"<web-app xmlns=\"http://xmlns.jcp.org/xml/ns/javaee\"/>")], "tomcat:9-jre17"),
        (vec![("WEB-INF/web.xml", b"")], "tomcat:10.1-jre17"),
        (vec![("WEB-INF/classes/Main.class", JAVA8)], "tomcat:10.1-jre11"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let war = directory.path().join("shop & co.war");
        fs::write(&war, zip(&files)).unwrap();
        let fused = archive(&war, &Wishes::default()).unwrap();
        assert_eq!(fused.plan.base, Base::Image(expected.to_owned()));
        assert_eq!(fused.plan.processes[PROCESS].command, words(&["catalina.sh", "run"]));
        assert_eq!(fused.files["/app/shop & co.war"], war);
        let server = &fused.plan.added["/usr/local/tomcat/conf/server.xml"];
        assert!(
            server.contains(r#"docBase="/app/shop &amp; co.war""#) && server.contains(r#"port="${PORT}""#),
            "{server}"
        );
    }
}

fn words(words: &[&str]) -> Command {
    Command::Words(words.iter().map(|word| (*word).to_owned()).collect())
}

#[test]
fn a_jar_is_started_with_its_class_path() {
    let directory = tempfile::tempdir().unwrap();
    let jar = directory.path().join("app.jar");
    let entries = ["../secret", "lib/none.jar", ".env", "lib/link.jar", "linked/a.jar"];
    let manifest =
        format!("Main-Class: Main\nClass-Path: lib/a.jar {}\nImplementation-Version: 1.2\n", entries[..2].join(" "));
    let (manifest, more) = (manifest.as_bytes(), format!("Main-Class: Main\nClass-Path: {}\n", entries[2..].join(" ")));
    fs::write(&jar, zip(&[(MANIFEST, manifest), ("Main.class", JAVA8)])).unwrap();
    fs::create_dir(directory.path().join("lib")).unwrap();
    fs::write(directory.path().join("lib/a.jar"), zip(&[("A.class", JAVA8)])).unwrap();
    let fused = archive(&jar, &Wishes::default()).unwrap();
    assert_eq!(
        fused.plan.processes[PROCESS].command,
        words(&["java", "-XX:MaxRAMPercentage=75", "-jar", "/app/app.jar"])
    );
    assert_eq!(fused.plan.base, Base::Image("eclipse-temurin:8-jre".to_owned()));
    assert_eq!((fused.plan.version.as_deref(), &fused.plan.env[..]), (Some("1.2"), &[][..]));
    assert_eq!(fused.files.keys().collect::<Vec<_>>(), ["/app/app.jar", "/app/lib/a.jar"]);
    let warning = |entry: &str| {
        format!("Class-Path of app.jar names {entry}, which is no jar beside it and will not be in the machine")
    };
    assert_eq!(fused.plan.warnings, [warning("../secret"), warning("lib/none.jar")]);

    // A jar made by an attacker names secrets of this machine.
    fs::write(directory.path().join(".env"), "SECRET=1").unwrap();
    symlink("a.jar", directory.path().join("lib/link.jar")).unwrap();
    symlink("lib", directory.path().join("linked")).unwrap();
    fs::write(&jar, zip(&[(MANIFEST, more.as_bytes()), ("Main.class", JAVA8)])).unwrap();
    let fused = archive(&jar, &Wishes::default()).unwrap();
    assert_eq!(fused.files.keys().collect::<Vec<_>>(), ["/app/app.jar"]);
    assert_eq!(fused.plan.warnings, entries[2..].iter().map(|entry| warning(entry)).collect::<Vec<_>>());

    let spring = b"Main-Class: Main\nSpring-Boot-Version: 3.2.0\n";
    fs::write(&jar, zip(&[(MANIFEST, spring), ("Main.class", JAVA8)])).unwrap();
    let wishes = Wishes { base: Some("my/java:1".to_owned()), port: Some(9000), ..Wishes::default() };
    let fused = archive(&jar, &wishes).unwrap();
    assert_eq!(fused.plan.base, Base::Image("my/java:1".to_owned()));
    assert_eq!(fused.plan.env, [("SERVER_PORT".to_owned(), "9000".to_owned())]);

    fs::write(&jar, zip(&[(MANIFEST, b"Manifest-Version: 1.0\n")])).unwrap();
    let error = archive(&jar, &Wishes::default()).unwrap_err().to_string();
    let start =
        format!("{}: its manifest has no Main-Class, so that `java -jar app.jar` starts nothing: build", jar.display());
    assert!(error.starts_with(&start), "{error}");
}

#[test]
fn of_a_build_the_one_that_starts_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let (starts, library) = (zip(&[(MANIFEST, b"Main-Class: A\n")]), zip(&[(MANIFEST, b"")]));
    let write = |name: &str, bytes: &[u8]| fs::write(path.join(name), bytes).unwrap();
    let error = || choose(path).unwrap_err().to_string();
    let shown = path.display();
    let nothing =
        format!("the build left no jar and no war in {shown}: see what it said, or name another command with --build");
    assert_eq!(error(), nothing);
    assert_eq!(choose(&path.join("none")).unwrap_err().to_string().split(" in ").next(), nothing.split(" in ").next());
    write("lib-1.0.jar", &library);
    assert!(
        error().starts_with(&format!("no jar in {shown} has a Main-Class in its manifest (lib-1.0.jar): ")),
        "{}",
        error()
    );
    for name in ["app-plain.jar", "app-sources.jar", "app-javadoc.jar", "original-app.jar", "notes.txt"] {
        write(name, &starts);
    }
    write("app.jar", &starts);
    assert_eq!(choose(path).unwrap(), path.join("app.jar"));
    write("app-0.9.jar", &starts);
    assert_eq!(
        error(),
        format!(
            "{shown} has 2 archives that can be started: app-0.9.jar, app.jar. Remove those of former builds, or name \
                 the one: `builder create {shown}/app-0.9.jar`"
        )
    );
}

#[test]
fn claims_of_an_archive_are_not_believed() {
    // A manifest of 1 GiB in 1 MiB, and one that is longer than its header says.
    let bomb = zip(&[(MANIFEST, &vec![b' '; 64 << 20])]);
    let problem = Jar::read(Cursor::new(&bomb)).unwrap_err().to_string();
    assert_eq!(problem, "META-INF/MANIFEST.MF in the zip archive is longer than 1048576 bytes: pack it again");

    // The end of the directory claims 65,535 entries; there is one.
    let mut lies = zip(&[(MANIFEST, b"Main-Class: A\n")]);
    let end = lies.len() - 22;
    lies[end + 8..end + 12].fill(0xff);
    assert!(
        Jar::read(Cursor::new(&lies)).is_ok()
            || Jar::read(Cursor::new(&lies)).unwrap_err().to_string().contains("damaged")
    );
}

#[test]
fn a_program_is_started_by_itself() {
    let here = std::env::consts::ARCH.parse().unwrap();
    let fused = program(Path::new("/bin/true"), &Wishes::default(), here).unwrap();
    assert_eq!((&fused.plan.base, fused.plan.kind), (&Base::None, crate::plan::Kind::Elf));
    assert_eq!(fused.plan.processes[PROCESS].command, words(&["/app/true"]));
    assert!(fused.files.contains_key("/app/true") && fused.files.keys().any(|place| place.ends_with("/libc.so.6")));
    let wishes = Wishes { base: Some("debian:12".to_owned()), ..Wishes::default() };
    let fused = program(Path::new("/bin/true"), &wishes, here).unwrap();
    assert_eq!(fused.plan.base, Base::Image("debian:12".to_owned()));
    assert_eq!(fused.files.keys().collect::<Vec<_>>(), ["/app/true"]);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1024)) {
        let _ = recognized(&bytes);
        let _ = recognized(&[b"PK\x03\x04", &bytes[..]].concat());
    }

    #[test]
    fn damaged_archives_never_panic(damage in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..12)) {
        let library = zip(&[("A.class", JAVAX)]);
        let mut bytes = zip(&[
            (MANIFEST, b"Main-Class: Main\n"),
            ("WEB-INF/classes/Main.class", JAVA21),
            ("WEB-INF/lib/a.jar", &library),
        ]);
        for (at, value) in damage {
            let length = bytes.len();
            bytes[at as usize % length] = value;
        }
        let _ = (recognized(&bytes), Jar::read(Cursor::new(&bytes)).is_ok());
    }
}
