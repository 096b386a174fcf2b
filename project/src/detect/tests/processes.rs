//! Which process is started.

use super::{Texts, plan_of, refusal_of, started};
use crate::plan::Wishes;

const NODE: Texts = &[("package.json", r#"{"scripts":{"start":"node x.js"}}"#)];

#[track_caller]
fn process(procfile: Texts) -> String {
    plan_of(NODE, &Wishes::default(), procfile).process
}

#[test]
fn web_or_the_only_one_is_started() {
    assert_eq!(process(&[]), "web");
    assert_eq!(process(&[("web", "a"), ("worker", "b")]), "web");
    assert_eq!(process(&[("worker", "b")]), "worker");
    assert_eq!(process(&[("release", "a"), ("worker", "b")]), "worker");
    let plan = plan_of(NODE, &Wishes::default(), &[("worker", "node w.js")]);
    assert_eq!(plan.processes.len(), 1, "package.json's start is not a process beside the Procfile's");
    assert_eq!((plan.processes["worker"].decided_by.as_str(), started(&plan).as_str()), ("Procfile", "sh: node w.js"));
}

#[test]
fn a_procfile_with_only_a_release_leaves_the_start_to_the_files() {
    let plan = plan_of(NODE, &Wishes::default(), &[("release", "npm run migrate")]);
    assert_eq!((plan.process.as_str(), started(&plan).as_str()), ("web", "node x.js"));
    assert_eq!(plan.processes.keys().collect::<Vec<_>>(), ["release", "web"]);
}

#[test]
fn the_user_chooses() {
    let wishes = Wishes { process: Some("worker".to_owned()), ..Wishes::default() };
    assert_eq!(plan_of(NODE, &wishes, &[("web", "a"), ("worker", "b")]).process, "worker");
    assert_eq!(
        refusal_of(NODE, &wishes, &[("web", "a"), ("clock", "b")]),
        "there is no process \"worker\": there is clock and web"
    );
    assert_eq!(
        refusal_of(NODE, &Wishes::default(), &[("clock", "a"), ("worker", "b")]),
        "the Procfile has clock and worker, and none of them is web: choose with --process clock or --process worker"
    );
}

#[test]
fn a_command_line_that_says_what_is_started_needs_no_file_that_does() {
    let files: Texts = &[("package.json", "{}")];
    let wishes = Wishes { command: true, ..Wishes::default() };
    assert_eq!(plan_of(files, &wishes, &[]).process, "");
    assert_eq!(plan_of(NODE, &wishes, &[("clock", "a"), ("worker", "b")]).process, "");
}

#[test]
fn servers_of_a_procfile_are_told_to_listen_everywhere_and_that_is_said() {
    let plan = plan_of(&[("requirements.txt", "")], &Wishes::default(), &[("web", "uvicorn main:app")]);
    assert_eq!(started(&plan), "sh: uvicorn main:app --host 0.0.0.0 --port $PORT");
    let said =
        "web in Procfile: `--host 0.0.0.0 --port $PORT` is added, as the machine is reached from outside at its PORT";
    assert_eq!(plan.warnings, [said]);
}
