//! What `.nanoosignore` and `.dockerignore` say, by [Docker's
//! rules](https://docs.docker.com/build/concepts/context/#dockerignore-files): one pattern a line, from the project's
//! root; what a pattern matches is left out with all that is below it; `!` takes it in again; the last pattern that
//! matches counts.

use thiserror::Error;

/// The names of the files that hold the rules: the first that is there counts alone.
pub const FILES: &[&str] = &[OWN, ".dockerignore"];
/// The name of the file that is written for us, and for nothing else.
pub const OWN: &str = ".nanoosignore";
/// Rules of a file: each is tried with every path of the project.
const MOST: usize = 10_000;
const TOO_MANY: &str = "there are more than 10,000 rules: name directories, or use * and **, in place of single files";

/// The rules of a file, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    /// Whether it takes in again (`!`).
    keeps: bool,
    pattern: Vec<Token>,
}

/// A part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// This character.
    Is(char),
    /// `?`: any but `/`.
    Any,
    /// `*`: none or more that are not `/`.
    Star,
    /// `**/`: nothing, or anything that ends in `/`.
    Directories,
    /// `**` at the end: anything.
    Rest,
    /// `[a-z]`: a character of these ranges, or none of these.
    Class { negated: bool, ranges: Vec<(char, char)> },
}

/// A line that is no pattern, or one too many.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {problem}")]
pub struct BadPattern {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: &'static str,
}

/// Which rules match a directory, or one above it: what is below it starts from there.
#[derive(Debug, Clone, Default)]
pub struct Matched(Vec<bool>);

impl Rules {
    /// Reads the text of such a file.
    ///
    /// # Errors
    /// Names the first line that is no pattern, or that is one too many.
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        let mut rules = Vec::new();
        let lines = text.trim_start_matches('\u{feff}').lines().enumerate();
        for (index, text) in lines.filter(|(_, text)| !text.starts_with('#')) {
            let failed = |problem: &'static str| BadPattern { line: index + 1, problem };
            let Some(rule) = Rule::parse(text.trim()).map_err(failed)? else { continue };
            if rules.len() == MOST {
                return Err(failed(TOO_MANY));
            }
            rules.push(rule);
        }
        Ok(Rules { rules })
    }

    /// Whether they leave out a path relative to the project's root, where `parent` is of the directory that it is in;
    /// and what is to be known of it for what is below it.
    #[must_use]
    pub fn leave_out(&self, path: &str, parent: &Matched) -> (bool, Matched) {
        let mut is_left_out = false;
        let mut matched = Vec::with_capacity(self.rules.len());
        for (index, rule) in self.rules.iter().enumerate() {
            let matches = parent.0.get(index).copied().unwrap_or_default() || matches(&rule.pattern, path);
            if matches {
                is_left_out = !rule.keeps;
            }
            matched.push(matches);
        }
        (is_left_out, Matched(matched))
    }

    /// Whether they may take in again something below a directory that they leave out.
    #[must_use]
    pub fn may_keep_below(&self, directory: &str, matched: &Matched) -> bool {
        // What the last one that matches the directory says of it holds for all below, whatever stands before it.
        let outdone = matched.0.iter().rposition(|matches| *matches).map_or(0, |last| last + 1);
        self.rules.iter().skip(outdone).any(|rule| rule.keeps && rule.may_match_below(directory))
    }

    /// Whether they leave out a path, whatever holds it.
    #[cfg(test)]
    fn leave_out_path(&self, path: &str) -> bool {
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        ends.fold((false, Matched::default()), |(_, parent), end| self.leave_out(&path[..end], &parent)).0
    }
}

