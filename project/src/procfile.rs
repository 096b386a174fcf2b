//! Reads a Procfile by [Heroku's grammar](https://devcenter.heroku.com/articles/procfile): a line for each process,
//! `NAME: COMMAND`, where blank lines and lines that start with `#` mean nothing.

use std::collections::HashMap;
use thiserror::Error;

/// Characters of a process's name: what a DNS label has, as Heroku has it.
const LONGEST_NAME: usize = 63;
/// Processes of a Procfile: far more than anyone writes, and few enough for every list of them that is shown.
const MOST: usize = 1_000;

/// The processes of a Procfile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Procfile {
    /// Names and commands, in the order in which the names appear first.
    pub processes: Vec<(String, String)>,
    /// What was corrected or overridden, for the user.
    pub warnings: Vec<String>,
}

/// A line that is none of a Procfile.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("Procfile: line {line}: {problem}")]
pub struct BadLine {
    /// Its number, from 1.
    pub line: usize,
    /// What is wrong, and what to do.
    pub problem: String,
}

impl Procfile {
    /// Reads the text of a Procfile.
    ///
    /// # Errors
    /// Names the first line that is neither blank, nor a comment, nor a process, or that is a process too many.
    pub fn parse(text: &str) -> Result<Self, BadLine> {
        let mut procfile = Procfile::default();
        let mut known = HashMap::new();
        let mut previous = "";
        for (line, text) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let (line, text) = (line + 1, text.trim());
            if !text.is_empty() && !text.starts_with('#') {
                let added = process(text, previous).and_then(|process| procfile.add(process, line, &mut known));
                added.map_err(|problem| BadLine { line, problem })?;
            }
            previous = text;
        }
        if procfile.processes.is_empty() {
            procfile.warnings.push("Procfile: it names no process".to_owned());
        }
        Ok(procfile)
    }

    /// The command of a process.
    #[must_use]
    pub fn command(&self, name: &str) -> Option<&str> {
        self.processes.iter().find(|(known, _)| known == name).map(|(_, command)| command.as_str())
    }

    /// Adds a process of this line; `known` has, by name, the places in the list and the lines of those before.
    fn add(
        &mut self,
        (written, command): (&str, &str),
        line: usize,
        known: &mut HashMap<String, (usize, usize)>,
    ) -> Result<(), String> {
        let name = corrected(written);
        if name != written {
            self.warnings.push(format!("Procfile: line {line}: the process {written:?} is called {name}"));
        }
        if let Some((place, old_line)) = known.get_mut(&name) {
            let warning =
                format!("Procfile: line {line}: the process {name} was on line {old_line}, too; this one counts");
            self.warnings.push(warning);
            *old_line = line;
            if let Some((_, old)) = self.processes.get_mut(*place) {
                command.clone_into(old);
            }
            return Ok(());
        }
        if self.processes.len() == MOST {
            return Err(format!("the process {name} is one too many: a Procfile has {MOST} processes at most"));
        }
        known.insert(name.clone(), (self.processes.len(), line));
        self.processes.push((name, command.to_owned()));
        Ok(())
    }
}

/// The name, as it is written, and the command of a line; `previous` is the line before it.
fn process<'a>(text: &'a str, previous: &str) -> Result<(&'a str, &'a str), String> {
    let written = text.split_once(':').map(|(name, command)| (name, command.trim()));
    let is_named = written.is_some_and(|(name, _)| is_name(&corrected(name)));
    // The rest of a command may well hold a colon.
    if !is_named && previous.ends_with('\\') {
        return Err(
            "it looks like the rest of the line before, and commands of a Procfile have no second line".to_owned()
        );
    }
    let (name, command) = written.ok_or_else(|| format!("{} is not NAME: COMMAND", shown(text)))?;
    if !is_named {
        return Err(format!(
            "{} is no process's name: letters, digits and hyphens between them, {LONGEST_NAME} at most",
            shown(name)
        ));
    }
    if command.is_empty() {
        return Err(format!("the command of the process {name} is missing"));
    }
    if command.contains('\0') {
        return Err(format!("the command of the process {name} has a NUL byte in it"));
    }
    Ok((name, command))
}

