//! Packs layers: what is in a layer's archive becomes the data blocks of a squashfs and an index of them.
//!
//! A layer is read once, as a stream, perhaps while it is still being downloaded: decompressed, verified, split into
//! blocks, which all processors compress. The result depends on the layer alone, so the cache keeps it, and the next
//! image with this layer only copies it. Nothing is unpacked: a path in a layer is a name in an index.
//!
//! The file of a packed layer: the blocks, one behind the other; the index; a trailer with the lengths of both and the
//! SHA-256 of all before it.

pub mod blocks;
mod index;

use crate::cache::{Cache, Draft, Kind, no_room};
use crate::compression::sniff_reader;
use crate::digest::{Digest, HashingReader, HashingWriter};
use crate::flatten::{Cause, Content, Layer, LayerError, path};
use crate::progress::{Bar, Progress};
use crate::tarball::reader::{Reader, TarError};
use crate::tarball::{Entry, Kind as EntryKind};
use anyhow::{Context, Result, ensure};
use blocks::{BLOCK, LEVEL, Pool, Queue, ordered, stored_len};
pub use index::{Index, Place};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// The version of all that a packed layer's bytes depend on beside the layer, the level and the size of blocks.
const VERSION: u32 = 1;
/// Begins the trailer.
const MAGIC: &[u8; 8] = b"NanoPack";
/// The trailer: magic, length of the blocks, length of the index, digest.
const TRAILER: usize = 8 + 8 + 8 + 32;
/// Most that the files of one layer may hold together, in bytes. Sparse files can claim any size; more than this
/// fits into no machine's root.
const MAX_CONTENT: u64 = 1 << 40;

/// Most that the names and attributes of one layer may take in memory, in bytes: those of four million files.
const MAX_INDEX: usize = 512 << 20;
/// What an entry takes beside its names and attributes, in bytes.
const ENTRY: usize = 128;

/// A layer that is packed.
#[derive(Debug)]
pub struct Packed {
    /// What messages call the layer.
    pub name: String,
    /// Digest of its archive, decompressed.
    pub diff_id: Option<Digest>,
    /// The file; its blocks start at 0.
    pub file: Arc<File>,
    /// What is in it.
    pub index: Index,
}

/// The packed layer of this content, if the cache has it whole. One that was damaged is as good as none.
///
/// # Errors
/// When it is there and can't be read.
pub fn cached(cache: &Cache, diff_id: &Digest) -> Result<Option<Arc<File>>> {
    let Some(file) = cache.derived(Kind::PackedLayer, &key(diff_id))? else { return Ok(None) };
    let whole = is_whole(&file).context("read a packed layer of the cache")?;
    Ok(whole.then(|| Arc::new(file)))
}

/// What a packed layer is called in the cache.
fn key(diff_id: &Digest) -> Digest {
    Digest::of(format!("packed layer {VERSION}, zstd {LEVEL}, blocks of {BLOCK}, {diff_id}").as_bytes())
}

/// Packs all layers that are not packed yet, several at once.
///
/// # Errors
/// When a layer can't be read ([`LayerError`] says where), or the cache not be written.
pub fn pack(layers: &[Layer], cache: &Cache, progress: &Progress) -> Result<Vec<Packed>> {
    let total = layers.iter().fold(0, |sum: u64, layer| match &layer.content {
        Content::Blob(blob) => sum.saturating_add(blob.len()),
        Content::Packed(_) => sum,
    });
    let bar = progress.bytes("pack", total);
    let pool = Pool::start().context("start the threads that compress")?;
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<Result<Packed>>>> = layers.iter().map(|_| Mutex::new(None)).collect();
    let readers = thread::available_parallelism().map_or(1, usize::from).min(layers.len());
    thread::scope(|scope| {
        for _ in 0..readers {
            scope.spawn(|| {
                // In order, as they are downloaded; after a failure the rest is not begun.
                while let Some((layer, result)) = take(&next, layers, &results) {
                    let packed = pack_one(layer, cache, &pool, &bar);
                    if packed.is_err() {
                        next.store(layers.len(), Ordering::Relaxed);
                    }
                    *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(packed);
                }
            });
        }
    });
    let results = results.into_iter().map(|result| result.into_inner().unwrap_or_else(PoisonError::into_inner));
    let (mut packed, mut skipped) = (Vec::new(), 0);
    for result in results {
        match result {
            Some(result) => packed.push(result?),
            None => skipped += 1, // another layer's failure comes
        }
    }
    ensure!(skipped == 0, "{skipped} layers were not packed: this is a fault of builder's own");
    Ok(packed)
}

type Slot = Mutex<Option<Result<Packed>>>;

fn take<'a>(next: &AtomicUsize, layers: &'a [Layer], results: &'a [Slot]) -> Option<(&'a Layer, &'a Slot)> {
    let number = next.fetch_add(1, Ordering::Relaxed);
    layers.get(number).zip(results.get(number))
}

