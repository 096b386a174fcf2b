//! What a program for Linux needs to run: its loader and libraries as ld.so would find them, without running anything,
//! and what is opened only at run time.
//!
//! ```text
//! program ── image: what it says ──► libraries: what its loader opens ──► closure: what goes into the machine
//!                                    (conf: where it is told to look)     (runtime: what only dlopen knows)
//! ```

mod architecture;
mod closure;
mod conf;
mod image;
mod libraries;
mod root;
mod runtime;

pub use architecture::Architecture;
pub use closure::{Closure, Error, alone, closure};
pub(crate) use image::version_of;
pub use image::{Image, Unreadable};
pub use root::Root;

#[cfg(test)]
mod tests;
