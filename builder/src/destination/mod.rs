//! Where the result of a build goes: into a disk image, or to EC2. This is decided before any work, from the options, the
//! environment and the AWS configuration files; nothing is asked over the network.

mod profiles;

use crate::bounded::{SETTINGS, TooLong};
use anyhow::{Context, Result, bail, ensure};
use profiles::Profiles;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

/// The region where nothing names another: VMify's own default.
const DEFAULT_REGION: &str = "eu-central-1";
/// The profile that is this tool's own, where ~/.aws/credentials has it.
const OWN_PROFILE: &str = "vmify";

/// What the user asks for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// Whether a file was asked for: `-o`, or a format.
    pub file: bool,
    /// `-q`.
    pub quiet: bool,
    /// Whether an image of EC2 was asked for: by name, or by an option that only such an image has, `-r` too.
    pub ec2: bool,
    /// The regions that are named. Those of nanoos.toml say where an image of EC2 goes, and not that one is wanted.
    pub regions: &'a [Region],
    /// `--profile`.
    pub profile: Option<&'a str>,
}

/// What the SDK's default chain would look at.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Variables that are set, and not empty.
    variables: Vec<(String, String)>,
    /// `~/.aws/credentials`, and its text; empty where it is not there.
    credentials: (PathBuf, String),
    /// `~/.aws/config`, the same.
    config: (PathBuf, String),
    /// Why one of these can't be used.
    refused: Option<String>,
    /// Whether this machine is an instance of EC2, whose role may give credentials.
    on_ec2: bool,
}

/// The variables that name AWS's two files, and how these are called in ~/.aws otherwise.
const FILES: [(&str, &str); 2] = [("AWS_SHARED_CREDENTIALS_FILE", "credentials"), ("AWS_CONFIG_FILE", "config")];
/// Where the firmware tells who made this machine (Linux's ABI, sysfs-firmware-dmi-tables).
const VENDOR: &str = "/sys/class/dmi/id/sys_vendor";
/// The variables that count (AWS SDKs and Tools Reference Guide, "Environment variables support").
const VARIABLES: &[&str] = &[
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_PROFILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CA_BUNDLE",
];

