//! The one layer that tries again: exponential, with jitter, each attempt with its own time, and each call with a deadline.

use crate::account::Session;
use crate::clock::Clock;
use crate::failure::{Action, Failure, Kind};
use crate::pace::{Pace, Turn};
use aws_credential_types::Credentials;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use std::error::Error;
use std::future::Future;
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, sleep, timeout};

/// How long is waited for what. Tests are less patient.
#[derive(Debug, Clone)]
pub struct Timing {
    /// For a connection.
    pub connect: Duration,
    /// For the answer to one attempt. A block of 512 KiB beside 63 others takes 16 s on a line of 2 MB/s.
    pub attempt: Duration,
    /// For a call with all its attempts: longer than a service takes to come back from a bad hour's minute.
    pub call: Duration,
    /// For the first call of all, which tells whether there is a way to AWS.
    pub first: Duration,
    /// Between the first two attempts, at most; each further pause may be twice as long.
    pub pause: Duration,
    /// Between any two attempts, at most.
    pub longest_pause: Duration,
    /// Until what was just made is seen by all of AWS.
    pub seen: Duration,
    /// Between two questions of how far something is.
    pub poll: Duration,
    /// For a snapshot to be completed, or an image to be available.
    pub completion: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            connect: Duration::from_secs(5),
            attempt: Duration::from_secs(25),
            call: Duration::from_secs(180),
            first: Duration::from_secs(15),
            pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(15),
            seen: Duration::from_secs(120),
            poll: Duration::from_secs(1),
            completion: Duration::from_secs(3600),
        }
    }
}

/// A call's patience.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience<'a> {
    /// For all attempts together.
    call: Duration,
    /// How long what does not exist may yet appear.
    missing: Duration,
    /// The pace to keep.
    pace: Option<&'a Pace>,
}

impl<'a> Patience<'a> {
    pub(crate) fn ordinary(timing: &Timing) -> Self {
        Patience { call: timing.call, missing: Duration::ZERO, pace: None }
    }

    /// For the first call.
    pub(crate) fn first(timing: &Timing) -> Self {
        Patience { call: timing.first, ..Patience::ordinary(timing) }
    }

    /// For what was just made, and may not be seen yet.
    pub(crate) fn just_made(timing: &Timing) -> Self {
        Patience { missing: timing.seen, ..Patience::ordinary(timing) }
    }

    pub(crate) fn paced(self, pace: &'a Pace) -> Self {
        Patience { pace: Some(pace), ..self }
    }
}

/// Times that a request may be refused for its signature's time, and signed with AWS's.
const MOST_CORRECTIONS: u32 = 3;
/// Times that new credentials are looked for in a call: what gives others each time may give none that AWS takes.
const MOST_RENEWALS: u32 = 3;
/// Pauses that double where the pace is kept as well.
const SHORT_PAUSES: u32 = 2;
/// Characters of an answer's message that are shown.
const MOST_OF_MESSAGE: usize = 2000;

impl Session {
    /// Makes a call until it succeeds, or trying again is of no use, or of no use any more.
    pub(crate) async fn call<T, E, F, Fut>(&self, action: Action, patience: Patience<'_>, send: F) -> Result<T, Failure>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + Error + 'static,
    {
        let mut start = Instant::now();
        let (mut tries, mut corrections, mut renewals, mut uncertain) = (0, 0, 0, false);
        loop {
            let turn = match patience.pace {
                Some(pace) => {
                    let (waiting, taken) = (Instant::now(), pace.taken());
                    let turn = pace.turn().await;
                    // Waiting while others get on is no time in which it failed.
                    if pace.taken() > taken {
                        start += waiting.elapsed();
                    }
                    Some(turn)
                }
                None => None,
            };
            let signed_with = self.credentials().await;
            let signed_with =
                signed_with.map_err(|error| Failure::without_credentials(action, &self.region, &error))?;
            let signed_at = self.now();
            let failure = match self.attempt(action, turn, &send).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => Failure { uncertain, ..failure.of_time(signed_at).without(&signed_with) },
            };
            uncertain |= failure.kind.is_uncertain();
            match failure.kind {
                // An unknown signature may be one of a wrong time, whatever AWS calls it.
                Kind::Skewed | Kind::Credentials
                    if corrections < MOST_CORRECTIONS && self.correct_clock(&failure, signed_at) =>
                {
                    corrections += 1;
                    continue;
                }
                Kind::Expired if renewals < MOST_RENEWALS && self.renew(&signed_with).await => {
                    renewals += 1;
                    continue;
                }
                Kind::Throttled | Kind::Transient | Kind::Unreachable => {}
                Kind::Missing if start.elapsed() < patience.missing => {}
                _ => return Err(failure),
            }
            // Where a pace is kept, that is what slows down.
            let paced = patience.pace.is_some() && failure.kind == Kind::Throttled;
            let pause = self.timing.pause_after(if paced { tries.min(SHORT_PAUSES) } else { tries });
            tries = tries.saturating_add(1);
            if start.elapsed() + pause > patience.call {
                return Err(failure.after(tries, start.elapsed()));
            }
            sleep(pause).await;
        }
    }

