//! What the kernel does when memory is full.

use crate::log::OrWarn;
use anyhow::Context;
use std::fs;

/// Milliseconds for which the kernel's multi-generational LRU keeps what is in use, or else ends a process
/// (Documentation/admin-guide/mm/multigen_lru.rst, "Thrashing prevention").
const MIN_TTL: &str = "/sys/kernel/mm/lru_gen/min_ttl_ms";

/// What the kernel's documentation recommends for a machine that somebody waits for.
const A_SECOND: &str = "1000";

/// Has the kernel end a process when memory is full.
///
/// Without swap it would throw out pages of programs first, and read them from the disk again at once, for minutes: all that
/// time the machine answers nothing and says nothing. With swap it has somewhere to go, and an application that is larger
/// than the memory must run on, if slowly.
pub fn prefer_an_end_to_thrashing(has_swap: bool) {
    // A kernel without this LRU has no such file.
    if fs::exists(MIN_TTL).unwrap_or(false) {
        let value = if has_swap { "0" } else { A_SECOND };
        fs::write(MIN_TTL, value).with_context(|| format!("write {value} to {MIN_TTL}")).or_warn("memory");
    }
}