impl Surroundings {
    /// Those of this process.
    #[must_use]
    pub fn of_process() -> Self {
        let mut refused = None;
        let mut with_text = |path: PathBuf| {
            let text = read(&path).unwrap_or_else(|error| {
                refused = Some(format!("read {}: {error}", path.display()));
                String::new()
            });
            (path, text)
        };
        let [credentials, config] = FILES.map(path).map(&mut with_text);
        Surroundings {
            variables: VARIABLES.iter().filter_map(|name| Some(((*name).to_owned(), variable(name)?))).collect(),
            credentials,
            config,
            refused,
            on_ec2: std::fs::read_to_string(VENDOR).is_ok_and(|vendor| vendor.trim() == "Amazon EC2"),
        }
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The profile that is used where nobody names one, and the others that there are.
    #[must_use]
    pub fn profiles(&self) -> (Option<String>, Vec<String>) {
        let profiles = Profiles::parse(&self.credentials.1, &self.config.1);
        let usable = |name: &&str| profiles.gives_credentials(name);
        let preferred = [OWN_PROFILE, self.profile(None)];
        let preferred = preferred.into_iter().find(usable).map(str::to_owned);
        (preferred, profiles.names().into_iter().filter(usable).map(str::to_owned).collect())
    }

    /// The region that is used where nobody names one, with this profile.
    ///
    /// # Errors
    /// When the environment or the profile names what is none.
    pub fn region(&self, profile: Option<&str>) -> Result<Region> {
        let profiles = Profiles::parse(&self.credentials.1, &self.config.1);
        let regions = regions(&Wanted::default(), profile, &profiles, self)?;
        regions.into_iter().next().context("no region")
    }

    /// The profile whose settings count, where `named` has the credentials.
    fn profile<'a>(&'a self, named: Option<&'a str>) -> &'a str {
        named.or_else(|| self.variable("AWS_PROFILE")).unwrap_or("default")
    }

    fn has(&self, names: &[&str]) -> bool {
        names.iter().all(|name| self.variable(name).is_some())
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn path((name, default): (&str, &str)) -> PathBuf {
    let home = || PathBuf::from(variable("HOME").unwrap_or_default()).join(".aws");
    variable(name).map_or_else(|| home().join(default), PathBuf::from)
}

/// The files of AWS's that are read; not all of them are there.
pub fn config_files() -> impl Iterator<Item = PathBuf> {
    FILES.into_iter().map(path).chain(variable("AWS_CA_BUNDLE").map(PathBuf::from))
}

/// A file's text. The SDK as well takes one that it can't read for one that isn't there, but it reads without a bound.
///
/// # Errors
/// When it is longer than such a file can be.
fn read(path: &Path) -> io::Result<String> {
    match SETTINGS.read_text(path) {
        Err(error) if error.get_ref().is_some_and(<dyn Error + Send + Sync>::is::<TooLong>) => Err(error),
        text => Ok(text.unwrap_or_default()),
    }
}

/// Where the result goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Into a file.
    Disk,
    /// To EC2.
    Ec2(Account),
}

/// With what, and to where in EC2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The profile to use; `None` leaves it to the SDK's default chain.
    pub profile: Option<String>,
    /// At least one.
    pub regions: Vec<Region>,
    /// A file with the certificates of the authorities that are trusted towards AWS, in place of the system's.
    pub authorities: Option<PathBuf>,
}

/// Decides.
///
/// # Errors
/// When EC2 was asked for and there are no credentials, or the profile does not exist.
pub fn find(wanted: &Wanted<'_>, surroundings: &Surroundings) -> Result<Destination> {
    if wanted.file {
        return Ok(Destination::Disk);
    }
    if let Some(reason) = &surroundings.refused {
        bail!("{reason}");
    }
    let profiles = Profiles::parse(&surroundings.credentials.1, &surroundings.config.1);
    let asked = wanted.quiet || wanted.ec2 || wanted.profile.is_some();
    let profile = match wanted.profile {
        Some(name) => {
            require(&profiles, "--profile ", name, surroundings)?;
            Some(name.to_owned())
        }
        None if profiles.in_credentials(OWN_PROFILE) => Some(OWN_PROFILE.to_owned()),
        None if default_chain(&profiles, surroundings) => None,
        // What was set up for AWS and can't be used is a mistake, and no wish for a disk.
        None if surroundings.has(&["AWS_PROFILE"]) => {
            let name = surroundings.variable("AWS_PROFILE").unwrap_or_default();
            require(&profiles, "AWS_PROFILE=", name, surroundings)?;
            None
        }
        None if surroundings.has(&["AWS_ACCESS_KEY_ID"]) != surroundings.has(&["AWS_SECRET_ACCESS_KEY"]) => {
            bail!(
                "of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY only one is set: set both, or none; -o FILE builds a disk image"
            )
        }
        // The instance's role is for what is asked for, not for what merely happens there.
        None if asked && surroundings.on_ec2 => None,
        None if asked => bail!(
            "there are no AWS credentials, and an image of EC2 is what -q, -r, --profile and their like ask for: put them into a profile \
             [vmify] of {}, or name a profile with --profile, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; \
             -o FILE builds a disk image without any",
            surroundings.credentials.0.display()
        ),
        None => return Ok(Destination::Disk),
    };
    let regions = regions(wanted, profile.as_deref(), &profiles, surroundings)?;
    let authorities = authorities(profile.as_deref(), &profiles, surroundings);
    Ok(Destination::Ec2(Account { profile, regions, authorities }))
}

/// Whether the SDK would find credentials by itself, but for those that an EC2 instance's role gives.
fn default_chain(profiles: &Profiles, surroundings: &Surroundings) -> bool {
    surroundings.has(&["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
        || profiles.gives_credentials(surroundings.profile(None))
        || surroundings.has(&["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"])
        || surroundings.has(&["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"])
        || surroundings.has(&["AWS_CONTAINER_CREDENTIALS_FULL_URI"])
}

fn require(profiles: &Profiles, option: &str, name: &str, surroundings: &Surroundings) -> Result<()> {
    let (credentials, config) = (surroundings.credentials.0.display(), surroundings.config.0.display());
    if !profiles.exists(name) {
        let names = profiles.names();
        let there = if names.is_empty() { "none at all".to_owned() } else { names.join(", ") };
        bail!("{option}{name}: neither {credentials} nor {config} has such a profile; there are: {there}");
    }
    ensure!(
        profiles.gives_credentials(name),
        "{option}{name}: it has no credentials: give it aws_access_key_id and aws_secret_access_key in {credentials}, \
         or sso_session, role_arn or credential_process in {config}"
    );
    Ok(())
}

fn regions(
    wanted: &Wanted<'_>,
    profile: Option<&str>,
    profiles: &Profiles,
    surroundings: &Surroundings,
) -> Result<Vec<Region>> {
    if !wanted.regions.is_empty() {
        let mut regions = Vec::new();
        for region in wanted.regions {
            if !regions.contains(region) {
                regions.push(region.clone());
            }
        }
        return Ok(regions);
    }
    for name in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
        if let Some(value) = surroundings.variable(name) {
            let region = value.parse::<Region>().map_err(|reason| anyhow::anyhow!("{name}={value}: {reason}"))?;
            return Ok(vec![region]);
        }
    }
    let profile = surroundings.profile(profile);
    let region = profiles.region(profile).unwrap_or(DEFAULT_REGION);
    let region = region.parse().map_err(|reason| anyhow::anyhow!("region {region} of profile {profile}: {reason}"))?;
    Ok(vec![region])
}

/// As AWS's tools have it (AWS SDKs and Tools Reference Guide, "General configuration settings", `ca_bundle`).
fn authorities(profile: Option<&str>, profiles: &Profiles, surroundings: &Surroundings) -> Option<PathBuf> {
    let of_profile = || profiles.ca_bundle(surroundings.profile(profile));
    surroundings.variable("AWS_CA_BUNDLE").or_else(of_profile).map(PathBuf::from)
}

/// A region of AWS, by its code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region(String);

impl std::fmt::Display for Region {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Region {
    type Err = String;

    /// The form of all codes, as no list of them stays complete: `eu-central-1`, `us-gov-west-1`.
    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('-').collect();
        let is_word = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
        let fits = match parts[..] {
            [ref words @ .., number] if words.len() >= 2 => {
                words.iter().all(is_word) && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
            }
            _ => false,
        };
        if fits { Ok(Region(text.to_owned())) } else { Err("it is no region of AWS, such as eu-central-1".to_owned()) }
    }
}

#[cfg(test)]
mod tests;
