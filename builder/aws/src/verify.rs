//! The launch check: an instance of an image is launched, waited for, and terminated whatever happens.

use crate::account::Session;
use crate::check::{Check, console, last_lines};
use crate::instance::state;
use crate::launch::launch;
use crate::report::Report;
use crate::retry::Patience;
use anyhow::{Result, anyhow, bail};
use aws_sdk_ec2::types::{Instance, InstanceStateName};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinError;
use tokio::time::{Instant, sleep, timeout};

/// How an image is launched for a check, and what is waited for.
#[derive(Debug, Clone)]
pub struct Launch {
    /// What shows that it is up.
    pub check: Check,
    /// The instance type; `None` for a small one of the image's architecture.
    pub instance_type: Option<String>,
    /// The subnet; `None` for one of the default VPC.
    pub subnet: Option<String>,
    /// The security group; `None` for the VPC's default one, which lets nobody in from outside.
    pub security_group: Option<String>,
    /// How long is waited for it, from the launch on.
    pub timeout: Duration,
}

/// An image whose instance was up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The instance, which is terminated.
    pub instance: String,
    /// What showed that it was up.
    pub evidence: String,
    /// From the launch until it was up.
    pub took: Duration,
}

/// Launches an instance of an image, waits for what shows that it is up, and terminates it: when that is there, when it does not come,
/// when `cancel` is ready, and also when this future is dropped or something here panics. Only the runtime has to go on: whoever ends
/// the program makes `cancel` ready and waits for the answer.
///
/// # Errors
/// When it can't be launched; when what is waited for does not come, with the last lines of its console; when it can't be terminated,
/// with its id and how to do so.
pub async fn verify<C>(
    session: &Session,
    image: &str,
    how: &Launch,
    cancel: C,
    report: &Arc<dyn Report>,
) -> Result<Verified>
where
    C: Future<Output = ()> + Send + 'static,
{
    // Whoever drops this future drops `alive`, too.
    let (alive, dropped) = oneshot::channel::<()>();
    // A task of its own: if it panics, that is a reason to stop.
    let stop = tokio::spawn(async move {
        tokio::select! {
            () = cancel => {}
            _ = dropped => {}
        }
    });
    let subject =
        Subject { session: session.clone(), image: image.to_owned(), how: how.clone(), report: report.clone() };
    let ended = tokio::spawn(subject.run(stop)).await;
    drop(alive);
    match ended {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => bail!("the check of {image} was not finished: builder aws ls shows whether its instance still runs"),
    }
}

/// What is checked. Clones are the same.
#[derive(Clone)]
struct Subject {
    session: Session,
    image: String,
    how: Launch,
    report: Arc<dyn Report>,
}

impl Subject {
    /// launch → watch → terminate.
    async fn run(self, mut stop: tokio::task::JoinHandle<()>) -> Result<Verified> {
        let start = Instant::now();
        let id = launch(&self.session, &self.image, &self.how).await?;
        // From here on nothing may return early or panic, until it is terminated.
        let mut watching = tokio::spawn(self.clone().watch(id.clone()));
        let watched = tokio::select! {
            ended = &mut watching => ended.unwrap_or_else(|error| Err(broken(error))),
            _ = &mut stop => {
                watching.abort();
                Err(anyhow!("the check of {} was interrupted", self.image))
            }
        };
        let took = start.elapsed();
        // An id that TerminateInstances does not know yet is one that was just launched.
        let terminated = self.session.terminate(&id, Patience::just_made(&self.session.timing)).await;
        match (watched, terminated) {
            (Ok(evidence), Ok(_)) => Ok(Verified { instance: id, evidence, took }),
            (Ok(evidence), Err(error)) => Err(error.context(format!("{} is up ({evidence}), but", self.image))),
            (Err(error), Ok(_)) => Err(error),
            (Err(error), Err(other)) => Err(anyhow!("{error:#}; and {other:#}")),
        }
    }

    /// Waits for what shows that the instance is up.
    async fn watch(self, id: String) -> Result<String> {
        let (session, Launch { check, timeout: patience, .. }) = (&self.session, &self.how);
        self.report.step(format!("{}: {id} runs {}: wait for {check}", session.region, self.image));
        match timeout(*patience, self.wait(&id)).await {
            Ok(Ok(Ok(evidence))) => {
                self.report.step(format!("{}: {id}: {evidence}", session.region));
                Ok(evidence)
            }
            Ok(Ok(Err(ended))) => Err(self.with_console(&id, ended).await),
            Ok(Err(error)) => Err(error),
            Err(_) => {
                let waited = patience.as_secs_f32();
                let mut why = format!("{id} of {} did not have {check} within {waited} s", self.image);
                if let Check::Port(_) = check {
                    why += " (its security group has to let this machine in: --verify-security-group)";
                }
                Err(self.with_console(&id, why).await)
            }
        }
    }

    /// What shows that it is up; or why it never will be.
    async fn wait(&self, id: &str) -> Result<Result<String, String>> {
        let start = Instant::now();
        loop {
            let instance = self.session.instance(id).await?;
            // What has ended by itself may have been up before.
            if let Some(evidence) = self.how.check.look(&self.session, id, instance.as_ref()).await? {
                return Ok(Ok(evidence));
            }
            match instance.as_ref().and_then(state) {
                Some(InstanceStateName::Pending | InstanceStateName::Running) => {}
                None if start.elapsed() < self.session.timing.seen => {}
                ended => {
                    let what = ended.map_or("gone", |state| state.as_str());
                    return Ok(Err(format!("{id} of {} is {what}{}", self.image, reason(instance.as_ref()))));
                }
            }
            sleep(self.session.timing.poll).await;
        }
    }

    /// An error with the end of the console, where that is told.
    async fn with_console(&self, id: &str, why: String) -> anyhow::Error {
        let console = match console(&self.session, id).await {
            Ok(console) => last_lines(&console),
            Err(failure) => format!("its console is not told: {failure}"),
        };
        anyhow!("{why}; {console}")
    }
}

fn reason(instance: Option<&Instance>) -> String {
    let reason = instance.and_then(|instance| instance.state_reason.as_ref()?.message.clone());
    reason.map(|reason| format!(" ({reason})")).unwrap_or_default()
}

/// A check that did not end by itself.
fn broken(error: JoinError) -> anyhow::Error {
    if !error.is_panic() {
        return anyhow!("the check was stopped");
    }
    let panic = error.into_panic();
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    anyhow!("the check itself failed: {}", text.unwrap_or("a panic"))
}