impl Rule {
    fn parse(text: &str) -> Result<Option<Self>, &'static str> {
        if text.is_empty() {
            return Ok(None);
        }
        let (keeps, text) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest.trim()));
        if text.is_empty() {
            return Err("there is no pattern behind the !");
        }
        match clean(text).as_str() {
            // The project itself: Docker has no effect of it, either.
            "" => Ok(None),
            text => Ok(Some(Rule { keeps, pattern: tokens(text)? })),
        }
    }

    /// Whether the pattern may match something below this directory, by what it begins with.
    fn may_match_below(&self, directory: &str) -> bool {
        let directory = format!("{directory}/");
        for (token, wanted) in self.pattern.iter().zip(directory.chars()) {
            match token {
                Token::Is(character) if *character == wanted => {}
                Token::Is(_) => return false,
                _ => return true,
            }
        }
        self.pattern.len() > directory.chars().count()
    }
}

/// A pattern without its empty parts, `.`, and `..` with what stands before it.
fn clean(text: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if text.starts_with('/') => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn tokens(pattern: &str) -> Result<Vec<Token>, &'static str> {
    let mut tokens = Vec::new();
    let mut rest = pattern.chars().peekable();
    while let Some(character) = rest.next() {
        tokens.push(match character {
            '*' if rest.next_if_eq(&'*').is_some() => {
                // a**b is a, anything that ends in /, and b.
                rest.next_if_eq(&'/');
                if rest.peek().is_some() { Token::Directories } else { Token::Rest }
            }
            '*' => Token::Star,
            '?' => Token::Any,
            '\\' => Token::Is(rest.next().ok_or("a \\ at its end escapes nothing")?),
            '[' => class(&mut rest)?,
            character => Token::Is(character),
        });
    }
    Ok(tokens)
}

/// What follows a `[`, up to its `]`.
fn class(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Token, &'static str> {
    const UNENDED: &str = "a [ has no ] behind it";
    let negated = rest.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    let character = |rest: &mut std::iter::Peekable<std::str::Chars<'_>>| match rest.next().ok_or(UNENDED)? {
        '\\' => rest.next().ok_or(UNENDED),
        character => Ok(character),
    };
    loop {
        if rest.peek() == Some(&']') && !ranges.is_empty() {
            rest.next();
            return Ok(Token::Class { negated, ranges });
        }
        if matches!(rest.peek(), Some(']' | '-')) {
            return Err("a ] or - in [ ] is written with a \\ before it");
        }
        let first = character(rest)?;
        let last = if rest.next_if_eq(&'-').is_some() { character(rest)? } else { first };
        if last < first {
            return Err("a range in [ ] runs backwards");
        }
        ranges.push((first, last));
    }
}

/// Whether a pattern matches all of a path. All positions of the pattern that fit so far are kept together: the time is
/// that of the pattern's length times the path's, whatever the pattern.
fn matches(pattern: &[Token], path: &str) -> bool {
    let mut fits = vec![false; pattern.len() + 1];
    let mut next = fits.clone();
    reach(pattern, &mut fits, 0);
    for character in path.chars() {
        next.fill(false);
        for ((at, token), _) in pattern.iter().enumerate().zip(&fits).filter(|(_, fits)| **fits) {
            match token {
                Token::Is(wanted) if *wanted == character => reach(pattern, &mut next, at + 1),
                Token::Any if character != '/' => reach(pattern, &mut next, at + 1),
                Token::Class { negated, ranges } => {
                    if ranges.iter().any(|(first, last)| (*first..=*last).contains(&character)) != *negated {
                        reach(pattern, &mut next, at + 1);
                    }
                }
                Token::Star if character != '/' => reach(pattern, &mut next, at),
                Token::Rest => reach(pattern, &mut next, at),
                Token::Directories => {
                    // Within a name: what follows it can't begin here.
                    next[at] = true;
                    if character == '/' {
                        reach(pattern, &mut next, at + 1);
                    }
                }
                Token::Is(_) | Token::Any | Token::Star => {}
            }
        }
        std::mem::swap(&mut fits, &mut next);
    }
    fits.last().copied().unwrap_or_default()
}

/// Marks a position of the pattern, and those behind it where what is there may match nothing.
fn reach(pattern: &[Token], fits: &mut [bool], mut at: usize) {
    fits[at] = true;
    while matches!(pattern.get(at), Some(Token::Star | Token::Directories | Token::Rest)) {
        at += 1;
        fits[at] = true;
    }
}

#[cfg(test)]
mod tests;
