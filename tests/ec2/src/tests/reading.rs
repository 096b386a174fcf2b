//! ListSnapshotBlocks, ListChangedBlocks and GetSnapshotBlock.

use super::client::{Answer, Lab, base64, block, digest, id};
use crate::{Faults, Rules};
use serde_json::json;
use std::time::Duration;

fn get(lab: &Lab, snapshot: &str, index: u32, token: &str) -> Answer {
    let token = token.replace('+', "%2B").replace('/', "%2F");
    lab.ebs(&format!("GET /snapshots/{snapshot}/blocks/{index}?blockToken={token}"), "", b"")
}

fn list(lab: &Lab, snapshot: &str, query: &str) -> Answer {
    lab.ebs(&format!("GET /snapshots/{snapshot}/blocks?{query}"), "", b"")
}

#[test]
fn blocks_are_listed_and_read() {
    let lab = Lab::new();
    let snapshot = lab.completed(&[1, 2]);
    let told = list(&lab, &snapshot, "").accepted().json();
    assert_eq!((&told["VolumeSize"], &told["BlockSize"]), (&json!(1), &json!(524_288)));
    let blocks = told["Blocks"].as_array().unwrap();
    assert_eq!(blocks.iter().map(|block| block["BlockIndex"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1]);
    let token = blocks[1]["BlockToken"].as_str().unwrap();
    let answer = get(&lab, &snapshot, 1, token).accepted();
    assert_eq!(answer.header("x-amz-Data-Length"), Some("524288"));
    assert_eq!(answer.header("x-amz-Checksum"), Some(base64(&digest(&answer.body)).as_str()));
    assert_eq!(answer.header("x-amz-Checksum-Algorithm"), Some("SHA256"));
    assert_eq!(answer.body, block(2));
}

#[test]
fn a_block_token_is_for_its_block_and_for_a_week() {
    let lab = Lab::new();
    let (snapshot, other) = (lab.completed(&[1, 2]), lab.completed(&[1, 2]));
    let told = list(&lab, &snapshot, "").json();
    let token = told["Blocks"][0]["BlockToken"].as_str().unwrap().to_owned();
    get(&lab, &snapshot, 0, &token).accepted();
    for (snapshot, index, token) in
        [(&snapshot, 1, token.as_str()), (&other, 0, &token), (&snapshot, 0, "AAAA"), (&snapshot, 0, "")]
    {
        get(&lab, snapshot, index, token).refused(400, "ValidationException", "INVALID_BLOCK_TOKEN");
    }
    lab.stand_in.advance(Duration::from_secs(8 * 24 * 3600));
    get(&lab, &snapshot, 0, &token).refused(400, "ValidationException", "INVALID_BLOCK_TOKEN");
}

#[test]
fn only_a_completed_snapshot_is_listed() {
    let lab = Lab::new();
    let snapshot = lab.pending();
    list(&lab, &snapshot, "").refused(400, "ValidationException", "not in the completed state");
    list(&lab, "snap-0123", "").refused(404, "ResourceNotFoundException", "SNAPSHOT_NOT_FOUND");
    list(&lab, "vol-1", "").refused(400, "ValidationException", "INVALID_SNAPSHOT_ID");
}

#[test]
fn lists_come_in_pages() {
    let mut rules = Rules::default();
    rules.quotas.put = 10_000;
    let lab = Lab::with(rules);
    let snapshot = lab.completed(&[7; 150]);
    let first = list(&lab, &snapshot, "maxResults=100&startingBlockIndex=10").accepted().json();
    assert_eq!((first["Blocks"].as_array().unwrap().len(), &first["Blocks"][0]["BlockIndex"]), (100, &json!(10)));
    let token = first["NextToken"].as_str().unwrap().replace('+', "%2B").replace('/', "%2F");
    let second = list(&lab, &snapshot, &format!("pageToken={token}")).accepted().json();
    assert_eq!((second["Blocks"].as_array().unwrap().len(), &second["Blocks"][0]["BlockIndex"]), (40, &json!(110)));
    assert!(second["NextToken"].is_null());
    for wrong in ["99", "10001", "x"] {
        let answer = list(&lab, &snapshot, &format!("maxResults={wrong}"));
        answer.refused(400, "ValidationException", "maxResults");
    }
    list(&lab, &snapshot, "startingBlockIndex=-1").refused(400, "ValidationException", "startingBlockIndex");
    let block_token = first["Blocks"][0]["BlockToken"].as_str().unwrap().replace('+', "%2B");
    for wrong in ["AAAA", &block_token] {
        let answer = list(&lab, &snapshot, &format!("pageToken={wrong}"));
        answer.refused(400, "ValidationException", "INVALID_PAGE_TOKEN");
    }
}

#[test]
fn changed_blocks_are_those_that_differ() {
    let lab = Lab::new();
    let parent = lab.completed(&[1, 2, 3]);
    let child = id(&lab.start(&json!({ "VolumeSize": 1, "ParentSnapshotId": parent })).accepted());
    for (index, byte) in [(0, 1), (1, 9), (5, 5)] {
        lab.put(&child, index, byte).accepted();
    }
    lab.complete(&child, 3).accepted();
    while lab.status(&child) == "pending" {}
    let changed = |first: &str| lab.ebs(&format!("GET /snapshots/{child}/changedblocks?{first}"), "", b"");
    let told = changed(&format!("firstSnapshotId={parent}")).accepted().json();
    let blocks = told["ChangedBlocks"].as_array().unwrap();
    assert_eq!(blocks.iter().map(|block| block["BlockIndex"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 5]);
    let (first, second) = (&blocks[0]["FirstBlockToken"], &blocks[0]["SecondBlockToken"]);
    assert_eq!(get(&lab, &parent, 1, first.as_str().unwrap()).body[0], 2);
    assert_eq!(get(&lab, &child, 1, second.as_str().unwrap()).body[0], 9);
    assert!(blocks[1]["FirstBlockToken"].is_null());
    assert_eq!(changed("").json()["ChangedBlocks"].as_array().unwrap().len(), 4, "without a first one: all");
    let stranger = lab.completed(&[1]);
    let answer = changed(&format!("firstSnapshotId={stranger}"));
    answer.refused(400, "ValidationException", "UNRELATED_SNAPSHOTS");
}

#[test]
fn a_corrupt_read_differs_from_its_checksum() {
    let lab = Lab::new();
    let snapshot = lab.completed(&[1]);
    let told = list(&lab, &snapshot, "").json();
    lab.stand_in.set_faults(Faults { corrupt_reads: 1.0, ..Faults::default() });
    let answer = get(&lab, &snapshot, 0, told["Blocks"][0]["BlockToken"].as_str().unwrap()).accepted();
    assert_ne!(answer.header("x-amz-Checksum"), Some(base64(&digest(&answer.body)).as_str()));
}

#[test]
fn reading_has_its_quotas() {
    let mut rules = Rules::default();
    (rules.quotas.list, rules.quotas.get) = (2, 2);
    let lab = Lab::with(rules);
    let lists: Vec<_> = (0..6).map(|_| list(&lab, "snap-01", "")).collect();
    assert!(lists.iter().any(|answer| answer.text().contains("ACCOUNT_THROTTLED")));
    let gets: Vec<_> = (0..6).map(|_| get(&lab, "snap-01", 0, "")).collect();
    assert!(gets.iter().any(|answer| answer.text().contains("ACCOUNT_THROTTLED")));
}
