//! The records of a PAX extended header (POSIX.1-2017, pax, "pax Extended Header"): `LENGTH KEY=VALUE\n`.

use super::reader::TarError;
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::collections::BTreeMap;

/// libarchive writes no padding; other writers of its records might.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Linux's limits of extended attributes, in bytes: a name, a value, and all names of a file, each with a NUL
/// (linux/limits.h: XATTR_NAME_MAX, XATTR_SIZE_MAX, XATTR_LIST_MAX).
const MAX_XATTR_NAME: usize = 255;
const MAX_XATTR_VALUE: usize = 64 * 1024;
/// See [`MAX_XATTR_NAME`].
pub const MAX_XATTR_LIST: usize = 64 * 1024;

/// What the records of one extended header say about the entry that follows. Where a record comes twice, the last holds,
/// as POSIX asks. An empty value takes a record back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extensions {
    /// Name of the entry.
    pub path: Option<Vec<u8>>,
    /// Target of a link.
    pub linkpath: Option<Vec<u8>>,
    /// Length of the entry's data in the archive.
    pub size: Option<u64>,
    /// Owner.
    pub uid: Option<u64>,
    /// Group.
    pub gid: Option<u64>,
    /// Seconds since 1970, rounded down.
    pub mtime: Option<i64>,
    /// From `SCHILY.xattr.` and `LIBARCHIVE.xattr.` records.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// GNU tar's description of a sparse file.
    pub sparse: SparseRecords,
}

/// The records of GNU tar's three PAX formats for sparse files (GNU tar manual, appendix "Sparse Formats").
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SparseRecords {
    /// `GNU.sparse.major`, from format 1.0 on.
    pub major: Option<u64>,
    /// `GNU.sparse.minor`.
    pub minor: Option<u64>,
    /// `GNU.sparse.name`: the real name, in formats 0.1 and 1.0.
    pub name: Option<Vec<u8>>,
    /// `GNU.sparse.size` or `GNU.sparse.realsize`: the length with all holes.
    pub size: Option<u64>,
    /// `GNU.sparse.map` (0.1) or the pairs of `GNU.sparse.offset` and `numbytes` (0.0), flattened.
    pub map: Option<Vec<u64>>,
}

/// Reads all records.
///
/// # Errors
/// [`TarError::Pax`] for a record that is cut short or has a value that is no number where one must be.
pub fn parse(mut data: &[u8]) -> Result<Extensions, TarError> {
    let mut extensions = Extensions::default();
    // Some writers pad the data with NUL bytes.
    while data.first().is_some_and(|byte| *byte != 0) {
        let (key, value, rest) = record(data).ok_or(TarError::Pax("a record that is cut short"))?;
        take(&mut extensions, key, value)?;
        data = rest;
    }
    if extensions.xattrs.keys().map(|name| name.len() + 1).sum::<usize>() > MAX_XATTR_LIST {
        return Err(TarError::Pax("extended attributes with names of more than 64 KiB together"));
    }
    Ok(extensions)
}

/// Splits off the first record. Its length counts itself, so that values may hold any byte, newlines included.
fn record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = data.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(number(&data[..space])?).ok()?;
    let (record, rest) = data.split_at_checked(length)?;
    let (newline, record) = record.get(space + 1..)?.split_last()?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    (*newline == b'\n').then_some((&record[..equals], &record[equals + 1..], rest))
}

fn take(extensions: &mut Extensions, key: &[u8], value: &[u8]) -> Result<(), TarError> {
    let text = || (!value.is_empty()).then(|| value.to_vec());
    match key {
        b"path" => extensions.path = text(),
        b"linkpath" => extensions.linkpath = text(),
        b"size" => extensions.size = optional_number(value, "a size that is no number")?,
        b"uid" => extensions.uid = optional_number(value, "a uid that is no number")?,
        b"gid" => extensions.gid = optional_number(value, "a gid that is no number")?,
        b"mtime" => {
            extensions.mtime = if value.is_empty() {
                None
            } else {
                Some(seconds(value).ok_or(TarError::Pax("an mtime that is no number"))?)
            };
        }
        _ => {
            if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                set_xattr(extensions, name.to_vec(), value.to_vec())?;
            } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
                libarchive_xattr(extensions, name, value)?;
            } else if let Some(name) = key.strip_prefix(b"GNU.sparse.") {
                take_sparse(&mut extensions.sparse, name, value)?;
            }
            // Every other record (atime, ctime, uname, comment, …) tells nothing that a squashfs keeps.
        }
    }
    Ok(())
}

fn take_sparse(sparse: &mut SparseRecords, name: &[u8], value: &[u8]) -> Result<(), TarError> {
    const BAD: &str = "a sparse file's record that is no number";
    match name {
        b"major" => sparse.major = optional_number(value, BAD)?,
        b"minor" => sparse.minor = optional_number(value, BAD)?,
        b"name" => sparse.name = Some(value.to_vec()),
        b"size" | b"realsize" => sparse.size = optional_number(value, BAD)?,
        b"map" => {
            let numbers: Option<Vec<u64>> = match value {
                [] => Some(Vec::new()),
                _ => value.split(|byte| *byte == b',').map(number).collect(),
            };
            sparse.map = Some(numbers.ok_or(TarError::Pax(BAD))?);
        }
        b"offset" | b"numbytes" => {
            let number = number(value).ok_or(TarError::Pax(BAD))?;
            let map = sparse.map.get_or_insert_default();
            // Pairs: an offset opens one, a length closes it.
            if map.len().is_multiple_of(2) != (name == b"offset") {
                return Err(TarError::Pax("a sparse file's offsets and lengths out of order"));
            }
            map.push(number);
        }
        _ => {} // numblocks: the map's length tells it
    }
    Ok(())
}