fn pack_one(layer: &Layer, cache: &Cache, pool: &Pool, bar: &Bar) -> Result<Packed> {
    let (file, index) = match &layer.content {
        Content::Packed(file) => {
            let index = read_index(file).with_context(|| format!("layer {}", layer.name))?;
            (Arc::clone(file), index)
        }
        Content::Blob(_) => {
            let draft = match &layer.diff_id {
                Some(diff_id) => cache.derive(Kind::PackedLayer, &key(diff_id))?,
                // It can't be found again, so it needs no name.
                None => Draft::nameless(cache.nameless()?),
            };
            let index = pack_into(layer, draft.file(), pool, bar)?;
            (Arc::new(draft.finish()?), index)
        }
    };
    Ok(Packed { name: layer.name.clone(), diff_id: layer.diff_id, file, index })
}

/// Packs a layer into an empty file.
///
/// # Errors
/// When the layer can't be read ([`LayerError`] says where), or the file not be written.
pub fn pack_into(layer: &Layer, file: &File, pool: &Pool, bar: &Bar) -> Result<Index> {
    let (queue, writer) = ordered(pool);
    let mut out = HashingWriter::new(BufWriter::with_capacity(1 << 20, file));
    let mut walk = Walk::new(queue);
    let (read, written) = thread::scope(|scope| {
        let writer = scope.spawn(|| writer.run(&mut out));
        let read = walk.read(layer, bar);
        let blamed = read.map_err(|cause| walk.blame(layer, damage(layer).unwrap_or(cause)));
        let index = walk.finish(); // and with it the queue, so that the writer ends
        let written = writer.join().unwrap_or_else(|_| Err(io::Error::other("the thread that writes is gone")));
        (blamed.map(|()| index), written)
    });
    let failed = |error| no_room(error, "write a packed layer into the cache".to_owned());
    // First the writer's failure: a reader whose writer gave up only knows that it did.
    let words = written.map_err(failed)?;
    let mut index = read?;
    index.words = words;
    let data: u64 = index.words.iter().copied().map(stored_len).sum();
    let encoded = index.encode().context("pack a layer's index")?;
    let mut finish = || -> io::Result<()> {
        out.write_all(&encoded)?;
        out.write_all(MAGIC)?;
        out.write_all(&data.to_le_bytes())?;
        out.write_all(&(encoded.len() as u64).to_le_bytes())?;
        let digest = out.digest();
        out.write_all(digest.bytes())?;
        out.flush()
    };
    finish().map_err(failed)?;
    Ok(index)
}

/// Reads a layer's archive into a queue of blocks and an index.
struct Walk<'a> {
    queue: Queue<'a>,
    index: Index,
    /// Contents of small files, until they fill a block.
    small: Vec<u8>,
    /// Bytes of all files so far.
    content: u64,
    /// Bytes of the index so far.
    told: usize,
}

/// Bytes of an entry's names and attributes.
fn told(entry: &Entry) -> usize {
    let target = match &entry.kind {
        EntryKind::HardLink(target) | EntryKind::Symlink(target) => target.len(),
        _ => 0,
    };
    let xattrs = entry.xattrs.iter().map(|(name, value)| ENTRY + name.len() + value.len());
    entry.path.len() + target + xattrs.sum::<usize>()
}

impl<'a> Walk<'a> {
    fn new(queue: Queue<'a>) -> Self {
        Walk { queue, index: Index::default(), small: Vec::new(), content: 0, told: 0 }
    }

    fn read(&mut self, layer: &Layer, bar: &Bar) -> Result<(), Cause> {
        let Content::Blob(blob) = &layer.content else {
            return Err(io::Error::from(io::ErrorKind::Unsupported).into());
        };
        let compression = sniff_reader(blob.reader())?;
        let mut stored = HashingReader::new(bar.reader(blob.reader()));
        let found = {
            let mut reader = Reader::new(HashingReader::new(compression.decompress(&mut stored)?));
            while let Some(entry) = reader.next_entry()? {
                let (is_file, size) = (entry.kind == EntryKind::File, entry.size);
                self.told += ENTRY + told(&entry);
                self.index.entries.push(entry);
                if self.told > MAX_INDEX {
                    return Err(Cause::TooMuchTold);
                }
                let place = if is_file { self.place(size, &mut reader)? } else { Place::Nowhere };
                self.index.places.push(place);
            }
            self.flush()?;
            reader.drain()?;
            reader.into_inner().finish()
        };
        // What follows the compressed data counts for the digest, too.
        io::copy(&mut stored, &mut io::sink())?;
        let whole = stored.finish();
        match (layer.digest, layer.diff_id) {
            (Some(expected), _) if expected != whole => Err(Cause::Digest { found: whole }),
            (_, Some(expected)) if expected != found => Err(Cause::DiffId { expected, found }),
            _ => Ok(()),
        }
    }

