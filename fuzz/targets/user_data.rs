//! What the metadata service answers: the HTTP response, and user data in each of their forms; and the firmware's tables.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nanoos_init::user_data::{firmware, http, parse, unpack};

fuzz_target!(|answer: &[u8]| {
    for is_end in [false, true] {
        if let Ok(Some(response)) = http::parse(answer, is_end, 16 << 10) {
            assert!(response.body.len() <= 16 << 10, "a body beyond its limit");
        }
    }
    let _ = firmware::find(answer);
    if let Ok(plain) = unpack(answer) {
        let _ = parse(&plain);
    }
});
