//! What AWS takes as a tag.

/// Tags of one resource at most.
pub(crate) const MOST: usize = 50;

/// Characters of a key: the EBS direct APIs' model has 127, EC2's documentation 127 too.
const MAX_KEY: usize = 127;

/// Characters of a value.
const MAX_VALUE: usize = 255;

/// Says what is wrong with a tag.
pub(crate) fn check(key: &str, value: &str) -> Result<(), String> {
    if key.is_empty() || key.chars().count() > MAX_KEY {
        return Err(format!("Tag keys must have 1 to {MAX_KEY} characters: '{key}'"));
    }
    if value.chars().count() > MAX_VALUE {
        return Err(format!("Tag values must have at most {MAX_VALUE} characters: '{key}'"));
    }
    if key.to_ascii_lowercase().starts_with("aws:") {
        return Err(format!("Tag keys starting with 'aws:' are reserved for internal use: '{key}'"));
    }
    Ok(())
}
