//! Block devices: what is asked of them by ioctl(2) (`linux/fs.h`, `linux/nvme_ioctl.h`, `linux/dm-ioctl.h`).

use super::check;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// `_IO(0x12, 93)`.
const BLKROSET: libc::c_ulong = 0x125d;
/// `_IO(0x12, 127)`.
const BLKZEROOUT: libc::c_ulong = 0x127f;
/// `_IOWR('N', 0x41, struct nvme_admin_cmd)`.
const NVME_IOCTL_ADMIN_CMD: libc::c_ulong = 0xc048_4e41;
/// The command Identify of the NVMe specification, and its data structure "controller".
const NVME_IDENTIFY: u8 = 6;
const NVME_CONTROLLER: u32 = 1;
/// Length of the answer.
pub const IDENTIFY_SIZE: usize = 4096;

/// `struct nvme_admin_cmd`.
#[repr(C)]
#[derive(Default)]
struct NvmeAdminCommand {
    opcode: u8,
    flags: u8,
    rsvd1: u16,
    nsid: u32,
    cdw2: u32,
    cdw3: u32,
    metadata: u64,
    addr: u64,
    metadata_len: u32,
    data_len: u32,
    cdw10: u32,
    cdw11_to_15: [u32; 5],
    timeout_ms: u32,
    result: u32,
}

/// Lets nobody write to a block device, as far as they do not ask for the opposite.
///
/// # Errors
/// What ioctl(2) answers.
pub fn set_read_only(device: impl AsFd) -> io::Result<()> {
    let yes: libc::c_int = 1;
    // SAFETY: BLKROSET reads one int, which lives through the call.
    check(unsafe { libc::ioctl(device.as_fd().as_raw_fd(), BLKROSET as _, &raw const yes) })?;
    Ok(())
}

/// Fills a range of a device with zeros.
///
/// # Errors
/// What ioctl(2) answers.
pub fn zero_out(device: impl AsFd, start: u64, length: u64) -> io::Result<()> {
    let range = [start, length];
    // SAFETY: BLKZEROOUT reads two u64, which live through the call.
    check(unsafe { libc::ioctl(device.as_fd().as_raw_fd(), BLKZEROOUT as _, range.as_ptr()) })?;
    Ok(())
}

/// What an NVMe controller says of itself (NVMe base specification, Identify Controller).
///
/// # Errors
/// What ioctl(2) answers; that the controller refused.
pub fn nvme_identify(device: impl AsFd) -> io::Result<[u8; IDENTIFY_SIZE]> {
    let mut answer = [0; IDENTIFY_SIZE];
    let mut command = NvmeAdminCommand {
        opcode: NVME_IDENTIFY,
        cdw10: NVME_CONTROLLER,
        addr: answer.as_mut_ptr() as u64,
        data_len: IDENTIFY_SIZE as u32,
        // A controller that does not answer in this time is not the one that is looked for.
        timeout_ms: 5000,
        ..NvmeAdminCommand::default()
    };
    // SAFETY: the kernel writes `data_len` bytes at `addr`, which is `answer`, and the result into `command`; both
    // live through the call.
    let status =
        check(unsafe { libc::ioctl(device.as_fd().as_raw_fd(), NVME_IOCTL_ADMIN_CMD as _, &raw mut command) })?;
    if status == 0 { Ok(answer) } else { Err(io::Error::other(format!("the controller answered with {status:#x}"))) }
}

/// One request of the device mapper, with its answer in place of it.
///
/// # Errors
/// What ioctl(2) answers; `EINVAL` for a buffer that does not hold what it says it does.
pub fn device_mapper(control: impl AsFd, request: u8, buffer: &mut [u8]) -> io::Result<()> {
    /// `_IOWR(0xfd, 0, struct dm_ioctl)`, and the size of that structure.
    const DM: libc::c_ulong = 0xc138_fd00;
    const HEADER: usize = 312;
    let told = buffer.get(12..16).and_then(|size| size.try_into().ok()).map(u32::from_ne_bytes);
    if buffer.len() < HEADER || told.and_then(|told| usize::try_from(told).ok()) != Some(buffer.len()) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let request = DM | libc::c_ulong::from(request);
    // SAFETY: the kernel reads and writes as many bytes as the field `data_size` says, and that is the buffer's length.
    check(unsafe { libc::ioctl(control.as_fd().as_raw_fd(), request as _, buffer.as_mut_ptr()) })?;
    Ok(())
}

/// Adds a key of the type "logon", which user space can write and never read, to the keyring of this process; the
/// keyring goes with the process (keyrings(7)).
///
/// # Errors
/// What add_key(2) answers.
pub fn add_logon_key(name: &CStr, key: &[u8]) -> io::Result<()> {
    const KEY_SPEC_PROCESS_KEYRING: libc::c_long = -2;
    // SAFETY: two strings that end in NUL and a slice with its length, all borrowed for the call.
    let id = unsafe {
        libc::syscall(
            libc::SYS_add_key,
            c"logon".as_ptr(),
            name.as_ptr(),
            key.as_ptr(),
            key.len(),
            KEY_SPEC_PROCESS_KEYRING,
        )
    };
    if id < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Swaps to a device, and has it told what is swapped in again.
///
/// # Errors
/// What swapon(2) answers.
pub fn swap_on(device: &CStr) -> io::Result<()> {
    const SWAP_FLAG_DISCARD: libc::c_int = 0x10000;
    // SAFETY: swapon(2) reads a string that ends in NUL.
    check(unsafe { libc::swapon(device.as_ptr(), SWAP_FLAG_DISCARD) })?;
    Ok(())
}

/// Swaps to a device no more: everything on it comes back to memory first.
///
/// # Errors
/// What swapoff(2) answers: ENOMEM where there is not enough of it.
pub fn swap_off(device: &CStr) -> io::Result<()> {
    // SAFETY: swapoff(2) reads a string that ends in NUL.
    check(unsafe { libc::swapoff(device.as_ptr()) })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nvme_command_has_the_kernels_layout() {
        assert_eq!(size_of::<NvmeAdminCommand>(), 72);
        assert_eq!(std::mem::offset_of!(NvmeAdminCommand, addr), 24);
        assert_eq!(std::mem::offset_of!(NvmeAdminCommand, cdw10), 40);
    }

    #[test]
    fn a_buffer_that_is_shorter_than_it_says_never_reaches_the_kernel() {
        let mut buffer = vec![0; 400];
        buffer[12..16].copy_from_slice(&4096u32.to_ne_bytes());
        let null = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(device_mapper(null, 3, &mut buffer).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
