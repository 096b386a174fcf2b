//! The image's configuration: what is accepted is written again as what it was read from.
#![no_main]

use initramfs::image::Image;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|json: &[u8]| {
    if let Ok(image) = Image::parse(json) {
        let written = image.to_json().expect("what was accepted is valid");
        assert_eq!(Image::parse(&written).expect("what was written is valid"), image);
    }
});
