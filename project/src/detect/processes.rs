//! Which processes there are, and which one is started.

use super::{Found, Refusal, listening};
use crate::plan::{DIRECTORY, Plan, Process, Wishes};

/// The process that is started where nobody says another.
pub(super) const WEB: &str = "web";

/// Heroku's name for what runs once before a new version is started: it is never what a machine is for.
const RELEASE: &str = "release";

/// Gives the plan the Procfile's processes in place of those that the files say, and chooses the one that is started.
///
/// A Procfile that has only `release` says nothing of how the project is started.
pub(super) fn settle(
    plan: &mut Plan,
    no_start: Option<Refusal>,
    wishes: &Wishes,
    procfile: &[(String, String)],
) -> Result<(), Refusal> {
    let mut said_by = plan.decided_by.clone();
    if procfile.iter().any(|(name, _)| name != RELEASE) {
        plan.processes.clear();
        plan.process.clear();
        said_by = "the Procfile".to_owned();
    }
    for (name, line) in procfile {
        let (line, warning) = listening::everywhere(line);
        plan.warnings.extend(warning.map(|warning| format!("{name} in Procfile: {warning}")));
        plan.processes.insert(name.clone(), Process::shell(line, "Procfile"));
    }
    let starting = plan.processes.keys().filter(|name| *name != RELEASE).count();
    if let Some(refusal) = no_start.filter(|_| starting == 0 && !wishes.command && wishes.process.is_none()) {
        return Err(refusal);
    }
    plan.process = chosen(plan, wishes, &said_by)?;
    Ok(())
}

/// The name of the process that is started: the user's, `web`, what the project's own files prefer, or the only one.
fn chosen(plan: &Plan, wishes: &Wishes, said_by: &str) -> Result<String, Refusal> {
    let names: Vec<String> = plan.processes.keys().cloned().collect();
    if let Some(wanted) = &wishes.process {
        let known = names.contains(wanted);
        return if known { Ok(wanted.clone()) } else { Err(Refusal::NoProcess { wanted: wanted.clone(), names }) };
    }
    let preferred = [WEB, &plan.process].into_iter().find(|name| plan.processes.contains_key(*name));
    let others: Vec<&String> = names.iter().filter(|name| *name != RELEASE).collect();
    match (preferred, others.as_slice()) {
        (Some(name), _) => Ok(name.to_owned()),
        (None, [name]) => Ok((*name).clone()),
        (None, []) => Ok(String::new()),
        _ if wishes.command => Ok(String::new()),
        _ => Err(Refusal::Several { said_by: said_by.to_owned(), names }),
    }
}

/// A plan whose programs are processes of their names; a lone one is `web`.
pub(super) fn of_programs(mut plan: Plan, programs: &[String], directory: &str, preferred: Option<&str>) -> Found {
    let lone = programs.len() == 1;
    for name in programs {
        let process = Process::words(&[&format!("{DIRECTORY}/{directory}/{name}")], &plan.decided_by);
        plan.processes.insert(if lone { WEB.to_owned() } else { name.clone() }, process);
    }
    plan.process = preferred.unwrap_or_default().to_owned();
    (plan, None)
}