fn corrected(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

fn is_name(name: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=LONGEST_NAME).contains(&name.len())
        && name.bytes().all(inside)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// A text that may be long, quoted for an error.
fn shown(text: &str) -> String {
    /// Characters of it.
    const SHOWN: usize = 40;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Vec<(String, String)> {
        let procfile = Procfile::parse(text).unwrap();
        assert_eq!(procfile.warnings, [""; 0], "{text:?}");
        procfile.processes
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, command)| ((*name).to_owned(), (*command).to_owned())).collect()
    }

    fn refused(text: &str) -> String {
        Procfile::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_line_is_a_process_a_comment_or_blank() {
        let text = "# what runs\n\nweb: gunicorn app:app --bind 0.0.0.0:$PORT  \n\t# not yet: never\nworker: FOO=1 node x # y\n";
        assert_eq!(
            read(text),
            pairs(&[("web", "gunicorn app:app --bind 0.0.0.0:$PORT"), ("worker", "FOO=1 node x # y")])
        );
    }

    #[test]
    fn what_other_tools_take_is_taken() {
        let cases: &[(&str, &[(&str, &str)])] = &[
            ("web:npm start", &[("web", "npm start")]),
            ("web: a\r\nworker: b\r\n", &[("web", "a"), ("worker", "b")]),
            ("\u{feff}web: a", &[("web", "a")]),
            ("  web:\ta", &[("web", "a")]),
            ("web: a \\", &[("web", "a \\")]),
            ("w: :", &[("w", ":")]),
            ("1-2: a", &[("1-2", "a")]),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text), pairs(expected), "{text:?}");
        }
        let longest = "a".repeat(63);
        assert_eq!(read(&format!("{longest}: b")), pairs(&[(&longest, "b")]));
    }

    #[test]
    fn what_is_corrected_is_said() {
        let procfile = Procfile::parse("web: a\nMy_Worker: b\n\nweb: c\nmy-worker: d\nweb: e\n").unwrap();
        assert_eq!(procfile.processes, pairs(&[("web", "e"), ("my-worker", "d")]));
        assert_eq!(procfile.command("my-worker"), Some("d"));
        assert_eq!(
            procfile.warnings,
            [
                "Procfile: line 2: the process \"My_Worker\" is called my-worker",
                "Procfile: line 4: the process web was on line 1, too; this one counts",
                "Procfile: line 5: the process my-worker was on line 2, too; this one counts",
                "Procfile: line 6: the process web was on line 4, too; this one counts",
            ]
        );
        for text in ["", "\n# web: a\n"] {
            assert_eq!(Procfile::parse(text).unwrap().warnings, ["Procfile: it names no process"]);
        }
    }

    #[test]
    fn a_bad_line_is_named_by_its_number() {
        let name = "is no process's name: letters, digits and hyphens between them, 63 at most";
        assert_eq!(refused("web: a\n\nnode server.js\n"), "Procfile: line 3: \"node server.js\" is not NAME: COMMAND");
        assert_eq!(refused("web:\r\n"), "Procfile: line 1: the command of the process web is missing");
        assert_eq!(refused("web: a\0b"), "Procfile: line 1: the command of the process web has a NUL byte in it");
        assert_eq!(refused(": a"), format!("Procfile: line 1: \"\" {name}"));
        assert_eq!(refused("web : a"), format!("Procfile: line 1: \"web \" {name}"));
        assert_eq!(refused("_web: a"), format!("Procfile: line 1: \"_web\" {name}"));
        assert_eq!(refused("wéb: a"), format!("Procfile: line 1: \"wéb\" {name}"));
        let long = "a".repeat(64);
        assert_eq!(refused(&format!("{long}: b")), format!("Procfile: line 1: {:?}… {name}", &long[..40]));
        let rest = "Procfile: line 2: it looks like the rest of the line before, and commands of a Procfile have no second line";
        assert_eq!(refused("web: node \\\n  --port 80\n"), rest);
        assert_eq!(refused("web: node \\\n  --base http://x\n"), rest);
    }

    #[test]
    fn processes_are_bounded_and_found_at_once() {
        let lines = |count: usize| (0..count).map(|number| format!("p{number}: a\n")).collect::<String>();
        assert_eq!(read(&lines(MOST)).len(), MOST);
        assert_eq!(
            refused(&lines(MOST + 1)),
            "Procfile: line 1001: the process p1000 is one too many: a Procfile has 1000 processes at most"
        );
        // As many lines as a text may have: none is compared with all processes.
        let procfile = Procfile::parse(&(lines(MOST) + &"p999: b\n".repeat(150_000))).unwrap();
        assert_eq!((procfile.processes.len(), procfile.command("p999")), (MOST, Some("b")));
        assert_eq!(procfile.warnings.len(), 150_000);
    }

    /// A line, what it is written as, and the process that it is.
    #[derive(Debug, Clone)]
    enum Line {
        Nothing(String),
        Process { name: String, command: String, written: String },
    }

    fn line() -> impl Strategy<Value = Line> {
        let nothing = "[ \t]{0,3}(#[ -~]{0,20})?".prop_map(Line::Nothing);
        // Few names, so that some come twice; a command begins and ends with no space.
        let parts = ("[ \t]{0,2}", "[ab]([-0z]{0,2}[01])?", "[ \t]{0,2}", "[!-~]([ -~]{0,20}[!-~])?", "[ \t]{0,2}");
        let process = parts.prop_map(|(before, name, between, command, after)| {
            let written = format!("{before}{name}:{between}{command}{after}");
            Line::Process { name, command, written }
        });
        prop_oneof![1 => nothing, 3 => process]
    }

    proptest! {
        #[test]
        fn it_reads_what_a_simple_model_says(lines in prop::collection::vec((line(), any::<bool>()), 0..12)) {
            let mut text = String::new();
            let mut model: Vec<(String, String)> = Vec::new();
            let mut twice = 0;
            for (line, is_crlf) in &lines {
                match line {
                    Line::Nothing(written) => text += written,
                    Line::Process { name, command, written } => {
                        text += written;
                        if let Some(known) = model.iter_mut().find(|(known, _)| known == name) {
                            known.1.clone_from(command);
                            twice += 1;
                        } else {
                            model.push((name.clone(), command.clone()));
                        }
                    }
                }
                text += if *is_crlf { "\r\n" } else { "\n" };
            }
            let read = Procfile::parse(&text).unwrap();
            prop_assert_eq!(read.warnings.len(), twice + usize::from(model.is_empty()));
            prop_assert_eq!(read.processes, model);
        }

        #[test]
        fn no_text_makes_it_panic_and_every_process_has_a_name_and_a_command(text in "(?s).{0,200}") {
            if let Ok(procfile) = Procfile::parse(&text) {
                for (name, command) in &procfile.processes {
                    prop_assert!(is_name(name) && !command.trim().is_empty());
                }
            }
        }
    }
}
