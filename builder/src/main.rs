//! `builder`: from a container image to a machine image.

mod cli;
mod commands;
mod order;
mod qemu;

use anyhow::{Context, Result};
use builder::cache::{self, Cache};
use builder::cleanup;
use builder::progress::{Colour, Progress, paint, printable};
use cli::grammar::Named;
use cli::{Cli, Command, Create, Report};
use std::io::Write;
use std::process::ExitCode;

/// Exit status of a machine whose power was cut, and of a build that Ctrl-C ended, by the shells' convention.
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| complain(&fault(&panic.to_string()))));
    let (cli, matches) = match cli::settings::parse(&std::env::args_os().collect::<Vec<_>>()) {
        Ok(parsed) => parsed,
        Err(error) => return usage(&error),
    };
    match run(cli, &matches) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<qemu::PowerCut>() => INTERRUPTED.into(),
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli, matches: &clap::ArgMatches) -> Result<()> {
    cleanup::install()?;
    let progress = told(&cli.build.making.report);
    match cli.command {
        Some(Command::Init(init)) => commands::init::init(init, &progress),
        Some(Command::Create(create)) => {
            let Create { path, making } = *create;
            let progress = told(&making.report);
            commands::build::build(Named::Path(path), making, &progress)
        }
        Some(Command::Update(update)) => commands::update::update(update, &progress),
        Some(Command::Run(run)) => commands::run::run(*run, matches.subcommand_matches("run"), &progress),
        Some(Command::Demo { port, kernel }) => commands::demo::run(port, kernel.kernel.as_deref(), &progress),
        #[cfg(feature = "aws")]
        Some(Command::Publish(publish)) => commands::ec2::publish::publish(&publish, &told(&publish.report)),
        #[cfg(feature = "aws")]
        Some(Command::Promote(promote)) => commands::ec2::promote::promote(&promote, &told(&promote.report)),
        #[cfg(feature = "aws")]
        Some(Command::Aws { what }) => commands::ec2::inventory::run(&what, &progress),
        Some(Command::Inspect(inspect)) => inspect.run(),
        Some(Command::Cache { what }) => cli::cache::run(what.as_ref(), &Cache::open(&cache::directory()?)?),
        Some(Command::Completions { shell }) => commands::manual::completions(shell),
        Some(Command::Man) => commands::manual::man_page(),
        None => {
            let named = cli.build.image.context("no IMAGE or PATH given (see --help)")?;
            commands::build::build(named, cli.build.making, &progress)
        }
    }
}

/// How progress is told.
fn told(report: &Report) -> Progress {
    let progress = if report.quiet { Progress::silent() } else { Progress::new() };
    if report.no_timings { progress.untimed() } else { progress }
}

/// One line on standard error.
fn complain(text: &str) {
    // A terminal that went away is nobody to complain to.
    let _ = writeln!(std::io::stderr(), "{} {}", paint(Colour::Red, "builder:"), printable(text));
}

/// What clap says: help on standard output, errors in our own voice.
fn usage(error: &clap::Error) -> ExitCode {
    if error.use_stderr() {
        let text = error.render().to_string();
        complain(text.strip_prefix("error: ").unwrap_or(&text).trim_end());
    } else {
        // Help and version; a reader that had enough is no failure.
        let _ = error.print();
    }
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn fault(panic: &str) -> String {
    format!(
        "this is a fault of builder's own, not of your image: please report it with the command line, version {} and \
         these words: {}",
        env!("CARGO_PKG_VERSION"),
        panic.replace('\n', ": ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_fault_asks_to_be_reported_on_one_line() {
        let text = fault("panicked at src/x.rs:1:2:\nindex out of bounds");
        assert!(text.ends_with("and these words: panicked at src/x.rs:1:2:: index out of bounds"), "{text}");
    }
}
