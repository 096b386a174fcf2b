//! What a disk holds, block by block: what is sent of it, what it is compared by, and its identity.

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use std::fmt;
use std::fmt::Write as _;
use std::sync::LazyLock;

/// Blocks in which EBS takes and stores a disk, in bytes (Amazon EBS user guide, "EBS direct APIs").
pub const BLOCK: usize = 512 * 1024;
/// Blocks in a GiB, the unit of a volume's size.
const BLOCKS_PER_GIB: u32 = 2048;
/// A volume's size at most, GiB (EBS direct APIs, StartSnapshot, "VolumeSize").
const LARGEST_VOLUME: u32 = 65_536;

/// The SHA-256 digest of a block.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockDigest(pub [u8; 32]);

impl BlockDigest {
    /// Of a block's bytes.
    #[must_use]
    pub fn of(block: &[u8]) -> Self {
        BlockDigest(Sha256::digest(block).into())
    }

    /// As the EBS direct APIs take it.
    pub(crate) fn base64(&self) -> String {
        STANDARD.encode(self.0)
    }

    /// That of a block of zeros.
    #[must_use]
    pub fn of_zeros() -> Self {
        static ZEROS: LazyLock<BlockDigest> = LazyLock::new(|| BlockDigest::of(&vec![0; BLOCK]));
        *ZEROS
    }

    /// Whether it is that of a block of zeros.
    #[must_use]
    pub fn is_of_zeros(&self) -> bool {
        *self == BlockDigest::of_zeros()
    }
}

impl fmt::Debug for BlockDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// What the identities of whole volumes start with ([`Contents::id`]).
const WHOLE_VOLUME: &str = "2-";
/// Digits of a digest.
const DIGITS: usize = 64;

/// What a volume holds: the blocks of a disk with something of a partition or of its tables in them, and nothing else.
/// Any other block of the volume is zeros, or was never written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    volume: u32,
    /// By index, which ascends.
    blocks: Vec<(u32, BlockDigest)>,
}

impl Contents {
    /// Of blocks in the order of their indexes.
    ///
    /// # Errors
    /// When there are none, they are out of order, or more than a volume holds.
    pub fn new(blocks: Vec<(u32, BlockDigest)>) -> Result<Self> {
        let last = blocks.last().context("a disk without contents")?.0;
        ensure!(blocks.is_sorted_by(|one, next| one.0 < next.0), "a disk's blocks are out of order");
        let volume = last / BLOCKS_PER_GIB + 1;
        ensure!(
            volume <= LARGEST_VOLUME,
            "the disk needs {volume} GiB, and a volume of EBS has {LARGEST_VOLUME} at most"
        );
        Ok(Contents { volume, blocks })
    }

    /// The least volume that holds it, GiB.
    #[must_use]
    pub fn volume(&self) -> u32 {
        self.volume
    }

    /// Its blocks, by ascending index.
    #[must_use]
    pub fn blocks(&self) -> &[(u32, BlockDigest)] {
        &self.blocks
    }

    /// The digest of a block.
    pub(crate) fn get(&self, index: u32) -> Option<&BlockDigest> {
        let at = self.blocks.binary_search_by_key(&index, |block| block.0).ok()?;
        Some(&self.blocks[at].1)
    }

    /// What names it: the same for the same contents, wherever and whenever the disk was made. A snapshot of this name
    /// has them, and nothing else is readable in its whole volume. The names of older builders, which did not see to
    /// the latter, are others ([`is_of_old_kind`]).
    #[must_use]
    pub fn id(&self) -> String {
        let mut hasher = Sha256::new();
        hasher.update(b"NanoOS contents 2\n");
        hasher.update(self.volume.to_le_bytes());
        for (index, digest) in &self.blocks {
            hasher.update(index.to_le_bytes());
            hasher.update(digest.0);
        }
        format!("{WHOLE_VOLUME}{}", hex(&hasher.finalize()))
    }

    /// As text, a line for each block, to be kept in a file.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        for (index, digest) in &self.blocks {
            let _ = writeln!(text, "{index} {}", hex(&digest.0));
        }
        text
    }

    /// What [`Contents::to_text`] wrote.
    ///
    /// # Errors
    /// When it is something else.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let block = |line: &str| {
            let (index, digest) = line.split_once(' ')?;
            Some((index.parse().ok()?, unhex(digest)?))
        };
        let blocks = text.lines().map(|line| block(line).with_context(|| format!("{line:?} is no block of a disk")));
        Contents::new(blocks.collect::<Result<_>>()?)
    }
}

