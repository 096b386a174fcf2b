//! Blobs that are still on their way: whoever reads one waits for the bytes that have not come yet.

use super::Blob;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// A blob on its way into a file, as its readers see it.
#[derive(Debug)]
pub struct Arrival {
    /// Its length once it is whole, in bytes.
    len: u64,
    came: Mutex<Came>,
    news: Condvar,
}

#[derive(Debug)]
struct Came {
    /// Where the bytes lie, once the first have come.
    file: Option<Arc<File>>,
    /// Bytes that can be read by now.
    bytes: u64,
    /// How it ended: whole and verified, or with this sentence.
    end: Option<Result<(), String>>,
}

impl Arrival {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Reads what there is at `position`, and waits where there is nothing yet. The end of the blob, and so success, is
    /// told only once its content is verified.
    pub(super) fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut came = self.lock();
        loop {
            match &came.end {
                Some(Err(sentence)) => return Err(io::Error::other(sentence.clone())),
                Some(Ok(())) if position >= self.len => return Ok(0),
                _ => {}
            }
            let here = came.bytes.min(self.len).saturating_sub(position);
            if let (1.., Some(file)) = (here, &came.file) {
                let file = file.clone();
                drop(came);
                let wanted = usize::try_from(here).map_or(buffer.len(), |here| here.min(buffer.len()));
                return match file.read_at(&mut buffer[..wanted], position)? {
                    // Not an end, which only verification makes.
                    0 if wanted > 0 => {
                        Err(io::Error::other("its file in the cache was cut while it came: build again"))
                    }
                    read => Ok(read),
                };
            }
            came = self.news.wait(came).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The state, whatever happened to the thread that held it last: it is whole between any two statements.
    fn lock(&self) -> MutexGuard<'_, Came> {
        self.came.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sending side of a blob on its way. Readers get an error if it goes without a word.
#[derive(Debug)]
pub struct Delivery(Arc<Arrival>);

impl Delivery {
    /// A blob of `len` bytes that is on its way, and who delivers it.
    #[must_use]
    pub fn new(len: u64) -> (Self, Blob) {
        let came = Mutex::new(Came { file: None, bytes: 0, end: None });
        let arrival = Arc::new(Arrival { len, came, news: Condvar::new() });
        (Delivery(arrival.clone()), Blob::Arriving { arrival, offset: 0, len })
    }

    /// Says where the bytes lie and how many there are by now.
    pub fn came(&self, file: &Arc<File>, bytes: u64) {
        let mut came = self.0.lock();
        came.file.get_or_insert_with(|| file.clone());
        came.bytes = bytes;
        self.0.news.notify_all();
    }

    /// Says that the blob is whole and verified, or why it never will be.
    pub fn finish(self, end: Result<(), String>) {
        self.end(end);
    }

    /// Whether anybody could still read it.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    fn end(&self, end: Result<(), String>) {
        self.0.lock().end.get_or_insert(end);
        self.0.news.notify_all();
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.end(Err("its download ended early, which is a fault of builder's own".to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::thread;

    #[test]
    fn readers_get_bytes_as_they_come_and_the_end_once_it_is_verified() {
        let mut file = tempfile::tempfile().unwrap();
        let shared = Arc::new(file.try_clone().unwrap());
        let (delivery, blob) = Delivery::new(10);
        let mut reader = blob.reader();
        let mut part = blob.slice(2, 3).reader();
        file.write_all(b"01234").unwrap();
        delivery.came(&shared, 5);
        let mut start = [0; 5];
        reader.read_exact(&mut start).unwrap();
        assert_eq!(&start, b"01234");
        let mut middle = [0; 3];
        part.read_exact(&mut middle).unwrap();
        assert_eq!(&middle, b"234");
        let rest = thread::spawn(move || {
            let mut rest = Vec::new();
            reader.read_to_end(&mut rest).map(|_| rest)
        });
        file.write_all(b"56789").unwrap();
        delivery.came(&shared, 10);
        thread::sleep(std::time::Duration::from_millis(20));
        assert!(!rest.is_finished(), "the end was told before the content was verified");
        delivery.finish(Ok(()));
        assert_eq!(rest.join().unwrap().unwrap(), b"56789");
    }

    #[test]
    fn a_failure_reaches_the_reader_in_its_own_words() {
        let (delivery, blob) = Delivery::new(10);
        delivery.finish(Err("no such blob".to_owned()));
        assert_eq!(blob.read_all(100).unwrap_err().to_string(), "no such blob");
        let (delivery, blob) = Delivery::new(10);
        drop(delivery);
        assert!(blob.read_all(100).unwrap_err().to_string().contains("ended early"));
    }

    #[test]
    fn a_file_that_is_cut_is_no_end() {
        let file = Arc::new(tempfile::tempfile().unwrap());
        let (delivery, blob) = Delivery::new(10);
        delivery.came(&file, 10);
        assert!(blob.read_all(100).unwrap_err().to_string().ends_with("was cut while it came: build again"));
    }

    #[test]
    fn nobody_wants_what_nobody_can_read() {
        let (delivery, blob) = Delivery::new(1);
        assert!(delivery.is_wanted());
        drop(blob);
        assert!(!delivery.is_wanted());
    }
}
