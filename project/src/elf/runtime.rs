//! What a program opens only at run time, and no table of it names: a list, by the functions that it calls.

use super::closure::{Closure, Error};
use super::conf;
use super::libraries::Libraries;
use super::root::{Root, normal};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Name service switch: functions, and the databases of /etc/nsswitch.conf that they ask (nsswitch.conf(5)).
const DATABASES: &[(&str, &[&str])] = &[
    ("passwd", &["getpwnam", "getpwnam_r", "getpwuid", "getpwuid_r", "getpwent", "getpwent_r"]),
    ("group", &["getgrnam", "getgrnam_r", "getgrgid", "getgrgid_r", "getgrent", "getgrouplist", "initgroups"]),
    ("hosts", &["getaddrinfo", "getnameinfo", "gethostbyname", "gethostbyname2", "gethostbyname_r", "gethostbyaddr"]),
    ("services", &["getservbyname", "getservbyname_r", "getservbyport", "getservbyport_r", "getaddrinfo"]),
    ("protocols", &["getprotobyname", "getprotobyname_r", "getprotobynumber", "getprotobynumber_r"]),
];

/// Files that modules of the name service switch read, where a machine has none of its own.
const DATABASE_FILES: &[(&str, &str)] = &[("services", "/etc/services"), ("protocols", "/etc/protocols")];

/// Modules for a database that /etc/nsswitch.conf does not name.
const DEFAULT_MODULES: &[&str] = &["files", "dns"];

/// Functions of glibc that open libgcc_s to unwind the stack.
const UNWINDING: &[&str] = &["pthread_cancel", "pthread_exit", "backtrace"];

/// What converts between character sets, by modules of its own where neither is UTF-8, ASCII or UCS.
const CONVERTING: &[&str] = &["iconv_open"];

/// What reads time zones.
const TIMES: &[&str] = &["localtime", "localtime_r", "localtime64_r", "mktime", "tzset", "strptime"];

/// Where time zones are (tzfile(5)).
const ZONES: &str = "/usr/share/zoneinfo";

/// Copies of all zones, with leap seconds and without, that nobody names by accident.
const OTHER_ZONES: [&str; 2] = ["/usr/share/zoneinfo/posix/", "/usr/share/zoneinfo/right/"];

/// Where programs look for the certificates of authorities: Debian's, Go's and OpenSSL's; Fedora's; Alpine's; Debian's
/// OpenSSL; SUSE's.
const CERTIFICATES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/usr/lib/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];

/// Bytes of /etc/nsswitch.conf.
const LONGEST: u64 = 1 << 20;

/// What data a program needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Needs {
    zones: bool,
}

impl Needs {
    /// By the paths that are written in the program: Go, Rust, and what is linked statically have them in themselves.
    pub(super) fn of_bytes(file: &Path) -> io::Result<Self> {
        let zones = contains(File::open(file)?, b"/zoneinfo")?;
        Ok(Needs { zones })
    }
}

/// Whether a file contains these bytes.
fn contains(mut file: impl Read, wanted: &[u8]) -> io::Result<bool> {
    let mut buffer = vec![0; 1 << 16];
    let mut kept = 0;
    loop {
        let read = file.read(buffer.get_mut(kept..).unwrap_or_default())?;
        let filled = buffer.get(..kept + read).unwrap_or_default();
        if memchr::memmem::find(filled, wanted).is_some() {
            return Ok(true);
        }
        if read == 0 {
            return Ok(false);
        }
        // The end may be the beginning of what is looked for.
        let end = filled.len();
        kept = wanted.len().saturating_sub(1).min(end);
        buffer.copy_within(end - kept..end, 0);
    }
}

/// Adds what a dynamically linked program opens by itself, and what these files need.
pub(super) fn add_libraries(
    root: &Root,
    libraries: &mut Libraries<'_>,
    needs: &mut Needs,
    closure: &mut Closure,
) -> Result<(), Error> {
    let calls = |libraries: &Libraries<'_>, names: &[&str]| {
        libraries.loaded.iter().any(|file| !libraries.is_libc(file) && file.image.imports_any(names))
    };
    needs.zones |= calls(libraries, TIMES);
    let opens = libraries.loaded.first().and_then(|program| Some((program, program.image.imports.as_ref()?)));
    if let Some((program, _)) = opens.filter(|(_, imports)| imports.iter().any(|name| name == "dlopen")) {
        closure.warnings.push(format!(
            "{} opens libraries by name while it runs (dlopen): what it does not name in its tables is not in the \
             machine",
            program.source
        ));
    }
    if libraries.is_musl() {
        if let Some(program) = libraries.loaded.get(1) {
            let file = conf::musl_file(&program.source, program.image.architecture.name());
            closure.files.extend(root.file(&file).map(|source| (normal(&file), source)));
        }
        return Ok(());
    }
    if calls(libraries, UNWINDING) && !libraries.find_optional("libgcc_s.so.1", "libc.so.6")? {
        closure.warnings.push(
            "libgcc_s.so.1, which pthread_cancel and pthread_exit open, is not on this machine: where the program ends \
             a thread so, it will abort"
                .to_owned(),
        );
    }
    if calls(libraries, CONVERTING) {
        add_converters(root, libraries, closure)?;
    }
    // What these libraries call counts, too; modules may call for more modules, which are the same ones then.
    let databases: Vec<&str> =
        DATABASES.iter().filter(|(_, calls_it)| calls(libraries, calls_it)).map(|(database, _)| *database).collect();
    add_name_services(root, libraries, &databases, closure)
}

