//! The keys of nanoos.toml: the long options of the commands that take a project, as clap knows them.

use super::Cli;
use clap::builder::PossibleValue;
use clap::{Arg, ArgAction, Command, CommandFactory};
use serde_json::{Value, json};
use std::any::TypeId;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The subcommands that read nanoos.toml, beside the build itself.
const COMMANDS: &[&str] = &["create", "run", "init", "update"];
/// The long options that are no keys: they do something else than what the command is for.
const NO_KEYS: &[&str] = &["help", "version", "schema", "containerfile"];
/// The heading of the options that mean nothing to a disk image, but for the name.
const EC2: &str = "Publishing to EC2";

/// What a key may have as its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// true or false: the option stands there or not.
    Flag,
    /// true or false, or yes or no.
    YesNo,
    /// One text or number.
    One,
    /// One, or a list of them.
    Many,
    /// The same, where a list is one command line: `--cmd`.
    Words,
    /// The same, or a table of names and values: `--env`.
    Pairs,
}

impl Shape {
    /// That of an option.
    pub(crate) fn of(option: &Arg) -> Self {
        let value = option.get_value_names().and_then(|names| names.first()).map_or("", |name| name.as_str());
        match option.get_action() {
            ArgAction::Set if option.get_num_args().is_some_and(|number| number.min_values() == 0) => Shape::YesNo,
            ArgAction::Set => Shape::One,
            ArgAction::Append if value.ends_with("|JSON") => Shape::Words,
            ArgAction::Append if value.contains('=') => Shape::Pairs,
            ArgAction::Append => Shape::Many,
            _ => Shape::Flag,
        }
    }

    /// What it takes, for people.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Shape::Flag => "true or false",
            Shape::YesNo => "true or false, or \"yes\" or \"no\"",
            Shape::One => "a text or a number",
            Shape::Many => "a text or a number, or a list of them",
            Shape::Words => "a text, or a list of them",
            Shape::Pairs => "a table, or a list of texts",
        }
    }

    /// What it takes, as JSON Schema.
    fn schema(self, option: &Arg) -> Value {
        let names: Vec<String> = names(&option.get_possible_values());
        let one = if names.is_empty() { json!({ "type": ["string", "number"] }) } else { json!({ "enum": names }) };
        match self {
            Shape::Flag => json!({ "type": "boolean" }),
            Shape::YesNo => json!({ "enum": [true, false, "yes", "no"] }),
            Shape::One => one,
            Shape::Many | Shape::Words => json!({ "anyOf": [one, { "type": "array", "items": one }] }),
            Shape::Pairs => {
                let values = json!({ "type": ["string", "number", "boolean"] });
                let table = json!({ "type": "object", "additionalProperties": values });
                let text = json!({ "type": "string" });
                json!({ "anyOf": [table, text, { "type": "array", "items": text }] })
            }
        }
    }
}

fn names(values: &[PossibleValue]) -> Vec<String> {
    values.iter().filter(|value| !value.is_hide_set()).map(|value| value.get_name().to_owned()).collect()
}

/// The whole command line, with all that clap works out itself.
pub(crate) fn command_line() -> Command {
    let mut command = Cli::command();
    command.build();
    command
}

/// The commands that read nanoos.toml.
pub(crate) fn commands(root: &Command) -> impl Iterator<Item = &Command> {
    std::iter::once(root).chain(COMMANDS.iter().filter_map(|name| root.find_subcommand(name)))
}

/// The options of a command that are keys.
pub(crate) fn options(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|option| long(option).is_some_and(|name| !NO_KEYS.contains(&name)))
}

/// Every key, with the option that explains it.
pub(crate) fn keys(root: &Command) -> BTreeMap<&str, &Arg> {
    let mut keys = BTreeMap::new();
    for option in commands(root).flat_map(options) {
        keys.entry(long(option).unwrap_or_default()).or_insert(option);
    }
    keys
}

/// An option's long name, which is its key.
pub(crate) fn long(option: &Arg) -> Option<&str> {
    option.get_long().filter(|_| !option.is_hide_set())
}

/// Whether an option means nothing to a disk image.
pub(crate) fn is_of_ec2(option: &Arg) -> bool {
    option.get_help_heading() == Some(EC2) && long(option) != Some("name")
}

/// Whether an option's value is a path of this machine.
pub(crate) fn is_path(option: &Arg) -> bool {
    option.get_value_parser().type_id() == TypeId::of::<PathBuf>()
}

/// The JSON Schema of nanoos.toml: what editors complete and check it by.
pub(crate) fn schema() -> Value {
    let root = command_line();
    let property = |(name, option): (&&str, &&Arg)| {
        let mut schema = Shape::of(option).schema(option);
        let help = option.get_help().map(ToString::to_string).unwrap_or_default();
        if let Some(fields) = schema.as_object_mut() {
            fields.insert("description".to_owned(), help.into());
        }
        ((*name).to_owned(), schema)
    };
    let properties: serde_json::Map<String, Value> = keys(&root).iter().map(property).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "nanoos.toml",
        "description": "How builder makes a project into a machine. The keys are the long options of the command line.",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_of_a_build_is_a_key_of_its_shape() {
        let root = command_line();
        let keys = keys(&root);
        let shape = |name: &str| Shape::of(keys[name]);
        assert_eq!((shape("read-only"), shape("pid1"), shape("swap")), (Shape::Flag, Shape::YesNo, Shape::One));
        assert_eq!((shape("region"), shape("cmd"), shape("port")), (Shape::Many, Shape::Words, Shape::Many));
        for name in ["env", "sysctl", "tag", "ulimit"] {
            assert_eq!(shape(name), Shape::Pairs, "{name}");
        }
        assert!(is_path(keys["env-file"]) && is_path(keys["kernel"]) && !is_path(keys["workdir"]));
        assert!(is_of_ec2(keys["region"]) && is_of_ec2(keys["verify"]) && !is_of_ec2(keys["name"]));
        assert!(!keys.contains_key("help") && !keys.contains_key("version"));
        for option in root.get_arguments().filter(|option| !option.is_positional()) {
            let name = option.get_long().expect("an option without a long name is no key");
            assert!(keys.contains_key(name) || NO_KEYS.contains(&name), "{name}");
        }
    }

    #[test]
    fn the_schema_says_what_each_key_takes() {
        let schema = schema();
        assert_eq!(schema["additionalProperties"], false);
        let property = |name: &str| {
            let mut property = schema["properties"][name].clone();
            let description = property.as_object_mut().unwrap().remove("description").unwrap();
            assert!(!description.as_str().unwrap().is_empty(), "{name}");
            property
        };
        assert_eq!(property("read-only"), json!({ "type": "boolean" }));
        assert_eq!(property("swap"), json!({ "type": ["string", "number"] }));
        assert_eq!(property("pid1"), json!({ "enum": [true, false, "yes", "no"] }));
        assert_eq!(property("format"), json!({ "enum": ["raw", "qcow2", "vmdk", "vhd", "tar.gz"] }));
        assert_eq!(property("env")["anyOf"][0]["additionalProperties"]["type"], json!(["string", "number", "boolean"]));
        for name in schema["properties"].as_object().unwrap().keys() {
            property(name);
        }
    }
}
