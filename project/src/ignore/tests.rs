use super::*;
use proptest::prelude::*;

#[track_caller]
fn table(rules: &str, left_out: &[&str], kept: &[&str]) {
    let read = Rules::parse(rules).unwrap();
    for path in left_out {
        assert!(read.leave_out_path(path), "{rules:?} keeps {path}");
    }
    for path in kept {
        assert!(!read.leave_out_path(path), "{rules:?} leaves out {path}");
    }
}

/// The examples of Docker's documentation, and what each says of files.
#[test]
fn dockers_documentation() {
    table(
        "# comment\n*/temp*\n*/*/temp*\ntemp?\n",
        &["somedir/temporary.txt", "somedir/temp", "somedir/temp/x", "a/subdir/temporary.txt", "tempa", "temp1"],
        &["temp", "temporary", "a/b/c/temp", "tempab", "# comment"],
    );
    table("**/*.go", &["a.go", "x/a.go", "x/y/z/a.go", "x.go/readme"], &["a.gox", "go", "x/ago"]);
    table("*.md\n!README.md", &["a.md", "CHANGELOG.md"], &["README.md", "docs/a.md"]);
    table("*.md\n!README*.md\nREADME-secret.md", &["README-secret.md", "a.md"], &["README.md", "README-2.md"]);
    table("*.md\nREADME-secret.md\n!README*.md", &["a.md"], &["README-secret.md", "README.md"]);
    table("*\n!src\n!Procfile", &["a", "b/c"], &["src/a/b", "Procfile", "src"]);
    // A leading slash means the project's root, as does none.
    table("/foo/bar", &["foo/bar", "foo/bar/x"], &["x/foo/bar", "foo/barx", "bar"]);
    table("foo/bar", &["foo/bar"], &["x/foo/bar"]);
}

#[test]
fn spaces_slashes_and_dots_are_cleaned() {
    for rules in ["a", " a ", "a/", "./a", "/a", "//a//", "x/../a", "a\r\n", "\u{feff}a", "/../a", "!a\na"] {
        table(rules, &["a", "a/b"], &["b", "x/a", "aa"]);
    }
    for rules in ["", "\n\n", ".", "/", "# a", "#a\n", "../a", "!a", "\\#a\n!#a"] {
        table(rules, &[], &["a", "#"]);
    }
    // A comment has its # in the first column.
    table(" # a", &["# a"], &["a"]);
    table("*\n! a ", &["b"], &["a"]);
}

#[test]
fn stars() {
    table("**", &["a", "a/b", ".x"], &[]);
    table("a/**", &["a/b", "a/b/c"], &["a", "ab"]);
    table("**/a", &["a", "x/a", "x/y/a", "x/a/b"], &["xa", "x/ya"]);
    table("a/**/b", &["a/b", "a/x/b", "a/x/y/b"], &["a/xb", "ab", "a"]);
    table("a**b", &["ab", "ax/b", "a/b"], &["axb"]);
    table("a**", &["a", "ab", "a/b", "ab/c"], &["b"]);
    table("**/*.py[co]", &["a.pyc", "x/y/a.pyo"], &["a.py", "a.pyx"]);
    table("*/", &["a", "a/b"], &[]);
    table("**/**/a", &["a", "x/a"], &["xa"]);
    table("a?c", &["abc", "aéc"], &["a/c", "ac", "abbc"]);
    table("a.c", &["a.c"], &["abc"]);
    table("{a,b}", &["{a,b}"], &["a", "b"]);
    // As a regular expression with steps back it would not end.
    let slow = "**/*a".repeat(30) + "b";
    table(&slow, &[], &[&"a/a".repeat(500)]);
}

#[test]
fn classes_and_escapes() {
    table("[a-c]x", &["ax", "cx"], &["dx", "x", "[a-c]x"]);
    table("[^a-c]x", &["dx", "-x"], &["ax"]);
    table(r"[a\-z]x", &["ax", "-x", "zx"], &["bx"]);
    table(r"[\]]x", &["]x"], &["x"]);
    table(r"\*x", &["*x"], &["ax"]);
    table(r"a\b", &["ab"], &[r"a\b"]);
    table("a]", &["a]"], &[]);
}

