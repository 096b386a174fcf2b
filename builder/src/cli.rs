//! The command line.

mod inspect;
mod machine;

use builder::output::Format;
use builder::platform::Platform;
use builder::source::Source;
use builder::source::endpoint::Mirror;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
pub(crate) use inspect::Inspect;
pub(crate) use machine::MachineArgs;
use std::path::PathBuf;
use std::str::FromStr;

const EXAMPLES: &str = "\
Images:
  NAME[:TAG|@DIGEST]         from a registry, by Docker's rules: nginx is docker.io/library/nginx:latest
  docker-archive:FILE[:TAG]  from a file that docker save wrote
  oci:DIR[:TAG]              from a directory with an OCI layout

Examples:
  builder nginx                          make ./nginx.raw
  builder nginx:1.27 -o web.qcow2        the same for QEMU's own format (or .vmdk, .vhd, .tar.gz)
  builder -d -k 'loglevel=7' nginx       see on the console what happens at boot
  builder --registry-mirror http://127.0.0.1:5000 nginx
  docker save app | gzip > app.tar.gz && builder docker-archive:app.tar.gz
  builder demo                           boot a small web server in QEMU

Environment:
  NANOOS_CACHE       where blobs and the kernel are kept (else $XDG_CACHE_HOME/nanoos, else ~/.cache/nanoos)
  NANOOS_NO_INSTALL  set to 1: never install missing tools, even as root
  DOCKER_CONFIG      where Docker's config.json with registry credentials lies (else ~/.docker)
  SOURCE_DATE_EPOCH  no time in the image is later than this";

/// Turns a container image into a machine image that boots straight into the application.
#[derive(Debug, Parser)]
#[command(name = "builder", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
#[command(arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    #[command(flatten)]
    pub(crate) build: Build,
}

/// What else there is to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Tell what a disk is made of, from the disk alone, and check that it still is
    Inspect(Inspect),

    /// Boot a small web server in QEMU: the whole path, with no registry and no account
    Demo {
        /// Port of this machine at which the web server answers; a free one if it is taken
        #[arg(short, long, value_name = "PORT", default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..))]
        port: u16,

        #[command(flatten)]
        kernel: KernelArgs,
    },
}

/// A build.
#[derive(Debug, Args)]
pub(crate) struct Build {
    /// The container image (see Images below)
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) image: Option<Source>,

    /// The disk image to write, in the format of its ending; raw where that says nothing [default: ./NAME.FORMAT]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Write what the disk is made of into this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) provenance: Option<PathBuf>,

    /// Format of the disk image: raw, qcow2 (QEMU), vmdk (VMware, streamOptimized), vhd (Azure, fixed) or tar.gz (Google
    /// Cloud) [default: by the ending of FILE, else raw]
    #[arg(long, value_name = "FORMAT", hide_possible_values = true, value_parser = format())]
    pub(crate) format: Option<Format>,

    /// Further kernel arguments [default: quiet, and nothing with --debug]
    #[arg(short = 'k', long, value_name = "ARGS", allow_hyphen_values = true)]
    pub(crate) kernel_args: Option<String>,

    /// The platform to choose where an image is made for several: its architecture must be this machine's
    #[arg(long, value_name = "OS/ARCH", default_value_t = Platform::host())]
    pub(crate) platform: Platform,

    /// A server that stands for Docker Hub, tried before it; may be repeated
    #[arg(long, value_name = "URL", env = "NANOOS_REGISTRY_MIRROR", value_delimiter = ',')]
    pub(crate) registry_mirror: Vec<MirrorArg>,

    #[command(flatten)]
    pub(crate) kernel: KernelArgs,

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
