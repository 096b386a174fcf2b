//! gzip (RFC 1952), unpacked into a bounded buffer.

use miniz_oxide::inflate::{TINFLStatus, decompress_to_vec_with_limit};

const MAGIC: &[u8] = &[0x1f, 0x8b];
/// The only method there is: deflate.
const DEFLATE: u8 = 8;
/// The fixed part of a member's header, and what ends it: checksum and length.
const HEADER: usize = 10;
const TRAILER: usize = 8;
/// Flags of the header, and what each adds to it.
const FHCRC: u8 = 1 << 1;
const FEXTRA: u8 = 1 << 2;
const FNAME: u8 = 1 << 3;
const FCOMMENT: u8 = 1 << 4;

/// Whether bytes start as gzip does; no text in UTF-8 does.
pub(super) fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// Unpacks one member, which is all that gzip(1) makes of one input.
pub(super) fn unpack(bytes: &[u8], limit: usize) -> Result<Vec<u8>, String> {
    let damaged = || "gzip that is damaged or breaks off".to_owned();
    let deflated = body(bytes).ok_or_else(damaged)?;
    let (deflated, trailer) = deflated.split_at_checked(deflated.len().wrapping_sub(TRAILER)).ok_or_else(damaged)?;
    let text = decompress_to_vec_with_limit(deflated, limit).map_err(|error| match error.status {
        TINFLStatus::HasMoreOutput => super::document::too_long(),
        _ => damaged(),
    })?;
    let length = u32::try_from(text.len()).map_err(|_| damaged())?;
    let expected: Vec<u8> = [crc32(&text).to_le_bytes(), length.to_le_bytes()].concat();
    if trailer == expected { Ok(text) } else { Err(damaged()) }
}

/// What stands behind the header.
fn body(bytes: &[u8]) -> Option<&[u8]> {
    let (header, mut rest) = bytes.split_at_checked(HEADER)?;
    let flags = *header.get(3)?;
    if header.get(2) != Some(&DEFLATE) {
        return None;
    }
    if flags & FEXTRA != 0 {
        let (length, behind) = rest.split_first_chunk()?;
        rest = behind.get(usize::from(u16::from_le_bytes(*length))..)?;
    }
    for text in [FNAME, FCOMMENT] {
        if flags & text != 0 {
            let end = rest.iter().position(|byte| *byte == 0)?;
            rest = rest.get(end + 1..)?;
        }
    }
    if flags & FHCRC != 0 { rest.get(2..) } else { Some(rest) }
}

/// CRC-32 as in RFC 1952, section 8, bit by bit: there are 16 KB at most.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `printf 'A=1\n' | gzip -n`.
    const PACKED: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03s\xb45\xe4\x02\x00\x2b\x78\xd7\x08\x04\x00\x00\x00";

    fn packed(text: &[u8], flags: u8, header: &[u8]) -> Vec<u8> {
        let deflated = miniz_oxide::deflate::compress_to_vec(text, 6);
        let length = u32::try_from(text.len()).unwrap();
        [
            &[0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 3],
            header,
            &deflated,
            &crc32(text).to_le_bytes(),
            &length.to_le_bytes(),
        ]
        .concat()
    }

    #[test]
    fn what_gzip_packs_is_unpacked() {
        assert_eq!(unpack(PACKED, 4).unwrap(), b"A=1\n");
        let all = packed(b"A=1", FEXTRA | FNAME | FCOMMENT | FHCRC, b"\x02\0xyname\0comment\0hc");
        assert_eq!(unpack(&all, 99).unwrap(), b"A=1");
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let bomb = packed(&[b'#'; 10 << 20], 0, b"");
        assert!(bomb.len() < 16 << 10);
        assert_eq!(unpack(&bomb, 16 << 10).unwrap_err(), "longer than 16 KB");
    }

    #[test]
    fn damage_is_told() {
        for end in 0..PACKED.len() {
            assert!(unpack(&PACKED[..end], 99).is_err(), "{end}");
        }
        let mut flipped = PACKED.to_vec();
        flipped[20] ^= 1;
        assert_eq!(unpack(&flipped, 99).unwrap_err(), "gzip that is damaged or breaks off");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(rest: Vec<u8>) {
            let _ = unpack(&[MAGIC, &[8], &rest].concat(), 100);
        }

        #[test]
        fn packing_and_unpacking_change_nothing(text: Vec<u8>) {
            prop_assert_eq!(unpack(&packed(&text, 0, b""), text.len()).unwrap(), text);
        }
    }
}
