//! The command line.

pub(crate) mod cache;
mod machine;

use builder::platform::Platform;
use builder::source::Source;
use builder::source::endpoint::Mirror;
use builder::source::order::Order;
use clap::{Args, Parser, Subcommand};
pub(crate) use machine::MachineArgs;
use std::path::PathBuf;
use std::str::FromStr;

const EXAMPLES: &str = "\
Images:
  NAME[:TAG][@DIGEST]        from the Docker daemon, else podman, else a registry, whichever has it first (--image-src);
                             by Docker's rules nginx is docker.io/library/nginx:latest
  docker://NAME              from a registry only
  docker-daemon:NAME|ID      from the Docker daemon only
  podman:NAME|ID             from podman only
  docker-archive:FILE[:TAG]  from a file that docker save or podman save wrote
  oci:DIR[:TAG]              from a directory with an OCI layout
  oci-archive:FILE[:TAG]     from a tar of one
  rootfs:FILE                from a tar of the root file system (--entrypoint says what to run)

Examples:
  builder nginx                          make ./nginx.raw
  builder nginx:1.27 -o web.qcow2        the same for QEMU's own format
  builder -d -k 'loglevel=7' nginx       see on the console what happens at boot
  builder --registry-mirror http://127.0.0.1:5000 nginx
  docker save app | gzip > app.tar.gz && builder docker-archive:app.tar.gz
  builder demo                           boot a small web server in QEMU

Environment:
  NANOOS_CACHE       where blobs and the kernel are kept (else $XDG_CACHE_HOME/nanoos, else ~/.cache/nanoos)
  NANOOS_CACHE_SIZE  how much is kept there beside kernels, such as 512M or 20G (else 10G); 0 keeps nothing
  DOCKER_HOST        where the Docker daemon is: unix:///PATH or tcp://HOST:PORT
  CONTAINER_HOST     where podman is, in the same way
  NANOOS_NO_INSTALL  set to 1: never install missing tools, even as root
  DOCKER_CONFIG      where Docker's config.json with registry credentials lies (else ~/.docker)
  REGISTRY_AUTH_FILE podman's file with registry credentials, read after Docker's
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
    /// Boot a small web server in QEMU: the whole path, with no registry and no account
    Demo {
        /// Port of this machine at which the web server answers; a free one if it is taken
        #[arg(short, long, value_name = "PORT", default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..))]
        port: u16,

        #[command(flatten)]
        kernel: KernelArgs,
    },
    /// Show or empty the cache of layers and what is made of them
    Cache {
        #[command(subcommand)]
        what: Option<cache::CacheCommand>,
    },
}

/// A build.
#[derive(Debug, Args)]
pub(crate) struct Build {
    /// The container image (see Images below)
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) image: Option<Source>,

    /// The disk image to write: raw, or QEMU's format if it ends in .qcow2 [default: ./NAME.raw]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Further kernel arguments [default: quiet, and nothing with --debug]
    #[arg(short = 'k', long, value_name = "ARGS", allow_hyphen_values = true)]
    pub(crate) kernel_args: Option<String>,

    /// The platform to choose where an image is made for several: its architecture must be this machine's
    #[arg(long, value_name = "OS/ARCH", default_value = "linux/amd64")]
    pub(crate) platform: Platform,

    /// A server that stands for Docker Hub, tried before it; may be repeated
    #[arg(long, value_name = "URL", env = "NANOOS_REGISTRY_MIRROR", value_delimiter = ',')]
    pub(crate) registry_mirror: Vec<MirrorArg>,

    /// Where to look for an image that is only named, in this order
    #[arg(long, value_name = "PLACES", default_value_t = Order::default())]
    pub(crate) image_src: Order,

    /// A file with certificates of authorities to trust for registries, beside the system's
    #[arg(long, value_name = "FILE", env = "NANOOS_REGISTRY_CA")]
    pub(crate) registry_ca: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) kernel: KernelArgs,

    #[command(flatten)]
    pub(crate) machine: MachineArgs,
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
