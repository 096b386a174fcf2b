//! QEMU's own format, version 3, uncompressed (QEMU's docs/interop/qcow2.txt).
//!
//! ```text
//! header │ clusters with data │ L2 tables │ L1 table │ refcount blocks │ refcount table
//! ```
//!
//! Everything begins on a cluster; what the tables don't name is zeros.

use super::grains::Grains;
use crate::progress::Bar;
use anyhow::{Context, Result};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes of a cluster and the power of two that they are: what QEMU chooses, too.
const CLUSTER: u64 = 1 << CLUSTER_BITS;
const CLUSTER_BITS: u32 = 16;
/// Entries of an L2 table, which has eight bytes for each.
const L2_ENTRIES: u64 = CLUSTER / 8;
/// Entries of a refcount block, which has two bytes for each.
const REFCOUNTS: u64 = CLUSTER / 2;
/// In an entry of L1 and L2: nothing else refers to this cluster, so it may be written in its place.
const COPIED: u64 = 1 << 63;
/// Bytes of the header, whose length is a field of it.
const HEADER_LEN: u32 = 104;

/// Writes `disk` into `out`, an empty file.
pub(super) fn write(disk: &File, out: &File, bar: &Bar) -> Result<()> {
    let len = disk.metadata().context("ask for the disk's size")?.len();
    let mut image = Image { out, clusters: 1 }; // the header's, which is written last
    let mut l1 = vec![0; len.div_ceil(CLUSTER * L2_ENTRIES) as usize];
    let mut write = || -> io::Result<()> {
        // One L2 table at a time is enough: the disk is read in order.
        let mut l2: Option<(usize, Vec<u64>)> = None;
        for grain in Grains::new(disk, CLUSTER, bar)? {
            let grain = grain?;
            let number = grain.at / CLUSTER;
            let (table, entry) = ((number / L2_ENTRIES) as usize, (number % L2_ENTRIES) as usize);
            if let Some((full, entries)) = l2.take_if(|(current, _)| *current != table) {
                l1[full] = image.table(&entries)? | COPIED;
            }
            let (_, entries) = l2.get_or_insert_with(|| (table, vec![0; L2_ENTRIES as usize]));
            entries[entry] = image.append(&grain.bytes)? | COPIED;
        }
        if let Some((last, entries)) = l2 {
            l1[last] = image.table(&entries)? | COPIED;
        }
        let l1_at = image.table(&l1)?;
        let (refcounts_at, refcounts_clusters) = image.refcounts()?;
        out.set_len(image.clusters * CLUSTER)?;
        out.write_all_at(&header(len, (l1_at, l1.len() as u32), (refcounts_at, refcounts_clusters)), 0)
    };
    write().context("copy the disk")
}

/// The file as it grows, cluster by cluster.
struct Image<'a> {
    out: &'a File,
    clusters: u64,
}

impl Image<'_> {
    /// Puts bytes into the next clusters and gives their place.
    fn append(&mut self, bytes: &[u8]) -> io::Result<u64> {
        let at = self.clusters * CLUSTER;
        self.out.write_all_at(bytes, at)?;
        self.clusters += (bytes.len() as u64).div_ceil(CLUSTER);
        Ok(at)
    }

    fn table(&mut self, entries: &[u64]) -> io::Result<u64> {
        let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.to_be_bytes()).collect();
        self.append(&bytes)
    }

    /// Counts every cluster once, those of the counts too. Gives the table's place and its clusters.
    fn refcounts(&mut self) -> io::Result<(u64, u32)> {
        let (mut blocks, mut table) = (0, 0);
        loop {
            let all = self.clusters + blocks + table;
            let needed = (all.div_ceil(REFCOUNTS), blocks.div_ceil(L2_ENTRIES));
            if needed == (blocks, table) {
                break;
            }
            (blocks, table) = needed;
        }
        let mut left = self.clusters + blocks + table;
        let mut places = Vec::new();
        for _ in 0..blocks {
            let used = left.min(REFCOUNTS);
            left -= used;
            let mut block = [0, 1].repeat(used as usize);
            block.resize(CLUSTER as usize, 0);
            places.push(self.append(&block)?);
        }
        Ok((self.table(&places)?, table as u32))
    }
}

/// The header of a disk of `len` bytes: where L1 lies and how many entries it has, where the refcount table lies and how
/// many clusters it has.
fn header(len: u64, l1: (u64, u32), refcounts: (u64, u32)) -> Vec<u8> {
    let parts: [&[u8]; 19] = [
        b"QFI\xfb",
        &3_u32.to_be_bytes(), // version
        &0_u64.to_be_bytes(), // no backing file
        &0_u32.to_be_bytes(),
        &CLUSTER_BITS.to_be_bytes(),
        &len.to_be_bytes(),
        &0_u32.to_be_bytes(), // not encrypted
        &l1.1.to_be_bytes(),
        &l1.0.to_be_bytes(),
        &refcounts.0.to_be_bytes(),
        &refcounts.1.to_be_bytes(),
        &0_u32.to_be_bytes(), // no snapshots
        &0_u64.to_be_bytes(),
        &0_u64.to_be_bytes(), // no incompatible features
        &0_u64.to_be_bytes(), // nor compatible ones
        &0_u64.to_be_bytes(), // nor some that clear themselves
        &4_u32.to_be_bytes(), // a refcount has 1 << 4 bits
        &HEADER_LEN.to_be_bytes(),
        &0_u64.to_be_bytes(), // end of header extensions
    ];
    parts.concat()
}
