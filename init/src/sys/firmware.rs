//! UEFI's runtime service ResetSystem, by the one way that Linux has to it: its test driver (`CONFIG_EFI_TEST`,
//! drivers/firmware/efi/test/efi_test.h).

use super::check;
use anyhow::{Context, Result, ensure};
use initramfs::image::OnExit;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

const DEVICE: &str = "/dev/efi_test";
/// `_IOW('p', 0x0B, struct efi_resetsystem)` and `_IOR('p', 0x0C, unsigned int)`.
const EFI_RUNTIME_RESET_SYSTEM: libc::c_ulong = 0x401c_700b;
const EFI_RUNTIME_GET_SUPPORTED_MASK: libc::c_ulong = 0x8004_700c;
/// `EFI_RT_SUPPORTED_RESET_SYSTEM` (UEFI specification 2.10, 4.6.2).
const RESET_SYSTEM: u32 = 0x0400;
/// `EFI_RESET_TYPE` (8.5.1).
const COLD: i32 = 0;
const SHUTDOWN: i32 = 2;

/// `struct efi_resetsystem`.
#[repr(C, packed)]
struct ResetSystem {
    reset_type: i32,
    status: u64,
    data_size: u64,
    data: *const u16,
}

/// Has the firmware power the machine off or reset it, at once: no device is shut down. It returns only if it does not.
///
/// # Errors
/// When the machine has no such firmware, or the kernel no way to it.
pub fn reset(how: OnExit) -> Result<()> {
    // The driver is there without UEFI too, and would call what is not there.
    ensure!(Path::new("/sys/firmware/efi").exists(), "the machine was not started by UEFI firmware");
    let device = File::open(DEVICE).with_context(|| format!("open {DEVICE}"))?;
    let mut supported: u32 = 0;
    // SAFETY: the kernel writes one unsigned int, which lives through the call.
    check(unsafe { libc::ioctl(device.as_raw_fd(), EFI_RUNTIME_GET_SUPPORTED_MASK as _, &raw mut supported) })
        .context("ask what the firmware offers")?;
    ensure!(supported & RESET_SYSTEM != 0, "the firmware resets no machine while it runs");
    let reset_type = match how {
        OnExit::PowerOff => SHUTDOWN,
        OnExit::Reboot => COLD,
    };
    let request = ResetSystem { reset_type, status: 0, data_size: 0, data: std::ptr::null() };
    // SAFETY: the kernel reads a whole `struct efi_resetsystem`, which lives through the call, and no data, as there are 0
    // bytes of them.
    check(unsafe { libc::ioctl(device.as_raw_fd(), EFI_RUNTIME_RESET_SYSTEM as _, &raw const request) })
        .context("ask the firmware to end the machine")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_has_the_kernels_layout() {
        // Its size is part of the request's number.
        assert_eq!(size_of::<ResetSystem>() as libc::c_ulong, EFI_RUNTIME_RESET_SYSTEM >> 16 & 0x3fff);
        assert_eq!(std::mem::offset_of!(ResetSystem, data_size), 12);
    }
}
