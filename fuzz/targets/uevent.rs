//! A message on the kernel's netlink socket for uevents.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nanoos_init::uevent::parse;

fuzz_target!(|message: &[u8]| {
    let _ = parse(message);
});
