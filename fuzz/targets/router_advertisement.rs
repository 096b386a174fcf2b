//! What the kernel hands on of router advertisements, and other news of its own.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nanoos_init::net::domain::is_host_name;
use nanoos_init::net::nd::{Router, decode};
use nanoos_init::net::news;
use std::time::Duration;

fuzz_target!(|bytes: &[u8]| {
    let _ = news::decode(bytes);
    let mut router = Router::default();
    for (seconds, advice) in (0..).zip(decode(bytes)) {
        let now = Duration::from_secs(seconds);
        router.learn(advice, now);
        router.expire(now);
        assert!(router.servers().count() <= 8 && router.search().count() <= 8);
        assert!(router.search().all(is_host_name));
        assert!(router.wake().is_none_or(|wake| wake > now));
    }
});
