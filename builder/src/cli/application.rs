//! The options that say how the application is run: those of `docker run`, by the same names.

use anyhow::{Result, anyhow};
use builder::application::environment::{self, Variable};
use builder::application::words::{self, Words};
use builder::application::{self, Application};
use clap::Args;
use std::path::PathBuf;

/// How the application is run.
#[derive(Debug, Args)]
#[command(next_help_heading = "The application")]
pub(crate) struct ApplicationArgs {
    /// A variable for the application; KEY alone takes it from this environment; may be repeated, the last one counts
    #[arg(short, long, value_name = "KEY=VALUE")]
    env: Vec<String>,

    /// A file of variables, one a line, as docker run takes it; may be repeated. Those of -e come after
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,

    /// The program, in place of the image's ENTRYPOINT and CMD; repeated or as a JSON array, with arguments
    #[arg(long, value_name = "WORD|JSON", allow_hyphen_values = true)]
    entrypoint: Vec<Words>,

    /// A word in place of the image's CMD; repeated or as a JSON array, several
    #[arg(long, value_name = "WORD|JSON", allow_hyphen_values = true)]
    cmd: Vec<Words>,

    /// The user to run as, in place of the image's USER
    #[arg(short, long, value_name = "USER[:GROUP]", value_parser = application::user)]
    user: Option<String>,

    /// The directory to start in, in place of the image's WORKDIR
    #[arg(long, value_name = "DIR", value_parser = application::workdir)]
    workdir: Option<String>,
}

impl ApplicationArgs {
    /// The files that [`ApplicationArgs::read`] reads.
    pub(crate) fn env_files(&self) -> &[PathBuf] {
        &self.env_file
    }

    /// What they say; reads the files.
    pub(crate) fn read(self) -> Result<Application> {
        let mut variables = Vec::new();
        for file in &self.env_file {
            variables.extend(environment::read_file(file, environment::own)?);
        }
        for text in &self.env {
            // Read here and not by clap, whose errors quote the value: it may be a secret.
            let key = text.split('=').next().unwrap_or_default();
            variables.push(Variable::parse(text, environment::own).map_err(|why| anyhow!("-e {key}=…: {why}"))?);
        }
        Ok(Application {
            environment: variables,
            entrypoint: words::list(&self.entrypoint),
            cmd: words::list(&self.cmd),
            user: self.user,
            workdir: self.workdir,
        })
    }
}
