//! Programs that listen on the loopback device, or at a port of their own, unless their arguments say otherwise.

/// Arguments that make a program listen at every address, or at the machine's port: the words that it is started with; the
/// arguments of which any says that already (an empty one: any that is no option); and what is added otherwise.
const SERVERS: &[(&[&str], &[&str], &str)] = &[
    (&["uvicorn"], &["--host", "--uds", "--fd"], "--host 0.0.0.0"),
    (&["uvicorn"], &["--port", "--uds", "--fd"], "--port $PORT"),
    (&["hypercorn"], &["--bind", "-b"], "--bind 0.0.0.0:$PORT"),
    (&["daphne"], &["-b", "--bind", "-u", "-e"], "-b 0.0.0.0"),
    (&["daphne"], &["-p", "--port", "-u", "-e"], "-p $PORT"),
    (&["waitress-serve"], &["--port", "--listen", "--unix-socket"], "--port=$PORT"),
    (&["flask", "run"], &["--host", "-h"], "--host 0.0.0.0"),
    (&["flask", "run"], &["--port", "-p"], "--port $PORT"),
    (&["fastapi", "dev"], &["--host"], "--host 0.0.0.0"),
    (&["fastapi"], &["--port"], "--port $PORT"),
    (&["streamlit", "run"], &["--server.port"], "--server.port $PORT"),
    (&["manage.py", "runserver"], &[""], "0.0.0.0:$PORT"),
    (&["rails", "server"], &["-b", "--binding"], "-b 0.0.0.0"),
    (&["rails", "s"], &["-b", "--binding"], "-b 0.0.0.0"),
    (&["rackup"], &["-o", "--host"], "-o 0.0.0.0"),
    (&["rackup"], &["-p", "--port"], "-p $PORT"),
    (&["vite"], &["--host"], "--host 0.0.0.0"),
    (&["vite"], &["--port"], "--port $PORT"),
    (&["astro", "preview"], &["--host"], "--host 0.0.0.0"),
    (&["astro", "preview"], &["--port"], "--port $PORT"),
    (&["astro", "dev"], &["--host"], "--host 0.0.0.0"),
    (&["astro", "dev"], &["--port"], "--port $PORT"),
    (&["ng", "serve"], &["--host"], "--host 0.0.0.0"),
    (&["ng", "serve"], &["--port"], "--port $PORT"),
    (&["gatsby", "serve"], &["--host", "-H"], "--host 0.0.0.0"),
    (&["gatsby", "serve"], &["--port", "-p"], "--port $PORT"),
    (&["webpack", "serve"], &["--host"], "--host 0.0.0.0"),
    (&["webpack", "serve"], &["--port"], "--port $PORT"),
];

/// Subcommands that end by themselves, and listen nowhere.
const ENDING: &[(&str, &str)] = &[("vite", "build"), ("vite", "optimize")];

/// Words before a program that start it and are not it.
const STARTERS: &[&[&str]] = &[
    &["exec"],
    &["python", "-m"],
    &["python3", "-m"],
    &["python"],
    &["python3"],
    &["bundle", "exec"],
    &["npx"],
    &["pnpm", "exec"],
    &["yarn", "exec"],
    &["uv", "run"],
    &["poetry", "run"],
    &["pipenv", "run"],
];

/// The line with what makes its server listen at the machine's port on every address, and a sentence about what was added.
///
/// Only the last command of a line can be a server, and arguments can be added to its end only.
pub(super) fn everywhere(line: &str) -> (String, Option<String>) {
    let added = additions(line).join(" ");
    if added.is_empty() {
        return (line.to_owned(), None);
    }
    let warning = format!("`{added}` is added, as the machine is reached from outside at its PORT");
    (format!("{} {added}", line.trim_end()), Some(warning))
}

