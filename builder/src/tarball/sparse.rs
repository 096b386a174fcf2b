//! Where the data of a sparse file lie: GNU tar's old format and its three PAX formats.

use super::BLOCK;
use super::pax::{SparseRecords, number};
use super::reader::TarError;
use std::io::Read;
use tar::{GnuExtSparseHeader, GnuHeader, GnuSparseHeader};

/// A run of data inside a file; what lies between runs is zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Where it starts in the file.
    pub offset: u64,
    /// How many bytes it has.
    pub length: u64,
}

/// A file's length and its runs of data, in order, without overlaps, all within the length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    /// Length of the file with all holes.
    pub size: u64,
    /// The data.
    pub runs: Vec<Run>,
}

/// Digits of the largest number of 64 bits.
const MAX_DIGITS: usize = 20;
/// Runs of one file that are believed: 16 MiB of description. GNU tar writes one per hole.
const MAX_RUNS: usize = 1 << 20;

impl Map {
    /// A file without holes.
    #[must_use]
    pub fn dense(size: u64) -> Self {
        Map { size, runs: vec![Run { offset: 0, length: size }] }
    }

    /// Checks that the runs lie in order inside `size` and have `stored` bytes together.
    fn new(size: u64, runs: Vec<Run>, stored: u64) -> Result<Self, TarError> {
        let mut end = 0u64;
        let mut total = 0u64;
        for run in &runs {
            if run.offset < end {
                return Err(TarError::Sparse("its runs of data overlap or are out of order"));
            }
            end = run.offset.checked_add(run.length).ok_or(TarError::Sparse("a run of data ends beyond 2^64"))?;
            total += run.length; // no overflow: runs don't overlap, so their sum is at most `end`
        }
        if end > size {
            return Err(TarError::Sparse("a run of data lies beyond the end of the file"));
        }
        if total != stored {
            return Err(TarError::Sparse("its runs of data are not as long as the data in the archive"));
        }
        Ok(Map { size, runs })
    }
}

/// Reads the map of a file of type `S`: four runs in the header, and more in the blocks that follow it.
///
/// # Errors
/// [`TarError::Sparse`] when the map contradicts itself or `stored`, the bytes in the archive.
pub fn old_gnu(header: &GnuHeader, stored: u64, mut input: impl Read) -> Result<Map, TarError> {
    const BAD: TarError = TarError::Sparse("its map has a field that is no number");
    let mut runs = Vec::new();
    let mut take = |described: &[GnuSparseHeader]| {
        for run in described.iter().filter(|run| !run.is_empty()) {
            let (Ok(offset), Ok(length)) = (run.offset(), run.length()) else { return Err(BAD) };
            runs.push(Run { offset, length });
            if runs.len() > MAX_RUNS {
                return Err(TarError::Sparse("its map has more than a million runs"));
            }
        }
        Ok(())
    };
    take(&header.sparse)?;
    let mut more = header.is_extended();
    while more {
        let mut block = GnuExtSparseHeader::new();
        input.read_exact(block.as_mut_bytes()).map_err(TarError::reading)?;
        take(block.sparse())?;
        more = block.is_extended();
    }
    Map::new(header.real_size().map_err(|_| BAD)?, runs, stored)
}

/// Makes the map that PAX records describe, reading it from the data where format 1.0 has put it.
/// Gives the map and the bytes that it took from the data; `None` where the records describe no sparse file.
///
/// # Errors
/// [`TarError::Sparse`] for a format that isn't known and for a map that contradicts itself.
pub fn from_pax(records: &SparseRecords, stored: u64, input: impl Read) -> Result<Option<(Map, u64)>, TarError> {
    match (records.major, records.minor) {
        (None | Some(0), _) => {
            let (Some(size), Some(numbers)) = (records.size, &records.map) else {
                return if *records == SparseRecords::default() {
                    Ok(None)
                } else {
                    Err(TarError::Sparse("its records have no size or no map"))
                };
            };
            Ok(Some((Map::new(size, pairs(numbers)?, stored)?, 0)))
        }
        (Some(1), Some(0)) => {
            let size = records.size.ok_or(TarError::Sparse("its records have no size"))?;
            let (numbers, taken) = leading_map(stored, input)?;
            Ok(Some((Map::new(size, pairs(&numbers)?, stored - taken)?, taken)))
        }
        _ => Err(TarError::Sparse("its format is newer than 1.0")),
    }
}

