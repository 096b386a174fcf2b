//! An environment: a list of `KEY=VALUE` that is meant as a map. A list may have a variable twice, as images do whose
//! Dockerfile sets it twice for some builders; the last one counts then, as under Docker.

use std::collections::BTreeMap;

/// The name of an entry's variable; none where it is not `KEY=VALUE`.
#[must_use]
pub fn key(entry: &str) -> Option<&str> {
    entry.split_once('=').map(|(key, _)| key).filter(|key| !key.is_empty())
}

/// Leaves each variable once, with its last value in its first place. What is no variable stays as it is.
#[must_use]
pub fn unique(entries: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut unique: Vec<String> = Vec::new();
    for entry in entries {
        let place = key(&entry).map(|key| *places.entry(key.to_owned()).or_insert(unique.len()));
        match place.and_then(|place| unique.get_mut(place)) {
            Some(earlier) => *earlier = entry,
            None => unique.push(entry),
        }
    }
    unique
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_value_counts_in_the_place_of_the_first() {
        let entries = ["PATH=/a", "A=1", "B", "PATH=/b", "=x", "A=", "B", "=x", "AB=2"].map(str::to_owned);
        assert_eq!(unique(entries), ["PATH=/b", "A=", "B", "=x", "B", "=x", "AB=2"]);
    }

    proptest! {
        #[test]
        fn it_is_what_a_map_has(entries in proptest::collection::vec("[ab]{0,2}=?[ab=]{0,2}", 0..20)) {
            let map = |entries: &[String]| -> BTreeMap<String, String> {
                entries.iter().filter_map(|entry| Some((key(entry)?.to_owned(), entry.clone()))).collect()
            };
            let unique = unique(entries.clone());
            prop_assert_eq!(map(&unique), map(&entries));
            prop_assert_eq!(unique.iter().filter(|entry| key(entry).is_some()).count(), map(&entries).len());
        }
    }
}
