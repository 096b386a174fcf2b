//! Programs with their arguments as options take them: word by word, or as a JSON array, as a Dockerfile's exec form.

/// One occurrence of `--entrypoint` or `--cmd`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Words {
    /// One word, whatever is in it.
    One(String),
    /// A JSON array: all of them.
    All(Vec<String>),
}

impl std::str::FromStr for Words {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.starts_with('[') {
            return Ok(Words::One(text.to_owned()));
        }
        let words: Vec<String> = serde_json::from_str(text).map_err(|_| {
            r#"what starts with [ is a JSON array of strings, as ["nginx", "-g", "daemon off;"]"#.to_owned()
        })?;
        if words.iter().any(|word| word.contains('\0')) {
            return Err("it has a NUL byte, which no program can be given".to_owned());
        }
        Ok(Words::All(words))
    }
}

/// All occurrences as one list; `None` where there is none. A single empty word is the empty list, as
/// `docker run --entrypoint ''` has it.
#[must_use]
pub fn list(occurrences: &[Words]) -> Option<Vec<String>> {
    match occurrences {
        [] => None,
        [Words::One(word)] if word.is_empty() => Some(Vec::new()),
        _ => {
            let words = occurrences.iter().flat_map(|occurrence| match occurrence {
                Words::One(word) => vec![word.clone()],
                Words::All(words) => words.clone(),
            });
            Some(words.collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(texts: &[&str]) -> Option<Vec<String>> {
        list(&texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>())
    }

    #[test]
    fn words_stand_alone_or_in_an_array() {
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[""]), Some(vec![]));
        assert_eq!(read(&["/bin/sh"]).unwrap(), ["/bin/sh"]);
        assert_eq!(read(&["-c", "echo a b"]).unwrap(), ["-c", "echo a b"]);
        assert_eq!(read(&[r#"["a b", ""]"#]).unwrap(), ["a b", ""]);
        assert_eq!(read(&["[]"]), Some(vec![]));
        for bad in ["[", "[1]", r#"["a"] b"#, r#"["\u0000"]"#] {
            assert!(bad.parse::<Words>().is_err(), "{bad}");
        }
    }
}
