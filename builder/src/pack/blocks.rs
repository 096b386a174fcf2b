//! Compresses blocks on all processors, and writes them in the order in which they were handed over.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// Bytes of a block of data, before compression: see docs/image-format.md for what other sizes cost and bring.
pub const BLOCK: usize = 128 * 1024;
/// zstd's level: see docs/image-format.md for what other levels cost and bring.
pub const LEVEL: i32 = 9;
/// Blocks of one archive that are on their way at once. Together with the compressors' own memory this bounds what a
/// build takes, however large the image is.
const DEPTH: usize = 16;
/// Set in the size of a block that is stored as it is, since compression would not make it smaller (squashfs 4.0).
pub const STORED_PLAIN: u32 = 1 << 24;

/// A block as squashfs stores it.
#[derive(Debug)]
pub struct Stored {
    /// Its bytes on the disk.
    pub bytes: Vec<u8>,
    /// Their number, with [`STORED_PLAIN`] where they are not compressed. 0 for a block of zeros, which has none.
    pub word: u32,
}

impl Stored {
    /// A block of zeros.
    const HOLE: Self = Stored { bytes: Vec::new(), word: 0 };
}

/// Whether there are only zeros.
pub(crate) fn is_zero(block: &[u8]) -> bool {
    // Most blocks differ from zeros in their first words.
    let (words, rest) = block.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0) && rest.iter().all(|byte| *byte == 0)
}

/// How many bytes a block of this size word takes on the disk.
#[must_use]
pub fn stored_len(word: u32) -> u64 {
    u64::from(word & !STORED_PLAIN)
}

/// A block that is being compressed.
#[derive(Debug)]
pub struct Pending(Receiver<io::Result<Stored>>);

impl Pending {
    fn ready(stored: Stored) -> Self {
        let (sender, receiver) = sync_channel(1);
        // There is room for one.
        let _ = sender.send(Ok(stored));
        Pending(receiver)
    }

    /// Waits for it.
    ///
    /// # Errors
    /// What zstd answers.
    pub fn wait(self) -> io::Result<Stored> {
        self.0.recv().unwrap_or_else(|_| Err(io::Error::other("the thread that compresses is gone")))
    }
}

struct Job {
    block: Vec<u8>,
    done: SyncSender<io::Result<Stored>>,
}

/// Threads that compress, one for each processor.
#[derive(Debug)]
pub struct Pool {
    jobs: Option<SyncSender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts the threads.
    ///
    /// # Errors
    /// When zstd or the system has no room for one more.
    pub fn start() -> io::Result<Self> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        // Each thread finds its next block at once, and no more than that waits.
        let (jobs, queue) = sync_channel::<Job>(processors);
        let queue = Arc::new(Mutex::new(queue));
        let mut threads = Vec::new();
        for _ in 0..processors {
            let queue = Arc::clone(&queue);
            let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
            threads.push(thread::Builder::new().name("squash".to_owned()).spawn(move || {
                loop {
                    let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(Job { block, done }) = job else { break };
                    // Who gave up waiting needs no answer.
                    let _ = done.send(store(block, &mut compressor));
                }
            })?);
        }
        Ok(Pool { jobs: Some(jobs), threads })
    }

    /// Hands a block over; waits while all threads are busy.
    #[must_use]
    pub fn compress(&self, block: Vec<u8>) -> Pending {
        let (done, result) = sync_channel(1);
        if let Some(jobs) = &self.jobs {
            // Without threads nobody answers, which is what the waiting side then reports.
            let _ = jobs.send(Job { block, done });
        }
        Pending(result)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // One that panicked has said so, and its blocks' owners know.
            let _ = thread.join();
        }
    }
}

fn store(block: Vec<u8>, compressor: &mut zstd::bulk::Compressor<'_>) -> io::Result<Stored> {
    let compressed = compressor.compress(&block)?;
    Ok(if compressed.len() < block.len() {
        Stored { word: compressed.len() as u32, bytes: compressed } // below BLOCK
    } else {
        Stored { word: block.len() as u32 | STORED_PLAIN, bytes: block }
    })
}

