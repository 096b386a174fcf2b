//! What an image is called, and how it is described.

use anyhow::{Result, ensure};

/// What EC2 takes in a name beside letters and digits (RegisterImage, "Name").
const NAME_MARKS: &str = "()[] ./-'@_";
/// A name's length.
const SHORTEST_NAME: usize = 3;
const LONGEST_NAME: usize = 128;
/// Digits of the identity in a default name: enough that no two are the same by chance.
const NAME_DIGITS: usize = 12;
/// What our descriptions start with.
const DESCRIBED: &str = "NanoOS: ";
/// A description's length at most.
const LONGEST_DESCRIPTION: usize = 255;

/// A name that EC2 takes, of what an image is made of and its identity.
pub(crate) fn default_name(source: &str, machine: &str) -> String {
    let digits = &machine[..NAME_DIGITS];
    let fits = |c: char| if c.is_ascii_alphanumeric() || NAME_MARKS.contains(c) { c } else { '-' };
    let mut name: String = source.chars().map(fits).collect();
    name.truncate(LONGEST_NAME - NAME_DIGITS - 1 - "-999".len());
    let name = name.trim_matches(['.', '/', ' ', '-']);
    format!("{}-{digits}", if name.is_empty() { "nanoos" } else { name })
}

/// Refuses a name that EC2 does not take (RegisterImage, "Name").
///
/// # Errors
/// When it is one.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || NAME_MARKS.contains(c);
    ensure!(
        (SHORTEST_NAME..=LONGEST_NAME).contains(&name.len()) && name.chars().all(fits),
        "--name {name:?}: an image's name has {SHORTEST_NAME} to {LONGEST_NAME} letters, digits and {NAME_MARKS}"
    );
    Ok(())
}

/// What EC2 shows beside the name: 255 characters of ASCII at most (RegisterImage, "Description").
pub(crate) fn description(source: &str, machine: &str) -> String {
    let mark = mark(machine);
    let text = format!("{DESCRIBED}{source}");
    let text = text.chars().map(|c| if c.is_ascii() && !c.is_ascii_control() { c } else { '?' });
    text.take(LONGEST_DESCRIPTION - mark.len()).collect::<String>() + &mark
}

/// What an image was made of, as its description tells.
pub(crate) fn source_of(description: &str) -> &str {
    let text = description.strip_prefix(DESCRIBED).unwrap_or_default();
    text.rsplit_once(" (").map_or(text, |(source, _)| source)
}

/// The identity as names and descriptions have it.
pub(crate) fn mark(machine: &str) -> String {
    format!(" ({})", &machine[..NAME_DIGITS])
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn a_default_name_is_one_that_ec2_takes() {
        assert_eq!(default_name("nginx:1.27", ID), "nginx-1.27-0123456789ab");
        assert_eq!(default_name("docker.io/library/web@sha256:12", ID), "docker.io/library/web@sha256-12-0123456789ab");
        assert_eq!(default_name("", ID), "nanoos-0123456789ab");
        let long = default_name(&"x".repeat(500), ID);
        assert!(long.len() + "-999".len() <= LONGEST_NAME && long.ends_with("-0123456789ab"), "{long}");
    }
}
