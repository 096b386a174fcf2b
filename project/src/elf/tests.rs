//! Programs that a compiler makes here, and those of this machine, compared with what their loaders say.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Cursor;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// This machine's architecture, for which its compiler compiles.
fn here() -> Architecture {
    std::env::consts::ARCH.parse().unwrap()
}

/// Runs the C compiler in a directory.
fn cc(directory: &Path, arguments: &[&str]) {
    let output = Command::new("cc").args(arguments).current_dir(directory).output();
    let output = output.expect("cc is missing: install gcc and libc6-dev");
    assert!(output.status.success(), "cc {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A directory with C files.
fn sources(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    directory
}

fn closure_here(program: &Path) -> Result<Closure, Error> {
    closure(&Root::new(Path::new("/")).unwrap(), program.to_str().unwrap(), "/app/program", here())
}

/// The libraries that the loader of this machine finds: names that it was asked for, and the files without links.
fn loader_says(program: &Path) -> BTreeMap<String, PathBuf> {
    let image = Image::read(fs::File::open(program).unwrap()).unwrap();
    let loader = image.interpreter.expect("a program with a loader");
    // A loader that is started by itself takes a link's directory for $ORIGIN, the kernel's way of starting does not.
    let real = program.canonicalize().unwrap();
    let output = Command::new(&loader).arg("--list").arg(&real).env_remove("LD_LIBRARY_PATH").output().unwrap();
    assert!(
        output.status.success(),
        "{loader} --list {}: {}",
        program.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let line = |line: &str| {
        let (name, rest) = line.trim().split_once(" => ").unwrap_or((line.trim(), line.trim()));
        let path = rest.split(" (").next().unwrap();
        (!path.starts_with("linux-vdso")).then(|| (name.to_owned(), fs::canonicalize(path).expect(path)))
    };
    text.lines().filter_map(line).map(|(name, path)| (name.split(" (").next().unwrap().to_owned(), path)).collect()
}

/// The libraries of a closure without what is opened at run time: those that the loader lists must be among them, and
/// there is no other file that one of them names.
fn assert_as_the_loader(program: &Path) {
    let expected: BTreeSet<PathBuf> = loader_says(program).into_values().collect();
    let root = Root::new(Path::new("/")).unwrap();
    let path = program.canonicalize().unwrap();
    let path = path.to_str().unwrap();
    let image = Image::read(fs::File::open(program).unwrap()).unwrap();
    let interpreter = image.interpreter.clone().unwrap();
    let mut found = libraries::Libraries::new(&root, (path, path), image, &interpreter).unwrap();
    found.find_all().unwrap();
    let found = found.places.into_values().map(PathBuf::from).filter(|found| found != Path::new(path));
    // Copies for certain processors are packed all, and the loader lists the one for this.
    let found: BTreeSet<PathBuf> = found.filter(|found| !found.to_string_lossy().contains("/glibc-hwcaps/")).collect();
    let expected: BTreeSet<PathBuf> =
        expected.into_iter().filter(|path| !path.to_string_lossy().contains("/glibc-hwcaps/")).collect();
    assert_eq!(found, expected, "{}", program.display());
}

#[test]
fn programs_of_this_machine_have_the_libraries_that_their_loader_lists() {
    /// Programs that are compared: each takes its loader some hundredths of a second.
    const MOST: usize = 500;
    let mut compared = 0;
    for directory in ["/usr/bin", "/usr/sbin", "/usr/libexec"] {
        let Ok(entries) = fs::read_dir(directory) else { continue };
        let mut entries: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for program in entries {
            let Ok(Ok(image)) = fs::File::open(&program).map(Image::read) else { continue };
            if compared < MOST
                && image.interpreter.is_some()
                && image.program
                && program.canonicalize().unwrap().starts_with("/usr")
            {
                assert_as_the_loader(&program);
                compared += 1;
            }
        }
    }
    assert!(compared > 20, "only {compared} programs were there to compare");
}

const MAIN: &str = "int a(void); int main(void) { return a(); }";
const LIBRARY: &str = "int b(void); int a(void) { return b(); }";
const END: &str = "int b(void) { return 0; }";

/// A program with a library that needs another, built with these options of the linker; both libraries are in `lib`.
fn chain(main: &[&str], library: &[&str]) -> tempfile::TempDir {
    let directory = sources(&[("main.c", MAIN), ("a.c", LIBRARY), ("b.c", END), ("bin/.keep", ""), ("lib/.keep", "")]);
    let path = directory.path();
    cc(path, &["-shared", "-fPIC", "-o", "lib/libbeta.so", "b.c"]);
    let options = ["-shared", "-fPIC", "-o", "lib/libalpha.so", "a.c", "-Llib", "-lbeta"];
    cc(path, &[&options[..], library].concat());
    let options = ["-o", "bin/program", "main.c", "-Llib", "-lalpha", "-Wl,-rpath-link,lib"];
    cc(path, &[&options[..], main].concat());
    directory
}

#[test]
fn rpath_is_inherited_and_runpath_is_not() {
    let both = chain(&["-Wl,-rpath,$ORIGIN/../lib", "-Wl,--disable-new-dtags"], &[]);
    assert_as_the_loader(&both.path().join("bin/program"));
    let own = chain(&["-Wl,-rpath,$ORIGIN/../lib"], &["-Wl,-rpath,${ORIGIN}"]);
    assert_as_the_loader(&own.path().join("bin/program"));

    let program = chain(&["-Wl,-rpath,$ORIGIN/../lib", "-Wl,--enable-new-dtags"], &[]);
    let error = closure_here(&program.path().join("bin/program")).unwrap_err().to_string();
    let library = program.path().join("bin/../lib/libalpha.so");
    let start =
        format!("libbeta.so, which {} needs, is not on this machine for {}; searched: ", library.display(), here());
    assert!(error.starts_with(&start), "{error}");
    let end = format!(": install it, put it where {} looks, or link statically", library.display());
    assert!(error.ends_with(&end), "{error}");
    let status = Command::new(program.path().join("bin/program")).status().unwrap();
    assert!(!status.success(), "the loader finds what the closure says is missing");
}

#[test]
fn what_is_relative_to_the_program_is_relative_to_its_place_in_the_machine() {
    let program = chain(&["-Wl,-rpath,$ORIGIN/../lib", "-Wl,--disable-new-dtags"], &[]);
    let closure = closure_here(&program.path().join("bin/program")).unwrap();
    let real = program.path().canonicalize().unwrap();
    assert_eq!(closure.files["/app/program"], real.join("bin/program"));
    assert_eq!(closure.files["/lib/libalpha.so"], real.join("lib/libalpha.so"));
    assert_eq!(closure.files["/lib/libbeta.so"], real.join("lib/libbeta.so"));
    assert!(closure.files.values().all(|file| file.is_file()));
    assert_eq!(closure.env, []);
}

/// The root of a machine with this one's C library in the directories of its own loader, and files beside.
fn tree(files: &[(&str, &Path)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let put = |place: &str, source: &Path| {
        let path = directory.path().join(place.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(source, path).unwrap();
    };
    let own = closure_here(Path::new("/bin/true")).unwrap();
    let wanted = |place: &&String| place.contains("/ld-linux") || place.ends_with("/libc.so.6");
    for place in own.files.keys().filter(wanted) {
        put(place, &own.files[place]);
    }
    for (place, source) in files {
        put(place, source);
    }
    directory
}

#[test]
fn a_tree_is_searched_by_its_own_configuration() {
    let program = chain(&[], &[]);
    let of = |name: &str| program.path().join(name);
    let (main, alpha, beta) = (of("bin/program"), of("lib/libalpha.so"), of("lib/libbeta.so"));
    fs::write(of("conf"), "/opt/one\n").unwrap();
    let tree = tree(&[
        ("/srv/program", &main),
        ("/opt/one/libalpha.so", &alpha),
        ("/usr/lib/libbeta.so", &beta),
        ("/usr/lib/glibc-hwcaps/x86-64-v3/libbeta.so", &beta),
        ("/etc/ld.so.conf", &of("conf")),
    ]);
    let root = Root::new(tree.path()).unwrap();
    let found = closure(&root, "/srv/program", "/app/program", here()).unwrap();
    let inside = tree.path().canonicalize().unwrap();
    assert!(found.files.values().all(|file| file.starts_with(&inside)), "{:?}", found.files);
    assert_eq!(found.env, [("LD_LIBRARY_PATH".to_owned(), "/opt/one".to_owned())]);
    assert!(found.files.contains_key("/opt/one/libalpha.so") && found.files.contains_key("/usr/lib/libbeta.so"));
    let variant = found.files.contains_key("/usr/lib/glibc-hwcaps/x86-64-v3/libbeta.so");
    assert_eq!(variant, here() == Architecture::X86_64, "{:?}", found.files);
    let expected = "no certificates of authorities are on this machine, so the program will trust no https server: \
                    install ca-certificates";
    assert_eq!(found.warnings, [expected]);

    // The machine that is made of it starts, with nothing but what the closure says: what the loader of the machine
    // finds.
    let machine = tempfile::tempdir().unwrap();
    for (place, file) in &found.files {
        let place = machine.path().join(place.trim_start_matches('/'));
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::copy(file, place).unwrap();
    }
    let run = |variable: &str| {
        let mut chroot = Command::new("unshare");
        chroot
            .args(["--map-root-user", "--root"])
            .arg(machine.path())
            .arg("/app/program")
            .env_clear()
            .env("LD_LIBRARY_PATH", variable);
        chroot.output().unwrap()
    };
    let output = run(&found.env[0].1);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!run("").status.success(), "the program starts without LD_LIBRARY_PATH");

    fs::remove_file(tree.path().join("usr/lib/libbeta.so")).unwrap();
    let error = closure(&root, "/srv/program", "/app/program", here()).unwrap_err().to_string();
    let level = "/usr/lib/glibc-hwcaps/x86-64-v3/libbeta.so is only for processors of the level x86-64-v3";
    assert!(here() != Architecture::X86_64 || error.contains(level), "{error}");
}

#[test]
fn another_architecture_is_named() {
    let program = chain(&[], &[]);
    let of = |name: &str| program.path().join(name);
    let (main, alpha, beta) = (of("bin/program"), of("lib/libalpha.so"), of("lib/libbeta.so"));
    let (other, name) = match here() {
        Architecture::X86_64 => (object::elf::EM_AARCH64, "aarch64"),
        Architecture::Aarch64 => (object::elf::EM_X86_64, "x86_64"),
    };
    let mut bytes = fs::read(&beta).unwrap();
    bytes[18..20].copy_from_slice(&other.0.to_le_bytes());
    fs::write(&beta, bytes).unwrap();
    let tree = tree(&[("/srv/program", &main), ("/usr/lib/libalpha.so", &alpha), ("/usr/lib/libbeta.so", &beta)]);
    let root = Root::new(tree.path()).unwrap();
    let error = closure(&root, "/srv/program", "/app/program", here()).unwrap_err().to_string();
    assert!(error.contains(&format!("; /usr/lib/libbeta.so is for {name}; searched: ")), "{error}");

    let wanted = name.parse().unwrap();
    let error = closure(&root, "/srv/program", "/app/program", wanted).unwrap_err().to_string();
    let here = here();
    assert_eq!(
        error,
        format!(
            "/srv/program is for {here}, the machine is {wanted}: compile it for {wanted}, or make the machine with \
             --arch {here}"
        )
    );
    let error = closure(&root, "/usr/lib/libalpha.so", "/app/program", here).unwrap_err().to_string();
    assert_eq!(error, "/usr/lib/libalpha.so is a shared library, not a program: name the program that uses it");
    fs::remove_file(tree.path().join(loader_of(&main).trim_start_matches('/'))).unwrap();
    let error = closure(&root, "/srv/program", "/app/program", here).unwrap_err().to_string();
    let start =
        format!("/srv/program is started by {}, which is not on this machine: install the C library", loader_of(&main));
    assert!(error.starts_with(&start), "{error}");
}

fn loader_of(program: &Path) -> String {
    Image::read(fs::File::open(program).unwrap()).unwrap().interpreter.unwrap()
}

#[test]
fn static_programs_need_nothing_but_data() {
    let directory = sources(&[("main.c", "int main(void) { return 0; }")]);
    for options in [&["-static"][..], &["-static-pie"]] {
        cc(directory.path(), &[&["-o", "program", "main.c"], options].concat());
        let program = directory.path().join("program");
        let image = Image::read(fs::File::open(&program).unwrap()).unwrap();
        assert!(image.program && image.interpreter.is_none() && image.needed.is_empty(), "{options:?}: {image:?}");
        let closure = closure_here(&program).unwrap();
        let libraries = closure.files.keys().filter(|place| place.contains(".so"));
        assert_eq!(libraries.count(), 0, "{:?}", closure.files);
    }
}

#[test]
fn what_is_opened_at_run_time_comes_by_the_functions_that_open_it() {
    const RESOLVES: &str = "#include <netdb.h>\n#include <pthread.h>\n#include <iconv.h>\n#include <time.h>\n\
        int main(void) { struct addrinfo *a; time_t t = 0; pthread_cancel(pthread_self()); localtime(&t);\n\
        return iconv_open(\"UTF-16\", \"EUC-JP\") == (iconv_t)-1 || getaddrinfo(\"localhost\", 0, 0, &a); }";
    let directory = sources(&[("main.c", RESOLVES), ("plain.c", "int main(void) { return 0; }")]);
    cc(directory.path(), &["-o", "program", "main.c", "-pthread"]);
    cc(directory.path(), &["-o", "plain", "plain.c"]);
    let ends = |closure: &Closure, end: &str| closure.files.keys().any(|place| place.ends_with(end));
    let all = closure_here(&directory.path().join("program")).unwrap();
    let plain = closure_here(&directory.path().join("plain")).unwrap();
    for end in ["/libgcc_s.so.1", "/gconv/gconv-modules", "/gconv/EUC-JP.so", "/gconv/libJIS.so"] {
        assert!(ends(&all, end) && !ends(&plain, end), "{end}: {:?}", all.files.keys());
    }
    let nsswitch = Path::new("/etc/nsswitch.conf").exists();
    assert_eq!(ends(&all, "/etc/nsswitch.conf"), nsswitch);
    let modules = |closure: &Closure| closure.files.keys().filter(|place| place.contains("/libnss_")).count();
    assert!(modules(&all) >= 1, "{:?}", all.files.keys());
    assert_eq!((modules(&plain), ends(&plain, "/etc/nsswitch.conf")), (0, false));
    let zone = Path::new("/usr/share/zoneinfo/Europe/Berlin").exists();
    assert_eq!((ends(&all, "/zoneinfo/Europe/Berlin"), ends(&plain, "/zoneinfo/Europe/Berlin")), (zone, false));
    for bundle in ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"] {
        assert!(ends(&plain, bundle) || !plain.warnings.is_empty(), "{bundle}");
    }
}

#[test]
fn musl_is_searched_by_its_own_rules() {
    // The rules need a loader of that name only; what is in it is not looked at.
    let program = chain(&["-Wl,-rpath,$ORIGIN/../lib:$LIB/nowhere", "-nostdlib", "-Wl,-e,main"], &["-nostdlib"]);
    let path = program.path();
    let loader = format!("/lib/ld-musl-{}.so.1", here());
    cc(path, &["-shared", "-fPIC", "-nostdlib", "-o", "lib/libbeta.so", "b.c"]);
    let link = |rpath: &str| {
        let interpreter = format!("-Wl,--dynamic-linker,{loader}");
        let options =
            ["-o", "bin/program", "main.c", "-Llib", "-lalpha", "-Wl,-rpath-link,lib", "-nostdlib", "-Wl,-e,main"];
        cc(path, &[&options[..], &[&interpreter, rpath]].concat());
    };
    let of = |name: &str| path.join(name);
    let beta = of("lib/libbeta.so");
    let tree = |main: &Path| {
        tree(&[
            ("/srv/bin/program", main),
            ("/srv/lib/libalpha.so", &of("lib/libalpha.so")),
            ("/usr/local/lib/libbeta.so", &beta),
            (&loader, &beta),
        ])
    };
    link("-Wl,-rpath,$ORIGIN/../lib");
    let root = tree(&of("bin/program"));
    let found = closure(&Root::new(root.path()).unwrap(), "/srv/bin/program", "/app/program", here()).unwrap();
    let places: Vec<&str> = found.files.keys().map(String::as_str).collect();
    assert_eq!(places, ["/app/program", &loader, "/lib/libalpha.so", "/usr/local/lib/libbeta.so"]);

    // A file that lists directories replaces musl's own, and goes into the machine.
    let list = format!("etc/ld-musl-{}.path", here());
    fs::create_dir_all(root.path().join("etc")).unwrap();
    fs::write(root.path().join(&list), "/usr/lib\n/opt/lib").unwrap();
    let error = closure(&Root::new(root.path()).unwrap(), "/srv/bin/program", "/app/program", here()).unwrap_err();
    assert!(error.to_string().contains("searched: /srv/bin/../lib, /usr/lib, /opt/lib"), "{error}");
    fs::create_dir_all(root.path().join("opt/lib")).unwrap();
    fs::rename(root.path().join("usr/local/lib/libbeta.so"), root.path().join("opt/lib/libbeta.so")).unwrap();
    let found = closure(&Root::new(root.path()).unwrap(), "/srv/bin/program", "/app/program", here()).unwrap();
    assert!(found.files.contains_key(&format!("/{list}")) && found.files.contains_key("/opt/lib/libbeta.so"));
}

#[test]
fn one_file_by_two_names_is_one_file() {
    let directory = sources(&[("main.c", MAIN), ("a.c", "int a(void) { return 0; }")]);
    let path = directory.path();
    cc(path, &["-shared", "-fPIC", "-o", "libreal.so", "a.c"]);
    symlink("libreal.so", path.join("libone.so")).unwrap();
    symlink("libreal.so", path.join("libtwo.so")).unwrap();
    cc(path, &["-o", "program", "main.c", "-Wl,--no-as-needed", "-L.", "-lone", "-ltwo", "-Wl,-rpath,$ORIGIN"]);
    assert_as_the_loader(&path.join("program"));
    let closure = closure_here(&path.join("program")).unwrap();
    assert_eq!(closure.files["/app/libone.so"], closure.files["/app/libtwo.so"]);
}

#[test]
fn what_cannot_be_read_is_named() {
    let unreadable = |bytes: &[u8]| Image::read(Cursor::new(bytes)).unwrap_err().to_string();
    assert_eq!(unreadable(b""), "it is no ELF file");
    assert_eq!(unreadable(b"#!/bin/sh\nexec something that is long enough\n"), "it is no ELF file");
    let own = fs::read("/proc/self/exe").unwrap();
    let with = |at: usize, value: u8| {
        let mut bytes = own[..4096].to_vec();
        bytes[at] = value;
        unreadable(&bytes)
    };
    let rest = ", and machines are x86_64 or aarch64, 64 bits each: compile it for one of these";
    assert_eq!(with(18, 3), format!("it is for i386{rest}"));
    assert_eq!(with(18, 243), format!("it is for riscv{rest}"));
    assert_eq!(with(5, 2), format!("it is for a big-endian machine{rest}"));
    assert_eq!(with(16, 1), "it is an object file that is not linked yet, not a program");
    assert_eq!(with(16, 4), "it is a core dump, not a program");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        let _ = Image::read(Cursor::new(&bytes));
        let header = [&b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0\x01\0\0\0"[..], &bytes].concat();
        let _ = Image::read(Cursor::new(header));
    }

    #[test]
    fn damaged_programs_never_panic(
        damage in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..20),
        end in any::<u32>(),
    ) {
        let mut bytes = damageable().to_vec();
        for (at, value) in damage {
            let length = bytes.len();
            bytes[at as usize % length] = value;
        }
        let _ = Image::read(Cursor::new(&bytes));
        bytes.truncate(end as usize % bytes.len());
        let _ = Image::read(Cursor::new(&bytes));
    }
}

/// A small library with every table.
fn damageable() -> &'static [u8] {
    static BYTES: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    BYTES.get_or_init(|| {
        let directory = sources(&[("a.c", "#include <netdb.h>\nint a(void) { return getaddrinfo(0, 0, 0, 0); }")]);
        cc(directory.path(), &["-shared", "-fPIC", "-o", "a.so", "a.c", "-Wl,-soname,liba.so", "-Wl,-rpath,/x"]);
        fs::read(directory.path().join("a.so")).unwrap()
    })
}