fn set_xattr(extensions: &mut Extensions, name: Vec<u8>, value: Vec<u8>) -> Result<(), TarError> {
    if name.is_empty() || name.len() > MAX_XATTR_NAME || name.contains(&0) {
        return Err(TarError::Pax("an extended attribute whose name has no or more than 255 bytes, or a NUL"));
    }
    if value.len() > MAX_XATTR_VALUE {
        return Err(TarError::Pax("an extended attribute with a value of more than 64 KiB"));
    }
    extensions.xattrs.insert(name, value);
    Ok(())
}

/// libarchive writes names percent-encoded and values in base64 (libarchive, archive_write_set_format_pax.c). Its tars
/// carry the same attribute as `SCHILY.xattr` too; where both are there, they agree.
fn libarchive_xattr(extensions: &mut Extensions, name: &[u8], value: &[u8]) -> Result<(), TarError> {
    let name = percent_decode(name).ok_or(TarError::Pax("an attribute's name that is not percent-encoded"))?;
    let value = BASE64.decode(value).map_err(|_| TarError::Pax("an attribute's value that is not base64"))?;
    set_xattr(extensions, name, value)
}

fn percent_decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::new();
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        if *first == b'%' {
            let hex = std::str::from_utf8(tail.get(..2)?).ok()?;
            decoded.push(u8::from_str_radix(hex, 16).ok()?);
            rest = &tail[2..];
        } else {
            decoded.push(*first);
            rest = tail;
        }
    }
    Some(decoded)
}

fn optional_number(value: &[u8], complaint: &'static str) -> Result<Option<u64>, TarError> {
    if value.is_empty() {
        return Ok(None);
    }
    number(value).map(Some).ok_or(TarError::Pax(complaint))
}

/// Decimal digits and nothing else: no sign, no blanks.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    text.parse().ok()
}

/// A decimal number of seconds, perhaps negative, perhaps with a fraction, rounded down.
fn seconds(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    let has_fraction = fraction.bytes().any(|byte| byte != b'0');
    if text.starts_with('-') && has_fraction { seconds.checked_sub(1) } else { Some(seconds) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_value_may_hold_newlines_and_equal_signs() {
        let data = b"34 SCHILY.xattr.user.x=a\n=b\n\xff\n\n56\n12 path=abc\n";
        let extensions = parse(data).unwrap();
        assert_eq!(extensions.xattrs, [(b"user.x".to_vec(), b"a\n=b\n\xff\n\n56".to_vec())].into());
        assert_eq!(extensions.path.unwrap(), b"abc");
    }

    #[test]
    fn the_last_of_repeated_records_holds_and_an_empty_one_takes_back() {
        let extensions = parse(b"10 path=a\n10 path=b\n8 uid=5\n7 uid=\n").unwrap();
        assert_eq!((extensions.path.unwrap(), extensions.uid), (b"b".to_vec(), None));
    }

    #[test]
    fn times_before_1970_round_down_too() {
        for (text, expected) in [
            ("1.9", Some(1)),
            ("-1.5", Some(-2)),
            ("-1.0", Some(-1)),
            ("-0.5", Some(-1)),
            ("1e3", None),
            ("1.-2", None),
        ] {
            assert_eq!(seconds(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn libarchive_attributes_are_decoded() {
        let extensions = parse(b"38 LIBARCHIVE.xattr.user.a%20b=AQID/w\n").unwrap();
        assert_eq!(extensions.xattrs, [(b"user.a b".to_vec(), vec![1, 2, 3, 255])].into());
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        for data in
            [&b"12 path=ab\n"[..], b"path=abc\n", b"5 a=bcd\n", b"99999999999999999999999 a=b\n", b"12 path=abcd"]
        {
            assert!(parse(data).is_err(), "{}", String::from_utf8_lossy(data));
        }
    }

    #[test]
    fn attributes_are_bounded_as_linux_bounds_them() {
        let record = |name: &str, value: usize| {
            let text = format!(" SCHILY.xattr.user.{name}={}\n", "v".repeat(value));
            let length = (1..).find(|length: &usize| length.to_string().len() + text.len() == *length).unwrap();
            format!("{length}{text}")
        };
        let told = |records: &str| parse(records.as_bytes()).err().map(|error| error.to_string());
        assert_eq!(told(&record(&"n".repeat(250), 65536)), None);
        let name = "the extended header has an extended attribute whose name has no or more than 255 bytes, or a NUL";
        assert_eq!(told(&record(&"n".repeat(251), 1)).as_deref(), Some(name));
        let value = "the extended header has an extended attribute with a value of more than 64 KiB";
        assert_eq!(told(&record("n", 65537)).as_deref(), Some(value));
        // As many names as a header of 1 MiB holds: quick to refuse.
        let many: String = (0..30_000).map(|number| record(&number.to_string(), 0)).collect();
        let list = "the extended header has extended attributes with names of more than 64 KiB together";
        assert_eq!(told(&many).as_deref(), Some(list));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(data: Vec<u8>) {
            let _ = parse(&data);
        }
    }
}
