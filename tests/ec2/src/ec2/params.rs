//! Parameters of the query protocol: `BlockDeviceMapping.1.Ebs.SnapshotId=snap-…`.

use crate::refusal::Refusal;
use std::collections::BTreeMap;

/// Parameters by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Params(BTreeMap<String, String>);

impl Params {
    pub(crate) fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Params(pairs.into_iter().collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(crate) fn all(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// A parameter that has to be there.
    pub(crate) fn required(&self, name: &str) -> Result<&str, Refusal> {
        let missing = || Refusal::ec2("MissingParameter", format!("The request must contain the parameter {name}"));
        self.get(name).filter(|value| !value.is_empty()).ok_or_else(missing)
    }

    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(invalid(name, other)),
        }
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        self.get(name).map(|value| value.parse().map_err(|_| invalid(name, value))).transpose()
    }

    /// The groups `name.1.…`, `name.2.…` in their order. A value of its own (`name.1=x`) has the empty name.
    pub(crate) fn groups(&self, name: &str) -> Vec<Params> {
        let mut groups: BTreeMap<u32, Params> = BTreeMap::new();
        for (key, value) in &self.0 {
            let Some(rest) = key.strip_prefix(name).and_then(|rest| rest.strip_prefix('.')) else { continue };
            let (index, rest) = rest.split_once('.').unwrap_or((rest, ""));
            let Ok(index) = index.parse() else { continue };
            groups.entry(index).or_default().0.insert(rest.to_owned(), value.clone());
        }
        groups.into_values().collect()
    }

    /// The values of `name.1`, `name.2` in their order.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        self.groups(name).iter().filter_map(|group| group.get("").map(str::to_owned)).collect()
    }

    /// Refuses parameters that an operation does not have.
    pub(crate) fn known(&self, names: &[&str]) -> Result<(), Refusal> {
        for key in self.0.keys() {
            let top = key.split('.').next().unwrap_or("");
            if !["Action", "Version", "DryRun"].contains(&top) && !names.contains(&top) {
                return Err(Refusal::ec2("UnknownParameter", format!("The parameter {top} is not recognized")));
            }
        }
        Ok(())
    }
}

/// The refusal of a value.
pub(crate) fn invalid(name: &str, value: &str) -> Refusal {
    Refusal::ec2("InvalidParameterValue", format!("Value ({value}) for parameter {name} is invalid."))
}

#[cfg(test)]
mod tests {
    use super::Params;

    #[test]
    fn lists_and_groups_come_in_the_order_of_their_numbers() {
        let pairs = [("A.10", "x"), ("A.2", "y"), ("B.1.C.1.Key", "k"), ("B.1.D", "d")];
        let params = Params::new(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())));
        assert_eq!(params.list("A"), ["y", "x"]);
        let group = &params.groups("B")[0];
        assert_eq!(group.get("D"), Some("d"));
        assert_eq!(group.groups("C")[0].get("Key"), Some("k"));
    }
}
