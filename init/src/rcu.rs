//! The kernel's grace periods. Switching a link on, closing a packet socket or unloading a file system waits until
//! every CPU has passed through a quiet state, some 10 ms each time; asked to hurry, the kernel interrupts them instead.
//! That is right for a boot, when nothing else runs, and wrong for the application's time.

use crate::log::OrWarn;
use anyhow::Context;

const EXPEDITED: &str = "/sys/kernel/rcu_expedited";

/// Has grace periods hurried along, while the machine boots.
pub fn hurry() {
    set("1");
}

/// Lets them take their time again.
pub fn relax() {
    set("0");
}

fn set(value: &str) {
    // A kernel for a single CPU has no such file, nor anything to wait for.
    if std::path::Path::new(EXPEDITED).exists() {
        std::fs::write(EXPEDITED, value).with_context(|| format!("write {value} to {EXPEDITED}")).or_warn("rcu");
    }
}
