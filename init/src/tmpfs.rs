//! How much a tmpfs may hold (tmpfs(5)). Its limits matter: at a limit a write fails, and nothing else does; when the
//! memory is full before, processes die.

/// What a file costs beside its data, in memory that is never swapped: 1 KiB for inode and name in the tmpfs, which stay,
/// and as much in the overlay above, which the kernel takes back late. Measured: 1,990 bytes a new file, 2,160 a file of
/// the image with another owner.
const INODE: u64 = 2 << 10;

/// The limits of a tmpfs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Of data, which can be swapped.
    pub bytes: u64,
    /// Files, directories, links: `nr_inodes`.
    pub inodes: u64,
}

impl Capacity {
    /// What this machine can spare, with the swap that it has now.
    #[must_use]
    pub fn of_machine() -> Self {
        let info = rustix::system::sysinfo();
        let unit = u64::from(info.mem_unit).max(1);
        // The type of these fields is that of a machine word, which is not the same everywhere.
        #[allow(clippy::unnecessary_cast)]
        let (memory, swap) = (info.totalram as u64, info.totalswap as u64);
        Self::of(memory.saturating_mul(unit), swap.saturating_mul(unit))
    }

    /// Data: half of the memory, and the swap. Inodes: a third of the memory, which leaves a sixth for programs when both
    /// are used up. A quarter of the swap makes room for more inodes instead of data, until they may take half of the
    /// memory.
    fn of(memory: u64, swap: u64) -> Self {
        let for_inodes = (swap / 4).min(memory / 6);
        Capacity { bytes: (memory / 2).saturating_add(swap - for_inodes), inodes: (memory / 3 + for_inodes) / INODE }
    }

    /// With another limit of data, in MiB. Inodes take no more than that either.
    #[must_use]
    pub fn with_mib(self, mib: Option<u32>) -> Self {
        let bytes = mib.map_or(self.bytes, |mib| u64::from(mib) << 20);
        Capacity { bytes, inodes: self.inodes.min(bytes / INODE) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn swap_makes_room_for_data_and_for_inodes() {
        let capacity = |memory, swap| {
            let Capacity { bytes, inodes } = Capacity::of(memory * MIB, swap * MIB);
            (bytes / MIB, inodes)
        };
        assert_eq!(capacity(512, 0), (256, 87_381));
        assert_eq!(capacity(512, 128), (352, 103_765));
        assert_eq!(capacity(512, 8192), (8362, 131_071));
    }

    #[test]
    fn data_and_inodes_leave_a_sixth_of_the_memory() {
        for (memory, swap) in [(64, 0), (512, 1), (512, 256), (4096, 1 << 20), (u64::MAX / MIB, u64::MAX / MIB)] {
            let (memory, swap) = (memory * MIB, swap * MIB);
            let Capacity { bytes, inodes } = Capacity::of(memory, swap);
            assert!(
                u128::from(bytes) + u128::from(inodes * INODE) <= u128::from(memory / 6) * 5 + 5 + u128::from(swap)
            );
            assert!(inodes * INODE <= memory / 2);
        }
    }

    #[test]
    fn inodes_take_no_more_than_the_data_may() {
        let capacity = Capacity::of(1024 * MIB, 0);
        assert_eq!(capacity.with_mib(Some(16)), Capacity { bytes: 16 * MIB, inodes: 8 * 1024 });
        assert_eq!(capacity.with_mib(Some(900)).inodes, capacity.inodes);
        assert_eq!(capacity.with_mib(None), capacity);
    }
}
