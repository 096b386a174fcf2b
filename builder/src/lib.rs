//! Turns a container image into a machine image that boots straight into the application:
//!
//! ```text
//! resolve → pull → pack → merge → squash → initramfs → EFI program → disk
//! ```
//!
//! Each step is a function from values to values; `main.rs` tells them as a story.

pub mod application;
pub mod blob;
pub mod blocks;
pub mod bounded;
pub mod build;
pub mod cache;
pub mod cleanup;
pub mod cmdline;
pub mod compression;
pub mod destination;
pub mod digest;
pub mod disk;
pub mod embedded;
pub mod esp;
pub mod flatten;
pub mod init;
pub mod initrd;
pub mod inspect;
pub mod json;
pub mod kernel;
pub mod local;
pub mod machine;
pub mod manifest;
pub mod outfile;
pub mod output;
pub mod pack;
pub mod platform;
pub mod progress;
pub mod provenance;
pub mod source;
pub mod squashfs;
pub mod sysctls;
pub mod tarball;
pub mod tools;
pub mod uki;
