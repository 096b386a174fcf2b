//! Where things lie inside the initramfs.

/// The program that the kernel starts as PID 1. The kernel itself looks for this name.
pub const INIT: &str = "/init";

/// Where the kernel looks for the program that loads modules by name (CONFIG_MODPROBE_PATH): a link to [`INIT`], which
/// tells by its name what it is started for.
pub const MODPROBE: &str = "/sbin/modprobe";

/// The image's configuration, one JSON document: see [`crate::image::Image`].
pub const IMAGE_JSON: &str = "/etc/nanoos/image.json";

/// Kernel modules live in `MODULES/<release>/`, with the indexes that depmod(8) writes.
pub const MODULES: &str = "/lib/modules";