/// Blocks in order, on their way to a [`Writer`].
#[derive(Debug)]
pub struct Queue<'a> {
    pool: &'a Pool,
    sender: SyncSender<Pending>,
    /// Blocks so far.
    len: u32,
}

impl Queue<'_> {
    /// Appends a block of one file, and gives its number.
    ///
    /// # Errors
    /// `BrokenPipe` when the writer gave up: it knows why. `FileTooLarge` beyond 2^32 blocks.
    pub fn push(&mut self, block: Vec<u8>) -> io::Result<u32> {
        self.send(if is_zero(&block) { Pending::ready(Stored::HOLE) } else { self.pool.compress(block) })
    }

    /// Appends a block of zeros of one file.
    ///
    /// # Errors
    /// As [`Queue::push`].
    pub fn push_hole(&mut self) -> io::Result<u32> {
        self.send(Pending::ready(Stored::HOLE))
    }

    /// Appends a block that files share: it has bytes even where all are zeros, since squashfs knows holes in files only.
    ///
    /// # Errors
    /// As [`Queue::push`].
    pub fn push_shared(&mut self, block: Vec<u8>) -> io::Result<u32> {
        self.send(self.pool.compress(block))
    }

    fn send(&mut self, pending: Pending) -> io::Result<u32> {
        let number = self.len;
        self.len = number.checked_add(1).ok_or(io::ErrorKind::FileTooLarge)?;
        self.sender.send(pending).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(number)
    }

    /// Blocks so far.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether there are none yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The receiving end of a [`Queue`].
#[derive(Debug)]
pub struct Writer(Receiver<Pending>);

/// A queue and its writer, for two threads.
#[must_use]
pub fn ordered(pool: &Pool) -> (Queue<'_>, Writer) {
    let (sender, receiver) = sync_channel(DEPTH);
    (Queue { pool, sender, len: 0 }, Writer(receiver))
}

impl Writer {
    /// Writes all blocks one behind the other until the queue is dropped, and gives their size words.
    ///
    /// # Errors
    /// What zstd or `out` answers.
    pub fn run(self, mut out: impl Write) -> io::Result<Vec<u32>> {
        let mut words = Vec::new();
        for pending in self.0 {
            let stored = pending.wait()?;
            out.write_all(&stored.bytes)?;
            words.push(stored.word);
        }
        out.flush()?;
        Ok(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_keep_their_order_whoever_compresses_them() {
        let pool = Pool::start().unwrap();
        let (mut queue, writer) = ordered(&pool);
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        let noise: Vec<u8> = (0..BLOCK).map(|_| next()).collect();
        let blocks = [vec![7; BLOCK], vec![0; BLOCK], noise.clone(), vec![9; 10]];
        let (words, bytes) = thread::scope(|scope| {
            let written = scope.spawn(|| {
                let mut bytes = Vec::new();
                (writer.run(&mut bytes).unwrap(), bytes)
            });
            for (number, block) in (0..).zip(&blocks) {
                assert_eq!(queue.push(block.clone()).unwrap(), number);
            }
            drop(queue);
            written.join().unwrap()
        });
        assert_eq!((words[1], words[2]), (0, BLOCK as u32 | STORED_PLAIN));
        let mut at = 0;
        for (word, block) in words.iter().zip(&blocks) {
            let stored = &bytes[at..][..stored_len(*word) as usize];
            at += stored.len();
            match word {
                0 => assert!(block.iter().all(|byte| *byte == 0)),
                word if word & STORED_PLAIN != 0 => assert!(stored == block),
                _ => assert!(zstd::bulk::decompress(stored, BLOCK).unwrap() == *block),
            }
        }
        assert_eq!(at, bytes.len());
    }

    #[test]
    fn a_writer_that_gives_up_ends_the_queue() {
        let pool = Pool::start().unwrap();
        let (mut queue, writer) = ordered(&pool);
        drop(writer);
        assert_eq!(queue.push(vec![1]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
