//! Servers for a lab network (`tests/src/lab`) that real ones cannot be made to be. The first argument says which:
//!
//! ```text
//! lab imds [FILE]            EC2's instance metadata on port 80, user data from FILE (none if there is no such file)
//! lab imds refuse STATUS COUNT    the same, once it has refused so many requests
//! lab imds silent SECONDS         the same, once it has answered nothing for so long
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
use imds::Trouble;
use std::process::ExitCode;
use std::time::Duration;

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
        ["imds"] => imds::serve("user-data".as_ref(), Trouble::default()),
        ["ntp", address, lie] => ntp::serve(address, lie),
        ["imds", file] => imds::serve(file.as_ref(), Trouble::default()),
        ["imds", "refuse", status, count] => {
            let refusals = Some(((*status).to_owned(), count.parse()?));
            imds::serve("user-data".as_ref(), Trouble { refusals, ..Trouble::default() })
        }
        ["imds", "silent", seconds] => {
            let silence = Duration::from_secs(seconds.parse()?);
            imds::serve("user-data".as_ref(), Trouble { silence, ..Trouble::default() })
        }
        ["dhcp4", manner, address, seconds] => dhcp4::serve(manner, address.parse()?, seconds.parse()?),
        _ => bail!("there is no server {words:?}"),
    }
}
