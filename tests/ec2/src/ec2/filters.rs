//! Filters of Describe operations, and their pages.

use super::params::{Params, invalid};
use crate::blocks::digest;
use crate::refusal::Refusal;
use crate::server::Call;
use crate::state::Tags;

/// A filter: a name and the values of which one has to match.
#[derive(Debug)]
pub(crate) struct Filter {
    name: String,
    values: Vec<String>,
}

/// Values at one filter at most.
const MOST_VALUES: usize = 200;

/// Reads the filters of a request, which may have these names (and `tag:KEY`, `tag-key`).
pub(crate) fn parse(params: &Params, names: &[&str]) -> Result<Vec<Filter>, Refusal> {
    let mut filters = Vec::new();
    for group in params.groups("Filter") {
        let (name, values) = (group.required("Name")?.to_owned(), group.list("Value"));
        if !names.contains(&name.as_str()) && name != "tag-key" && !name.starts_with("tag:") {
            return Err(Refusal::ec2("InvalidParameterValue", format!("The filter '{name}' is invalid")));
        }
        if values.is_empty() {
            return Err(Refusal::ec2("InvalidParameterValue", format!("The filter '{name}' has no value")));
        }
        if values.len() > MOST_VALUES {
            return Err(Refusal::ec2("FilterLimitExceeded", "The maximum number of filter values is 200"));
        }
        filters.push(Filter { name, values });
    }
    Ok(filters)
}

/// Whether something passes all filters. `field` gives what it has under a filter's name.
pub(crate) fn pass(filters: &[Filter], tags: &Tags, field: impl Fn(&str) -> Option<String>) -> bool {
    filters.iter().all(|Filter { name, values }| {
        let found: Vec<String> = match name.strip_prefix("tag:") {
            Some(key) => tags.get(key).cloned().into_iter().collect(),
            None if name == "tag-key" => tags.keys().cloned().collect(),
            None => field(name).into_iter().collect(),
        };
        found.iter().any(|found| values.iter().any(|value| like(value, found)))
    })
}

/// `*` and `?` as EC2's filters have them.
fn like(pattern: &str, text: &str) -> bool {
    let Some(first) = pattern.chars().next() else { return text.is_empty() };
    let rest = &pattern[first.len_utf8()..];
    if first == '*' {
        return like(rest, text) || text.chars().next().is_some_and(|next| like(pattern, &text[next.len_utf8()..]));
    }
    text.chars().next().is_some_and(|next| (first == '?' || first == next) && like(rest, &text[next.len_utf8()..]))
}

/// The page of a list that is asked for, and the token of the next one.
pub(crate) fn page<T>(call: &Call<'_>, items: Vec<T>, least: usize) -> Result<(Vec<T>, Option<String>), Refusal> {
    let secret = call.world().secret.clone();
    let action = call.params.get("Action").unwrap_or("");
    let seal = |offset: &str| {
        let mac = digest(format!("{secret}/{action}/{offset}").as_bytes());
        mac[..8].iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let mut most = call.rules().page.max(1);
    if let Some(asked) = call.params.number("MaxResults")? {
        let asked = usize::try_from(asked).unwrap_or(usize::MAX);
        if asked < least {
            let text = asked.to_string();
            return Err(invalid("MaxResults", &text));
        }
        most = most.min(asked);
    }
    let mut first = 0_usize;
    if let Some(token) = call.params.get("NextToken") {
        let offset = token.split_once('-').filter(|(offset, mac)| *mac == seal(offset));
        let offset = offset.and_then(|(offset, _)| offset.parse().ok());
        first = offset.ok_or_else(|| Refusal::ec2("InvalidNextToken", "The provided NextToken is invalid."))?;
    }
    let end = first.saturating_add(most);
    let next = (items.len() > end).then(|| format!("{end}-{}", seal(&end.to_string())));
    Ok((items.into_iter().skip(first).take(most).collect(), next))
}

#[cfg(test)]
mod tests {
    use super::like;

    #[test]
    fn wildcards_match_as_in_ec2() {
        for (pattern, text) in [("*", ""), ("a*c", "abbc"), ("a?c", "abc"), ("é*", "éa")] {
            assert!(like(pattern, text), "{pattern} {text}");
        }
        assert!(!like("a?c", "ac"));
        assert!(!like("a", "ab"));
    }
}