    async fn attempt<T, E, F, Fut>(&self, action: Action, turn: Option<Turn<'_>>, send: &F) -> Result<T, Failure>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: ProvideErrorMetadata + Error + 'static,
    {
        let result = match timeout(self.timing.attempt, send()).await {
            Ok(answer) => answer.map_err(|error| Failure::of(action, &self.region, &error)),
            Err(_) => Err(Failure::late(action, &self.region, self.timing.attempt)),
        };
        if let Some(turn) = turn {
            match result.as_ref().map_err(|failure| failure.kind) {
                Ok(_) => turn.succeeded(),
                Err(Kind::Throttled) => turn.throttled(),
                Err(Kind::Unreachable) => turn.stalled(self.timing.attempt),
                Err(_) => {}
            }
        }
        result
    }

    /// Whether the answer's time shows that the request's was wrong; ours is right from then on. It may be already, by the answer to
    /// another request.
    fn correct_clock(&self, failure: &Failure, signed_at: SystemTime) -> bool {
        match failure.date {
            Some(date) if Clock::is_skewed(signed_at, date) => {
                self.clock.set(date);
                true
            }
            _ => false,
        }
    }
}

impl Failure {
    /// EC2 calls expired what was signed too long ago, and what was signed with a session that is over: the time tells which.
    fn of_time(mut self, signed_at: SystemTime) -> Self {
        if self.kind == Kind::Skewed && self.date.is_some_and(|date| !Clock::is_skewed(signed_at, date)) {
            self.kind = Kind::Expired;
        }
        self
    }

    /// AWS quotes what was signed where it knows no such signature, and the session's token is in that.
    fn without(mut self, credentials: &Credentials) -> Self {
        let secrets = [Some(credentials.secret_access_key()), credentials.session_token()];
        for secret in secrets.into_iter().flatten().filter(|secret| !secret.is_empty()) {
            self.message = self.message.replace(secret, "[secret]");
        }
        self.message = self.message.chars().take(MOST_OF_MESSAGE).collect();
        self
    }

    /// An attempt that took too long.
    fn late(action: Action, region: &str, patience: Duration) -> Self {
        Failure {
            kind: Kind::Unreachable,
            ..Failure::unexpected(action, region, format!("none within {} s", patience.as_secs_f32()))
        }
    }

    /// With how often it was tried.
    fn after(mut self, tries: u32, time: Duration) -> Self {
        let times = if tries == 1 { "once".to_owned() } else { format!("{tries} times") };
        self.message = format!("{}; tried {times} in {:.0} s", self.message, time.as_secs_f32());
        self
    }
}

impl Timing {
    /// Anything up to twice as long as before ("Exponential backoff and jitter", AWS Architecture Blog: full jitter).
    pub(crate) fn pause_after(&self, tries: u32) -> Duration {
        let most = self.pause.saturating_mul(1 << tries.min(16)).min(self.longest_pause);
        most.mul_f64(fastrand::f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_differ() {
        let timing = Timing::default();
        for (tries, most) in [(0, 0.1), (1, 0.2), (4, 1.6), (12, 15.0), (u32::MAX, 15.0)] {
            let pauses: Vec<f64> = (0..200).map(|_| timing.pause_after(tries).as_secs_f64()).collect();
            let longest = pauses.iter().copied().fold(0.0, f64::max);
            assert!(longest <= most && longest > 0.8 * most, "{tries}: {longest}");
            assert!(pauses.iter().copied().fold(f64::MAX, f64::min) < 0.2 * most);
        }
    }
}
