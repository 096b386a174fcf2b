//! The Containerfile that an engine builds a project by, and the one that is written out for people.

use super::image;
use anyhow::{Result, bail};
use project::plan::{Base, Build, Command, DIRECTORY, InBase, PACKAGES, PORT, Plan, USER};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The dependencies first, which see only the files that decide them: engines keep what these steps made until one of the
/// files changes. `has` says whether the project has a file.
pub(super) fn in_base(from: &str, build: &InBase, has: &dyn Fn(&str) -> bool) -> String {
    let mut text = format!("FROM {from}\nUSER 0:0\nWORKDIR {DIRECTORY}\n");
    if !build.install.is_empty() {
        copy(&mut text, build.lock_files.iter().map(String::as_str).filter(|file| has(file)));
        run(&mut text, &build.install);
    }
    text.push_str("COPY [\".\", \"./\"]\n");
    run(&mut text, &build.build);
    run(&mut text, &build.prune);
    text
}

/// Commands on the project's files in the base, with Python's packages beside them.
pub(super) fn then(from: &str, commands: &[String]) -> String {
    let mut text = format!("FROM {from}\nUSER 0:0\nWORKDIR {DIRECTORY}\nENV PYTHONPATH={DIRECTORY}/{PACKAGES}\n");
    text.push_str("ENV PYTHONDONTWRITEBYTECODE=1\nCOPY [\".\", \"./\"]\n");
    run(&mut text, commands);
    text
}

/// Each directory's files in one step, as a step puts all of its files into one directory.
fn copy<'a>(text: &mut String, files: impl Iterator<Item = &'a str>) {
    let mut directories: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for file in files {
        directories.entry(file.rsplit_once('/').map_or("", |(directory, _)| directory)).or_default().push(file);
    }
    for (directory, mut files) in directories {
        let to = format!("./{directory}{}", if directory.is_empty() { "" } else { "/" });
        files.push(&to);
        let _ = writeln!(text, "COPY {}", serde_json::json!(files));
    }
}

fn run(text: &mut String, lines: &[String]) {
    for line in lines {
        // Words as they are, whatever they hold: a line of a Containerfile has rules of its own.
        let plain = !line.contains(['\n', '\\', '$']) && line.starts_with(|first: char| first.is_ascii_alphanumeric());
        let plain = plain && !line.contains("<<");
        let _ = if plain {
            writeln!(text, "RUN {line}")
        } else {
            writeln!(text, "RUN {}", serde_json::json!(["/bin/sh", "-c", line]))
        };
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=,@+:".contains(&byte);
    if word.bytes().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// A Containerfile for whoever wants to leave us: the same image, built by an engine alone. `None` where the project has its
/// own.
///
/// # Errors
/// When the plan can't be written as one.
pub fn for_people(plan: &Plan, has: &dyn Fn(&str) -> bool) -> Result<Option<String>> {
    let base = match (&plan.base, &plan.build) {
        (Base::Built, _) => return Ok(None),
        (_, Build::Host(host)) => {
            bail!("it is built by {} on this machine, so no Containerfile says how", host.argv.join(" "))
        }
        (Base::None, _) => bail!("it has no base, so no Containerfile says how it is built"),
        (Base::Image(base), _) => base,
    };
    let mut text = match &plan.build {
        Build::InBase(build) => in_base(base, build, has),
        Build::Python(build) => {
            let mut text =
                format!("FROM {base}\nUSER 0:0\nWORKDIR {DIRECTORY}\nENV PYTHONPATH={DIRECTORY}/{PACKAGES}\n");
            let _ = writeln!(text, "ENV PATH={DIRECTORY}/{PACKAGES}/bin:$PATH");
            copy(&mut text, build.lock_files.iter().map(String::as_str).filter(|file| has(file)));
            let packages: Vec<String> = build.packages.iter().chain(&build.more).map(|word| quoted(word)).collect();
            if !packages.is_empty() {
                run(&mut text, &[format!("pip install --no-cache-dir --target {PACKAGES} {}", packages.join(" "))]);
            }
            text.push_str("COPY [\".\", \"./\"]\n");
            run(&mut text, &build.then);
            text
        }
        _ => format!("FROM {base}\nUSER 0:0\nWORKDIR {DIRECTORY}\nCOPY [\".\", \"./\"]\n"),
    };
    let _ = writeln!(text, "ENV PORT={PORT}");
    for (name, value) in &plan.env {
        let _ = writeln!(text, "ENV {name}={}", serde_json::json!(value));
    }
    let _ = writeln!(text, "EXPOSE {PORT}\nUSER {USER}");
    if let Some(process) = plan.processes.get(&plan.process) {
        let argv = match &process.command {
            Command::Words(words) => words.clone(),
            Command::Shell(line) => image::by_shell(line),
        };
        let _ = writeln!(text, "ENTRYPOINT []\nCMD {}", serde_json::json!(argv));
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_come_before_the_code() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let build = InBase {
            lock_files: words(&["package.json", "package-lock.json", "web/package.json", "yarn.lock"]),
            install: words(&["npm ci"]),
            build: words(&["A=$B npm run build"]),
            prune: words(&["npm prune --omit=dev"]),
            dependencies: Some("node_modules".to_owned()),
        };
        assert_eq!(
            in_base("node:20-slim", &build, &|file| file != "yarn.lock"),
            "FROM node:20-slim\n\
             USER 0:0\n\
             WORKDIR /app\n\
             COPY [\"package.json\",\"package-lock.json\",\"./\"]\n\
             COPY [\"web/package.json\",\"./web/\"]\n\
             RUN npm ci\n\
             COPY [\".\", \"./\"]\n\
             RUN [\"/bin/sh\",\"-c\",\"A=$B npm run build\"]\n\
             RUN npm prune --omit=dev\n"
        );
    }
}
