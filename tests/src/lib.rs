//! Boots real machines and looks at what they do.
//!
//! [`vm`] starts a machine through `qemu/boot.sh`, reads its console and presses its power button. Images come from
//! [`oci_layout`] (one static program in an otherwise empty root), [`nginx`], [`systemd`] and [`bases`] (real ones, of
//! [Debian's packages](debian)), travel through a real [`registry`], and become disks by the real builder
//! ([`workspace`]). AMIs go to [`moto`]. A [`lab`] is a network of the test's own with real servers in it. [`scenario`]
//! runs what a folder of `tests/scenarios` describes.

pub mod bases;
pub mod cache;
pub mod console;
pub mod debian;
pub mod disks;
pub mod http;
pub mod lab;
pub mod moto;
pub mod nginx;
pub mod oci_layout;
pub mod port;
pub mod process;
pub mod qmp;
pub mod registry;
pub mod scenario;
pub mod systemd;
pub mod vm;
pub mod workspace;