    /// Takes in the content of a file.
    fn place(&mut self, size: u64, reader: &mut Reader<impl Read>) -> Result<Place, Cause> {
        if size == 0 {
            return Ok(Place::Nowhere);
        }
        self.content = self.content.saturating_add(size);
        if self.content > MAX_CONTENT {
            return Err(Cause::TooLarge);
        }
        if size < BLOCK as u64 {
            return self.small(size as usize, reader);
        }
        let first = self.queue.len();
        let mut left = size;
        while left > 0 {
            let length = left.min(BLOCK as u64);
            if reader.content().hole() >= length {
                reader.content().skip_hole(length);
                self.queue.push_hole()?;
            } else {
                let mut block = vec![0; length as usize];
                fill(reader, &mut block)?;
                self.queue.push(block)?;
            }
            left -= length;
        }
        Ok(Place::Blocks { first, count: self.queue.len() - first })
    }

    fn small(&mut self, size: usize, reader: &mut Reader<impl Read>) -> Result<Place, Cause> {
        if self.small.len() + size > BLOCK {
            self.flush()?;
        }
        let offset = self.small.len();
        self.small.resize(offset + size, 0);
        fill(reader, &mut self.small[offset..])?;
        let number = self.index.shared.len() as u32; // not more than there are blocks
        Ok(Place::Fragment { number, offset: offset as u32, len: size as u32 }) // below BLOCK
    }

    /// Ends the block of small files.
    fn flush(&mut self) -> Result<(), Cause> {
        if !self.small.is_empty() {
            let block = std::mem::replace(&mut self.small, Vec::with_capacity(BLOCK));
            self.index.shared.push(self.queue.push_shared(block)?);
        }
        Ok(())
    }

    /// The entry to blame: the one at hand, or the last one before the archive became unreadable.
    fn blame(&self, layer: &Layer, cause: Cause) -> LayerError {
        let entry = self.index.entries.last().map(|entry| path::display(&entry.path)).and_then(|shown| match &cause {
            Cause::Tar(TarError::Truncated | TarError::Io(_)) => Some(format!("in or after entry {shown}")),
            Cause::Tar(_) => Some(format!("after entry {shown}")),
            Cause::TooLarge | Cause::TooMuchTold => Some(format!("entry {shown}")),
            _ => None,
        });
        LayerError { layer: layer.name.clone(), entry, cause }
    }

    fn finish(self) -> Index {
        self.index
    }
}

fn fill(reader: &mut Reader<impl Read>, block: &mut [u8]) -> Result<(), Cause> {
    reader.content().read_exact(block).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Cause::Tar(TarError::Truncated),
        _ => Cause::Io(error),
    })
}

/// What cannot be read may just be damaged, which the digest of what is stored tells better than its first broken byte.
fn damage(layer: &Layer) -> Option<Cause> {
    let Content::Blob(blob) = &layer.content else { return None };
    match Digest::of_reader(blob.reader()) {
        // A blob of the cache, or one that comes from elsewhere, verifies itself at its end.
        Err(error) => Some(Cause::Io(error)),
        Ok(found) => layer.digest.is_some_and(|expected| expected != found).then_some(Cause::Digest { found }),
    }
}

struct Trailer {
    data: u64,
    index: u64,
    digest: [u8; 32],
}

impl Trailer {
    fn read(file: &File) -> io::Result<Option<Self>> {
        let len = file.metadata()?.len();
        let Some(start) = len.checked_sub(TRAILER as u64) else { return Ok(None) };
        let mut bytes = [0; TRAILER];
        file.read_exact_at(&mut bytes, start)?;
        let number = |at: usize| bytes[at..at + 8].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let (data, index) = (number(8), number(16));
        let mut digest = [0; 32];
        digest.copy_from_slice(&bytes[24..]);
        let fits = data.checked_add(index) == Some(start);
        Ok((fits && bytes.starts_with(MAGIC)).then_some(Trailer { data, index, digest }))
    }
}

fn is_whole(file: &File) -> io::Result<bool> {
    let Some(trailer) = Trailer::read(file)? else { return Ok(false) };
    let len = file.metadata()?.len() - trailer.digest.len() as u64;
    let blob = crate::blob::Blob::file(file.try_clone()?)?;
    Ok(Digest::of_reader(blob.slice(0, len).reader())?.bytes() == &trailer.digest)
}

fn read_index(file: &File) -> io::Result<Index> {
    let trailer = Trailer::read(file)?.ok_or(io::ErrorKind::InvalidData)?;
    let mut bytes = vec![0; trailer.index as usize]; // lies in the file
    file.read_exact_at(&mut bytes, trailer.data)?;
    Index::decode(&bytes)
}
