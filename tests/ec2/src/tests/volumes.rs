//! What volumes read that nobody wrote.

use super::client::{Lab, REGION};
use crate::BLOCK;

const DEVICE: &str = "BlockDeviceMapping.2.DeviceName=/dev/xvdb";
const SIZE: &str = "BlockDeviceMapping.2.Ebs.VolumeSize=2";

/// An image with a second volume of this mapping; what is asserted of that.
fn second(lab: &Lab, root: &str, mapping: &[&str]) -> crate::Volume {
    let image = lab.register("name", root, mapping).accepted().element("imageId").unwrap();
    lab.stand_in.volume(REGION, &image, "/dev/xvdb").unwrap()
}

fn is_blank(block: &[u8]) -> bool {
    block.len() == BLOCK && block.iter().all(|byte| *byte == 0)
}

#[test]
fn a_blank_volume_reads_as_zeros_and_an_encrypted_one_as_noise() {
    for (by_default, asked) in [(false, false), (false, true), (true, false), (true, true)] {
        let lab = Lab::new();
        let root = lab.completed(&[1]);
        if by_default {
            lab.stand_in.switch_encryption_by_default();
        }
        let encrypted = format!("BlockDeviceMapping.2.Ebs.Encrypted={asked}");
        let volume = second(&lab, &root, &[DEVICE, SIZE, &encrypted]);
        assert_eq!((volume.size, volume.blocks(), volume.encrypted), (2, 4096, by_default || asked));
        for index in [0, 1, 4095] {
            assert_eq!(is_blank(&volume.read(index)), !volume.encrypted, "{by_default} {asked} {index}");
            assert_eq!(volume.read(index), volume.read(index));
        }
    }
}

#[test]
fn a_volume_of_a_snapshot_has_what_was_written_and_noise_where_it_is_encrypted() {
    for by_default in [false, true] {
        let lab = Lab::new();
        let snapshot = lab.completed(&[1]);
        if by_default {
            lab.stand_in.switch_encryption_by_default();
        }
        let of_snapshot = format!("BlockDeviceMapping.2.Ebs.SnapshotId={snapshot}");
        // Larger than its snapshot.
        let volume = second(&lab, &snapshot, &[DEVICE, SIZE, &of_snapshot]);
        assert_eq!((volume.size, volume.encrypted), (2, by_default));
        let written = lab.stand_in.block(REGION, &snapshot, 0).unwrap();
        assert!(volume.read(0) == written && !is_blank(&written));
        assert_eq!(is_blank(&volume.read(1)), !by_default);
        assert_eq!(is_blank(&volume.read(4095)), !by_default);
    }
    assert!(Lab::new().stand_in.volume(REGION, "ami-0", "/dev/xvdb").is_none());
}
