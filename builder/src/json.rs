//! JSON as Go's programs read it (encoding/json, `Unmarshal`): the names of fields count in any case, and of several
//! values of a field the last. An image that Docker runs may have been written by anything, and means here what it
//! means there.

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::{Error, Map, Value};
use std::cell::Cell;
use std::fmt;

/// Fields whose keys are data, and no names of fields.
const DATA: &[&str] = &["annotations", "exposedports", "volumes"];
/// Free notes that may have MiBs, and are not read.
const LABELS: &str = "labels";
/// Values of a document at most. The smallest, of three bytes, may take 700 in memory; an index of ten thousand images has
/// fewer.
const MOST_VALUES: u32 = 100_000;

/// Reads a document. Types name their fields in lower case.
///
/// # Errors
/// When it is no JSON, or has other values than the type, or too many.
pub fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let value = Fold { names: true, left: &Cell::new(MOST_VALUES) }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    T::deserialize(value)
}

/// Reads a value whose objects have each field once, by its name in lower case.
#[derive(Clone, Copy)]
struct Fold<'a> {
    /// Whether keys are names of fields.
    names: bool,
    /// How many more values the document may have.
    left: &'a Cell<u32>,
}

impl<'de> DeserializeSeed<'de> for Fold<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let left = self.left.get().checked_sub(1);
        self.left.set(left.ok_or_else(|| D::Error::custom(format!("it has more than {MOST_VALUES} values")))?);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Fold<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(value) = values.next_element_seed(self)? {
            all.push(value);
        }
        Ok(all.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(mut name) = entries.next_key::<String>()? {
            if self.names {
                name.make_ascii_lowercase();
                if name == LABELS {
                    entries.next_value::<IgnoredAny>()?;
                    continue;
                }
            }
            let names = self.names && !DATA.contains(&name.as_str());
            set(&mut fields, name, entries.next_value_seed(Fold { names, ..self })?);
        }
        Ok(fields.into())
    }
}

/// The last value counts; of objects, each of its fields.
fn set(fields: &mut Map<String, Value>, name: String, value: Value) {
    match (fields.get_mut(&name), value) {
        (Some(Value::Object(earlier)), Value::Object(later)) => {
            for (name, value) in later {
                set(earlier, name, value);
            }
        }
        (_, value) => drop(fields.insert(name, value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_count_in_any_case_and_of_several_values_the_last() {
        for (text, value) in [
            (r#"{"Cmd":["a"],"cmd":["b"],"CMD":["c"]}"#, json!({ "cmd": ["c"] })),
            (r#"{"CMD":["a"],"Cmd":["b"]}"#, json!({ "cmd": ["b"] })),
            (r#"{"cmd":["a"],"cmd":null}"#, json!({ "cmd": null })),
            (r#"{"Config":{"A":1,"B":2},"config":{"b":3}}"#, json!({ "config": { "a": 1, "b": 3 } })),
            (r#"[{"Size":18446744073709551615},{"X":-1.5}]"#, json!([{ "size": u64::MAX }, { "x": -1.5 }])),
            (r#"{"Volumes":{"/Data":{},"/data":{}}}"#, json!({ "volumes": { "/Data": {}, "/data": {} } })),
            (r#"{"Volumes":{"/A":{}},"volumes":{"/B":{}}}"#, json!({ "volumes": { "/A": {}, "/B": {} } })),
        ] {
            assert_eq!(read::<Value>(text.as_bytes()).unwrap(), value, "{text}");
        }
    }

    #[test]
    fn values_are_counted_before_they_take_memory_and_labels_are_not_read() {
        let values = |name: &str| format!(r#"{{"{name}":[{}0]}}"#, r#"{"":0},"#.repeat(MOST_VALUES as usize));
        let refusal = read::<Value>(values("x").as_bytes()).unwrap_err().to_string();
        assert!(refusal.starts_with("it has more than 100000 values"), "{refusal}");
        assert_eq!(read::<Value>(values("Labels").as_bytes()).unwrap(), json!({}));
    }

    #[test]
    fn what_is_no_json_and_has_no_end_is_refused() {
        let deep = "[".repeat(1000);
        for text in ["", "{", "{}x", r#"{"a":1,}"#, r#"{"a"}"#, &deep] {
            assert!(read::<Value>(text.as_bytes()).is_err(), "{text}");
        }
    }
}
