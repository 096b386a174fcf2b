//! What the machine runs on, by its firmware's own word.

use std::fs;

/// SMBIOS, "System Information": who made the machine (x86 and 64-bit ARM alike).
const VENDOR: &str = "/sys/class/dmi/id/sys_vendor";

/// Whether this is a machine of Amazon's cloud.
#[must_use]
pub fn is_ec2() -> bool {
    fs::read(VENDOR).is_ok_and(|vendor| vendor.trim_ascii() == b"Amazon EC2")
}
