//! An NTP server's answer to our request, and where it would set the clock.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nanoos_init::clock::packet::{is_possible, parse};

const ORIGIN: u64 = 0x0123_4567_89ab_cdef;

fuzz_target!(|message: Vec<u8>| {
    let mut message = message;
    let _ = parse(&message, ORIGIN);
    // The answer that carries our number, which a fuzzer does not guess.
    if let Some(origin) = message.get_mut(24..32) {
        origin.copy_from_slice(&ORIGIN.to_be_bytes());
    }
    if let Ok(reply) = parse(&message, ORIGIN) {
        assert!(is_possible(reply.sent) && is_possible(reply.received) && reply.received <= reply.sent);
        assert!(reply.distance >= 0);
    }
});
