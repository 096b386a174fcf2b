//! What PutSnapshotBlock refuses.

use super::client::{Answer, Lab, REGION, base64, block, block_headers, digest, id};
use crate::{BLOCK, Rules};
use serde_json::json;
use std::sync::Arc;

fn put(lab: &Lab, path: &str, headers: &str, data: &[u8]) -> Answer {
    lab.ebs(&format!("PUT /snapshots/{path}"), headers, data)
}

#[test]
fn a_block_is_taken_and_its_checksum_told() {
    let lab = Lab::new();
    let snapshot = lab.pending();
    let answer = lab.put(&snapshot, 3, 9).accepted();
    assert_eq!(answer.status, 201);
    assert_eq!(answer.header("x-amz-Checksum"), Some(base64(&digest(&block(9))).as_str()));
    lab.put(&snapshot, 4, 9).accepted();
    let stored = lab.stand_in.snapshot(REGION, &snapshot).unwrap();
    assert!(Arc::ptr_eq(&stored.blocks[&3].data, &stored.blocks[&4].data), "equal blocks are kept once");
    lab.put(&snapshot, 3, 8).accepted();
    assert_eq!(lab.stand_in.block(REGION, &snapshot, 3).unwrap(), block(8), "a second Put overwrites");
    assert_eq!(lab.stand_in.tally().block_bytes, 3 * BLOCK as u64);
}

#[test]
fn a_block_of_another_size_is_refused() {
    let lab = Lab::new();
    let snapshot = lab.pending();
    let data = &block(1)[1..];
    let path = format!("{snapshot}/blocks/0");
    put(&lab, &path, &block_headers(data), data).refused(400, "ValidationException", "INVALID_BLOCK");
    let headers = block_headers(&block(1));
    put(&lab, &path, &headers, data).refused(400, "ValidationException", "INVALID_BLOCK");
    let headers = headers.replace("x-amz-Data-Length: 524288\r\n", "");
    put(&lab, &path, &headers, &block(1)).refused(400, "ValidationException", "x-amz-Data-Length is missing");
}

#[test]
fn a_checksum_has_to_be_there_and_right() {
    let lab = Lab::new();
    let snapshot = lab.pending();
    let (path, data) = (format!("{snapshot}/blocks/0"), block(1));
    let right = block_headers(&data);
    let wrong = block_headers(&block(2));
    put(&lab, &path, &wrong, &data).refused(400, "ValidationException", "INVALID_BLOCK");
    let none: String = right.lines().take(1).map(|line| format!("{line}\r\n")).collect();
    put(&lab, &path, &none, &data).refused(400, "ValidationException", "x-amz-Checksum is missing");
    put(&lab, &path, &right.replace("SHA256", "MD5"), &data).refused(400, "ValidationException", "SHA256");
    let cut = right.replace("x-amz-Checksum: ", "x-amz-Checksum: !");
    put(&lab, &path, &cut, &data).refused(400, "ValidationException", "no SHA-256");
    assert!(lab.stand_in.snapshot(REGION, &snapshot).unwrap().blocks.is_empty());
}

#[test]
fn an_index_is_inside_the_volume() {
    let lab = Lab::new();
    let snapshot = lab.pending();
    lab.put(&snapshot, 2047, 1).accepted();
    lab.put(&snapshot, 2048, 1).refused(400, "ValidationException", "beyond the volume");
    for index in ["-1", "x", "4294967296", "2147483648", ""] {
        let answer = put(&lab, &format!("{snapshot}/blocks/{index}"), &block_headers(&block(1)), &block(1));
        answer.refused(400, "ValidationException", "Invalid block index");
    }
}

#[test]
fn progress_is_a_percentage() {
    let lab = Lab::new();
    let snapshot = lab.pending();
    let (path, headers) = (format!("{snapshot}/blocks/0"), block_headers(&block(1)));
    put(&lab, &path, &format!("{headers}x-amz-Progress: 101\r\n"), &block(1)).refused(
        400,
        "ValidationException",
        "Progress",
    );
    put(&lab, &path, &format!("{headers}x-amz-Progress: 100\r\n"), &block(1)).accepted();
}

