//! Ranges of versions, as package.json (npm's grammar), pyproject.toml (PEP 440) and Poetry write them, and the tag of an
//! image that is in one.

/// Major, minor, patch. What is marked as a pre-release counts as its release.
type Version = [u32; 3];

/// Versions from the first to before the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    from: Version,
    to: Version,
}

const ALL: Span = Span { from: [0; 3], to: [u32::MAX; 3] };

impl Span {
    fn and(self, other: Span) -> Option<Span> {
        let span = Span { from: self.from.max(other.from), to: self.to.min(other.to) };
        (span.from < span.to).then_some(span)
    }
}

/// A set of versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range(Vec<Span>);

impl Range {
    /// Reads alternatives (`||`) of comparisons that hold together (separated by spaces or commas), or `A - B`.
    ///
    /// A short version stands for all that begin with it: `<=3.11` has 3.11.9, too, which is what people mean.
    pub(super) fn parse(text: &str) -> Option<Range> {
        let mut spans = Vec::new();
        for alternative in text.split("||") {
            spans.extend(all_of(alternative.trim())?);
        }
        Some(Range(spans))
    }

    /// The tag of an image in this range: that of the first of these release lines that has a version in it, `20`, or a
    /// longer one where the range ends within the line, `20.11`.
    pub(super) fn tag(&self, lines: &[&[u32]]) -> Option<String> {
        lines.iter().find_map(|line| {
            let whole = starting_with(line)?;
            let to = self.0.iter().filter_map(|span| span.and(whole)).map(|span| span.to).max()?;
            let newest = match to {
                to if to == whole.to => line.to_vec(),
                [major, 0, 0] => vec![major.saturating_sub(1)],
                [major, minor, 0] => vec![major, minor.saturating_sub(1)],
                [major, minor, patch] => vec![major, minor, patch.saturating_sub(1)],
            };
            Some(newest.iter().map(u32::to_string).collect::<Vec<_>>().join("."))
        })
    }
}

/// Comparisons that hold together.
fn all_of(text: &str) -> Option<Vec<Span>> {
    if let Some((from, to)) = text.split_once(" - ") {
        let (from, to) = (starting_with(&numbers(from.trim())?)?, starting_with(&numbers(to.trim())?)?);
        return Some(Span { from: from.from, to: to.to }.and(ALL).into_iter().collect());
    }
    let mut spans = vec![ALL];
    let mut operator = String::new();
    for word in text.split([' ', '\t', ',']).filter(|word| !word.is_empty()) {
        let version = word.trim_start_matches(['<', '>', '=', '~', '^', '!']);
        operator.push_str(&word[..word.len() - version.len()]);
        if version.is_empty() {
            continue;
        }
        let holds = compared(&operator, &numbers(version)?)?;
        spans = spans.iter().flat_map(|span| holds.iter().filter_map(|other| span.and(*other))).collect();
        operator.clear();
    }
    operator.is_empty().then_some(spans)
}

/// The versions for which one comparison holds.
fn compared(operator: &str, numbers: &[u32]) -> Option<Vec<Span>> {
    let like = starting_with(numbers)?;
    let until = |position: usize| Some(vec![Span { from: like.from, to: after(numbers, position)? }]);
    match operator {
        "" | "=" | "==" | "===" => Some(vec![like]),
        ">=" => Some(vec![Span { to: ALL.to, ..like }]),
        ">" => Some(vec![Span { from: like.to, to: ALL.to }]),
        "<" => Some(vec![Span { from: ALL.from, to: like.from }]),
        "<=" => Some(vec![Span { from: ALL.from, to: like.to }]),
        "!=" => Some(vec![Span { from: ALL.from, to: like.from }, Span { from: like.to, to: ALL.to }]),
        _ if numbers.is_empty() => Some(vec![ALL]),
        "^" => until(numbers.iter().position(|&number| number != 0).unwrap_or(numbers.len() - 1)),
        "~" | "~>" => until(1.min(numbers.len() - 1)),
        "~=" => until(numbers.len().saturating_sub(2)),
        _ => None,
    }
}

