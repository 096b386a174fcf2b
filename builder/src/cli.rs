//! The command line.

mod application;
pub(crate) mod cache;
pub(crate) mod ec2;
mod inspect;
mod machine;
pub(crate) mod sections;

use crate::qemu::Forward;
use application::ApplicationArgs;
use builder::output::Format;
use builder::platform::Platform;
use builder::source::Source;
use builder::source::endpoint::Mirror;
use builder::source::order::Order as Places;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Args, Parser, Subcommand};
use clap_complete::Shell;
use ec2::Publishing;
use inspect::Inspect;
use machine::MachineArgs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Turns a container image into a machine image that boots straight into the application.
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
    /// The container image (see Images below)
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) image: Option<Source>,

    /// The disk image to write, in the format of its ending; raw where that says nothing; - for standard output [default:
    /// ./NAME.FORMAT]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Format of the disk image: raw, qcow2 (QEMU), vmdk (VMware, streamOptimized), vhd (Azure, fixed) or tar.gz (Google
    /// Cloud) [default: by the ending of FILE, else raw]
    #[arg(long, value_name = "FORMAT", hide_possible_values = true, value_parser = format())]
    pub(crate) format: Option<Format>,

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
    /// The container image, or a disk that was built: a file with a path (./FILE), or named .raw, .qcow2, .vmdk or .vhd
    #[arg(value_name = "IMAGE|DISK")]
    pub(crate) what: Bootable,

    /// Have a port of this machine lead to one of the other, with /udp behind it or not; may be repeated
    #[arg(short, long, value_name = "HOST:GUEST")]
    pub(crate) port: Vec<Forward>,

    /// The machine's memory in MiB [default: 512]
    #[arg(short, long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(32..=1 << 20))]
    pub(crate) memory: Option<u32>,

    /// The machine's processors [default: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=255))]
    pub(crate) smp: Option<u32>,

    /// Keep the disk image in this file; else it lies in a temporary directory ($TMPDIR) while the machine runs
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) setup: Setup,
}

/// What `run` can boot.
#[derive(Debug, Clone)]
pub(crate) enum Bootable {
    /// A disk image that is there.
    Disk(PathBuf),
    /// A container image, to be built.
    Image(Source),
}

impl FromStr for Bootable {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let path = Path::new(text);
        let endings = ["raw", "qcow2", "vmdk", "vhd"];
        let is_disk = path.extension().is_some_and(|ending| endings.iter().any(|known| ending == *known));
        if (text.starts_with(['.', '/']) || is_disk) && path.is_file() {
            return Ok(Bootable::Disk(path.to_owned()));
        }
        text.parse().map(Bootable::Image)
    }
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

    /// A server that stands for Docker Hub, tried before it; may be repeated
    #[arg(long, value_name = "URL", env = "NANOOS_REGISTRY_MIRROR", value_delimiter = ',')]
    pub(crate) registry_mirror: Vec<MirrorArg>,

    /// Where to look for an image that is only named, in this order
    #[arg(long, value_name = "PLACES", default_value_t = Places::default())]
    pub(crate) image_src: Places,

    /// A file with certificates of authorities to trust for registries, beside the system's
    #[arg(long, value_name = "FILE", env = "NANOOS_REGISTRY_CA")]
    pub(crate) registry_ca: Option<PathBuf>,

    /// Another PID 1 than the one in this program: a static program for the platform
    #[arg(long, value_name = "FILE")]
    pub(crate) init: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) kernel: KernelArgs,

    #[command(flatten)]
    pub(crate) application: ApplicationArgs,

    #[command(flatten)]
    pub(crate) machine: MachineArgs,
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
