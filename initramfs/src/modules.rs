//! What applications may expect of any kernel.

/// Modules, by name, that a machine has whichever kernel it boots: what NanoOS's own kernel has built in, and programs
/// use without loading it themselves. Where a kernel has them as modules, builder packs them and init loads them.
pub const EXPECTED: &[&str] = &[
    // Devices and links: /dev/net/tun, /dev/fuse, /dev/loop-control, pairs of links for containers
    "tun",
    "fuse",
    "loop",
    "veth",
    // File systems
    "overlay",
    "ext4",
    "binfmt_misc",
    "efivarfs",
    // Encrypted volumes
    "dm_mod",
    "dm_crypt",
    // Sockets of capture, what ss(8) asks, and how packets are paced
    "af_packet",
    "unix_diag",
    "inet_diag",
    "tcp_diag",
    "udp_diag",
    "tcp_bbr",
    "sch_fq",
    "sch_fq_codel",
];