/// All versions that begin with these numbers.
fn starting_with(numbers: &[u32]) -> Option<Span> {
    if numbers.is_empty() {
        return Some(ALL);
    }
    let mut from = [0; 3];
    from.iter_mut().zip(numbers).for_each(|(part, number)| *part = *number);
    Some(Span { from, to: after(numbers, numbers.len().min(3) - 1)? })
}

/// The first version after all that have these numbers up to the one at `position`.
fn after(numbers: &[u32], position: usize) -> Option<Version> {
    let mut version = [0; 3];
    version.iter_mut().zip(numbers).take(position + 1).for_each(|(part, number)| *part = *number);
    let last = version.get_mut(position)?;
    *last = last.checked_add(1)?;
    Some(version)
}

/// The numbers of `v20.11.x`; none of `*`.
fn numbers(version: &str) -> Option<Vec<u32>> {
    let version = version.strip_prefix(['v', 'V']).unwrap_or(version);
    let release = version.split(['-', '+']).next()?;
    let mut numbers = Vec::new();
    for part in release.split('.') {
        if matches!(part, "x" | "X" | "*") {
            break;
        }
        if numbers.len() == 3 {
            return None;
        }
        numbers.push(part.parse().ok()?);
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &[&[u32]] = &[&[24], &[26], &[22], &[20], &[18]];

    #[test]
    fn ranges_of_npm_lead_to_tags() {
        for (range, tag) in [
            ("", Some("24")),
            ("*", Some("24")),
            (">=18", Some("24")),
            (">= 18.0.0", Some("24")),
            (">=18 <21", Some("20")),
            (">=18 <=20", Some("20")),
            (">25", Some("26")),
            ("<20", Some("18")),
            ("20", Some("20")),
            ("20.x", Some("20")),
            ("v20.11.1", Some("20.11.1")),
            ("=20.11.1", Some("20.11.1")),
            ("20.11.X", Some("20.11")),
            ("^20.11.1", Some("20")),
            ("~20.11.1", Some("20.11")),
            ("~20", Some("20")),
            ("~> 20.3", Some("20.3")),
            ("18 - 20", Some("20")),
            ("18.2.0 - 20.4.1", Some("20.4.1")),
            ("^18.18.0 || ^20.9.0 || >=21.1.0", Some("24")),
            ("18 || 20", Some("20")),
            ("20.0.0-rc.1", Some("20.0.0")),
            (">=99", None),
            ("<18", None),
            (">=20 <20", None),
            ("lts/*", None),
            (">=", None),
            ("20.1.2.3", None),
            ("99999999999999999999", None),
            ("4294967295", None),
        ] {
            assert_eq!(Range::parse(range).and_then(|range| range.tag(LINES)).as_deref(), tag, "{range}");
        }
    }

    #[test]
    fn ranges_of_python_lead_to_tags() {
        let lines: &[&[u32]] = &[&[3, 13], &[3, 14], &[3, 12], &[3, 11], &[3, 10]];
        for (range, tag) in [
            (">=3.10", Some("3.13")),
            (">=3.10,<3.13", Some("3.12")),
            (">=3.9, !=3.9.7, <3.12", Some("3.11")),
            (">=3.10,!=3.13.*", Some("3.14")),
            ("==3.11.*", Some("3.11")),
            ("==3.11.4", Some("3.11.4")),
            ("~=3.11", Some("3.13")),
            ("~=3.11.2", Some("3.11")),
            ("<=3.11", Some("3.11")),
            ("^3.12", Some("3.13")),
            (">3.13", Some("3.14")),
            ("3.12", Some("3.12")),
            ("<3", None),
            ("pypy3.10", None),
        ] {
            assert_eq!(Range::parse(range).and_then(|range| range.tag(lines)).as_deref(), tag, "{range}");
        }
    }

    proptest::proptest! {
        /// Any version that an exact range names is the tag, and no text makes the reader panic.
        #[test]
        fn an_exact_version_is_its_own_tag(minor in 0..u32::MAX, patch in 0..u32::MAX, text in ".*") {
            let _ = Range::parse(&text).and_then(|range| range.tag(LINES));
            let version = format!("20.{minor}.{patch}");
            let tag = Range::parse(&version).and_then(|range| range.tag(LINES));
            proptest::prop_assert_eq!(tag, Some(version));
        }
    }
}
