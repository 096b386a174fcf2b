//! From an image's configuration to that of the machine: what `docker run` would do, written down for init.

use crate::local::Project;
use crate::manifest::RunConfig;
use anyhow::{Result, anyhow, ensure};
use initramfs::guid::Guid;
use initramfs::image::{BadUserData, Image, MissingMetadata, OnExit, Swap, UserData};
use initramfs::limits::Limits;
use initramfs::{arguments, environment, signal};
use std::collections::BTreeMap;

/// What Docker gives a container whose image sets no PATH (moby, `oci/defaults.go`).
pub const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the user decides about the machine: the fields of the contract that no image says anything about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// What the machine does when its program ends.
    pub on_exit: OnExit,
    /// Kernel and init speak on the console.
    pub debug: bool,
    /// Kernel settings.
    pub sysctls: BTreeMap<String, String>,
    /// The volume that becomes swap.
    pub swap: Option<Swap>,
    /// How the root takes writes.
    pub root: RootOptions,
    /// Whether the program starts before the network has its address.
    pub no_wait_network: bool,
    /// Whether modules may be loaded for the machine's life.
    pub late_modules: bool,
    /// Whether setuid files give no privileges.
    pub no_new_privileges: bool,
    /// Resource limits.
    pub limits: Limits,
    /// Whether the program is PID 1 of a PID namespace of its own. Where nobody says it, it is, but for projects and payloads,
    /// whose programs seldom handle SIGTERM; what a Dockerfile builds is an image like any other.
    pub pid1: Option<bool>,
    /// Where user data may come from.
    pub user_data: UserData,
    /// What becomes of a machine with bad ones.
    pub bad_user_data: BadUserData,
    /// What becomes of a machine whose metadata service does not answer.
    pub missing_metadata: MissingMetadata,
    /// The machine's name until the network tells another.
    pub hostname: Option<String>,
    /// Seconds between the stop signal and SIGKILL; else Docker's ten.
    pub stop_timeout: Option<u32>,
}

/// How the root takes writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RootOptions {
    /// Not at all, but for /tmp, /run and the image's volumes.
    pub read_only: bool,
    /// MiB that may be written over it; else what the machine can spare.
    pub overlay_mib: Option<u32>,
}

/// The machine's configuration, and what the user should know about it.
///
/// # Errors
/// When the image names no program, or Linux could not start it with these arguments and variables.
pub fn configure(image: &str, config: &RunConfig, root: Guid, options: &Options) -> Result<(Image, Vec<String>)> {
    // An ENTRYPOINT of one empty word is none (moby, daemon/create.go).
    let entrypoint = if config.entrypoint == [""] { &[][..] } else { &config.entrypoint[..] };
    let argv: Vec<String> = entrypoint.iter().chain(&config.cmd).cloned().collect();
    ensure!(
        argv.first().is_some_and(|program| !program.is_empty()),
        "image {image} has neither ENTRYPOINT nor CMD, and a machine needs a program to run: name one with --entrypoint, or set it in the image"
    );
    let mut machine = Image::new(argv, root);
    let mut warnings = Vec::new();
    for entry in environment::unique(config.env.iter().cloned()) {
        // Docker drops these as well, without a word.
        if environment::key(&entry).is_some() {
            machine.env.push(entry);
        } else {
            warnings.push(format!("the image's environment has {entry:?}, which is not KEY=VALUE; it is left out"));
        }
    }
    if !machine.env.iter().any(|entry| entry.starts_with("PATH=")) {
        machine.env.insert(0, DEFAULT_PATH.to_owned());
    }
    machine.user.clone_from(&config.user);
    if !config.working_dir.is_empty() {
        machine.cwd = format!("/{}", config.working_dir.trim_start_matches('/'));
    }
    if !config.stop_signal.is_empty() {
        match signal::number(&config.stop_signal) {
            Some(number) => machine.stop_signal = Some(number),
            // Docker minds only when it stops the container.
            None => warnings.push(format!("there is no signal {:?}, the image's STOPSIGNAL", config.stop_signal)),
        }
    }
    machine.entrypoint_words = entrypoint.len();
    // Docker takes a relative one as absolute.
    machine.volumes = config.volumes.keys().map(|path| format!("/{}", path.trim_start_matches('/'))).collect();
    apply(&mut machine, options);
    machine.pid1 = options.pid1.unwrap_or(config.project.as_ref().is_none_or(Project::is_of_a_dockerfile));
    let project = config.project.iter();
    machine.processes = project.clone().flat_map(|project| project.processes.clone()).collect();
    // --cmd and --entrypoint start what may be none of them.
    let started = project.filter(|project| project.processes.get(&project.process) == Some(&machine.argv));
    machine.process = started.map(|project| project.process.clone()).collect();
    check_lengths("the application", &machine.argv, &machine)?;
    for (name, argv) in &machine.processes {
        check_lengths(&format!("process {name}"), argv, &machine)?;
    }
    Ok((machine, warnings))
}

