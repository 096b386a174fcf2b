//! The kernel's command line: what only the kernel reads, and the user's own arguments.

use crate::platform::Arch;
use anyhow::{Result, ensure};

/// What every machine gets, beside its console.
const ALWAYS: &[&str] = &[
    // A panic can't switch the power off, only restart or hang. Restarting after a second, which lets the console
    // print the last lines, brings a service back; a hung machine would look healthy to EC2.
    "panic=1",
    // EBS volumes may take long to answer while they are restored or moved; EC2 asks for the longest time the driver
    // takes (Amazon EC2 user guide, "NVMe I/O operation timeout").
    "nvme_core.io_timeout=4294967295",
    // Entropy at once, from the processor, rather than a boot that waits for it (kernel: random.trust_cpu).
    "random.trust_cpu=on",
    // Init logs to the kernel's ring buffer, and the kernel must not drop lines of that as too many.
    "printk.devkmsg=on",
    // The partition table's backup counts where the table itself is damaged: without this the kernel looks at it only
    // once the first one is valid.
    "gpt",
];

/// Longest command line that the kernel takes on any of our architectures, its NUL included (COMMAND_LINE_SIZE).
const LIMIT: usize = 2048;

/// The command line for an architecture. `user` is `-k`, if given: it stands last, so that it overrides. Without it the
/// kernel is quiet, unless the machine is to be debugged.
///
/// # Errors
/// When the user's arguments can't be part of a command line.
pub fn cmdline(arch: &Arch, user: Option<&str>, debug: bool) -> Result<String> {
    let user = user.unwrap_or(if debug { "" } else { "quiet" }).trim();
    ensure!(
        !user.contains(['\0', '\n', '\r']),
        "-k {user:?}: kernel arguments stand on one line, without NUL bytes or line ends"
    );
    let console = format!("console={}", arch.console);
    let mut words = vec![console.as_str()];
    words.extend(ALWAYS);
    if !user.is_empty() {
        words.push(user);
    }
    let line = words.join(" ");
    ensure!(
        line.len() < LIMIT,
        "-k: the kernel's command line has {} bytes, and the kernel takes {} at most",
        line.len(),
        LIMIT - 1
    );
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::ARCHES;

    fn line(user: Option<&str>, debug: bool) -> String {
        cmdline(&ARCHES[0], user, debug).unwrap()
    }

    #[test]
    fn the_users_arguments_stand_last_and_replace_quiet() {
        assert!(line(None, false).starts_with("console=ttyS0,115200n8 panic=1 "));
        assert!(line(None, false).ends_with(" quiet"));
        assert!(!line(None, true).contains("quiet"));
        assert!(line(Some("loglevel=7 a=\"b c\""), false).ends_with("gpt loglevel=7 a=\"b c\""));
        assert!(line(Some(""), false).ends_with(" gpt"));
    }

    #[test]
    fn what_the_kernel_cannot_take_is_refused() {
        assert!(cmdline(&ARCHES[0], Some("a\nb"), false).unwrap_err().to_string().contains("stand on one line"));
        let long = cmdline(&ARCHES[0], Some(&"x".repeat(2048)), false).unwrap_err().to_string();
        assert!(long.ends_with("the kernel takes 2047 at most"), "{long}");
    }
}
