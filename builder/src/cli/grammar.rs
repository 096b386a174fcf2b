//! What a word of the command line names: a path of this machine, or an image.
//!
//! What begins with `.` or `/` is a path, and so is a file that is there and has a known payload's ending; everything else
//! names an image. No image's name begins so, and `docker://` names any image whatever lies in the directory.

use anyhow::{Result, anyhow, bail};
use builder::local::Local;
use builder::source::{Source, is_prefixed};
use project::payload::{self, Payload};
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Endings of disks, which `run` and `publish` take.
const DISKS: &[&str] = &[".raw", ".qcow2", ".vmdk", ".vhd"];
/// Endings of what a machine is made of.
const PAYLOADS: &[&str] = &[".jar", ".war", ".zip", ".tar.gz", ".tgz"];

/// A path or an image, as the user wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Named {
    /// A project, a payload or a disk.
    Path(PathBuf),
    /// A container image, and the word that names it.
    Image(Source, String),
}

/// What lies at a path, by its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// A disk that is built already.
    Disk(PathBuf),
    /// A project or a payload, of which a machine is made.
    Local(PathBuf),
}

impl FromStr for Named {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let ends_so = has_ending(text, DISKS) || has_ending(text, PAYLOADS);
        if text.starts_with(['.', '/']) || (ends_so && !is_prefixed(text) && Path::new(text).is_file()) {
            return Ok(Named::Path(text.into()));
        }
        match (text.parse::<Source>(), path_beside(text)) {
            (Ok(source), _) => Ok(Named::Image(source, text.to_owned())),
            (Err(error), Some(advice)) => Err(anyhow!("{error:#}; {advice}")),
            (Err(error), None) => Err(error),
        }
    }
}

impl Named {
    /// The path, if it is one.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Named::Path(path) => Some(path),
            Named::Image(..) => None,
        }
    }

    /// How a path is written that the user may have meant in place of an image; none where the name says itself what it is.
    pub(crate) fn path_beside(&self) -> Option<String> {
        match self {
            Named::Path(_) => None,
            Named::Image(_, text) => path_beside(text),
        }
    }

    /// What a machine can be made of.
    ///
    /// # Errors
    /// When a path is not there, is nothing known, or is a disk.
    pub(crate) fn source(self) -> Result<Source> {
        let path = match self {
            Named::Image(source, _) => return Ok(source),
            Named::Path(path) => path,
        };
        match look(&path)? {
            Found::Local(path) => {
                Ok(Source::Local(Local { path, wishes: project::plan::Wishes::default(), results: Vec::new() }))
            }
            Found::Disk(path) => {
                let path = path.display();
                bail!(
                    "{path} is a disk that is built already: builder run {path} boots it, builder publish {path} makes an \
                     AMI of it{}",
                    image_beside(&path.to_string())
                )
            }
        }
    }
}

/// Looks at what lies at a path.
///
/// # Errors
/// When nothing does, or nothing that is known: the sentence names both readings.
pub(crate) fn look(path: &Path) -> Result<Found> {
    let shown = path.display().to_string();
    let advice = image_beside(&shown);
    let metadata = path.metadata().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => anyhow!("{shown}: no such file or directory{advice}"),
        _ => anyhow!("{shown}: {error}{advice}"),
    })?;
    if metadata.is_dir() {
        return Ok(Found::Local(path.to_owned()));
    }
    if !metadata.is_file() {
        bail!("{shown}: neither a file nor a directory{advice}");
    }
    match payload::sniff(path) {
        Ok(Payload::Disk(_)) => Ok(Found::Disk(path.to_owned())),
        Ok(_) => Ok(Found::Local(path.to_owned())),
        // A disk without a partition table that is known: its name says what it is meant to be.
        Err(payload::Error::Unknown { .. }) if has_ending(&shown, DISKS) => Ok(Found::Disk(path.to_owned())),
        // What is nothing known is told with both readings by itself.
        Err(error @ payload::Error::Unknown { .. }) => Err(error.into()),
        Err(error) => bail!("{:#}{advice}", anyhow!(error)),
    }
}

fn has_ending(text: &str, endings: &[&str]) -> bool {
    // A name that is nothing but an ending has none.
    let name = text.rsplit('/').next().unwrap_or_default();
    endings.iter().any(|ending| name.len() > ending.len() && name.ends_with(ending))
}

/// The other reading of a path: behind a semicolon, how an image of that name is written, if there can be one.
fn image_beside(path: &str) -> String {
    if is_prefixed(path) {
        return format!("; for the image write builder {path}");
    }
    let name = path.trim_start_matches(['.', '/']).trim_end_matches('/');
    match format!("docker://{name}").parse::<Source>() {
        Ok(_) => format!("; for an image of that name write docker://{name}"),
        Err(_) => "; an image is named without a path, such as nginx or docker://nginx".to_owned(),
    }
}

