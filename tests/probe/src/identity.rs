//! Who this process is, as the kernel says (proc(5), status).

use std::{env, fs, io};

/// Prints one line for each fact: `uid 1000`.
pub(crate) fn print() -> io::Result<()> {
    let status = fs::read_to_string("/proc/self/status")?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
    // The fields hold the real, effective, saved and file system id.
    println!("uid {}", field("Uid:").split_whitespace().collect::<Vec<_>>().join(" "));
    println!("gid {}", field("Gid:").split_whitespace().collect::<Vec<_>>().join(" "));
    println!("groups {}", field("Groups:"));
    println!("cwd {}", env::current_dir()?.display());
    println!("HOME {}", env::var("HOME").unwrap_or_default());
    Ok(())
}
