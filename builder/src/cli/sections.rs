//! What --help and the manual page say beside the options.

use std::fmt::Write as _;

/// Headings with their text, in order.
pub(crate) const SECTIONS: &[(&str, &str)] = &[
    (
        "Images",
        "  NAME[:TAG][@DIGEST]        from the Docker daemon, else podman, else a registry (--image-src),
                             by Docker's rules: nginx is docker.io/library/nginx:latest
  docker://NAME              from a registry only
  docker-daemon:NAME|ID      from the Docker daemon only
  podman:NAME|ID             from podman only
  docker-archive:FILE[:TAG]  from a file that docker save or podman save wrote
  oci:DIR[:TAG]              from a directory with an OCI layout
  oci-archive:FILE[:TAG]     from a tar of one
  rootfs:FILE                from a tar of the root file system (--entrypoint says what to run)",
    ),
    (
        "Projects",
        "  . or ./DIR                 a project: Node, Python, Java, Go, Rust, a static site, a Dockerfile, or anything with
                             a Procfile, --base and --build
  ./app.jar ./app.war        a program for Java, or for Tomcat
  ./app                      a program for Linux, with the libraries that it is linked with
  ./app.tar.gz               an archive of a project
  ./DISK.raw                 a disk that was built: builder run and builder publish take it

  What begins with . or / is a path, and so is a file that is there and is named .jar, .war, .zip, .tar.gz, .tgz,
  .raw, .qcow2, .vmdk or .vhd. Everything else is an image; docker://NAME is one in any case.",
    ),
    (
        "Examples: projects",
        "  builder init                           recognize the project here, and write nanoos.toml and a Procfile
  builder create                         say what is made, and make it: an AMI, or ./NAME.raw
  builder create --dry-run               only say it, with what is not packed and why
  builder run . -p 8080:8080             boot it here, with the variables of .env
  builder create --to ec2 --process worker
  builder ./target/release/app -o app.raw",
    ),
    (
        "Examples: building",
        "  builder nginx                          make ./nginx.raw
  builder nginx:1.27 -o web.qcow2        the same for QEMU's own format (or .vmdk, .vhd, .tar.gz)
  builder --entrypoint /bin/server rootfs:root.tar.zst
  builder inspect nginx.raw              what a disk is made of
  builder --dry-run nginx                say what would be done, with sizes
  builder --registry-mirror http://127.0.0.1:5000 nginx
  docker save app | gzip > app.tar.gz && builder docker-archive:app.tar.gz",
    ),
    (
        "Examples: running",
        "  builder run nginx -p 8080:80           build it and boot it in QEMU; Ctrl-C switches it off
  builder run ./nginx.raw -m 1024        boot a disk that was built
  builder demo                           boot a small web server",
    ),
    (
        "Examples: the application",
        "  builder -e LOG=debug --env-file app.env app
  builder --entrypoint /bin/server --cmd --port --cmd 80 app
  builder --cmd '[\"--port\", \"80\"]' --user app --workdir /srv app",
    ),
    (
        "Examples: the machine",
        "  builder -d -k 'loglevel=7' nginx       see on the console what happens at boot
  builder -w 0 -s vm.swappiness=10 -s net.core.somaxconn=4096 nginx
  builder -b --read-only --hostname web app",
    ),
    (
        "Examples: EC2",
        "  builder -r us-east-1 nginx             make an AMI
  builder --all-regions --name web-7 --tag team=web nginx
  builder publish -r eu-west-1 nginx.raw make an AMI of a disk that was built
  builder --verify tcp:80 nginx          and launch it once, to see whether it answers
  builder promote ami-0123 --to us-east-1 123456789012
  builder aws ls                         what builder made; builder aws rm removes it",
    ),
    (
        "Examples: scripts",
        "  ami=$(builder -q nginx)                the image's id alone on standard output
  disk=$(builder -q -o web.raw nginx)    the path
  builder --json -o web.raw nginx | jq .size
  builder -o - nginx | ssh host 'cat >web.raw'
  source <(builder completions bash)     complete with the Tab key",
    ),
    (
        "Where the result goes",
        "  -o FILE names a disk image, and --to file asks for one. Without it an AMI is made, where there are AWS credentials: those of
  --profile, else of the profile [vmify] in ~/.aws/credentials, else those that AWS's own tools would
  use. Without any the disk image is built into ./NAME.raw, unless -q, -r, --profile or another option
  for EC2 (--to ec2) says that an AMI is wanted: then it is an error. A region in nanoos.toml says where an AMI goes, and
  not that one is wanted.

  The same contents are the same AMI: where it is there already, its id is the answer, and nothing is
  sent. Of others only the blocks are sent that no earlier snapshot has. An upload that was interrupted
  goes on when the same command runs again.

  A disk image appears, or replaces a file, all at once; a link is written through. Only its owner may
  read it, whatever the umask: it holds the values of the application's environment. - is standard
  output; into it, other pipes and devices that are not in use the finished image is written. What the
  build reads, or writes already, is refused.",
    ),
    (
        "Environment",
        "  NANOOS_CACHE       where layers and the kernel are kept (else $XDG_CACHE_HOME/nanoos, else
                     ~/.cache/nanoos)
  NANOOS_CACHE_SIZE  how much is kept there beside kernels, such as 512M (else 10G); 0: nothing
  DOCKER_HOST        where the Docker daemon is: unix:///PATH or tcp://HOST:PORT
  CONTAINER_HOST     where podman is, in the same way
  NANOOS_NO_INSTALL  set to 1: never install missing tools, even as root
  REGISTRY_AUTH_FILE a file with registry credentials, in podman's or Docker's form, read before others
  DOCKER_CONFIG      where Docker's config.json with registry credentials lies (else ~/.docker)
  HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY
                     proxies, for registries and AWS, as curl has them; none for this machine
  SSL_CERT_FILE, SSL_CERT_DIR
                     authorities to trust in place of the system's; towards AWS: AWS_CA_BUNDLE
  SOURCE_DATE_EPOCH  no time in the image is later than this
  NO_COLOR           set: no colours; CLICOLOR_FORCE=1: colours even where there is no terminal
  AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL and the others of AWS's tools",
    ),
    (
        "Exit status",
        "  0    done; for run and demo: the machine switched itself off
  1    it failed; the last line on standard error says why, and what to do
  2    the command line is wrong
  101  a fault of builder's own, which it asks to be reported
  130  interrupted by Ctrl-C, SIGTERM or SIGHUP; nothing half-written is left",
    ),
];

/// All sections as --help has them.
pub(crate) fn help() -> String {
    let mut text = String::new();
    for (heading, content) in SECTIONS {
        let _ = write!(text, "{}{heading}:\n{content}", if text.is_empty() { "" } else { "\n\n" });
    }
    text
}