/// Adds the modules that /etc/nsswitch.conf names for these databases, the file, and the databases' own files.
fn add_name_services(
    root: &Root,
    libraries: &mut Libraries<'_>,
    databases: &[&str],
    closure: &mut Closure,
) -> Result<(), Error> {
    const FILE: &str = "/etc/nsswitch.conf";
    if databases.is_empty() {
        return Ok(());
    }
    let text = root.text(FILE, LONGEST).unwrap_or_default();
    for database in databases {
        for module in modules(&text, database) {
            // A module that is not there is passed over by glibc, and `files` and `dns` are in libc itself since 2.34.
            libraries.find_optional(&format!("libnss_{module}.so.2"), "libc.so.6")?;
        }
    }
    let wanted = DATABASE_FILES.iter().filter(|(database, _)| databases.contains(database)).map(|(_, file)| *file);
    let found = wanted.chain([FILE]).filter_map(|path| Some((path.to_owned(), root.file(path)?)));
    closure.files.extend(found);
    Ok(())
}

/// The modules that a text in nsswitch.conf's grammar names for a database.
fn modules<'a>(text: &'a str, database: &str) -> Vec<&'a str> {
    let line = text.lines().find_map(|line| {
        let line = line.split_once('#').map_or(line, |(line, _)| line);
        let (name, modules) = line.split_once(':')?;
        (name.trim() == database).then_some(modules)
    });
    let Some(mut rest) = line else { return DEFAULT_MODULES.to_vec() };
    let mut modules = Vec::new();
    // What is in brackets says what to do with an answer.
    while !rest.is_empty() {
        let (names, actions) = rest.split_once('[').unwrap_or((rest, ""));
        modules.extend(names.split_whitespace().filter(|name| !name.contains('/')));
        rest = actions.split_once(']').map_or("", |(_, rest)| rest);
    }
    modules
}

/// Adds glibc's converters: the directory `gconv` beside its libraries, with all that is in it.
fn add_converters(root: &Root, libraries: &mut Libraries<'_>, closure: &mut Closure) -> Result<(), Error> {
    let directories = libraries.default_directories().iter().map(|directory| format!("{directory}/gconv"));
    // /lib may be a link to /usr/lib: programs are told the path below /usr.
    let mut directories: Vec<String> = directories.filter(|path| !root.names(path).is_empty()).collect();
    directories.sort_by_key(|path| !path.starts_with("/usr"));
    let Some(directory) = directories.first() else { return Ok(()) };
    for file in root.files_below(directory) {
        if file.ends_with(".so") {
            libraries.find_optional(&file, "libc.so.6")?;
        } else {
            closure.files.extend(root.file(&file).map(|source| (file, source)));
        }
    }
    Ok(())
}

/// Adds certificates and time zones.
pub(super) fn add_data(root: &Root, needs: Needs, closure: &mut Closure) {
    match CERTIFICATES.iter().find_map(|path| root.file(path)) {
        Some(bundle) => closure.files.extend(CERTIFICATES.iter().map(|path| ((*path).to_owned(), bundle.clone()))),
        None => closure.warnings.push(
            "no certificates of authorities are on this machine, so the program will trust no https server: install \
             ca-certificates"
                .to_owned(),
        ),
    }
    if needs.zones {
        let zones = root.files_below(ZONES).into_iter();
        let zones = zones.filter(|zone| !OTHER_ZONES.iter().any(|other| zone.starts_with(other)));
        closure.files.extend(zones.filter_map(|zone| root.file(&zone).map(|source| (zone, source))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_of_a_database() {
        let text = "# hosts: none\npasswd:\tfiles systemd # local\n\
                    hosts: files mdns4_minimal [NOTFOUND=return] dns [!UNAVAIL=return]x\n\
                    group:\nbad: ../../x [";
        assert_eq!(modules(text, "passwd"), ["files", "systemd"]);
        assert_eq!(modules(text, "hosts"), ["files", "mdns4_minimal", "dns", "x"]);
        assert_eq!(modules(text, "group"), [""; 0]);
        assert_eq!(modules(text, "services"), ["files", "dns"], "not named");
        assert_eq!(modules(text, "bad"), [""; 0]);
    }

    #[test]
    fn bytes_are_found_across_reads() {
        /// Gives one byte at a time.
        struct Slow<'a>(&'a [u8]);
        impl Read for Slow<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let length = buffer.len().min(1);
                self.0.read(&mut buffer[..length])
            }
        }
        let mut long = vec![b'/'; 1 << 16];
        long.extend(b"/zoneinfo");
        assert!(contains(&long[..], b"/zoneinfo").unwrap());
        assert!(contains(Slow(b"x/zonezone/zoneinfo"), b"/zoneinfo").unwrap());
        assert!(!contains(Slow(b"x/zoneinf"), b"/zoneinfo").unwrap());
        assert!(!contains(&b""[..], b"/zoneinfo").unwrap());
    }
}
