//! The application: the image's entrypoint, started as Docker would start it.

mod child;
mod diagnosis;
mod limits;
pub mod systemd;
pub mod user;

use crate::cgroup;
use crate::console::Ends;
use crate::errand::Errand;
use crate::machine::Machine;
use crate::root::Root;
use crate::{info, warn};
use anyhow::{Context, Result, anyhow, bail};
use child::Launch;
use initramfs::environment;
use initramfs::image::Image;
use nix::unistd::Pid;
use rustix::fs::Uid;
use std::ffi::CString;
use std::fs::File;
use std::io::{PipeWriter, Write};
use std::time::Duration;
use user::Credentials;

/// The PATH of a program whose environment has none, as Docker sets it.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What shells answer for a program that cannot be run.
const CANNOT_RUN: i32 = 127;
/// No passwd or group file of a machine that runs one application is longer.
const LONGEST_DATABASE: u64 = 4 << 20;
/// A sentence that says why a program did not start, with a path in it.
const LONGEST_WORDS: usize = 8 << 10;

/// How long an entrypoint that is being started may take for it when somebody ends the machine at that moment: once it runs
/// it is asked to stop as any other.
const START: Duration = Duration::from_secs(1);

/// How long it may take to start until the console says so.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts the entrypoint in the image's root, and returns once it runs.
///
/// # Errors
/// Why it does not: who it should run as, where, or what. [`crate::power::Asked`] when somebody ends the machine first.
pub fn launch(machine: &mut Machine, image: &Image) -> Result<Pid> {
    let program = image.argv.first().context("the image names no program")?;
    let ends = machine.console.connect()?;
    let line =
        format!("launch: {program} has not started for {} s: the root's disk may not answer", PATIENCE.as_secs());
    let errand = start(machine, image, program, ends)?.remind_after(PATIENCE, line);
    let pid = errand.pid;
    machine.watch(pid);
    // The child's last words come through a pipe that closes by itself when the program starts.
    let last_words = machine.hear_out(errand, START)?;
    if !last_words.is_empty() {
        bail!("entrypoint {program}: {}", String::from_utf8_lossy(&last_words));
    }
    info!("launch: {program} runs as process {pid}");
    Ok(pid)
}

/// PID 1 reads nothing from the root, whose disk may not answer any more: its child does.
fn start(machine: &mut Machine, image: &Image, program: &str, ends: Ends) -> Result<Errand> {
    let names = machine.names_to_write();
    let root = machine.root.as_ref().context("there is no root to launch from")?;
    let group = cgroup::entrance();
    let child = |mut words: PipeWriter| {
        // Init's hook ends the machine where it runs as PID 1, which this child may be, too.
        drop(std::panic::take_hook());
        names.apply(root);
        let launch = prepare(root, image, program, names.hostname(), ends, group);
        let Err(error) = launch.and_then(|launch| launch.run());
        // If even that fails, the exit status alone must tell.
        let _ = write!(words, "{error:#}");
        CANNOT_RUN
    };
    let started = match image.pid1 {
        true => Errand::start_as_pid1(LONGEST_WORDS, child),
        false => Errand::start(LONGEST_WORDS, child),
    };
    started.with_context(|| format!("entrypoint {program}"))
}

fn prepare<'a>(
    root: &'a Root,
    image: &'a Image,
    program: &str,
    hostname: &str,
    ends: Ends,
    group: Option<File>,
) -> Result<Launch<'a>> {
    // Only a name cannot do without them; Docker passes over what it cannot read, too.
    let database = |path| match root.read_file(path, LONGEST_DATABASE) {
        Err(error) if !user::has_names(&image.user) => {
            warn!("{error:#}");
            Ok(Vec::new())
        }
        content => content.map(Option::unwrap_or_default),
    };
    let credentials = Credentials::resolve(&image.user, &database("/etc/passwd")?, &database("/etc/group")?)
        .map_err(|reason| anyhow!("user {:?} of the image: {reason}", image.user))?;
    let mut environment = environment(image, &credentials, hostname);
    if image.pid1 && systemd::is_named(program, root) {
        systemd::announce_container(&mut environment);
    }
    own(&ends, &credentials).context("give the application its standard output")?;
    Ok(Launch {
        root,
        ends,
        group,
        candidates: candidates(program, &environment)?,
        argv: c_strings(&image.argv)?,
        envp: c_strings(&environment)?,
        credentials,
        image,
    })
}

