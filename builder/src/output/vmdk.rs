//! VMware's format as it is sent and imported: streamOptimized, each grain compressed by itself (Virtual Disk Format 5.0,
//! "Stream-Optimized Compressed Sparse Extents").
//!
//! ```text
//! header │ descriptor │ grains, and behind those of each grain table the table │ grain directory │ footer │ end
//! ```
//!
//! Everything begins on a sector and is announced by a marker.

use super::grains::{Grain, Grains};
use super::ordered::ordered;
use crate::progress::Bar;
use anyhow::{Context, Result, ensure};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use std::fs::File;
use std::io::{self, BufWriter, Write};

const SECTOR: u64 = 512;
/// Bytes of a grain: what VMware's own tools choose.
const GRAIN: u64 = 64 << 10;
/// Grains of a grain table, which the format fixes.
const TABLE: u64 = 512;
/// Sectors before the first grain: header and descriptor fit, and it is what VMware's own tools choose.
const OVERHEAD: u64 = 128;
/// Sectors of the descriptor.
const DESCRIPTOR: u64 = 20;
/// Bytes that sector numbers of 32 bits, which tables have, reach.
const MAX_LEN: u64 = SECTOR << 32;

/// Writes `disk` into `out`, an empty file.
pub(super) fn write(disk: &File, out: &File, bar: &Bar) -> Result<()> {
    let len = disk.metadata().context("ask for the disk's size")?.len();
    // Compressed grains may be larger than plain ones, by less than a hundredth.
    ensure!(len <= MAX_LEN / 100 * 99, "the disk has {} GiB, and a VMDK can have 2027 at most", len.div_ceil(1 << 30));
    let content_id = super::identity(disk, "vmdk").context("read the partition table")?;
    let mut first = [0; 4];
    first.copy_from_slice(&content_id.bytes()[..4]);
    let write = || -> io::Result<()> {
        let mut stream = Stream::new(BufWriter::with_capacity(1 << 20, out), len);
        stream.start(&descriptor(len, u32::from_le_bytes(first)))?;
        ordered(Grains::new(disk, GRAIN, bar)?, compress, |(at, bytes)| stream.grain(at, &bytes))?;
        stream.finish()
    };
    write().context("copy the disk")
}

fn compress(grain: Grain) -> io::Result<(u64, Vec<u8>)> {
    let mut bytes = grain.bytes;
    bytes.resize(GRAIN as usize, 0); // the disk's last one
    let mut encoder = ZlibEncoder::new(Vec::with_capacity(bytes.len()), Compression::new(super::DEFLATE_LEVEL));
    encoder.write_all(&bytes)?;
    Ok((grain.at, encoder.finish()?))
}

/// What a marker announces, by the format's numbers.
#[derive(Clone, Copy)]
enum Marker {
    EndOfStream = 0,
    GrainTable = 1,
    GrainDirectory = 2,
    Footer = 3,
}

/// The file as it grows.
struct Stream<W> {
    out: W,
    /// Bytes of the disk.
    len: u64,
    /// Bytes written.
    at: u64,
    /// Sectors of the grain tables; 0 for none.
    directory: Vec<u32>,
    /// The table that grains come for, by its index in the directory.
    table: Option<(usize, Vec<u32>)>,
}

impl<W: Write> Stream<W> {
    fn new(out: W, len: u64) -> Self {
        Stream { out, len, at: 0, directory: vec![0; len.div_ceil(GRAIN * TABLE) as usize], table: None }
    }

    fn start(&mut self, descriptor: &str) -> io::Result<()> {
        // The directory's place is told by the footer, being unknown yet.
        let mut start = header(self.len, u64::MAX);
        start.extend_from_slice(descriptor.as_bytes());
        start.resize((OVERHEAD * SECTOR) as usize, 0);
        self.put(&start)
    }

    /// Adds a compressed grain, which lies at this byte of the disk, behind all before it.
    fn grain(&mut self, at: u64, compressed: &[u8]) -> io::Result<()> {
        let number = at / GRAIN;
        let (table, entry) = ((number / TABLE) as usize, (number % TABLE) as usize);
        if self.table.as_ref().is_some_and(|(current, _)| *current != table) {
            self.put_table()?;
        }
        let sector = self.sector()?;
        let (_, entries) = self.table.get_or_insert_with(|| (table, vec![0; TABLE as usize]));
        entries[entry] = sector;
        let marker = [&(at / SECTOR).to_le_bytes()[..], &(compressed.len() as u32).to_le_bytes(), compressed];
        self.put(&marker.concat())
    }

