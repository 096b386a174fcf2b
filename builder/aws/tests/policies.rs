//! docs/aws-policies.md allows what the code calls, and nothing else.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Services whose actions the code names.
const SERVICES: [&str; 4] = ["ebs", "ec2", "ssm", "sts"];
/// Needs no policy ("Actions, resources, and condition keys for AWS Security Token Service").
const OPEN: &str = "sts:GetCallerIdentity";

/// Actions that are named by a literal of their own, such as `"ec2:RunInstances"`.
fn actions(source: &str) -> impl Iterator<Item = String> {
    source
        .split('"')
        .filter(|literal| {
            literal.split_once(':').is_some_and(|(service, name)| {
                let word = name.starts_with(|c: char| c.is_ascii_uppercase())
                    && name.bytes().all(|b| b.is_ascii_alphanumeric());
                SERVICES.contains(&service) && word
            })
        })
        .map(ToOwned::to_owned)
}

fn called() -> BTreeSet<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut called = BTreeSet::new();
    for file in fs::read_dir(directory).unwrap() {
        let source = fs::read_to_string(file.unwrap().path()).unwrap();
        let code = source.split("#[cfg(test)]").next().unwrap_or_default();
        called.extend(actions(code));
    }
    called
}

/// The policies by their headings.
fn policies() -> BTreeMap<String, Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/aws-policies.md");
    let text = fs::read_to_string(path).unwrap();
    let mut policies = BTreeMap::new();
    for section in text.split("\n## ").skip(1) {
        let heading = section.lines().next().unwrap().to_owned();
        let blocks: Vec<&str> =
            section.split("```json\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
        assert_eq!(blocks.len(), 1, "{heading} has one policy");
        let policy = serde_json::from_str(blocks[0]).unwrap_or_else(|error| panic!("{heading}: {error}"));
        assert!(policies.insert(heading, policy).is_none());
    }
    policies
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(one) => vec![one.clone()],
        Value::Array(all) => all.iter().map(|one| one.as_str().unwrap().to_owned()).collect(),
        other => panic!("{other} is no text"),
    }
}

#[test]
fn every_action_of_the_code_is_in_a_policy_and_no_policy_has_others() {
    let mut called = called();
    assert!(called.len() > 20, "{called:?}");
    assert!(called.remove(OPEN));
    let mut allowed = BTreeSet::new();
    for (heading, policy) in policies() {
        for statement in policy["Statement"].as_array().unwrap() {
            let actions = texts(&statement["Action"]);
            assert!(actions.iter().all(|action| !action.contains('*')), "{heading}: {actions:?}");
            allowed.extend(actions.into_iter().filter(|action| !action.starts_with("kms:")));
        }
    }
    let (lacking, idle): (Vec<_>, Vec<_>) =
        (called.difference(&allowed).collect(), allowed.difference(&called).collect());
    assert!(lacking.is_empty(), "no policy allows {lacking:?}");
    assert!(idle.is_empty(), "nothing calls {idle:?}");
}

#[test]
fn every_policy_is_one() {
    let policies = policies();
    assert_eq!(policies.len(), 9);
    for (heading, policy) in policies {
        assert_eq!(policy["Version"], "2012-10-17", "{heading}");
        for statement in policy["Statement"].as_array().unwrap() {
            assert_eq!(statement["Effect"], "Allow", "{heading}");
            assert!(!texts(&statement["Action"]).is_empty(), "{heading}");
            for resource in texts(&statement["Resource"]) {
                assert!(resource == "*" || resource.starts_with("arn:aws:"), "{heading}: {resource}");
            }
            let known = ["Effect", "Action", "Resource", "Condition"];
            let keys = statement.as_object().unwrap().keys();
            assert!(keys.into_iter().all(|key| known.contains(&key.as_str())), "{heading}: {statement}");
        }
    }
}
