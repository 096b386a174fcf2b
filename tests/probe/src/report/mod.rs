//! Everything that a program can find out about the machine or container that it runs in, one fact a line:
//! `SECTION NAME: VALUE`. The same program runs under the Docker Engine, and the two reports are compared.

mod abilities;
mod devices;
mod elf;
pub(crate) mod kernel;
mod process;

use std::io;
use std::process::ExitCode;

/// Prints the whole report, between two lines that mark it.
pub(crate) fn print() -> io::Result<()> {
    println!("report begins");
    process::print()?;
    devices::print()?;
    abilities::print();
    println!("report ends");
    Ok(())
}

/// Has the kernel end the machine, or the PID namespace (reboot(2)).
pub(crate) fn reboot(how: &str) -> io::Result<ExitCode> {
    let command = if how == "restart" { libc::RB_AUTOBOOT } else { libc::RB_POWER_OFF };
    // SAFETY: takes a number.
    kernel::check(unsafe { libc::reboot(command) })?;
    Ok(ExitCode::SUCCESS)
}
