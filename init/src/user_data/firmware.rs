//! User data in the firmware's tables: outside of EC2 whoever starts a machine can put them there without a server, as
//! `qemu/boot.sh --config` does.
//!
//! They are one of the "OEM Strings" of SMBIOS (DSP0134, 7.12), `nanoos.user-data:` and the bytes in base64 (RFC 4648).
//! The kernel shows the tables to root alone.

use super::answer::Data;
use super::{LONGEST, unpack};
use std::fs::File;
use std::io::Read;

/// SMBIOS's structures, as the firmware has them.
const TABLES: &str = "/sys/firmware/dmi/tables/DMI";
/// The longest tables that a firmware can have before SMBIOS 3, in bytes; those of servers have some 10 KB.
const LONGEST_TABLES: u64 = 1 << 16;
/// The structure "OEM Strings".
const OEM_STRINGS: u8 = 11;
/// The structure behind which nothing counts.
const END: u8 = 127;
/// What the string begins with.
const NAME: &[u8] = b"nanoos.user-data:";

/// The user data, if the firmware has any.
#[must_use]
pub fn user_data() -> Option<Data> {
    let mut tables = Vec::new();
    // Not every machine has such tables.
    File::open(TABLES).and_then(|file| file.take(LONGEST_TABLES).read_to_end(&mut tables)).ok()?;
    let text = find(&tables)?;
    let longest = (LONGEST + 1).div_ceil(3) * 4;
    let bytes = if text.len() > longest { Err(super::document::too_long()) } else { decode(text) };
    Some(bytes.and_then(|bytes| unpack(&bytes)).map_or_else(Data::Bad, Data::Text))
}

/// The string in base64.
///
/// A structure begins with its type, the length of its own fields and a handle of two bytes. Behind the fields stand
/// strings, each with a NUL byte at its end, and one more behind the last (DSP0134, 6.1).
#[must_use]
pub fn find(mut tables: &[u8]) -> Option<&[u8]> {
    loop {
        let (kind, length) = (*tables.first()?, usize::from(*tables.get(1)?));
        let strings = tables.get(length.max(4)..)?;
        let end = strings.windows(2).position(|pair| pair == [0, 0])?;
        let mut own = strings.get(..end)?.split(|byte| *byte == 0);
        if kind == OEM_STRINGS
            && let Some(found) = own.find_map(|string| string.strip_prefix(NAME))
        {
            return Some(found);
        }
        if kind == END {
            return None;
        }
        tables = strings.get(end + 2..)?;
    }
}

/// base64 with its padding, without line breaks.
fn decode(text: &[u8]) -> Result<Vec<u8>, String> {
    let value = |digit: u8| match digit {
        b'A'..=b'Z' => Some(u32::from(digit - b'A')),
        b'a'..=b'z' => Some(u32::from(digit - b'a') + 26),
        b'0'..=b'9' => Some(u32::from(digit - b'0') + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let group = |group: &[u8]| {
        let digits = group.strip_suffix(b"==").or_else(|| group.strip_suffix(b"=")).unwrap_or(group);
        let bits = digits.iter().try_fold(0, |bits, digit| Some(bits << 6 | value(*digit)?))?;
        let [_, bytes @ ..] = (bits << (6 * (4 - digits.len()))).to_be_bytes();
        bytes.get(..digits.len().checked_sub(1)?).map(<[u8]>::to_vec)
    };
    let groups = text.chunks(4).enumerate().map(|(number, chunk)| {
        let is_last = (number + 1) * 4 == text.len();
        group(chunk).filter(|bytes| chunk.len() == 4 && (is_last || bytes.len() == 3))
    });
    let bytes: Option<Vec<Vec<u8>>> = groups.collect();
    bytes.map(|bytes| bytes.concat()).ok_or_else(|| "in the firmware's tables they are not base64".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A structure of so many bytes of fields, zeros, and its strings.
    fn structure(kind: u8, fields: u8, strings: &[&str]) -> Vec<u8> {
        let mut bytes = vec![kind, fields, 0, 0];
        bytes.resize(usize::from(fields), 0);
        strings.iter().for_each(|string| bytes.extend([string.as_bytes(), b"\0"].concat()));
        bytes.extend_from_slice(if strings.is_empty() { b"\0\0" } else { b"\0" });
        bytes
    }

    #[test]
    fn the_string_is_found_among_others() {
        let tables = [
            structure(1, 27, &["QEMU", "nanoos.user-data:no"]),
            structure(32, 11, &[]),
            structure(11, 5, &["io.systemd.credential:a=b", "nanoos.user-data:QT0xCg=="]),
            structure(127, 4, &[]),
            structure(11, 5, &["nanoos.user-data:no"]),
        ];
        assert_eq!(find(&tables.concat()), Some(&b"QT0xCg=="[..]));
        assert_eq!(find(&tables[..2].concat()), None);
        assert_eq!(find(&tables[3..].concat()), None);
        assert_eq!(find(&structure(11, 5, &["nanoos.user-data:"])), Some(&b""[..]));
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        // RFC 4648, 10.
        for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYg==", "foob")] {
            assert_eq!(decode(text.as_bytes()), Ok(bytes.as_bytes().to_vec()));
        }
        assert_eq!(decode(b"+/+/"), Ok(vec![0xfb, 0xff, 0xbf]));
        for bad in ["Z", "Zg", "Zg=", "Z===", "====", "Zg==Zg==", "Zm9v\n", "Zm-v", "=Zm9"] {
            assert_eq!(decode(bad.as_bytes()), Err("in the firmware's tables they are not base64".to_owned()), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_tables_make_it_panic(tables: Vec<u8>) {
            let _ = find(&tables);
            let _ = decode(&tables);
        }

        #[test]
        fn no_structures_make_it_panic(kind in 10..12u8, fields: u8, rest: Vec<u8>) {
            let _ = find(&[&[kind, fields, 0, 0], &rest[..]].concat());
        }

        #[test]
        fn no_text_makes_it_panic(text in "[A-Za-z0-9+/=]{0,40}") {
            let _ = decode(text.as_bytes());
        }
    }
}
