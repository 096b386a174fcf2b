//! Reads a tar archive entry by entry: V7, ustar, GNU and PAX.

use super::pax::{self, Extensions};
use super::sparse::{self, Map};
use super::{Attributes, BLOCK, Entry, Kind};
use std::io::{self, Read};
use tar::Header;

/// Longest extended header or long name that is believed, in bytes: as Go's archive/tar, so as Docker.
const MAX_EXTENDED: u64 = 1 << 20;
/// Longest path of Linux, in bytes (PATH_MAX without its NUL).
const MAX_PATH: usize = 4095;

/// Why an archive can't be read on.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The archive ends in the middle of something.
    #[error("the archive is truncated")]
    Truncated,
    /// The bytes are not a header.
    #[error("what follows is not a tar header (its checksum is wrong)")]
    Checksum,
    /// One block of zeros, where the end has two.
    #[error("what follows one block of zeros is not another, with which an archive ends")]
    LoneZeros,
    /// A field of the header makes no sense.
    #[error("the header's {0} is not a number that makes sense")]
    Field(&'static str),
    /// A record of the extended header makes no sense.
    #[error("the extended header has {0}")]
    Pax(&'static str),
    /// A sparse file's map makes no sense.
    #[error("the sparse file can't be read: {0}")]
    Sparse(&'static str),
    /// An extended header that would fill the memory.
    #[error("the extended header is longer than 1 MiB")]
    LongHeader,
    /// A path that no Linux system could open.
    #[error("the path has more than 4095 bytes")]
    LongPath,
    /// A path or target with a byte that none can have.
    #[error("the path or the link's target has a NUL byte or is empty")]
    BadPath,
    /// A kind of entry that no container image has.
    #[error("entries of type {0:?} are not known")]
    Type(char),
    /// The bytes themselves can't be had.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl TarError {
    /// The error of a read that must fill its buffer.
    pub(super) fn reading(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof { TarError::Truncated } else { TarError::Io(error) }
    }
}

/// Walks over an archive. The content of an entry can be read until the next one is asked for.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    /// Content of the current entry.
    map: Map,
    /// Which run of the map comes next, and how much of the file has been given.
    run: usize,
    position: u64,
    /// Bytes of the current entry still in the archive, without and with padding.
    data_left: u64,
    padding: u64,
    finished: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the archive that `input` gives.
    pub fn new(input: R) -> Self {
        Reader { input, map: Map::dense(0), run: 0, position: 0, data_left: 0, padding: 0, finished: false }
    }

    /// The input: after [`Reader::next_entry`] it stands where the entry's data begin.
    pub fn input(&self) -> &R {
        &self.input
    }

    /// The input, wherever the walk has come to.
    pub fn into_inner(self) -> R {
        self.input
    }

    /// The next entry; `None` at the archive's end.
    ///
    /// # Errors
    /// [`TarError`]; the walk can't go on after it.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        let mut extensions = Extensions::default();
        let (mut long_name, mut long_link) = (None, None);
        let mut is_announced = false;
        loop {
            let Some(header) = self.next_header()? else {
                return if is_announced { Err(TarError::Truncated) } else { Ok(None) };
            };
            is_announced = true;
            match header.as_bytes()[156] {
                b'x' => extensions = pax::parse(&self.extended(&header)?)?,
                b'g' => drop(self.extended(&header)?), // Docker ignores global headers: they are git's and pax's comments
                b'L' => long_name = Some(until_nul(&self.extended(&header)?).to_vec()),
                b'K' => long_link = Some(until_nul(&self.extended(&header)?).to_vec()),
                _ => {
                    if let Some(name) = long_name {
                        extensions.path = Some(name);
                    }
                    if let Some(target) = long_link {
                        extensions.linkpath = Some(target);
                    }
                    return self.entry(&header, extensions).map(Some);
                }
            }
        }
    }

    /// Reads the content of the current entry, holes filled with zeros.
    pub fn content(&mut self) -> Content<'_, R> {
        Content { reader: self }
    }

    /// Reads the rest of the input, whatever it is, so that a decompressor sees its end and checks its sums.
    ///
    /// # Errors
    /// What the input answers.
    pub fn drain(&mut self) -> io::Result<()> {
        io::copy(&mut self.input, &mut io::sink()).map(drop)
    }

    fn next_header(&mut self) -> Result<Option<Header>, TarError> {
        self.skip()?;
        if self.finished {
            return Ok(None);
        }
        let mut header = Header::new_old();
        // An archive may end without its two blocks of zeros: Go's reader, and so Docker, takes that.
        if !read_block(&mut self.input, header.as_mut_bytes())? {
            self.finished = true;
            return Ok(None);
        }
        if is_zero(&header) {
            self.finished = true;
            // What comes after the second one is nobody's business; instead of it there may be nothing.
            let second = read_block(&mut self.input, header.as_mut_bytes())?;
            return if second && !is_zero(&header) { Err(TarError::LoneZeros) } else { Ok(None) };
        }
        check_sum(&header)?;
        Ok(Some(header))
    }

    /// The data of an extended header.
    fn extended(&mut self, header: &Header) -> Result<Vec<u8>, TarError> {
        let size = field(&header.as_bytes()[124..136], header.entry_size(), "size")?;
        if size > MAX_EXTENDED {
            return Err(TarError::LongHeader);
        }
        let mut data = vec![0; size as usize]; // at most MAX_EXTENDED
        self.input.read_exact(&mut data).map_err(TarError::reading)?;
        self.padding = padding(size);
        Ok(data)
    }

    fn entry(&mut self, header: &Header, extensions: Extensions) -> Result<Entry, TarError> {
        let bytes = header.as_bytes();
        let mut path = extensions.path.unwrap_or_else(|| header.path_bytes().into_owned());
        if let Some(name) = extensions.sparse.name.clone() {
            path = name; // the header's own name is one that GNU tar made up for tars that know no sparse files
        }
        check_path(&path)?;
        let target = extensions
            .linkpath
            .unwrap_or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned).unwrap_or_default());
        let kind = kind(header, &path, target)?;
        let attributes = Attributes {
            mode: (field(&bytes[100..108], header.mode().map(u64::from), "mode")? & 0o7777) as u32,
            uid: id(extensions.uid, &bytes[108..116], header.uid(), "uid")?,
            gid: id(extensions.gid, &bytes[116..124], header.gid(), "gid")?,
            // Old times come as 256-bit two's complement, of which tar::Header gives the low 64 bits.
            mtime: match extensions.mtime {
                Some(mtime) => mtime,
                None => field(&bytes[136..148], header.mtime(), "mtime")?.cast_signed(),
            },
        };
        let stored = match extensions.size {
            Some(size) => size,
            None => field(&bytes[124..136], header.entry_size(), "size")?,
        };
        // What is no regular file has no data, whatever its size says: as Go's archive/tar.
        let stored = if kind == Kind::File { stored } else { 0 };
        self.open_content(header, &kind, stored, &extensions.sparse)?;
        Ok(Entry { path, kind, attributes, size: self.map.size, xattrs: extensions.xattrs.into_iter().collect() })
    }

    /// Makes the content of a new entry readable.
    fn open_content(
        &mut self,
        header: &Header,
        kind: &Kind,
        stored: u64,
        sparse: &pax::SparseRecords,
    ) -> Result<(), TarError> {
        (self.run, self.position, self.data_left) = (0, 0, stored);
        self.padding = padding(stored);
        self.map = Map::dense(stored);
        if *kind != Kind::File {
            return Ok(());
        }
        if header.as_bytes()[156] == b'S' {
            let gnu = header.as_gnu().ok_or(TarError::Sparse("its header is not GNU tar's"))?;
            self.map = sparse::old_gnu(gnu, stored, &mut self.input)?;
        } else if let Some((map, taken)) = sparse::from_pax(sparse, stored, &mut self.input)? {
            self.map = map;
            self.data_left -= taken;
        }
        Ok(())
    }

    /// Leaves what is left of the current entry behind.
    fn skip(&mut self) -> Result<(), TarError> {
        let skipped = io::copy(&mut self.input.by_ref().take(self.data_left), &mut io::sink())?;
        // The padding of the last entry may lack, like the blocks of zeros: Docker takes that as well.
        io::copy(&mut self.input.by_ref().take(self.padding), &mut io::sink())?;
        let is_whole = skipped == self.data_left;
        (self.data_left, self.padding) = (0, 0);
        if is_whole { Ok(()) } else { Err(TarError::Truncated) }
    }
}