/// The other reading of an image's name: how a file or directory of that name is written, where there is one or its ending
/// is that of one.
fn path_beside(name: &str) -> Option<String> {
    if is_prefixed(name) {
        return None;
    }
    let path = Path::new(name);
    if path.is_dir() {
        Some(format!("for the directory of that name write ./{name}"))
    } else if path.exists() {
        Some(format!("for the file of that name write ./{name}"))
    } else if has_ending(name, DISKS) || has_ending(name, PAYLOADS) {
        Some(format!("nor is there a file {name} here"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn named(named: &Named) -> String {
        match named {
            Named::Path(path) => format!("path {}", path.display()),
            Named::Image(source, _) => format!("image {source}"),
        }
    }

    /// The command, and what it is about.
    fn meaning(line: &str) -> String {
        let words = line.split(' ').filter(|word| !word.is_empty());
        let cli = match Cli::try_parse_from(["builder"].into_iter().chain(words)) {
            Ok(cli) => cli,
            Err(error) => return format!("error {:?}", error.kind()),
        };
        match cli.command {
            None => format!("build {}", cli.build.image.as_ref().map(named).unwrap_or_default()),
            Some(Command::Run(run)) => format!("run {}", named(&run.what)),
            Some(Command::Create(create)) => format!("create {}", create.path.display()),
            Some(Command::Init(init)) => format!("init {}", init.path.display()),
            Some(Command::Update(update)) => format!("update {}", update.path.display()),
            Some(other) => format!("{other:?}").split(['(', ' ']).next().unwrap_or_default().to_lowercase(),
        }
    }

    const NGINX: &str = "build image docker.io/library/nginx:latest";

    #[test]
    fn command_lines_of_before_mean_what_they_meant() {
        for (line, expected) in [
            ("nginx", NGINX),
            ("nginx:1.27 -o web.qcow2", "build image docker.io/library/nginx:1.27"),
            ("--entrypoint /bin/server rootfs:root.tar.zst", "build image rootfs:root.tar.zst"),
            ("--dry-run nginx", NGINX),
            ("--registry-mirror http://127.0.0.1:5000 nginx", NGINX),
            ("docker-archive:app.tar.gz", "build image docker-archive:app.tar.gz"),
            ("docker-archive:./app.tar.gz:web", "build image docker-archive:./app.tar.gz:web"),
            ("oci:/srv/image", "build image oci:/srv/image"),
            ("oci-archive:app.tar", "build image oci-archive:app.tar"),
            ("docker-daemon:app", "build image docker-daemon:app"),
            ("podman:localhost/app", "build image podman:localhost/app"),
            ("docker://run", "build image docker://docker.io/library/run:latest"),
            ("localhost:5000/a/b:t", "build image localhost:5000/a/b:t"),
            ("app.jar", "build image docker.io/library/app.jar:latest"),
            ("target/release/app", "build image docker.io/target/release/app:latest"),
            ("-e LOG=debug --env-file app.env app", "build image docker.io/library/app:latest"),
            ("--cmd [\"--port\"] --user app --workdir /srv app", "build image docker.io/library/app:latest"),
            ("--all-regions --name web-7 --tag team=web nginx", NGINX),
            ("-b --read-only --hostname web --pid1 nginx", NGINX),
            ("--pid1=no nginx", NGINX),
            ("inspect nginx.raw", "inspect"),
            ("run nginx -p 8080:80", "run image docker.io/library/nginx:latest"),
            ("run ./nginx.raw -m 1024", "run path ./nginx.raw"),
            ("demo", "demo"),
            ("cache prune", "cache"),
            ("completions bash", "completions"),
            ("man", "man"),
            ("", "error DisplayHelpOnMissingArgumentOrSubcommand"),
            ("NGINX", "error ValueValidation"),
            // VMify's.
            ("-r us-east-1 -q -t nginx", NGINX),
            ("-b -d -k loglevel=7 -w 2 nginx", NGINX),
            ("-d -s:dev.hpet.max-user-freq=64 -s:vm.panic_on_oom=0 nginx", NGINX),
            ("-o nginx.raw --image-src daemon,registry --platform linux/amd64 nginx", NGINX),
            ("-?", "error DisplayHelp"),
        ] {
            assert_eq!(meaning(line), expected, "builder {line}");
        }
        #[cfg(feature = "aws")]
        for (line, expected) in [
            ("publish -r eu-west-1 nginx.raw", "publish"),
            ("promote ami-0123 --to us-east-1 123456789012", "promote"),
            ("aws ls", "aws"),
        ] {
            assert_eq!(meaning(line), expected, "builder {line}");
        }
    }

    #[test]
    fn projects_have_words_of_their_own() {
        for (line, expected) in [
            (".", "build path ."),
            ("..", "build path .."),
            ("./app.jar --to file", "build path ./app.jar"),
            ("../app --kind node", "build path ../app"),
            ("/srv/app --build make --build test", "build path /srv/app"),
            ("run . --process worker -p 8080:8080", "run path ."),
            ("init", "init ."),
            ("init app", "init app"),
            ("create", "create ."),
            ("create app --to ec2 --base python:3.12", "create app"),
            ("update", "update ."),
            ("docker://init", "build image docker://docker.io/library/init:latest"),
            (". --to moon", "error InvalidValue"),
            (". --kind cobol", "error InvalidValue"),
            (". --base NGINX", "error ValueValidation"),
        ] {
            assert_eq!(meaning(line), expected, "builder {line}");
        }
    }

    #[test]
    fn errors_name_both_readings() {
        for (path, expected) in [
            ("./x", "./x: no such file or directory; for an image of that name write docker://x"),
            ("../a/b:1", "../a/b:1: no such file or directory; for an image of that name write docker://a/b:1"),
            (
                "/nowhere/X",
                "/nowhere/X: no such file or directory; an image is named without a path, such as nginx or docker://nginx",
            ),
            (
                "/dev/null",
                "/dev/null: neither a file nor a directory; for an image of that name write docker://dev/null",
            ),
        ] {
            assert_eq!(look(Path::new(path)).unwrap_err().to_string(), expected);
        }
    }
}