fn additions(line: &str) -> Vec<&'static str> {
    let last = ["&&", "||", ";"].iter().fold(line, |line, sign| line.rsplit(sign).next().unwrap_or(line));
    if last.contains(['|', '&', '<', '>', '#', '`', '(', ')', '\'', '"', '\\']) {
        return Vec::new();
    }
    let words: Vec<&str> = last.split_whitespace().collect();
    let words = without_starters(&words);
    let Some((program, arguments)) = words.split_first() else { return Vec::new() };
    let program = program.rsplit('/').next().unwrap_or(program);
    let ends = |(of, subcommand): &(&str, &str)| *of == program && arguments.first() == Some(subcommand);
    if ENDING.iter().any(ends) || arguments.contains(&"--help") || arguments.contains(&"--version") {
        return Vec::new();
    }
    let matches = |(server, said, _): &&(&[&str], &[&str], &str)| {
        let subcommands = server.get(1..).unwrap_or_default();
        server.first() == Some(&program)
            && arguments.starts_with(subcommands)
            && !arguments.iter().skip(subcommands.len()).any(|word| says(word, said))
    };
    SERVERS.iter().filter(matches).map(|(_, _, addition)| *addition).collect()
}

/// Whether an argument is one of these options (`--host`, `--host=::`, `-b0.0.0.0`), or any word for an empty one.
fn says(word: &str, options: &[&str]) -> bool {
    options.iter().any(|option| match option.strip_prefix("--") {
        Some(_) => word == *option || word.strip_prefix(option).is_some_and(|rest| rest.starts_with('=')),
        None => word.starts_with(option) && !word.starts_with("--"),
    })
}

/// The program that a line starts: `gunicorn` of `FOO=1 exec gunicorn app:app`, `python` of `python -m x`.
pub(super) fn program(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace().skip_while(|word| is_assignment(word) || *word == "exec");
    words.next().map(|word| word.rsplit('/').next().unwrap_or(word))
}

fn without_starters<'a, 'b>(mut words: &'a [&'b str]) -> &'a [&'b str] {
    loop {
        let assigned = words.iter().take_while(|word| is_assignment(word)).count();
        let rest = words.get(assigned..).unwrap_or_default();
        let starter = STARTERS.iter().find(|starter| rest.starts_with(starter));
        words = rest.get(starter.map_or(0, |starter| starter.len())..).unwrap_or_default();
        if assigned == 0 && starter.is_none() {
            return words;
        }
    }
}

/// Whether a word sets a variable for the command after it: `FOO=1`.
fn is_assignment(word: &str) -> bool {
    let Some((name, _)) = word.split_once('=') else { return false };
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_told_to_listen_everywhere() {
        for (line, added) in [
            ("uvicorn main:app", "--host 0.0.0.0 --port $PORT"),
            ("exec python -m uvicorn main:app --reload", "--host 0.0.0.0 --port $PORT"),
            ("uvicorn main:app --port 9000", "--host 0.0.0.0"),
            ("uvicorn main:app --host=:: --port=$PORT", ""),
            ("alembic upgrade head && uvicorn main:app", "--host 0.0.0.0 --port $PORT"),
            ("uvicorn main:app | tee log", ""),
            ("uvicorn main:app > /tmp/log 2>&1", ""),
            ("gunicorn app:app", ""),
            ("FLASK_APP=x flask run", "--host 0.0.0.0 --port $PORT"),
            ("flask db upgrade", ""),
            ("python manage.py runserver", "0.0.0.0:$PORT"),
            ("python manage.py runserver --noreload 0.0.0.0:8000", ""),
            ("python manage.py migrate", ""),
            ("bundle exec rails server -p $PORT", "-b 0.0.0.0"),
            ("bin/rails s -b 0.0.0.0", ""),
            ("vite preview", "--host 0.0.0.0 --port $PORT"),
            ("npx vite preview --port 3000", "--host 0.0.0.0"),
            ("vite build", ""),
            ("vite build && vite preview --host", "--port $PORT"),
            ("next start", ""),
            ("node server.js", ""),
            ("daphne -b ::1 site.asgi:application", "-p $PORT"),
            ("", ""),
        ] {
            assert_eq!(additions(line).join(" "), added, "{line}");
        }
        let (line, warning) = everywhere("uvicorn main:app ");
        assert_eq!(line, "uvicorn main:app --host 0.0.0.0 --port $PORT");
        let said = "`--host 0.0.0.0 --port $PORT` is added, as the machine is reached from outside at its PORT";
        assert_eq!(warning.as_deref(), Some(said));
    }
}