fn pairs(numbers: &[u64]) -> Result<Vec<Run>, TarError> {
    if !numbers.len().is_multiple_of(2) {
        return Err(TarError::Sparse("its map has an offset without a length"));
    }
    Ok(numbers.chunks_exact(2).map(|pair| Run { offset: pair[0], length: pair[1] }).collect())
}

/// Format 1.0 begins the data with the count of runs, then offset and length of each, all decimal and each ended by a
/// newline, padded to a whole block. Gives the numbers and the bytes taken.
fn leading_map(stored: u64, mut input: impl Read) -> Result<(Vec<u64>, u64), TarError> {
    const BAD: TarError = TarError::Sparse("the map before its data is broken");
    let mut taken = 0;
    let mut block = [0; BLOCK];
    let mut digits = Vec::new();
    let mut wanted = 1; // the count itself, until it is known
    let mut numbers = Vec::new();
    while numbers.len() < wanted {
        taken += BLOCK as u64;
        if taken > stored {
            return Err(BAD);
        }
        input.read_exact(&mut block).map_err(TarError::reading)?;
        for byte in block {
            if numbers.len() == wanted {
                break; // padding
            }
            if byte != b'\n' {
                if digits.len() == MAX_DIGITS {
                    return Err(BAD);
                }
                digits.push(byte);
                continue;
            }
            let value = number(&digits).filter(|_| !digits.is_empty()).ok_or(BAD)?;
            digits.clear();
            numbers.push(value);
            if numbers.len() == 1 && wanted == 1 {
                wanted = usize::try_from(value).ok().filter(|count| *count <= MAX_RUNS).ok_or(BAD)? * 2 + 1;
            }
        }
    }
    numbers.remove(0);
    Ok((numbers, taken))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(offset: u64, length: u64) -> Run {
        Run { offset, length }
    }

    #[test]
    fn a_map_that_contradicts_itself_is_refused() {
        assert!(Map::new(10, vec![run(0, 4), run(6, 4)], 8).is_ok());
        for (size, runs, stored) in [
            (10, vec![run(0, 4), run(3, 4)], 8),
            (10, vec![run(8, 4)], 4),
            (10, vec![run(0, 4)], 5),
            (u64::MAX, vec![run(u64::MAX, 4)], 4),
        ] {
            assert!(Map::new(size, runs, stored).is_err());
        }
    }

    #[test]
    fn the_map_before_the_data_is_read_in_whole_blocks() {
        let mut data = b"2\n0\n3\n4096\n2\n".to_vec();
        data.resize(BLOCK, 0);
        data.extend(b"abcde");
        let records = SparseRecords { major: Some(1), minor: Some(0), size: Some(5000), ..SparseRecords::default() };
        let (map, taken) = from_pax(&records, data.len() as u64, &data[..]).unwrap().unwrap();
        assert_eq!((map.runs, taken), (vec![run(0, 3), run(4096, 2)], 512));
    }

    #[test]
    fn a_broken_map_before_the_data_is_an_error() {
        let records = SparseRecords { major: Some(1), minor: Some(0), size: Some(1), ..SparseRecords::default() };
        for start in ["", "x\n", "99999999999\n", "1\n0\n", "1\n\n\n"] {
            let mut data = start.as_bytes().to_vec();
            data.resize(BLOCK, 0);
            assert!(from_pax(&records, BLOCK as u64, &data[..]).is_err(), "{start:?}");
        }
    }
}
