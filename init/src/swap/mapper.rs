//! The device mapper (`linux/dm-ioctl.h`): a device that encrypts what passes through it, or just leaves out the ends.

use crate::sys::block::{add_logon_key, device_mapper};
use anyhow::{Context, Result};
use initramfs::swap_mark::AREA;
use rustix::rand::{GetRandomFlags, getrandom};
use std::ffi::CString;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Name of the mapped device, and of the key.
const NAME: &str = "nanoos-swap";
/// AES-256 in XTS mode takes two keys.
const KEY_SIZE: usize = 64;
/// What the device mapper counts in, in bytes.
const SECTOR: u64 = 512;

/// Requests, and a flag.
const DEV_CREATE: u8 = 3;
const DEV_REMOVE: u8 = 4;
const DEV_SUSPEND: u8 = 6;
const TABLE_LOAD: u8 = 9;
/// Length of `struct dm_ioctl` and of `struct dm_target_spec`.
const HEADER: usize = 312;
const TARGET: usize = 40;

/// Maps a volume without its two marked areas, and gives the device.
///
/// # Errors
/// The step that failed.
pub fn map(volume: &Path, size: u64, encrypted: bool) -> Result<PathBuf> {
    let control = File::options().read(true).write(true).open("/dev/mapper/control");
    let control = control.context("open /dev/mapper/control")?;
    let sectors = size.saturating_sub(2 * AREA) / SECTOR;
    let (kind, table) = if encrypted { ("crypt", encrypted_table(volume)?) } else { ("linear", linear_table(volume)) };

    let mut created = request(0, &[]);
    device_mapper(&control, DEV_CREATE, &mut created).context("make a mapped device")?;
    let number = created.get(40..48).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_ne_bytes);
    let start = || -> Result<()> {
        let mut load = request(1, &target(kind, sectors, &table));
        device_mapper(&control, TABLE_LOAD, &mut load).with_context(|| format!("load the table {kind}"))?;
        // Without its flag this request is the opposite of its name.
        device_mapper(&control, DEV_SUSPEND, &mut request(0, &[])).context("start the mapped device")
    };
    if let Err(error) = start() {
        unmap();
        return Err(error);
    }
    Ok(Path::new("/dev").join(format!("dm-{}", minor(number))))
}

/// Gives the volume back: what went wrong here must not keep others from it.
pub fn unmap() {
    if let Ok(control) = File::options().read(true).write(true).open("/dev/mapper/control") {
        let _ = device_mapper(&control, DEV_REMOVE, &mut request(0, &[]));
    }
}

fn encrypted_table(volume: &Path) -> Result<String> {
    let mut key = [0; KEY_SIZE];
    // A key made of what the kernel cannot vouch for would be none: this waits until it can, in a child of init.
    let length = getrandom(&mut key[..], GetRandomFlags::empty()).context("make a key")?;
    anyhow::ensure!(length == KEY_SIZE, "make a key: only {length} bytes are random");
    let name = CString::new(format!("{NAME}:key")).context("name the key")?;
    add_logon_key(&name, &key).context("give the key to the kernel")?;
    key.fill(0);
    std::hint::black_box(&key);
    let (volume, offset) = (volume.display(), AREA / SECTOR);
    Ok(format!(
        "aes-xts-plain64 :{KEY_SIZE}:logon:{NAME}:key 0 {volume} {offset} 4 allow_discards sector_size:4096 \
         no_read_workqueue no_write_workqueue"
    ))
}

fn linear_table(volume: &Path) -> String {
    format!("{} {}", volume.display(), AREA / SECTOR)
}

/// `struct dm_ioctl` and what follows it.
fn request(targets: u32, payload: &[u8]) -> Vec<u8> {
    let size = u32::try_from(HEADER + payload.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    // Version 4 of the interface, its length, where the payload starts, how many targets there are.
    for word in [4, 0, 0, size, HEADER as u32, targets] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.resize(48, 0);
    bytes.extend(NAME.as_bytes());
    bytes.resize(HEADER, 0);
    bytes.extend(payload);
    bytes
}

/// `struct dm_target_spec` and its parameters, padded to a multiple of eight bytes.
fn target(kind: &str, sectors: u64, parameters: &str) -> Vec<u8> {
    let length = (TARGET + parameters.len() + 1).next_multiple_of(8);
    let mut bytes = Vec::with_capacity(length);
    bytes.extend(0u64.to_ne_bytes());
    bytes.extend(sectors.to_ne_bytes());
    bytes.extend(0u32.to_ne_bytes());
    bytes.extend(u32::try_from(length).unwrap_or(0).to_ne_bytes());
    bytes.extend(kind.as_bytes());
    bytes.resize(TARGET, 0);
    bytes.extend(parameters.as_bytes());
    bytes.resize(length, 0);
    bytes
}

/// The minor number in the kernel's form of a device number (`huge_encode_dev`).
fn minor(number: u64) -> u64 {
    (number & 0xff) | ((number >> 12) & 0xfff_ff00)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_kernels_layout() {
        let target = target("linear", 2048, "/dev/x 2048");
        assert_eq!((target.len(), target.len() % 8), (56, 0));
        assert_eq!(&target[24..31], b"linear\0");
        let request = request(1, &target);
        assert_eq!(request.len(), 368);
        assert_eq!(request[12..16], 368u32.to_ne_bytes());
        assert_eq!(&request[48..60], b"nanoos-swap\0");
        assert_eq!(&request[312 + 40..312 + 52], b"/dev/x 2048\0");
    }

    #[test]
    fn device_numbers_are_read_as_the_kernel_packs_them() {
        assert_eq!(minor(0xfd00), 0);
        assert_eq!(minor(0xfd07), 7);
        assert_eq!(minor(0x10_fd00), 256);
    }
}