/// The content of an entry; see [`Reader::content`].
#[derive(Debug)]
pub struct Content<'a, R> {
    reader: &'a mut Reader<R>,
}

impl<R> Content<'_, R> {
    /// How many bytes of a hole come next: zeros that are nowhere in the archive.
    pub fn hole(&mut self) -> u64 {
        let at = &mut *self.reader;
        // Runs that are used up, empty ones among them.
        while at.map.runs.get(at.run).is_some_and(|run| at.position >= run.offset + run.length) {
            at.run += 1;
        }
        at.map.runs.get(at.run).map_or(at.map.size, |run| run.offset).saturating_sub(at.position)
    }

    /// Passes over bytes of a hole, at most those that [`Content::hole`] tells.
    pub fn skip_hole(&mut self, bytes: u64) {
        self.reader.position += bytes.min(self.hole());
    }
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let hole = self.hole();
        let at = &mut *self.reader;
        let read = if hole > 0 {
            let zeros = clamp(hole, buffer.len());
            buffer[..zeros].fill(0);
            zeros
        } else if let Some(run) = at.map.runs.get(at.run) {
            let wanted = clamp(run.offset + run.length - at.position, buffer.len());
            let read = at.input.read(&mut buffer[..wanted])?;
            if read == 0 && wanted > 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive is truncated"));
            }
            at.data_left -= read as u64;
            read
        } else {
            0
        };
        at.position += read as u64;
        Ok(read)
    }
}