#[test]
fn only_a_pending_snapshot_of_the_account_takes_blocks() {
    let mut lab = Lab::new();
    let snapshot = lab.completed(&[1]);
    lab.put(&snapshot, 1, 1).refused(400, "ValidationException", "takes no more blocks");
    lab.put("snap-0123", 1, 1).refused(404, "ResourceNotFoundException", "SNAPSHOT_NOT_FOUND");
    lab.put("snap-XYZ", 1, 1).refused(400, "ValidationException", "INVALID_SNAPSHOT_ID");
    let pending = lab.pending();
    lab.key = "AKIAOTHERACCOUNTKEY0";
    lab.put(&pending, 0, 1).refused(404, "ResourceNotFoundException", "SNAPSHOT_NOT_FOUND");
    lab.key = "AKIDEXAMPLE";
    lab.region = "eu-west-1";
    lab.put(&pending, 0, 1).refused(404, "ResourceNotFoundException", "SNAPSHOT_NOT_FOUND");
}

#[test]
fn only_so_many_are_put_in_a_second() {
    let mut rules = Rules::default();
    rules.quotas.put = 3;
    let lab = Lab::with(rules);
    let snapshot = lab.pending();
    let answers: Vec<_> = (0..8).map(|index| lab.put(&snapshot, index, 1)).collect();
    let refused = answers.iter().find(|answer| answer.status == 400).expect("8 in less than two seconds");
    refused.refused(400, "RequestThrottledException", "ACCOUNT_THROTTLED");
}

#[test]
fn a_chunked_block_is_taken() {
    let lab = Lab::new();
    let snapshot = lab.pending();
    let data = block(5);
    let whole = lab.put(&snapshot, 0, 5).accepted();
    assert_eq!(whole.status, 201);
    let mut chunks = Vec::new();
    for chunk in data.chunks(100_000) {
        chunks.extend(format!("{:x}\r\n", chunk.len()).bytes());
        chunks.extend(chunk);
        chunks.extend(b"\r\n");
    }
    chunks.extend(b"0\r\n\r\n");
    let head = format!("{}Transfer-Encoding: chunked\r\n", block_headers(&data));
    // Where both are there, the chunks count (RFC 9112, 6.3).
    put(&lab, &format!("{snapshot}/blocks/1"), &head, &chunks).accepted();
    assert_eq!(lab.stand_in.block(REGION, &snapshot, 1).unwrap(), data);
}

#[test]
fn what_was_not_written_reads_as_zeros_or_as_noise() {
    let lab = Lab::new();
    let plain = lab.completed(&[1]);
    assert_eq!(lab.stand_in.block(REGION, &plain, 1).unwrap(), block(0));
    assert_eq!(lab.stand_in.block(REGION, &plain, 2048), None);
    let encrypted = id(&lab.start(&json!({ "VolumeSize": 1, "Encrypted": true })).accepted());
    lab.finish(&encrypted, &[1]);
    let noise = lab.stand_in.block(REGION, &encrypted, 1).unwrap();
    assert_ne!(noise, block(0));
    assert_eq!(lab.stand_in.block(REGION, &encrypted, 1).unwrap(), noise, "the same each time");
    assert_eq!(lab.stand_in.block(REGION, &encrypted, 0).unwrap(), block(1));
}

#[test]
fn a_child_inherits_and_outlives_its_parent() {
    let lab = Lab::new();
    let parent = lab.completed(&[1, 2, 3]);
    let child = id(&lab.start(&json!({ "VolumeSize": 1, "ParentSnapshotId": parent })).accepted());
    lab.put(&child, 1, 9).accepted();
    lab.complete(&child, 1).accepted();
    lab.ec2("DeleteSnapshot", &[&format!("SnapshotId={parent}")]).accepted();
    let read = |index| lab.stand_in.block(REGION, &child, index).unwrap()[0];
    assert_eq!([read(0), read(1), read(2), read(3)], [1, 9, 3, 0]);
    let back = lab.stand_in.read_back(REGION, &child).unwrap();
    assert_eq!(back.iter().map(|block| block.as_ref().unwrap().data[0]).collect::<Vec<_>>(), [1, 9, 3]);
}