fn check_lengths(what: &str, argv: &[String], machine: &Image) -> Result<()> {
    arguments::check(argv, &machine.env, &machine.limits).map_err(|excess| {
        anyhow!("{what} could not be started: {excess}; give it to the program in a file of the image")
    })
}

fn apply(machine: &mut Image, options: &Options) {
    let options = options.clone();
    machine.on_exit = options.on_exit;
    machine.debug = options.debug;
    machine.sysctls = options.sysctls;
    machine.swap = options.swap;
    machine.read_only = options.root.read_only;
    machine.overlay_mib = options.root.overlay_mib;
    machine.wait_network = !options.no_wait_network;
    machine.late_modules = options.late_modules;
    machine.no_new_privileges = options.no_new_privileges;
    machine.limits = options.limits;
    machine.user_data = options.user_data;
    machine.bad_user_data = options.bad_user_data;
    machine.missing_metadata = options.missing_metadata;
    if let Some(hostname) = options.hostname {
        machine.hostname = hostname;
    }
    if let Some(seconds) = options.stop_timeout {
        machine.stop_timeout = seconds;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::Origin;
    use initramfs::guid::ESP_TYPE;
    use project::plan::Kind;

    fn configured(config: &RunConfig) -> Result<(Image, Vec<String>)> {
        configure("x", config, ESP_TYPE, &Options::default())
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn entrypoint_and_command_make_the_arguments() {
        let config = RunConfig { entrypoint: texts(&["/a", "b"]), cmd: texts(&["c"]), ..RunConfig::default() };
        let (machine, warnings) = configured(&config).unwrap();
        assert_eq!((machine.argv, warnings), (texts(&["/a", "b", "c"]), vec![]));
        assert_eq!(machine.env, [DEFAULT_PATH]);
        assert_eq!((machine.cwd.as_str(), machine.stop_signal, machine.pid1), ("/", None, true));
    }

    #[test]
    fn the_images_own_values_are_kept() {
        let config = RunConfig {
            cmd: texts(&["/a"]),
            env: texts(&["A=b=c\n", "PATH=/x", "novalue", "=x", "E="]),
            working_dir: "srv/app".to_owned(),
            user: "www-data:adm".to_owned(),
            stop_signal: "SIGQUIT".to_owned(),
            volumes: [("data".to_owned(), serde_json::json!({}))].into(),
            ..RunConfig::default()
        };
        let (machine, warnings) = configured(&config).unwrap();
        assert_eq!(machine.env, ["A=b=c\n", "PATH=/x", "E="]);
        assert_eq!(machine.volumes, ["/data"]);
        assert_eq!(warnings.len(), 2);
        assert_eq!(warnings[0], "the image's environment has \"novalue\", which is not KEY=VALUE; it is left out");
        assert_eq!((machine.cwd.as_str(), machine.user.as_str()), ("/srv/app", "www-data:adm"));
        assert_eq!(machine.stop_signal, Some(3));
    }

    #[test]
    fn an_image_without_a_program_is_refused() {
        let refused = |config: &RunConfig| configured(config).unwrap_err().to_string();
        assert!(refused(&RunConfig::default()).starts_with("image x has neither ENTRYPOINT nor CMD, "));
        for empty in [&[""][..], &["", "/a"]] {
            let config = RunConfig { entrypoint: texts(empty), ..RunConfig::default() };
            assert!(refused(&config).starts_with("image x has neither ENTRYPOINT nor CMD, "));
        }
    }

    #[test]
    fn what_docker_runs_is_run() {
        let config = RunConfig { entrypoint: texts(&[""]), cmd: texts(&["/a", "b"]), ..RunConfig::default() };
        let (machine, _) = configured(&config).unwrap();
        assert_eq!((machine.argv.clone(), machine.entrypoint()), (texts(&["/a", "b"]), &[][..]));
        let config = RunConfig { cmd: texts(&["/a"]), stop_signal: "SIGNOPE".to_owned(), ..RunConfig::default() };
        let (machine, warnings) = configured(&config).unwrap();
        assert_eq!(machine.stop_signal, None);
        assert_eq!(warnings, ["there is no signal \"SIGNOPE\", the image's STOPSIGNAL"]);
        let env = texts(&["PATH=/bin1", "A=1", "A", "PATH=/bin2", "A=2"]);
        let (machine, warnings) = configured(&RunConfig { cmd: texts(&["/a"]), env, ..RunConfig::default() }).unwrap();
        assert_eq!((machine.env, warnings.len()), (texts(&["PATH=/bin2", "A=2"]), 1));
    }

    #[test]
    fn programs_of_projects_are_not_pid_1_unless_a_dockerfile_built_them() {
        let pid1 = |kind: Option<Kind>, said| {
            let origin = |kind: Kind| Some(Origin { kind: kind.to_string(), ..Origin::default() });
            let project = kind.map(|kind| Project { origin: origin(kind), ..Project::default() });
            let config = RunConfig { cmd: texts(&["/a"]), project, ..RunConfig::default() };
            configure("x", &config, ESP_TYPE, &Options { pid1: said, ..Options::default() }).unwrap().0.pid1
        };
        assert!(pid1(None, None) && pid1(Some(Kind::Dockerfile), None) && pid1(Some(Kind::Node), Some(true)));
        assert!(!pid1(Some(Kind::Node), None) && !pid1(Some(Kind::Elf), None) && !pid1(None, Some(false)));
    }

    #[test]
    fn a_project_says_what_else_may_be_started() {
        let processes = [("web", &["/web"][..]), ("worker", &["/worker", "-v"])];
        let processes: BTreeMap<_, _> = processes.map(|(name, argv)| (name.to_owned(), texts(argv))).into();
        let project = Some(Project { processes: processes.clone(), process: "web".to_owned(), ..Project::default() });
        let mut config = RunConfig { cmd: texts(&["/web"]), project, ..RunConfig::default() };
        let (machine, _) = configured(&config).unwrap();
        assert_eq!((machine.processes, machine.process.as_str()), (processes, "web"));
        machine_is_valid(&config);
        // --cmd
        config.cmd = texts(&["/bin/sh"]);
        assert_eq!(configured(&config).unwrap().0.process, "");
        machine_is_valid(&config);
        let worker = vec!["/worker".to_owned(), "x".repeat(131_072)];
        config.project.as_mut().unwrap().processes.insert("worker".to_owned(), worker);
        let refused = configured(&config).unwrap_err().to_string();
        assert!(refused.starts_with("process worker could not be started: argument 1 "), "{refused}");
    }

    fn machine_is_valid(config: &RunConfig) {
        configured(config).unwrap().0.to_json().unwrap();
    }

    #[test]
    fn what_linux_does_not_start_is_refused() {
        let env = vec![format!("SECRET={}", "x".repeat(140_000))];
        let config = RunConfig { cmd: texts(&["/a"]), env, ..RunConfig::default() };
        let said = "the application could not be started: the variable SECRET has 140007 bytes with its name, and \
                    Linux takes 131071 at most in one; give it to the program in a file of the image";
        assert_eq!(configured(&config).unwrap_err().to_string(), said);
        let config = RunConfig { cmd: vec!["/a".to_owned(), "x".repeat(131_072)], ..RunConfig::default() };
        assert!(configured(&config).unwrap_err().to_string().contains("argument 1 of the program has 131072 bytes"));
    }
}
