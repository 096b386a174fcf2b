//! The command line.

mod application;
pub(crate) mod cache;
pub(crate) mod ec2;
pub(crate) mod grammar;
mod inspect;
pub(crate) mod keys;
mod machine;
pub(crate) mod project;
// Of a builder without EC2 it would lack commands.
#[cfg(all(test, feature = "aws"))]
mod reference;
pub(crate) mod sections;
pub(crate) mod settings;

use crate::qemu::Forward;
use application::ApplicationArgs;
use builder::output::Format;
use builder::platform::Platform;
use builder::source::endpoint::Mirror;
use builder::source::order::Order as Places;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Args, Parser, Subcommand};
use clap_complete::Shell;
use ec2::Publishing;
use grammar::Named;
use inspect::Inspect;
use machine::MachineArgs;
use project::{Init, ProjectArgs, To};
use std::path::PathBuf;
use std::str::FromStr;

/// Turns a container image or a project into a machine image that boots straight into the application.
#[derive(Debug, Parser)]
#[command(name = "builder", version, after_long_help = sections::help(), after_help = "--help has more, and examples.")]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true, disable_help_flag = true)]
pub(crate) struct Cli {
    /// Print help: -h a line for each option, --help all of it with examples
    #[arg(short, long, short_alias = '?', global = true, action = ArgAction::Help, display_order = 1000)]
    help: Option<bool>,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    #[command(flatten)]
    pub(crate) build: Build,
}

/// What else there is to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Recognize the project in a directory, and write nanoos.toml, and a Procfile where there is none
    ///
    /// A file that is there is never changed. On a terminal it asks for the region and the profile; Enter takes what is
    /// in brackets.
    Init(Init),

    /// Make a machine image of the project in a directory: an AMI, or a disk image
    ///
    /// It says first what it makes, and where. builder PATH does the same.
    Create(Box<Create>),

    /// Fetch the newest of the images that a project is built on: moves the digests in nanoos.lock
    Update(Update),

    /// Build an image and boot it in QEMU, in one step
    ///
    /// The console is in the terminal. Ctrl-C presses the machine's power button, a second one pulls the plug. The exit status
    /// is 0 when the machine switched itself off, 130 when its power was cut, 1 when it or the build failed.
    Run(Box<Run>),

    /// Boot a small web server in QEMU: the whole path, with no registry and no account
    Demo {
        /// Port of this machine at which the web server answers; a free one if it is taken
        #[arg(short, long, value_name = "PORT", default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..))]
        port: u16,

        #[command(flatten)]
        kernel: KernelArgs,
    },

    /// Make an AMI of a disk that was built
    #[cfg(feature = "aws")]
    Publish(Box<ec2::Publish>),

    /// Copy an AMI to other regions, or share it with other accounts, unchanged
    #[cfg(feature = "aws")]
    #[command(override_usage = "builder promote <AMI> --to <REGION|ACCOUNT>... [OPTIONS]")]
    Promote(ec2::Promote),

    /// Show or remove what builder made at AWS
    #[cfg(feature = "aws")]
    Aws {
        #[command(subcommand)]
        what: ec2::AwsCommand,
    },

    /// Tell what a disk is made of, from the disk alone, and check that it still is
    Inspect(Inspect),

    /// Show or empty the cache of layers and what is made of them
    Cache {
        #[command(subcommand)]
        what: Option<cache::CacheCommand>,
    },

    /// Write completions for a shell to standard output
    Completions {
        /// The shell
        shell: Shell,
    },

    /// Write the manual page to standard output: builder man | man -l -
    Man,
}

/// A build.
#[derive(Debug, Args)]
pub(crate) struct Build {
    /// The container image, or a path (./DIR, ./app.jar) of a project or payload (see Images and Projects below)
    #[arg(value_name = "IMAGE|PATH", required = true)]
    pub(crate) image: Option<Named>,

    #[command(flatten)]
    pub(crate) making: Making,
}

/// `builder create`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The project's directory, or a payload: a jar, a war, a program, an archive
    #[arg(value_name = "PATH", default_value = ".")]
    pub(crate) path: PathBuf,

    #[command(flatten)]
    pub(crate) making: Making,
}

/// `builder update`.
#[derive(Debug, Args)]
pub(crate) struct Update {
    /// The project's directory
    #[arg(value_name = "PATH", default_value = ".")]
    pub(crate) path: PathBuf,

    #[command(flatten)]
    pub(crate) fetching: FetchArgs,

    #[command(flatten)]
    pub(crate) project: ProjectArgs,
}

/// What is made, and where.
#[derive(Debug, Args)]
pub(crate) struct Making {
    /// The disk image to write, in the format of its ending; raw where that says nothing; - for standard output [default:
    /// ./NAME.FORMAT]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Format of the disk image: raw, qcow2 (QEMU), vmdk (VMware, streamOptimized), vhd (Azure, fixed) or tar.gz (Google
    /// Cloud) [default: by the ending of FILE, else raw]
    #[arg(long, value_name = "FORMAT", hide_possible_values = true, value_parser = format())]
    pub(crate) format: Option<Format>,

    /// Where the result goes: into a file, or to ec2 as an AMI [default: to EC2 where there are credentials]
    #[arg(long, value_name = "PLACE", hide_possible_values = true, help_heading = "The project")]
    pub(crate) to: Option<To>,

    /// Write what the disk is made of into this file, as JSON; - for standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) provenance: Option<PathBuf>,

    /// Say what would be done, with sizes, and do nothing
    #[arg(long, conflicts_with_all = ["quiet", "json"])]
    pub(crate) dry_run: bool,

