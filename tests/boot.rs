//! One test for each folder of `tests/scenarios`, by the folder's name.
//!
//! Beside them stand those of [`OTHERS`], and `example-NAME` for what is in `examples/`. A scenario that needs code has
//! a
//! `check.rs` in its folder, named here. `cargo test -p tests --test boot NAME` runs one of them.

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};
use std::fs;
use std::num::NonZero;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use tests::scenario::{Code, Disks, Scenario, run};

#[path = "scenarios/as-docker/check.rs"]
mod as_docker;
#[path = "scenarios/clock-ec2/check.rs"]
mod clock;
#[path = "scenarios/console-flood/check.rs"]
mod console_flood;
#[path = "scenarios/console-lines/check.rs"]
mod console_lines;
mod demo;
#[path = "scenarios/env/check.rs"]
mod env;
mod examples;
#[path = "scenarios/hung-volume/check.rs"]
mod hung_volume;
#[path = "scenarios/idle/check.rs"]
mod idle;
#[path = "scenarios/late-disk/check.rs"]
mod late_disk;
mod pins;
mod publish;
mod run_image;
#[path = "scenarios/settings/check.rs"]
mod settings;
#[path = "scenarios/silent-root/check.rs"]
mod silent_root;
#[path = "scenarios/user-data-gzip/check.rs"]
mod user_data;

/// Code of scenarios, by folder.
const CODE: &[(&str, Code)] = &[
    ("as-docker", as_docker::CODE),
    ("clock-dhcp", clock::DHCP),
    ("clock-ec2", clock::EC2),
    ("clock-liars", clock::LIARS),
    ("console-flood", console_flood::CODE),
    ("console-lines", console_lines::CODE),
    ("env", env::CODE),
    ("hung-volume", hung_volume::CODE),
    ("idle", idle::CODE),
    ("late-disk", late_disk::CODE),
    ("settings", settings::CODE),
    ("silent-root", silent_root::CODE),
    ("slow-root", silent_root::SLOW),
    ("user-data-gzip", user_data::CODE),
    ("user-data-not-utf8", user_data::CODE),
    ("user-data-too-long", user_data::CODE),
];

/// A test that is a function.
type Other = fn() -> Result<()>;

/// What is no scenario, by name.
const OTHERS: &[(&str, Other)] = &[
    ("demo", demo::run),
    ("pins", pins::run),
    ("publish", publish::run),
    ("publish-project", publish::run_project),
    ("run", run_image::run),
    ("run-project", run_image::run_project),
];

/// Machines that run at the same time at most, however many processors there are: each takes half a GiB of memory.
const MOST_MACHINES: usize = 8;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    if arguments.test_threads.is_none() {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        arguments.test_threads = Some(processors.min(MOST_MACHINES));
    }
    let folders = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let folders = match fs::read_dir(&folders) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()),
        Err(error) => {
            eprintln!("read {}: {error}", folders.display());
            return ExitCode::FAILURE;
        }
    };
    let scenarios: Vec<_> = folders.map(|folder| (Scenario::load(&folder), folder)).collect();
    let disks = Arc::new(Disks::new(scenarios.iter().filter_map(|(scenario, _)| scenario.as_ref().ok())));
    let mut trials: Vec<Trial> =
        scenarios.into_iter().map(|(scenario, folder)| trial(scenario, &folder, disks.clone())).collect();
    drop(disks);
    trials.extend(OTHERS.iter().map(|(name, run)| Trial::test(*name, || told(run()))));
    let example = |example: &'static examples::Example| {
        Trial::test(format!("example-{}", example.name), || told(examples::check(example)))
    };
    trials.extend(examples::ALL.iter().map(example));
    trials.sort_by(|a, b| a.name().cmp(b.name()));
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(scenario: Result<Scenario>, folder: &Path, disks: Arc<Disks>) -> Trial {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let code = CODE.iter().find(|(folder, _)| *folder == name).map(|(_, code)| *code);
    Trial::test(name, move || told(scenario.and_then(|scenario| run(scenario, code, &disks))))
}

/// A failure with all its causes.
fn told(result: Result<()>) -> Result<(), Failed> {
    result.map_err(|error| Failed::from(format!("{error:#}")))
}