#[test]
fn what_docker_refuses_is_refused_with_its_line() {
    let refused = |rules: &str| Rules::parse(rules).unwrap_err().to_string();
    assert_eq!(refused("# x\n\n!"), "line 3: there is no pattern behind the !");
    assert_eq!(refused("a\n! "), "line 2: there is no pattern behind the !");
    assert_eq!(refused("[a"), "line 1: a [ has no ] behind it");
    assert_eq!(refused("[a-"), "line 1: a [ has no ] behind it");
    assert_eq!(refused("["), "line 1: a [ has no ] behind it");
    assert_eq!(refused("[]a]"), "line 1: a ] or - in [ ] is written with a \\ before it");
    assert_eq!(refused("[b-a]"), "line 1: a range in [ ] runs backwards");
    assert_eq!(refused("a\\"), "line 1: a \\ at its end escapes nothing");
}

#[test]
fn rules_are_bounded() {
    let rules = |count: usize| "# not counted\n\n".to_owned() + &"a\n".repeat(count);
    assert!(Rules::parse(&rules(MOST)).is_ok());
    let refused = Rules::parse(&rules(MOST + 1)).unwrap_err().to_string();
    assert_eq!(refused, format!("line 10003: {TOO_MANY}"));
}

#[test]
fn a_directory_is_entered_only_where_a_rule_may_take_in_something_of_it() {
    let may_keep = |rules: &str, directory: &str| {
        let rules = Rules::parse(rules).unwrap();
        let (is_left_out, matched) = rules.leave_out(directory, &Matched::default());
        assert!(is_left_out);
        rules.may_keep_below(directory, &matched)
    };
    assert!(!may_keep("node_modules", "node_modules"));
    assert!(!may_keep("*\n!src\n!srcs/x", "node_modules"));
    assert!(!may_keep("!a/b\na", "a"), "the last one counts for all below");
    assert!(may_keep("a\n!a/b", "a"));
    assert!(may_keep("*\n!**/*.md", "a"));
    assert!(may_keep("*\n!a?/x\n!*/x", "b"));
    assert!(!may_keep("*\n!ab", "a"));
}

proptest! {
    /// Against the plainest way to say it: every way to read `*`, `?` and `**`.
    #[test]
    fn patterns_match_as_their_definition(pattern in "(a|b|/|\\*|\\?|\\*\\*/){1,6}", path in "[ab]{1,2}(/[ab]{1,2}){0,3}") {
        fn slow(pattern: &[char], path: &[char]) -> bool {
            match pattern {
                [] => path.is_empty(),
                ['*', '*'] => true,
                ['*', '*', rest @ ..] => {
                    let rest = rest.strip_prefix(&['/']).unwrap_or(rest);
                    if rest.is_empty() {
                        return true;
                    }
                    let after_slash = (0..path.len()).filter(|at| path[*at] == '/').any(|at| slow(rest, &path[at + 1..]));
                    slow(rest, path) || after_slash
                }
                ['*', rest @ ..] => (0..=path.len()).take_while(|at| !path[..*at].contains(&'/')).any(|at| slow(rest, &path[at..])),
                ['?', rest @ ..] => path.first().is_some_and(|first| *first != '/') && slow(rest, &path[1..]),
                [first, rest @ ..] => path.first() == Some(first) && slow(rest, &path[1..]),
            }
        }
        let clean = clean(&pattern);
        let (clean, path_chars): (Vec<char>, Vec<char>) = (clean.chars().collect(), path.chars().collect());
        let ends = (1..=path_chars.len()).filter(|end| path_chars.get(*end).is_none_or(|next| *next == '/'));
        let expected = !clean.is_empty() && ends.clone().any(|end| slow(&clean, &path_chars[..end]));
        prop_assert_eq!(Rules::parse(&pattern).unwrap().leave_out_path(&path), expected);
    }

    #[test]
    fn no_text_makes_it_panic(text in "[a!#/.*?\\\\\\[\\]^\\- \n-]{0,40}", path in "[a/.]{1,20}") {
        if let Ok(rules) = Rules::parse(&text) {
            rules.leave_out_path(&path);
        }
    }
}
