//! Sizes as people write them, and how much the cache may hold.

use anyhow::{Context, Result};
use std::fmt;
use std::str::FromStr;

/// How much the cache may hold where nobody says otherwise: some dozens of images.
const DEFAULT: Size = Size(10 << 30);

/// What the units stand for, in powers of 1024: sizes of files are told so.
const UNITS: &[(char, u32)] = &[('K', 10), ('M', 20), ('G', 30), ('T', 40)];

/// A number of bytes, written as `512M` or `20G`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    /// How much the cache may hold: `NANOOS_CACHE_SIZE`, else 10 GiB. Nothing means that a build keeps nothing.
    ///
    /// # Errors
    /// When the variable is set to what is no size.
    pub fn of_cache() -> Result<Self> {
        match std::env::var("NANOOS_CACHE_SIZE") {
            Ok(text) if !text.trim().is_empty() => {
                text.trim().parse().with_context(|| format!("NANOOS_CACHE_SIZE={text}"))
            }
            _ => Ok(DEFAULT),
        }
    }
}

/// A text that is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a size: write bytes, or a number with K, M, G or T, such as 512M or 20G")]
pub struct ParseSizeError(String);

impl FromStr for Size {
    type Err = ParseSizeError;

    fn from_str(text: &str) -> Result<Self, ParseSizeError> {
        let refused = || ParseSizeError(text.to_owned());
        // `20G`, `20GB` and `20GiB` all mean the same here.
        let upper = text.trim().to_ascii_uppercase();
        let upper = upper.strip_suffix("IB").or_else(|| upper.strip_suffix('B')).unwrap_or(&upper);
        let unit = UNITS.iter().find_map(|(unit, shift)| Some((upper.strip_suffix(*unit)?, *shift)));
        let (digits, shift) = unit.unwrap_or((upper, 0));
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(refused());
        }
        let number: u64 = digits.parse().map_err(|_| refused())?;
        number.checked_mul(1 << shift).map(Size).ok_or_else(refused)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const GIB: u64 = 1 << 30;
        if self.0 < GIB {
            return f.write_str(&crate::progress::mebibytes(self.0));
        }
        write!(f, "{:.1} GiB", self.0 as f64 / GIB as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("1000", 1000),
            ("2k", 2048),
            ("512M", 512 << 20),
            ("20G", 20 << 30),
            ("1TiB", 1 << 40),
            ("3GB", 3 << 30),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "G", "-1", "1.5G", "20X", "99999999999T", "+1"] {
            assert_eq!(text.parse::<Size>(), Err(ParseSizeError(text.to_owned())), "{text}");
        }
        assert_eq!((Size(1536 << 20).to_string(), Size(512 << 20).to_string()), ("1.5 GiB".into(), "512.0 MiB".into()));
    }
}
