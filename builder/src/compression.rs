//! How a layer is compressed, told by its first bytes, and the reader that undoes it.

use std::io::{self, BufReader, Read};

/// Bytes that a decompressor is fed with at once: large enough that system calls don't show.
const INPUT_BUFFER: usize = 256 * 1024;

/// A compression that image layers and kernel modules come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// As it is.
    None,
    /// gzip, of one member or many (RFC 1952).
    Gzip,
    /// Zstandard (RFC 8878).
    Zstd,
    /// xz: kernel modules have it, image layers must not.
    Xz,
    /// bzip2, which nothing here reads, but which is better named than called a broken tar.
    Bzip2,
}

/// The longest of the magics below.
pub const MAGIC_LEN: usize = 6;

impl Compression {
    /// The compression whose magic `start` begins with. Docker also goes by the magic and not by the media type,
    /// and images with wrong media types are about.
    #[must_use]
    pub fn sniff(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            // A frame, or a skippable one, with which pzstd and seekable zstd begin.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0x00, ..] => Compression::Xz,
            [b'B', b'Z', b'h', ..] => Compression::Bzip2,
            _ => Compression::None,
        }
    }

    /// A reader of the plain bytes of what `compressed` gives.
    ///
    /// # Errors
    /// `Unsupported` for a compression that image layers can't have; what zstd answers when it can't start.
    pub fn decompress<'a>(self, compressed: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
        let buffered = BufReader::with_capacity(INPUT_BUFFER, compressed);
        Ok(match self {
            Compression::None => Box::new(buffered),
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(buffered)),
            Compression::Zstd => {
                let decoder = zstd::Decoder::with_buffer(buffered)?;
                Box::new(decoder)
            }
            Compression::Xz => return Err(unsupported("xz")),
            Compression::Bzip2 => return Err(unsupported("bzip2")),
        })
    }
}

fn unsupported(name: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!("compressed with {name}, which image layers can't be: use gzip, zstd or none"),
    )
}

/// Reads up to [`MAGIC_LEN`] bytes and says what compression they begin.
///
/// # Errors
/// What the reader answers.
pub fn sniff_reader(mut reader: impl Read) -> io::Result<Compression> {
    let mut start = Vec::with_capacity(MAGIC_LEN);
    reader.by_ref().take(MAGIC_LEN as u64).read_to_end(&mut start)?;
    Ok(Compression::sniff(&start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn plain(compressed: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let compression = sniff_reader(compressed).unwrap();
        compression.decompress(compressed).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn every_member_of_a_gzip_is_read() {
        let members = [gzip(b"one "), gzip(b"two "), gzip(b"three")].concat();
        assert_eq!(plain(&members), b"one two three");
    }

    #[test]
    fn every_frame_of_a_zstd_is_read() {
        let skippable = [0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 1, 2];
        let frames =
            [&skippable[..], &zstd::encode_all(&b"one "[..], 3).unwrap(), &zstd::encode_all(&b"two"[..], 3).unwrap()];
        assert_eq!(plain(&frames.concat()), b"one two");
    }

    #[test]
    fn what_layers_cannot_be_is_named() {
        let refused = |start: &[u8]| Compression::sniff(start).decompress(start).err().unwrap().to_string();
        assert!(refused(b"\xfd7zXZ\0").starts_with("compressed with xz"));
        assert!(refused(b"BZh9").starts_with("compressed with bzip2"));
        assert_eq!(plain(b"plain"), b"plain");
    }
}