/// Whether this is an identity as [`Contents::id`] makes it.
pub(crate) fn is_of_whole_volume(id: &str) -> bool {
    id.strip_prefix(WHOLE_VOLUME).is_some_and(are_digits)
}

/// Whether this is an identity of contents as earlier builders made it: their snapshots may hold blocks of other images
/// beside these contents.
pub(crate) fn is_of_old_kind(id: &str) -> bool {
    are_digits(id)
}

fn are_digits(text: &str) -> bool {
    text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The checksum over blocks that were written, in the order of their indexes (EBS direct APIs, CompleteSnapshot, "LINEAR").
pub(crate) fn linear_checksum<'a>(digests: impl Iterator<Item = &'a BlockDigest>) -> String {
    let mut hasher = Sha256::new();
    for digest in digests {
        hasher.update(digest.0);
    }
    STANDARD.encode(hasher.finalize())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<BlockDigest> {
    let mut digest = [0; 32];
    if text.len() != DIGITS || !text.is_ascii() {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(BlockDigest(digest))
}

/// Reads a block of a disk; what lies behind its end is zeros.
///
/// # Errors
/// When it can't be read.
pub fn read_block(disk: &std::fs::File, index: u32) -> Result<Vec<u8>> {
    use std::os::unix::fs::FileExt;
    let mut block = vec![0; BLOCK];
    let mut done = 0;
    while done < BLOCK {
        match disk.read_at(&mut block[done..], u64::from(index) * BLOCK as u64 + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => bail!("read block {index} of the disk: {error}"),
        }
    }
    Ok(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(blocks: &[(u32, &[u8])]) -> Result<Contents> {
        Contents::new(blocks.iter().map(|(index, block)| (*index, BlockDigest::of(block))).collect())
    }

    #[test]
    fn a_volume_has_whole_gibibytes_and_holds_the_last_block() {
        assert_eq!(contents(&[(0, b"a")]).unwrap().volume(), 1);
        assert_eq!(contents(&[(2047, b"a")]).unwrap().volume(), 1);
        assert_eq!(contents(&[(2048, b"a")]).unwrap().volume(), 2);
        assert_eq!(contents(&[]).unwrap_err().to_string(), "a disk without contents");
        assert_eq!(contents(&[(1, b""), (1, b"")]).unwrap_err().to_string(), "a disk's blocks are out of order");
        let error = contents(&[(2048 * 65_536, b"")]).unwrap_err().to_string();
        assert_eq!(error, "the disk needs 65537 GiB, and a volume of EBS has 65536 at most");
    }

    #[test]
    fn whatever_differs_makes_another_identity_and_a_file_keeps_it() {
        let one = contents(&[(0, b"a"), (3, b"b")]).unwrap();
        assert_eq!(Contents::parse(&one.to_text()).unwrap(), one);
        assert_eq!(one.get(3), Some(&BlockDigest::of(b"b")));
        assert_eq!(one.get(1), None);
        for other in
            [&[(0, b"a".as_slice()), (3, b"c")][..], &[(0, b"a"), (2, b"b")], &[(0, b"a")], &[(0, b"a"), (5000, b"b")]]
        {
            assert_ne!(contents(other).unwrap().id(), one.id());
        }
        assert!(is_of_whole_volume(&one.id()) && !is_of_old_kind(&one.id()));
        assert!(is_of_old_kind(&"0f".repeat(32)) && !is_of_whole_volume(&"0f".repeat(32)));
        assert!(!is_of_whole_volume("2-../../etc/passwd") && !is_of_old_kind("swap"));
        for bad in ["", "x", "0 12", "1 é", &format!("0 {}", "g".repeat(64)), &"0 \n".repeat(3)] {
            assert!(Contents::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_checksum_is_over_the_digests_in_their_order() {
        let digests = [BlockDigest::of(b"a"), BlockDigest::of(b"b")];
        let both = [digests[0].0, digests[1].0].concat();
        assert_eq!(linear_checksum(digests.iter()), STANDARD.encode(Sha256::digest(both)));
        assert!(BlockDigest::of(&vec![0; BLOCK]).is_of_zeros() && !digests[0].is_of_zeros());
    }
}
