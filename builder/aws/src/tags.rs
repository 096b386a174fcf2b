//! The tags by which we know what is ours, and what it is made of.

use aws_sdk_ec2::types::Tag;
use std::collections::BTreeMap;

/// The identity of a disk's contents ([`crate::contents::Contents::id`]). What has it is ours.
pub(crate) const CONTENT: &str = "nanoos:content";
/// On an image: what it is registered as, so that the same is not registered twice.
pub(crate) const MACHINE: &str = "nanoos:machine";
/// On a snapshot: how it was asked to be encrypted.
pub(crate) const ENCRYPTION: &str = "nanoos:encryption";
/// On a snapshot: the one that it was built upon.
pub(crate) const PARENT: &str = "nanoos:parent";
/// The container image's registry and name, without its tag or digest: a snapshot is built upon none of another
/// repository.
pub(crate) const REPOSITORY: &str = "nanoos:repository";
/// On a snapshot of which swap volumes are made: their size. It holds no disk.
pub(crate) const SWAP: &str = "nanoos:swap";
/// On an instance that a launch check runs: the image.
pub(crate) const CHECK: &str = "nanoos:check";

/// Keys that start so are ours.
pub const PREFIX: &str = "nanoos:";
/// A value's length at most, characters: that of the EBS direct APIs (StartSnapshot, "Tags"), one less than EC2's.
const LONGEST_VALUE: usize = 255;
/// Tags of a resource at most.
const MOST: usize = 50;
/// Those of them that are ours, and the name.
const OURS: usize = 16;
/// Tags that a user may give.
pub const MOST_OF_USER: usize = MOST - OURS;

/// Keys and values.
pub type Tags = BTreeMap<String, String>;

/// For EC2; values are cut to what it takes.
pub(crate) fn to_ec2(tags: &Tags) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(cut(value)).build()).collect()
}

/// For the EBS direct APIs.
pub(crate) fn to_ebs(tags: &Tags) -> Vec<aws_sdk_ebs::types::Tag> {
    tags.iter().map(|(key, value)| aws_sdk_ebs::types::Tag::builder().key(key).value(cut(value)).build()).collect()
}

/// A tag's value among those that EC2 tells.
pub(crate) fn find<'a>(tags: &'a [Tag], key: &str) -> Option<&'a str> {
    tags.iter().find(|tag| tag.key() == Some(key)).and_then(Tag::value)
}

pub(crate) fn cut(value: &str) -> String {
    value.chars().take(LONGEST_VALUE).collect()
}

/// A specification of tags for what a call makes.
pub(crate) fn specification(
    kind: aws_sdk_ec2::types::ResourceType,
    tags: &Tags,
) -> aws_sdk_ec2::types::TagSpecification {
    aws_sdk_ec2::types::TagSpecification::builder().resource_type(kind).set_tags(Some(to_ec2(tags))).build()
}
