//! The options and the commands that are about projects.

use anyhow::{Result, anyhow};
use builder::application::Application;
use builder::application::environment::Variable;
use builder::source::Source;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use project::plan::{Kind, Wishes};
use std::path::PathBuf;

/// What is wanted of a project other than its files say.
#[derive(Debug, Args)]
#[command(next_help_heading = "The project")]
pub(crate) struct ProjectArgs {
    /// What the project is, where its files leave it open: node, python, java, go, rust, site, dockerfile or other
    /// [default: what its files say]
    #[arg(long, value_name = "KIND", hide_possible_values = true, value_parser = kind())]
    kind: Option<Kind>,

    /// The image that lies under the project's files [default: by the kind, such as python:3.12-slim]
    #[arg(long, value_name = "IMAGE", value_parser = base)]
    base: Option<String>,

    /// A command that builds the project, in place of the kind's own; may be repeated
    #[arg(long, value_name = "COMMAND")]
    build: Vec<String>,

    /// The process to start, of those in the Procfile [default: web, else the only one]
    #[arg(long, value_name = "NAME")]
    process: Option<String>,
}

impl ProjectArgs {
    /// What they say, together with the port that the application's environment names.
    ///
    /// # Errors
    /// When that is no port.
    pub(crate) fn wishes(self, application: &Application) -> Result<Wishes> {
        let port = application.environment.iter().rev().find_map(|variable| match variable {
            Variable::Set(entry) => entry.strip_prefix("PORT="),
            Variable::Unset(_) => None,
        });
        let port = port.map(|port| match port.parse::<u16>() {
            Ok(port @ 1..) => Ok(port),
            _ => Err(anyhow!("-e PORT={port}: a port is a number from 1 to 65535")),
        });
        let port = port.transpose()?;
        Ok(Wishes {
            kind: self.kind,
            base: self.base,
            build: self.build,
            command: application.entrypoint.is_some() || application.cmd.is_some(),
            process: self.process,
            port,
        })
    }

    /// The first option that is given: it means nothing to an image.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let given = [
            (self.kind.is_some(), "--kind"),
            (self.base.is_some(), "--base"),
            (!self.build.is_empty(), "--build"),
            (self.process.is_some(), "--process"),
        ];
        given.iter().find(|(given, _)| *given).map(|(_, option)| *option)
    }
}

/// Where the result goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum To {
    /// Into a file.
    File,
    /// To EC2.
    Ec2,
}

/// `builder init`.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The project's directory
    #[arg(value_name = "PATH", default_value = ".")]
    pub(crate) path: PathBuf,

    /// Print the JSON Schema of nanoos.toml, and do nothing else
    #[arg(long)]
    pub(crate) schema: bool,

    /// Print a Containerfile that builds the same with docker, podman or buildah, and do nothing else
    #[arg(long, conflicts_with = "schema")]
    pub(crate) containerfile: bool,

    #[command(flatten)]
    pub(crate) project: ProjectArgs,
}

/// A kind by its name; the names are for the help, the errors and the shells' completion.
fn kind() -> impl TypedValueParser<Value = Kind> {
    let find = |name: String| Kind::ALL.iter().copied().find(|kind| kind.name() == name).ok_or("it is no kind");
    PossibleValuesParser::new(Kind::ALL.iter().map(|kind| kind.name())).try_map(find)
}

/// Checked as an image is, and kept as it was written.
fn base(text: &str) -> Result<String, String> {
    text.parse::<Source>().map(|_| text.to_owned()).map_err(|error| format!("{error:#}"))
}