fn clamp(length: u64, limit: usize) -> usize {
    usize::try_from(length).map_or(limit, |length| length.min(limit))
}

fn padding(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}

/// Fills a block; `false` when there is nothing more at all.
fn read_block(mut input: impl Read, block: &mut [u8; BLOCK]) -> Result<bool, TarError> {
    let mut filled = 0;
    while filled < BLOCK {
        match input.read(&mut block[filled..]) {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(0) => return Err(TarError::Truncated),
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(TarError::reading(error)),
        }
    }
    Ok(true)
}

/// The sum of all bytes with the sum's own field as blanks. Some old tars summed signed bytes.
fn check_sum(header: &Header) -> Result<(), TarError> {
    let expected = header.cksum().map_err(|_| TarError::Checksum)?;
    let bytes = header.as_bytes().iter().enumerate();
    let bytes = bytes.map(|(at, byte)| if (148..156).contains(&at) { b' ' } else { *byte });
    let (unsigned, signed) = bytes.fold((0u32, 0i32), |(unsigned, signed), byte| {
        (unsigned + u32::from(byte), signed + i32::from(byte.cast_signed()))
    });
    if unsigned == expected || i64::from(signed) == i64::from(expected) { Ok(()) } else { Err(TarError::Checksum) }
}

fn is_zero(header: &Header) -> bool {
    header.as_bytes().iter().all(|byte| *byte == 0)
}

/// A numeric field. One that is all blanks or NULs is 0, as for Go's reader.
fn field(raw: &[u8], parsed: io::Result<u64>, name: &'static str) -> Result<u64, TarError> {
    if raw.iter().all(|byte| matches!(byte, 0 | b' ')) {
        return Ok(0);
    }
    parsed.map_err(|_| TarError::Field(name))
}

fn id(record: Option<u64>, raw: &[u8], parsed: io::Result<u64>, name: &'static str) -> Result<u32, TarError> {
    let number = match record {
        Some(number) => number,
        None => field(raw, parsed, name)?,
    };
    let number = u32::try_from(number).map_err(|_| TarError::Field(name))?;
    // To chown(2), -1 means that the owner stays: a file that Docker unpacks stays root's.
    Ok(if number == u32::MAX { 0 } else { number })
}

fn kind(header: &Header, path: &[u8], target: Vec<u8>) -> Result<Kind, TarError> {
    let bytes = header.as_bytes();
    let device = |raw: &[u8], parsed: io::Result<Option<u32>>, name| {
        field(raw, parsed.map(|number| u64::from(number.unwrap_or(0))), name).map(|number| number as u32)
    };
    let devices = || -> Result<(u32, u32), TarError> {
        let major = device(&bytes[329..337], header.device_major(), "major device number")?;
        let minor = device(&bytes[337..345], header.device_minor(), "minor device number")?;
        // The kernel's dev_t: 12 bits of major, 20 of minor (linux/kdev_t.h).
        if major >= 1 << 12 || minor >= 1 << 20 {
            return Err(TarError::Field("device number"));
        }
        Ok((major, minor))
    };
    let link = |target: Vec<u8>| check_path(&target).map(|()| target);
    Ok(match bytes[156] {
        // V7 knew no directories: a name that ends in a slash is one.
        0 if path.ends_with(b"/") => Kind::Directory,
        0 | b'0' | b'7' | b'S' => Kind::File,
        b'1' => Kind::HardLink(link(target)?),
        b'2' => Kind::Symlink(link(target)?),
        b'3' => devices().map(|(major, minor)| Kind::CharDevice(major, minor))?,
        b'4' => devices().map(|(major, minor)| Kind::BlockDevice(major, minor))?,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        other => return Err(TarError::Type(char::from(other))),
    })
}

fn check_path(path: &[u8]) -> Result<(), TarError> {
    if path.len() > MAX_PATH {
        return Err(TarError::LongPath);
    }
    if path.is_empty() || path.contains(&0) {
        return Err(TarError::BadPath);
    }
    Ok(())
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests;
