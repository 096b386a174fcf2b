//! The options and the commands that are about EC2.

use builder::destination::Region;
use clap::Args;
#[cfg(feature = "aws")]
use {super::Report, clap::Subcommand, std::path::PathBuf, std::time::Duration};

/// Where the image goes beside a file, and what it is called.
#[derive(Debug, Args)]
#[command(next_help_heading = "Publishing to EC2")]
pub(crate) struct Publishing {
    #[command(flatten)]
    pub(crate) access: AccessArgs,

    /// Every region that is enabled for the account
    #[arg(long, conflicts_with = "region")]
    pub(crate) all_regions: bool,

    /// The image's name, and without -o that of the file [default: the container image's, and of its contents]
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub(crate) name: Option<String>,

    /// A tag of the image and of its snapshot; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = tag)]
    pub(crate) tag: Vec<(String, String)>,

    /// Give its instances a NitroTPM, which not all types have
    #[arg(long)]
    pub(crate) tpm: bool,

    /// Encrypt the snapshot by the account's key for EBS
    #[arg(long)]
    pub(crate) encrypted: bool,

    /// Encrypt the snapshot by this key of KMS
    #[arg(long, value_name = "ARN", conflicts_with = "encrypted")]
    pub(crate) kms_key: Option<String>,

    /// Make another image even where there is this very one
    #[arg(long)]
    pub(crate) force: bool,

    /// Publish the image's id as a parameter of the Systems Manager, for Terraform or CloudFormation
    #[arg(long, value_name = "NAME")]
    pub(crate) ssm_parameter: Option<String>,

    /// Read back its whole volume, launch it once, and wait for a TCP port to answer (tcp:80), or for a line on its
    /// console (console:TEXT); the instance is terminated in any case
    #[arg(long, value_name = "CHECK")]
    pub(crate) verify: Option<String>,

    /// The instance type for --verify [default: t3.micro or t4g.micro]
    #[arg(long, value_name = "TYPE", requires = "verify")]
    pub(crate) verify_type: Option<String>,

    /// The subnet for --verify [default: one of the default VPC]
    #[arg(long, value_name = "SUBNET", requires = "verify")]
    pub(crate) verify_subnet: Option<String>,

    /// The security group for --verify, which lets this machine in for tcp [default: the VPC's own]
    #[arg(long, value_name = "GROUP", requires = "verify")]
    pub(crate) verify_security_group: Option<String>,
}

impl Publishing {
    /// The first option that means nothing to a disk image.
    pub(crate) fn only_of_ec2(&self) -> Option<&'static str> {
        let given = [
            (!self.access.region.is_empty(), "-r"),
            (self.all_regions, "--all-regions"),
            (self.access.profile.is_some(), "--profile"),
            (!self.tag.is_empty(), "--tag"),
            (self.tpm, "--tpm"),
            (self.encrypted, "--encrypted"),
            (self.kms_key.is_some(), "--kms-key"),
            (self.force, "--force"),
            (self.ssm_parameter.is_some(), "--ssm-parameter"),
            (self.verify.is_some(), "--verify"),
        ];
        given.iter().find(|(given, _)| *given).map(|(_, option)| *option)
    }
}

/// Which account, and where.
#[derive(Debug, Args)]
#[command(next_help_heading = "Publishing to EC2")]
pub(crate) struct AccessArgs {
    /// A region of AWS; may be repeated [default: the environment's or the profile's, else eu-central-1]
    #[arg(short, long, value_name = "REGION")]
    pub(crate) region: Vec<Region>,

    /// The profile with AWS credentials [default: vmify in ~/.aws/credentials, else what AWS's tools use]
    #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) profile: Option<String>,
}

/// `builder publish`.
#[cfg(feature = "aws")]
#[derive(Debug, Args)]
pub(crate) struct Publish {
    /// A raw disk that builder made
    #[arg(value_name = "DISK")]
    pub(crate) disk: PathBuf,

    #[command(flatten)]
    pub(crate) report: Report,

    #[command(flatten)]
    pub(crate) publishing: Publishing,
}

/// `builder promote`.
#[cfg(feature = "aws")]
#[derive(Debug, Args)]
pub(crate) struct Promote {
    /// The image
    #[arg(value_name = "AMI")]
    pub(crate) image: String,

    /// A region to copy it to, or an account (twelve digits) to share it with; may be repeated
    #[arg(long, value_name = "REGION|ACCOUNT", required = true, num_args = 1..)]
    pub(crate) to: Vec<String>,

