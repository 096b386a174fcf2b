//! NanoOS's PID 1, as a library of boot steps. `main.rs` tells them as a story.
//!
//! Which crate does what: `rustix` for files, mounts, sockets and the machine itself; `nix` for processes and
//! signals (fork, kill); `libc`, inside [`sys`] only, for what neither has.

// A panic in PID 1 is a kernel panic: nothing that input can reach may have one.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unreachable)
)]

pub mod cgroup;
pub mod clock;
pub mod console;
pub mod disks;
pub mod drivers;
pub mod entrypoint;
pub mod errand;
pub mod gpt;
pub mod log;
pub mod machine;
pub mod memory;
pub mod mounts;
pub mod net;
pub mod platform;
pub mod power;
pub mod rcu;
pub mod restarts;
pub mod root;
pub mod shutdown;
pub mod signals;
pub mod swap;
pub mod sys;
pub mod sysctl;
pub mod tmpfs;
pub mod uevent;
pub mod unmount;
pub mod user_data;
