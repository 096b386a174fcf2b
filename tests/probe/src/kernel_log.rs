//! The kernel's log, with its own time stamps: when did what happen since the kernel's start?

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;

/// `O_NONBLOCK` of Linux on x86-64 and 64-bit ARM: a read past the last record fails instead of waiting for more.
const O_NONBLOCK: i32 = 0o4000;

/// The longest record that the kernel gives (PRINTKRB_RECORD_MAX and its prefix fit in well).
const LONGEST_RECORD: usize = 8192;

/// Marks this moment in the log, then prints every record as `kmsg MICROSECONDS MESSAGE`.
///
/// Each read(2) of /dev/kmsg gives one record, `level,number,microseconds,flags;message` and lines of further facts
/// (Documentation/ABI/testing/dev-kmsg).
pub(crate) fn print() -> io::Result<()> {
    File::options().write(true).open("/dev/kmsg")?.write_all(b"<6>probe: runs\n")?;
    let mut kmsg = File::options().read(true).custom_flags(O_NONBLOCK).open("/dev/kmsg")?;
    let mut buffer = [0; LONGEST_RECORD];
    loop {
        let record = match kmsg.read(&mut buffer) {
            Ok(length) => String::from_utf8_lossy(&buffer[..length]).into_owned(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => continue, // records were overwritten before this one
            Err(error) => return Err(error),
        };
        let (prefix, message) = record.split_once(';').unwrap_or_default();
        let time = prefix.split(',').nth(2).unwrap_or_default();
        println!("kmsg {time} {}", message.lines().next().unwrap_or_default());
    }
}