    /// Encrypt the copies by the account's key for EBS
    #[arg(long)]
    pub(crate) encrypted: bool,

    /// Encrypt the copy by this key of KMS
    #[arg(long, value_name = "ARN", conflicts_with = "encrypted")]
    pub(crate) kms_key: Option<String>,

    /// Publish the ids as a parameter of the Systems Manager, in each region
    #[arg(long, value_name = "NAME")]
    pub(crate) ssm_parameter: Option<String>,

    #[command(flatten)]
    pub(crate) report: Report,

    #[command(flatten)]
    pub(crate) access: AccessArgs,
}

/// `builder aws`.
#[cfg(feature = "aws")]
#[derive(Debug, Subcommand)]
pub(crate) enum AwsCommand {
    /// List images, snapshots and instances that builder made, those of interrupted runs among them
    Ls {
        /// Print one JSON object
        #[arg(long)]
        json: bool,

        /// In every region that is enabled for the account
        #[arg(long, conflicts_with = "region")]
        all_regions: bool,

        #[command(flatten)]
        access: AccessArgs,
    },

    /// Remove images with their snapshots, snapshots, or instances that builder made
    Rm {
        /// What to remove: ami-…, snap-… or i-…
        #[arg(value_name = "ID", required_unless_present = "unused")]
        ids: Vec<String>,

        /// Remove snapshots that no image uses and that are older than this, such as 7d or 12h: what interrupted runs left
        #[arg(long, value_name = "AGE", conflicts_with = "ids", value_parser = age)]
        unused: Option<Duration>,

        #[command(flatten)]
        access: AccessArgs,
    },
}

/// A time as `12h` or `7d`.
#[cfg(feature = "aws")]
fn age(text: &str) -> Result<Duration, String> {
    const UNITS: &[(char, u64)] = &[('m', 60), ('h', 3600), ('d', 86_400)];
    let unit = UNITS.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(*unit)?, seconds)));
    let seconds = unit.and_then(|(number, seconds)| number.parse::<u64>().ok()?.checked_mul(*seconds));
    seconds.map(Duration::from_secs).ok_or_else(|| "a time is a number with m, h or d behind it, such as 7d".to_owned())
}

/// As EC2 takes them (RegisterImage, "Name").
pub(crate) fn name(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"()[] ./-'@_".contains(&byte);
    if (3..=128).contains(&text.len()) && text.bytes().all(fits) && !text.starts_with('.') {
        Ok(text.to_owned())
    } else {
        Err("a name has 3 to 128 letters, digits, spaces and ()[]./-'@_, and no dot before them".to_owned())
    }
}

/// As EC2 and the EBS direct APIs take them (StartSnapshot, "Tags").
fn tag(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("it is not KEY=VALUE")?;
    if key.is_empty() || key.chars().count() > 127 {
        return Err("a tag's key has 1 to 127 characters".to_owned());
    }
    if value.chars().count() > 255 {
        return Err("a tag's value has 255 characters at most".to_owned());
    }
    if key.to_ascii_lowercase().starts_with("aws:") {
        return Err("keys that start with aws: are AWS's own".to_owned());
    }
    if key.starts_with("nanoos:") {
        return Err("keys that start with nanoos: are builder's own".to_owned());
    }
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_tags_are_those_that_ec2_takes() {
        assert!(name("web 1.0/blue").is_ok() && name("ab").is_err() && name("a:bc").is_err() && name("../x").is_err());
        assert_eq!(tag("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(tag("a=").is_ok());
        assert_eq!(tag("a").unwrap_err(), "it is not KEY=VALUE");
        assert_eq!(tag("=a").unwrap_err(), "a tag's key has 1 to 127 characters");
        assert_eq!(tag("AWS:x=1").unwrap_err(), "keys that start with aws: are AWS's own");
        assert_eq!(tag("nanoos:content=1").unwrap_err(), "keys that start with nanoos: are builder's own");
        assert!(tag(&format!("a={}", "x".repeat(256))).is_err());
    }

    #[cfg(feature = "aws")]
    #[test]
    fn an_age_has_a_unit() {
        assert_eq!(age("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert_eq!(age("90m"), Ok(Duration::from_secs(5400)));
        for bad in ["", "7", "d", "-1d", "99999999999999999999d"] {
            assert!(age(bad).is_err(), "{bad}");
        }
    }
}
