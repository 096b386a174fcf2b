//! How a snapshot is to be encrypted.

use anyhow::{Result, ensure};
use std::fmt;
use std::str::FromStr;

/// How a snapshot is to be encrypted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Encryption {
    /// As the account has it for new volumes in the region.
    #[default]
    Default,
    /// Encrypted, by the account's key for EBS.
    Encrypted,
    /// Encrypted by this key.
    Key(KeyArn),
}

impl fmt::Display for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Encryption::Default => f.write_str("default"),
            Encryption::Encrypted => f.write_str("encrypted"),
            Encryption::Key(key) => f.write_str(&key.0),
        }
    }
}

/// A key of KMS by its ARN, the only form that StartSnapshot takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyArn(String);

impl KeyArn {
    /// The ARN.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The region of the key, which it does not leave.
    #[must_use]
    pub fn region(&self) -> &str {
        self.0.split(':').nth(3).unwrap_or_default()
    }
}

impl FromStr for KeyArn {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let fits = matches!(parts[..], ["arn", partition, "kms", region, account, key]
            if partition.starts_with("aws") && !region.is_empty() && account.len() == 12 && key.starts_with("key/"));
        ensure!(
            fits,
            "{text} is no ARN of a key, such as arn:aws:kms:eu-central-1:123456789012:key/1234abcd-… (aws kms describe-key tells it)"
        );
        Ok(KeyArn(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_by_its_arn() {
        let key: KeyArn = "arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/mrk-1".parse().unwrap();
        assert_eq!((key.region(), key.as_str().len()), ("us-gov-west-1", 55));
        for bad in ["", "alias/ebs", "1234abcd", "arn:aws:kms:eu-west-1:123456789012:alias/x", "arn:aws:s3:::x"] {
            assert!(bad.parse::<KeyArn>().is_err(), "{bad}");
        }
    }
}
