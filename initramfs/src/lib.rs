//! The contract between NanoOS's `builder`, which packs a machine, and its `init`, which wakes up in it.
//!
//! Whatever both sides must agree on is written here once: where things lie in the initramfs
//! ([`paths`]), the image's configuration ([`image`]), and how a partition is recognised ([`guid`]).
//! Behind the feature `pack` stands the writer that makes the initramfs itself ([`cpio`]).

pub mod arguments;
#[cfg(feature = "pack")]
pub mod cpio;
pub mod environment;
pub mod guid;
pub mod image;
pub mod limits;
pub mod modules;
pub mod paths;
pub mod signal;