    fn finish(mut self) -> io::Result<()> {
        self.put_table()?;
        let directory = numbers(&self.directory);
        self.put_marker(Marker::GrainDirectory, &directory)?;
        let directory_at = u64::from(self.sector()?) - (directory.len() as u64).div_ceil(SECTOR);
        self.put_marker(Marker::Footer, &header(self.len, directory_at))?;
        self.put_marker(Marker::EndOfStream, &[])?;
        self.out.flush()
    }

    /// Writes the present grain table and notes its place.
    fn put_table(&mut self) -> io::Result<()> {
        let Some((index, entries)) = self.table.take() else { return Ok(()) };
        let entries = numbers(&entries);
        self.put_marker(Marker::GrainTable, &entries)?;
        self.directory[index] = self.sector()? - (entries.len() as u64 / SECTOR) as u32;
        Ok(())
    }

    fn put_marker(&mut self, marker: Marker, content: &[u8]) -> io::Result<()> {
        let sectors = (content.len() as u64).div_ceil(SECTOR);
        // No grain: its size is 0, and the kind stands where a grain's bytes would.
        self.put(&[&sectors.to_le_bytes()[..], &0_u32.to_le_bytes(), &(marker as u32).to_le_bytes()].concat())?;
        self.put(content)
    }

    /// Writes bytes, and zeros up to the next sector.
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let padded = (bytes.len() as u64).next_multiple_of(SECTOR);
        self.at += padded;
        self.out.write_all(bytes)?;
        self.out.write_all(&[0; SECTOR as usize][..padded as usize - bytes.len()])
    }

    /// The sector that is written next.
    fn sector(&self) -> io::Result<u32> {
        u32::try_from(self.at / SECTOR).map_err(io::Error::other)
    }
}

fn numbers(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// The header of a disk of `len` bytes, and the footer, whose difference is where they say that the grain directory
/// lies, in sectors.
fn header(len: u64, directory: u64) -> Vec<u8> {
    /// Line ends can be checked; grains are compressed; markers stand before everything.
    const FLAGS: u32 = 1 | 1 << 16 | 1 << 17;
    let parts: [&[u8]; 14] = [
        b"KDMV",
        &3_u32.to_le_bytes(), // the version that VMware has streams in
        &FLAGS.to_le_bytes(),
        &(len.div_ceil(GRAIN) * (GRAIN / SECTOR)).to_le_bytes(),
        &(GRAIN / SECTOR).to_le_bytes(),
        &1_u64.to_le_bytes(), // the descriptor's place
        &DESCRIPTOR.to_le_bytes(),
        &(TABLE as u32).to_le_bytes(),
        &0_u64.to_le_bytes(), // no second directory
        &directory.to_le_bytes(),
        &OVERHEAD.to_le_bytes(),
        &[0],       // shut down cleanly
        b"\n \r\n", // what a transfer as text would spoil
        &[1, 0],    // deflate
    ];
    let mut header = parts.concat();
    header.resize(SECTOR as usize, 0);
    header
}

/// The text that describes the disk. The file's own name in it is not its real one, which anybody may change; with one
/// extent readers don't look for it.
fn descriptor(len: u64, content_id: u32) -> String {
    let sectors = len / SECTOR;
    // Only old BIOSes ask; VMware's tools write the largest tracks, too.
    let cylinders = sectors.div_ceil(255 * 63).min(65535);
    format!(
        "# Disk DescriptorFile\nversion=1\nCID={content_id:08x}\nparentCID=ffffffff\ncreateType=\"streamOptimized\"\n\n\
         # Extent description\nRW {sectors} SPARSE \"disk.vmdk\"\n\n\
         # The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"4\"\nddb.adapterType = \"lsilogic\"\n\
         ddb.geometry.cylinders = \"{cylinders}\"\nddb.geometry.heads = \"255\"\nddb.geometry.sectors = \"63\"\n"
    )
}
