//! From an image's configuration to that of the machine: what `docker run` would do, written down for init.

use crate::manifest::RunConfig;
use anyhow::{Context, Result, ensure};
use initramfs::guid::Guid;
use initramfs::image::{Image, OnExit};
use initramfs::signal;

/// What Docker gives a container whose image sets no PATH (moby, `oci/defaults.go`).
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the user decides about the machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// What the machine does when its program ends.
    pub on_exit: OnExit,
    /// Kernel and init speak on the console.
    pub debug: bool,
}

/// The machine's configuration, and what the user should know about it.
///
/// # Errors
/// When the image names no program, or a stop signal that does not exist.
pub fn configure(image: &str, config: &RunConfig, root: Guid, options: Options) -> Result<(Image, Vec<String>)> {
    let argv: Vec<String> = config.entrypoint.iter().chain(&config.cmd).cloned().collect();
    ensure!(
        argv.first().is_some_and(|program| !program.is_empty()),
        "image {image} has neither ENTRYPOINT nor CMD: a machine needs a program to run, so set one of them in the image"
    );
    let mut machine = Image::new(argv, root);
    let mut warnings = Vec::new();
    for entry in &config.env {
        // Docker drops these as well, without a word.
        if entry.find('=').is_some_and(|at| at > 0) {
            machine.env.push(entry.clone());
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
        machine.stop_signal = signal::number(&config.stop_signal).with_context(|| {
            format!("image {image} has STOPSIGNAL {:?}, and there is no such signal", config.stop_signal)
        })?;
    }
    machine.on_exit = options.on_exit;
    machine.debug = options.debug;
    Ok((machine, warnings))
}

#[cfg(test)]
mod tests {
    use super::*;
    use initramfs::guid::ESP_TYPE;

    fn configured(config: &RunConfig) -> Result<(Image, Vec<String>)> {
        configure("x", config, ESP_TYPE, Options::default())
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
        assert_eq!((machine.cwd.as_str(), machine.stop_signal), ("/", signal::TERM));
    }

    #[test]
    fn the_images_own_values_are_kept() {
        let config = RunConfig {
            cmd: texts(&["/a"]),
            env: texts(&["A=b=c\n", "PATH=/x", "novalue", "=x", "E="]),
            working_dir: "srv/app".to_owned(),
            user: "www-data:adm".to_owned(),
            stop_signal: "SIGQUIT".to_owned(),
            ..RunConfig::default()
        };
        let (machine, warnings) = configured(&config).unwrap();
        assert_eq!(machine.env, ["A=b=c\n", "PATH=/x", "E="]);
        assert_eq!(warnings.len(), 2);
        assert_eq!(warnings[0], "the image's environment has \"novalue\", which is not KEY=VALUE; it is left out");
        assert_eq!((machine.cwd.as_str(), machine.user.as_str(), machine.stop_signal), ("/srv/app", "www-data:adm", 3));
    }

    #[test]
    fn an_image_without_a_program_or_with_an_unknown_signal_is_refused() {
        let refused = |config: &RunConfig| configured(config).unwrap_err().to_string();
        assert!(refused(&RunConfig::default()).starts_with("image x has neither ENTRYPOINT nor CMD: "));
        let config = RunConfig { cmd: texts(&["/a"]), stop_signal: "SIGNOPE".to_owned(), ..RunConfig::default() };
        assert_eq!(refused(&config), "image x has STOPSIGNAL \"SIGNOPE\", and there is no such signal");
    }
}
