//! docs/reference.md, made from the definitions that the program itself reads. Only the test that keeps it current is
//! here.

use super::keys::{self, Shape};
use clap::{Arg, Command};
use std::fmt::Write as _;
use std::path::Path;

/// Characters of a line.
const WIDTH: usize = 120;
/// Set, it has the test write the file.
const WRITE: &str = "NANOOS_WRITE_REFERENCE";

const INTRODUCTION: &str = "\
# Reference

Every command with its options, and every key of nanoos.toml. This page is made from the definitions that `builder`
itself reads: `NANOOS_WRITE_REFERENCE=1 cargo test -p builder --bin builder the_reference_is_current` writes it anew.
";

const SETTINGS: &str = "
## nanoos.toml

A project says in `nanoos.toml`, in its directory, what would stand on the command line otherwise. The keys are the
names of the long options:

```toml
region = \"eu-central-1\"
swap = \"512M\"
read-only = true
env = { LOG = \"debug\", WORKERS = 4 }
sysctl = [\"net.core.somaxconn=4096\"]
cmd = [\"/bin/server\", \"--port\", \"80\"]
```

- The command line counts first, then the environment, then `nanoos.toml`, then the default. An option on the command
  line takes the place of the key with all that it holds, and of keys that it cannot stand beside.
- Tables are joined: `-e LOG=info` changes `LOG`, and leaves the other variables of `env` as they are.
- `true` is the option, `false` is none. A list is the option once for each of it; a list in `cmd` or `entrypoint` is
  one command line.
- Keys that mean nothing to a command are left aside: those of EC2 with `run`, and where a disk image is made.
- Paths are relative to the directory of `nanoos.toml`.
- A key that is none is an error that names the nearest one, and so is a value that the option does not take.

`builder init --schema` prints the JSON Schema of the file.

| Key | What it takes | Read by |
| --- | --- | --- |
";

/// The whole page.
fn page() -> String {
    let root = keys::command_line();
    let mut page = INTRODUCTION.to_owned();
    describe(&mut page, &root, "builder", &root);
    page.push_str(SETTINGS);
    for (name, option) in keys::keys(&root) {
        let has = |command: &&Command| keys::options(command).any(|option| keys::long(option) == Some(name));
        let readers = keys::commands(&root).filter(has).map(|command| match command.get_name() {
            "builder" => "`builder`".to_owned(),
            name => format!("`builder {name}`"),
        });
        let readers: Vec<String> = readers.collect();
        let _ = writeln!(page, "| `{name}` | {} | {} |", Shape::of(option).words(), readers.join(", "));
    }
    page
}

/// A command, and those below it. Options of the build itself are described once.
fn describe(page: &mut String, command: &Command, name: &str, root: &Command) {
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    let usage = command.clone().render_usage().to_string();
    let usage: Vec<&str> = usage.trim_start_matches("Usage:").lines().map(str::trim).collect();
    let _ = writeln!(page, "\n## {name}\n\n```text\n{}\n```\n", usage.join("\n"));
    for paragraph in about.split("\n\n") {
        let _ = writeln!(page, "{}\n", wrapped(&paragraph.replace('\n', " "), ""));
    }
    let is_of_root = |option: &Arg| {
        let same = |other: &&Arg| other.get_id() == option.get_id() && other.get_help() == option.get_help();
        !std::ptr::eq(command, root) && root.get_arguments().find(same).is_some_and(|_| !option.is_positional())
    };
    let shown = || command.get_arguments().filter(|option| !option.is_hide_set());
    let own: Vec<&Arg> = shown().filter(|option| !is_of_root(option)).collect();
    let mut headings: Vec<Option<&str>> = own.iter().map(|option| option.get_help_heading()).collect();
    headings.dedup();
    let mut told: Vec<Option<&str>> = Vec::new();
    for heading in headings {
        if told.contains(&heading) {
            continue;
        }
        told.push(heading);
        if let Some(heading) = heading {
            let _ = writeln!(page, "### {heading}\n");
        }
        for option in own.iter().filter(|option| option.get_help_heading() == heading) {
            let _ = writeln!(page, "{}", wrapped(&line(option), "  "));
        }
        page.push('\n');
    }
    let same: Vec<String> =
        shown().filter(|option| is_of_root(option)).filter_map(keys::long).map(|name| format!("`--{name}`")).collect();
    if !same.is_empty() {
        let _ = writeln!(page, "{}\n", wrapped(&format!("As of a build: {}.", same.join(", ")), ""));
    }
    while page.ends_with("\n\n") {
        page.pop();
    }
    let below = command.get_subcommands().filter(|below| below.get_name() != "help" && !below.is_hide_set());
    for below in below {
        describe(page, below, &format!("{name} {}", below.get_name()), root);
    }
}

/// An option or an argument: its names, what it does, its default, and the variable that has it.
fn line(option: &Arg) -> String {
    let value = option.get_value_names().filter(|_| option.get_action().takes_values());
    let value = value.and_then(|names| names.first()).map(ToString::to_string);
    let mut line = match (option.get_long(), &value) {
        (Some(long), None) => format!("`--{long}`"),
        (Some(long), Some(value)) if Shape::of(option) == Shape::YesNo => format!("`--{long}[={value}]`"),
        (Some(long), Some(value)) => format!("`--{long} {value}`"),
        (None, value) => format!("`{}`", value.clone().unwrap_or_else(|| option.get_id().to_string())),
    };
    if let Some(short) = option.get_short() {
        line = format!("`-{short}`, {line}");
    }
    let help = option.get_help().map(ToString::to_string).unwrap_or_default();
    let _ = write!(line, ": {}", help.replace('\n', " "));
    let defaults: Vec<_> = option.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if !defaults.is_empty() && value.is_some() {
        let _ = write!(line, " [default: {}]", defaults.join(" "));
    }
    if let Some(variable) = option.get_env() {
        let _ = write!(line, " [environment: {}]", variable.display());
    }
    format!("- {line}")
}

/// A paragraph in lines that are not too long, all but the first of them indented.
fn wrapped(text: &str, indent: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last().map_or(0, |line| line.chars().count());
        if last + 1 + word.chars().count() > WIDTH && last > indent.len() {
            lines.push(indent.to_owned());
        } else if last > 0 {
            lines.last_mut().expect("there is one").push(' ');
        }
        lines.last_mut().expect("there is one").push_str(word);
    }
    lines.join("\n")
}

#[test]
fn the_reference_is_current() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference.md");
    let page = page();
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    let differing = page.lines().zip(written.lines()).find(|(made, written)| made != written);
    assert!(page == written, "docs/reference.md is not current (set {WRITE}=1 to write it): {differing:?}");
}
