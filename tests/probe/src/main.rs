//! The program inside the images of boot scenarios. Its arguments say what it does:
//!
//! ```text
//! probe say TEXT...          prints the words on one line
//! probe exit STATUS          ends with this status
//! probe identity             prints user, group, groups and working directory
//! probe kernel-log           prints the kernel's log with its time stamps, up to this moment
//! probe serve                serves files over HTTP on port 80: GET /proc/self/environ
//! ```
//!
//! Several may stand after one another, with `then` between them.

mod identity;
mod kernel_log;
mod serve;

use std::io;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut status = ExitCode::SUCCESS;
    for words in arguments.split(|word| word == "then") {
        match perform(words) {
            Ok(code) => status = code,
            Err(error) => {
                println!("probe: {}: {error}", words.join(" "));
                return ExitCode::FAILURE;
            }
        }
    }
    status
}

fn perform(words: &[String]) -> io::Result<ExitCode> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["say", ref text @ ..] => println!("{}", text.join(" ")),
        ["exit", status] => return status.parse().map(u8::into).map_err(io::Error::other),
        ["identity"] => identity::print()?,
        ["kernel-log"] => kernel_log::print()?,
        ["serve"] => serve::forever()?,
        _ => return Err(io::Error::other("the probe knows no such thing")),
    }
    Ok(ExitCode::SUCCESS)
}
