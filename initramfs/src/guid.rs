//! GPT identities: the 16 bytes that name a partition, its type, or a disk.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A GUID as GPT stores it on disk: the first three groups little-endian, the last two as written
/// (UEFI specification, appendix A).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Guid([u8; 16]);

/// Type of the EFI system partition (UEFI specification, table 5.7).
pub const ESP_TYPE: Guid =
    Guid::from_fields(0xC12A_7328, 0xF81F, 0x11D2, [0xBA, 0x4B, 0x00, 0xA0, 0xC9, 0x3E, 0xC9, 0x3B]);

/// Type "root partition" of the Discoverable Partitions Specification for x86-64.
pub const ROOT_X86_64_TYPE: Guid =
    Guid::from_fields(0x4F68_BCE3, 0xE8CD, 0x4DB1, [0x96, 0xE7, 0xFB, 0xCA, 0xF9, 0x84, 0xB7, 0x09]);

/// Type "root partition" of the Discoverable Partitions Specification for 64-bit ARM.
pub const ROOT_ARM64_TYPE: Guid =
    Guid::from_fields(0xB921_B045, 0x1DF0, 0x41C3, [0xAF, 0x44, 0x4C, 0x6F, 0x28, 0x0D, 0x3F, 0xAE]);

impl Guid {
    /// The GUID whose text form is `a-b-c-d[0..2]-d[2..8]`.
    #[must_use]
    pub const fn from_fields(a: u32, b: u16, c: u16, d: [u8; 8]) -> Self {
        let (a, b, c) = (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes());
        Guid([a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]])
    }

    /// The GUID stored as these 16 bytes in a partition table.
    #[must_use]
    pub const fn from_disk_bytes(bytes: [u8; 16]) -> Self {
        Guid(bytes)
    }

    /// The 16 bytes as a partition table stores them.
    #[must_use]
    pub const fn to_disk_bytes(self) -> [u8; 16] {
        self.0
    }

    /// A GUID derived from content: the digest's first 16 bytes with version 8 ("custom") and the
    /// RFC 9562 variant set, so that the same content always gets the same identity.
    #[must_use]
    pub fn from_digest(digest: &[u8; 32]) -> Self {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        bytes[7] = (bytes[7] & 0x0F) | 0x80; // the version stands in the high nibble of the third group
        bytes[8] = (bytes[8] & 0x3F) | 0x80;
        Guid(bytes)
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a0, a1, a2, a3, b0, b1, c0, c1, d @ ..] = self.0;
        write!(f, "{a3:02x}{a2:02x}{a1:02x}{a0:02x}-{b1:02x}{b0:02x}-{c1:02x}{c0:02x}-")?;
        for (index, byte) in d.iter().enumerate() {
            if index == 2 {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not a GUID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseGuidError(String);

impl fmt::Display for ParseGuidError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a GUID of the form 8-4-4-4-12 hexadecimal digits", self.0)
    }
}

impl std::error::Error for ParseGuidError {}

impl FromStr for Guid {
    type Err = ParseGuidError;

    fn from_str(text: &str) -> Result<Self, ParseGuidError> {
        parse(text).ok_or_else(|| ParseGuidError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Guid> {
    let mut groups = text.split('-');
    let mut group = |digits: usize| {
        let group = groups.next()?;
        // from_str_radix alone would take a sign.
        (group.len() == digits && group.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .then(|| u64::from_str_radix(group, 16).ok())
            .flatten()
    };
    let (a, b, c, d, e) = (group(8)?, group(4)?, group(4)?, group(4)?, group(12)?);
    let node = e.to_be_bytes();
    let mut tail = [0; 8];
    tail[..2].copy_from_slice(&u16::try_from(d).ok()?.to_be_bytes());
    tail[2..].copy_from_slice(&node[2..]);
    if groups.next().is_some() {
        return None;
    }
    Some(Guid::from_fields(u32::try_from(a).ok()?, u16::try_from(b).ok()?, u16::try_from(c).ok()?, tail))
}

impl TryFrom<String> for Guid {
    type Error = ParseGuidError;

    fn try_from(text: String) -> Result<Self, ParseGuidError> {
        text.parse()
    }
}

impl From<Guid> for String {
    fn from(guid: Guid) -> String {
        guid.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_esp_type_lies_on_disk_as_the_uefi_specification_prints_it() {
        assert_eq!(ESP_TYPE.to_string(), "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
        assert_eq!(
            ESP_TYPE.to_disk_bytes(),
            [0x28, 0x73, 0x2A, 0xC1, 0x1F, 0xF8, 0xD2, 0x11, 0xBA, 0x4B, 0x00, 0xA0, 0xC9, 0x3E, 0xC9, 0x3B]
        );
    }

    #[test]
    fn what_is_not_a_guid_is_refused_by_name() {
        for text in [
            "",
            "nonsense",
            "c12a7328-f81f-11d2-ba4b-00a0c93ec93",
            "c12a7328-f81f-11d2-ba4b-00a0c93ec93b-",
            "+12a7328-f81f-11d2-ba4b-00a0c93ec93b",
            "c12a7328f81f11d2ba4b00a0c93ec93b",
        ] {
            assert_eq!(text.parse::<Guid>(), Err(ParseGuidError(text.to_owned())));
        }
    }

    #[test]
    fn a_derived_guid_carries_version_8_and_the_rfc_variant() {
        let text = Guid::from_digest(&[0xFF; 32]).to_string();
        assert_eq!(text, "ffffffff-ffff-8fff-bfff-ffffffffffff");
    }

    proptest! {
        #[test]
        fn text_and_bytes_are_two_views_of_one_guid(bytes: [u8; 16]) {
            let guid = Guid::from_disk_bytes(bytes);
            prop_assert_eq!(guid.to_string().parse(), Ok(guid));
        }
    }
}