    #[command(flatten)]
    pub(crate) report: Report,

    #[command(flatten)]
    pub(crate) setup: Setup,

    #[command(flatten)]
    pub(crate) publishing: Publishing,

    /// What of this the command line says itself.
    #[arg(skip)]
    pub(crate) typed: Typed,
}

/// What stands on the command line itself, and not in nanoos.toml: there a region says where an AMI goes, and not that one is
/// wanted, and a name is what the names of AMIs begin with.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Typed {
    /// The first option that only an image of EC2 has.
    pub(crate) only_of_ec2: Option<&'static str>,
    /// Whether there is a name.
    pub(crate) name: bool,
}

impl Cli {
    /// The build that is asked for, by whatever command.
    pub(crate) fn making(&mut self) -> Option<&mut Making> {
        match &mut self.command {
            None => Some(&mut self.build.making),
            Some(Command::Create(create)) => Some(&mut create.making),
            Some(_) => None,
        }
    }
}

impl Cli {
    /// What stands on the command line, where this is all that it was read from.
    pub(crate) fn typed(&self) -> Typed {
        match &self.command {
            None => self.build.making.typed(),
            Some(Command::Create(create)) => create.making.typed(),
            Some(_) => Typed::default(),
        }
    }
}

impl Making {
    /// What of it the command line says, where this is all that it was read from.
    pub(crate) fn typed(&self) -> Typed {
        Typed { only_of_ec2: self.publishing.only_of_ec2(), name: self.publishing.name.is_some() }
    }

    /// The name that nanoos.toml gives, which is none of an AMI.
    pub(crate) fn project_name(&mut self) -> Option<String> {
        if self.typed.name { None } else { self.publishing.name.take() }
    }
}

/// What is said of a build.
#[derive(Debug, Args)]
pub(crate) struct Report {
    /// Print only the result's id on standard output, for a disk image its path, and nothing else but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// Leave out the elapsed time before each line
    #[arg(short = 't', long)]
    pub(crate) no_timings: bool,

    /// Print the result as one JSON object on standard output
    #[arg(long, conflicts_with = "quiet")]
    pub(crate) json: bool,
}

/// A build and a boot.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The container image, or a path: of a project or payload, or of a disk that was built
    #[arg(value_name = "IMAGE|PATH")]
    pub(crate) what: Named,

    /// Have a port of this machine lead to one of the other, with /udp behind it or not; may be repeated
    #[arg(short, long, value_name = "HOST:GUEST")]
    pub(crate) port: Vec<Forward>,

    /// The machine's memory in MiB [default: 512]
    #[arg(short, long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(32..=1 << 20))]
    pub(crate) memory: Option<u32>,

    /// The machine's processors [default: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=255))]
    pub(crate) smp: Option<u32>,

    /// The machine's user data, as an instance of EC2 has them: a file of KEY=VALUE lines or JSON, which is no part of the disk
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Keep the disk image in this file; else it lies in a temporary directory ($TMPDIR) while the machine runs
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) setup: Setup,
}

/// What the machine is made of and how it behaves.
#[derive(Debug, Args)]
pub(crate) struct Setup {
    /// Further kernel arguments, in place of the default [default: quiet, and nothing with --debug]
    #[arg(short = 'k', long, value_name = "ARGS", allow_hyphen_values = true)]
    pub(crate) kernel_args: Option<String>,

    /// The platform to choose where an image is made for several: another than this machine's wants --init as well
    #[arg(long, value_name = "OS/ARCH", default_value = "linux/amd64")]
    pub(crate) platform: Platform,

    #[command(flatten)]
    pub(crate) fetching: FetchArgs,

    /// Another PID 1 than the one in this program: a static program for the platform
    #[arg(long, value_name = "FILE")]
    pub(crate) init: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) kernel: KernelArgs,

    #[command(flatten)]
    pub(crate) project: ProjectArgs,

    #[command(flatten)]
    pub(crate) application: ApplicationArgs,

    #[command(flatten)]
    pub(crate) machine: MachineArgs,
}

/// Where images come from.
#[derive(Debug, Args)]
pub(crate) struct FetchArgs {
    /// A server that stands for Docker Hub, tried before it; may be repeated
    #[arg(long, value_name = "URL", env = "NANOOS_REGISTRY_MIRROR", value_delimiter = ',')]
    pub(crate) registry_mirror: Vec<MirrorArg>,

    /// Where to look for an image that is only named, in this order
    #[arg(long, value_name = "PLACES", default_value_t = Places::default())]
    pub(crate) image_src: Places,

    /// A file with certificates of authorities to trust for registries, beside the system's
    #[arg(long, value_name = "FILE", env = "NANOOS_REGISTRY_CA")]
    pub(crate) registry_ca: Option<PathBuf>,
}

/// A format by its name; the names are for the help, the errors and the shells' completion.
fn format() -> impl TypedValueParser<Value = Format> {
    PossibleValuesParser::new(Format::NAMES).try_map(|name| name.parse::<Format>())
}

/// A mirror, or nothing: the environment variable may be set to be empty, or end in a comma.
#[derive(Debug, Clone)]
pub(crate) struct MirrorArg(pub(crate) Option<Mirror>);

impl FromStr for MirrorArg {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        Ok(MirrorArg(if text.trim().is_empty() { None } else { Some(text.parse()?) }))
    }
}

/// Which kernel.
#[derive(Debug, Args)]
pub(crate) struct KernelArgs {
    /// Boot the kernel in this directory: made by kernel/build.sh, or an unpacked linux-image package
    #[arg(long, value_name = "DIR")]
    pub(crate) kernel: Option<PathBuf>,
}
