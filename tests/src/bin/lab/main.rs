//! Servers for a lab network (`tests/src/lab`) that real ones cannot be made to be. The first argument says which:
//!
//! ```text
//! lab imds [FILE]            EC2's instance metadata on port 80, user data from FILE (none if there is no such file)
//! lab dhcp4 once ADDRESS SECONDS    gives a lease and is never heard again
//! lab dhcp4 refuse ADDRESS SECONDS  offers a lease and refuses it
//! lab ntp ADDRESS LIE               a time server that lies: unsynchronized, origin, distance, deny, past, flap
//! ```
//!
//! They run in the foreground and tell on stderr what they are asked and what they answer.

mod dhcp4;
mod imds;
mod ntp;

use anyhow::{Result, bail};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match serve(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(words: &[&str]) -> Result<()> {
    match words {
        ["imds"] => imds::serve("user-data".as_ref()),
        ["ntp", address, lie] => ntp::serve(address, lie),
        ["imds", file] => imds::serve(file.as_ref()),
        ["dhcp4", manner, address, seconds] => dhcp4::serve(manner, address.parse()?, seconds.parse()?),
        _ => bail!("there is no server {words:?}"),
    }
}
