//! The kernel settings that there are.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Prints the name of every file below /proc/sys as sysctl(8) writes it, and whether it can be written.
pub(crate) fn print() -> io::Result<()> {
    println!("settings begin");
    walk(Path::new("/proc/sys"), "")?;
    println!("settings end");
    Ok(())
}

fn walk(directory: &Path, name: &str) -> io::Result<()> {
    let mut entries = fs::read_dir(directory)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        // Dots within a part are the names of interfaces'.
        let part = entry.file_name().to_string_lossy().replace('.', "/");
        let name = if name.is_empty() { part } else { format!("{name}.{part}") };
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            walk(&entry.path(), &name)?;
        } else {
            println!("setting {name}{}", if metadata.permissions().mode() & 0o222 == 0 { " ro" } else { "" });
        }
    }
    Ok(())
}
