//! Credential helpers: programs that keep passwords and give them out (docker/docker-credential-helpers, "Protocol").

use super::Login;
use crate::bounded::CREDENTIALS;
use crate::cleanup::Tool;
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How long a helper may think. One that asks a cloud for a token takes a second or two.
const DEADLINE: Duration = Duration::from_secs(30);
/// What every helper says of a server that it does not know.
const NOT_FOUND: &str = "credentials not found in native keychain";
/// The user's name that says that the secret is an identity token.
const TOKEN_USER: &str = "<token>";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Asks `docker-credential-NAME` for the credentials of a server.
///
/// # Errors
/// When it can't be started, fails, takes too long or answers nonsense; the error has its name and its words.
pub(super) fn get(name: &str, server: &str) -> Result<Login> {
    let program = format!("docker-credential-{name}");
    ask(&program, server).with_context(|| format!("{program} get for {server}"))
}

fn ask(program: &str, server: &str) -> Result<Login> {
    ensure!(!program.contains('/'), "a helper is named without a directory");
    talk(Command::new(program).arg("get"), server, DEADLINE)
}

/// The whole conversation, until the helper's end: one that answers and does not end is of no use either.
fn talk(command: &mut Command, server: &str, deadline: Duration) -> Result<Login> {
    let end = Instant::now() + deadline;
    let mut tool = Tool::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()))?;
    let child = tool.child();
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that answers without reading is content with what it knows.
        let _ = stdin.write_all(server.as_bytes());
    }
    let stdout = child.stdout.take().context("its output is gone")?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        // Nobody listens after the deadline.
        let _ = sender.send(CREDENTIALS.read(stdout));
    });
    let Ok(answer) = receiver.recv_timeout(deadline) else {
        bail!("no answer within {} s", deadline.as_secs_f32());
    };
    let answer = answer.context("read its answer")?;
    let Some(status) = tool.wait_until(end)? else {
        bail!("it did not end within {} s", deadline.as_secs_f32());
    };
    if !status.success() {
        let words = String::from_utf8_lossy(&answer);
        let words = words.trim();
        if words.contains(NOT_FOUND) {
            return Ok(Login::Anonymous);
        }
        bail!("it ended with {status}{}{words}", if words.is_empty() { "" } else { ": " });
    }
    // What it answers is a secret: a message must not show it.
    let Ok(answer) = serde_json::from_slice::<Answer>(&answer) else {
        bail!("its answer is not JSON with Username and Secret");
    };
    Ok(match answer {
        Answer { username, secret } if username == TOKEN_USER => Login::Identity(secret),
        Answer { username, secret } if username.is_empty() && secret.is_empty() => Login::Anonymous,
        Answer { username, secret } => Login::Password(username, secret),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_helper_that_is_not_there_or_named_with_a_path_is_told() {
        let refused = |name: &str| format!("{:#}", get(name, "quay.io").unwrap_err());
        let refusal = refused("nowhere-to-be-found");
        assert!(refusal.starts_with("docker-credential-nowhere-to-be-found get for quay.io: start "), "{refusal}");
        assert!(refused("../../x").ends_with("a helper is named without a directory"));
    }

    #[test]
    fn a_helper_that_sleeps_is_ended_at_its_deadline() {
        for (script, why) in [
            ("exec sleep 60", "no answer within 0.3 s"),
            ("exec >&-; exec sleep 60", "it did not end within 0.3 s"),
            // Not even this is waited for.
            ("trap '' TERM; exec >&-; while :; do sleep 0.1; done", "it did not end within 0.3 s"),
        ] {
            let start = Instant::now();
            let mut command = Command::new("sh");
            let error = talk(command.args(["-c", script]), "quay.io", Duration::from_millis(300)).unwrap_err();
            assert_eq!(error.to_string(), why, "{script}");
            assert!(start.elapsed() < Duration::from_secs(10), "{script}: {:?}", start.elapsed());
        }
    }
}
