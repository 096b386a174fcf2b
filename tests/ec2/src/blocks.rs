//! Blocks of data, each kept once.

use crate::random::Random;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of a block.
pub const BLOCK: usize = 524_288;

/// The SHA-256 of a block.
pub type Digest = [u8; 32];

/// A block that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Of the data.
    pub digest: Digest,
    /// [`BLOCK`] bytes.
    pub data: Arc<[u8]>,
}

/// The SHA-256 of bytes.
pub(crate) fn digest(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).into()
}

/// Every block there is, by its digest.
#[derive(Debug, Default)]
pub(crate) struct BlockStore(Mutex<HashMap<Digest, Arc<[u8]>>>);

impl BlockStore {
    /// The block of this content. Copies it only where it is new.
    pub(crate) fn intern(&self, digest: Digest, bytes: &[u8]) -> Block {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&digest).cloned();
        let data = known.unwrap_or_else(|| {
            let data: Arc<[u8]> = bytes.into();
            let mut blocks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            blocks.entry(digest).or_insert(data).clone()
        });
        Block { digest, data }
    }

    /// Forgets blocks that no snapshot holds.
    pub(crate) fn sweep(&self) {
        let mut blocks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        blocks.retain(|_, data| Arc::strong_count(data) > 1);
    }
}

/// What a block of an encrypted snapshot reads as that was never written: always the same, never zeros.
pub(crate) fn noise(snapshot: &str, index: u32) -> Vec<u8> {
    let seed = digest(format!("{snapshot}/{index}").as_bytes());
    let seed = seed[..8].iter().fold(0_u64, |seed, byte| seed << 8 | u64::from(*byte));
    let mut data = vec![0; BLOCK];
    Random::new(seed).fill(&mut data);
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_kept_once_and_as_long_as_it_is_held() {
        let store = BlockStore::default();
        let (a, b) = (store.intern(digest(b"x"), b"x"), store.intern(digest(b"x"), b"x"));
        assert!(Arc::ptr_eq(&a.data, &b.data));
        drop(a);
        store.sweep();
        assert_eq!(store.0.lock().unwrap().len(), 1);
        drop(b);
        store.sweep();
        assert!(store.0.lock().unwrap().is_empty());
    }

    #[test]
    fn noise_is_stable_and_differs_between_blocks() {
        assert_eq!(noise("snap-1", 3), noise("snap-1", 3));
        assert_ne!(noise("snap-1", 3), noise("snap-1", 4));
        assert_ne!(noise("snap-1", 3), noise("snap-2", 3));
    }
}
