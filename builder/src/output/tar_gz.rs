//! What Google Cloud takes: a gzip with a tar with one file, `disk.raw` (Compute Engine, "Manually import boot disks").
//!
//! GNU's old format of sparse files (the GNU tar manual, "Old GNU Format") leaves the disk's zeros out.

use super::grains::Grains;
use super::ordered::ordered;
use crate::progress::Bar;
use anyhow::{Context, Result};
use flate2::{Compress, Compression, Crc, FlushCompress};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::iter;
use std::os::unix::fs::FileExt;
use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

/// Zeros of so many bytes, at a multiple of them, are left out.
const GRAIN: u64 = 64 << 10;
/// Bytes that are compressed at once, on one processor.
const PIECE: u64 = 1 << 20;
/// The end of the archive: two blocks of zeros.
const END: [u8; 1024] = [0; 1024];
/// Deflate; no name, no time; of an unknown system (RFC 1952, 2.3).
const GZIP: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// A part of the disk that is not zeros: its start and its length, in bytes.
type Segment = (u64, u64);

/// Writes `disk` into `out`, an empty file.
pub(super) fn write(disk: &File, out: &File, bar: &Bar) -> Result<()> {
    let len = disk.metadata().context("ask for the disk's size")?.len();
    // The list of data stands before the data.
    let segments = segments(disk).context("look for the disk's data")?;
    let write = || -> io::Result<()> {
        let headers = headers(len, &segments)?;
        let mut tar = (&headers[..]).chain(Segments::new(disk, &segments, bar)).chain(&END[..]);
        let pieces = iter::from_fn(|| {
            let mut piece = Vec::new();
            let read = tar.by_ref().take(PIECE).read_to_end(&mut piece);
            read.map(|read| (read > 0).then_some(piece)).transpose()
        });
        let mut gzip = Gzip::start(BufWriter::with_capacity(PIECE as usize, out))?;
        ordered(pieces, compress, |(plain, compressed)| gzip.add(&plain, &compressed))?;
        gzip.finish()
    };
    write().context("copy the disk")
}

fn segments(disk: &File) -> io::Result<Vec<Segment>> {
    let mut segments: Vec<Segment> = Vec::new();
    for grain in Grains::new(disk, GRAIN, &Bar::hidden())? {
        let grain = grain?;
        let len = grain.bytes.len() as u64;
        match segments.last_mut() {
            Some((start, before)) if *start + *before == grain.at => *before += len,
            _ => segments.push((grain.at, len)),
        }
    }
    Ok(segments)
}

/// The header of `disk.raw`, and those that continue its list of segments.
fn headers(len: u64, segments: &[Segment]) -> io::Result<Vec<u8>> {
    let mut header = Header::new_gnu();
    header.set_path("disk.raw")?;
    header.set_entry_type(EntryType::GNUSparse);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(segments.iter().map(|(_, len)| len).sum());
    // A last one without bytes says where the file ends.
    let mut segments: Vec<Segment> = segments.to_vec();
    segments.push((len, 0));
    let gnu = header.as_gnu_mut().ok_or(io::ErrorKind::InvalidData)?;
    gnu.set_real_size(len);
    let (first, rest) = segments.split_at(segments.len().min(gnu.sparse.len()));
    gnu.set_is_extended(!rest.is_empty());
    list(&mut gnu.sparse, first);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    let mut rest = rest;
    while !rest.is_empty() {
        let mut more = GnuExtSparseHeader::new();
        let (these, others) = rest.split_at(rest.len().min(more.sparse.len()));
        more.set_is_extended(!others.is_empty());
        list(&mut more.sparse, these);
        bytes.extend_from_slice(more.as_bytes());
        rest = others;
    }
    Ok(bytes)
}

fn list(places: &mut [GnuSparseHeader], segments: &[Segment]) {
    for (place, (start, len)) in places.iter_mut().zip(segments) {
        place.set_offset(*start);
        place.set_length(*len);
    }
}

/// Reads the segments of a disk, one behind the other. All are whole sectors, so there is nothing to pad.
struct Segments<'a> {
    disk: &'a File,
    rest: std::slice::Iter<'a, Segment>,
    current: Segment,
    bar: &'a Bar,
}

impl<'a> Segments<'a> {
    fn new(disk: &'a File, segments: &'a [Segment], bar: &'a Bar) -> Self {
        Segments { disk, rest: segments.iter(), current: (0, 0), bar }
    }
}

impl Read for Segments<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.1 == 0 {
            let before = self.current.0;
            match self.rest.next() {
                Some(next) => self.current = *next,
                None => return Ok(0),
            }
            self.bar.add(self.current.0.saturating_sub(before));
        }
        let (at, left) = &mut self.current;
        let wanted = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
        self.disk.read_exact_at(&mut buffer[..wanted], *at)?;
        *at += wanted as u64;
        *left -= wanted as u64;
        self.bar.add(wanted as u64);
        Ok(wanted)
    }
}

/// Deflates a piece so that others can stand before and behind it: it ends on a byte, and refers to nothing before it.
fn compress(plain: Vec<u8>) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut deflate = Compress::new(Compression::new(super::DEFLATE_LEVEL), false);
    // No byte takes more than nine bits (RFC 1951, 3.2.6), and blocks and the mark of the flush take a few.
    let mut compressed = Vec::with_capacity(plain.len() + plain.len() / 8 + 1024);
    deflate.compress_vec(&plain, &mut compressed, FlushCompress::Sync).map_err(io::Error::other)?;
    if deflate.total_in() != plain.len() as u64 || compressed.len() == compressed.capacity() {
        return Err(io::Error::other("deflate did not take all of a piece"));
    }
    Ok((plain, compressed))
}

/// A gzip of one member, as some readers know no others, from pieces that were deflated apart.
struct Gzip<W> {
    out: W,
    crc: Crc,
}

impl<W: Write> Gzip<W> {
    fn start(mut out: W) -> io::Result<Self> {
        out.write_all(&GZIP)?;
        Ok(Gzip { out, crc: Crc::new() })
    }

    fn add(&mut self, plain: &[u8], compressed: &[u8]) -> io::Result<()> {
        self.crc.update(plain);
        self.out.write_all(compressed)
    }

    fn finish(mut self) -> io::Result<()> {
        // An empty last block of fixed codes (RFC 1951, 3.2.3).
        self.out.write_all(&[3, 0])?;
        self.out.write_all(&self.crc.sum().to_le_bytes())?;
        self.out.write_all(&self.crc.amount().to_le_bytes())?; // modulo 2^32, as it should be
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    #[test]
    fn what_is_compressed_already_becomes_hardly_larger() {
        let noise = |number: u32| *Digest::of(&number.to_le_bytes()).bytes();
        let plain: Vec<u8> = (0..PIECE as u32 / 32).flat_map(noise).collect();
        let (_, compressed) = compress(plain.clone()).unwrap();
        assert!(compressed.len() < plain.len() + plain.len() / 1000, "{} of {}", compressed.len(), plain.len());
        let mut gzip = Gzip::start(Vec::new()).unwrap();
        gzip.add(&plain, &compressed).unwrap();
        let crc = gzip.crc.sum();
        let mut reference = Crc::new();
        reference.update(&plain);
        assert_eq!((crc, gzip.crc.amount() as usize), (reference.sum(), plain.len()));
    }
}