/// The image's environment, and what Docker adds where the image has none of it.
fn environment(image: &Image, credentials: &Credentials, hostname: &str) -> Vec<String> {
    let mut environment = environment::unique(image.env.iter().cloned());
    let defaults =
        [("PATH", DEFAULT_PATH.to_owned()), ("HOSTNAME", hostname.to_owned()), ("HOME", credentials.home.clone())];
    // An empty home counts as none (runc, `setupUser`).
    environment.retain(|entry| entry != "HOME=");
    for (key, value) in defaults {
        if lookup(&environment, key).is_none() {
            environment.push(format!("{key}={value}"));
        }
    }
    environment
}

fn lookup<'a>(environment: &'a [String], key: &str) -> Option<&'a str> {
    environment
        .iter()
        .find_map(|entry| entry.split_once('=').filter(|(found, _)| *found == key).map(|(_, value)| value))
}

/// The paths to try for a program, in order: itself if it has a slash, else one for each directory of PATH.
fn candidates(program: &str, environment: &[String]) -> Result<Vec<CString>> {
    if program.contains('/') {
        return c_strings(&[program.to_owned()]);
    }
    let path = lookup(environment, "PATH").unwrap_or(DEFAULT_PATH);
    let in_directory = |directory: &str| match directory {
        "" => format!("./{program}"),
        directory => format!("{directory}/{program}"),
    };
    c_strings(&path.split(':').map(in_directory).collect::<Vec<_>>())
}

fn c_strings(texts: &[String]) -> Result<Vec<CString>> {
    texts.iter().map(|text| CString::new(text.as_str()).with_context(|| format!("{text:?} has a NUL byte"))).collect()
}

/// As Docker does: a program that is not root may open /dev/stdout and /dev/stderr too.
fn own(ends: &Ends, credentials: &Credentials) -> Result<()> {
    let uid = Uid::from_raw(credentials.uid);
    for end in [&ends.output, &ends.error] {
        rustix::fs::fchown(end, Some(uid), None)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use initramfs::guid::ESP_TYPE;

    fn image(env: &[&str]) -> Image {
        let mut image = Image::new(vec!["x".to_owned()], ESP_TYPE);
        image.env = env.iter().map(|entry| (*entry).to_owned()).collect();
        image
    }

    #[test]
    fn docker_s_variables_are_added_where_the_image_has_none() {
        let credentials = Credentials { uid: 0, gid: 0, groups: vec![], home: "/root".to_owned() };
        assert_eq!(
            environment(&image(&["A=1"]), &credentials, "box"),
            ["A=1", &format!("PATH={DEFAULT_PATH}"), "HOSTNAME=box", "HOME=/root"]
        );
        let own = ["PATH=/bin", "HOSTNAME=", "HOME=/x"];
        assert_eq!(environment(&image(&own), &credentials, "box"), own);
        assert_eq!(environment(&image(&["HOME="]), &credentials, "box").last().unwrap(), "HOME=/root");
        let twice = ["PATH=/bin1", "HOME=/x", "PATH=/bin2", "HOSTNAME=x", "HOME="];
        let expected = ["PATH=/bin2", "HOSTNAME=x", "HOME=/root"];
        assert_eq!(environment(&image(&twice), &credentials, "box"), expected);
    }

    #[test]
    fn programs_are_looked_for_as_execvp_does() {
        let found = |program, path: &str| candidates(program, &[format!("PATH={path}")]).unwrap();
        assert_eq!(found("nginx", "/usr/sbin:/bin"), [c"/usr/sbin/nginx".to_owned(), c"/bin/nginx".to_owned()]);
        assert_eq!(found("nginx", ":/bin"), [c"./nginx".to_owned(), c"/bin/nginx".to_owned()]);
        assert_eq!(found("./nginx", "/bin"), [c"./nginx".to_owned()]);
    }
}
