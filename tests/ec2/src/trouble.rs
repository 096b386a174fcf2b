//! Draws the faults: what is to happen to this request.

use crate::faults::{Burst, Faults, Kind, Unseen, names};
use crate::random::Random;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The faults as they are set, with what is used up of them.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) faults: Faults,
    random: Random,
    used: Vec<u32>,
    bursts: Vec<u32>,
    requests: HashMap<String, u64>,
    unseen: HashMap<String, u32>,
    puts: u64,
    crashed: bool,
}

/// A fault that is counted down.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Countdown {
    RefusedChecksum,
    StartLimit,
    FailingCompletion,
    FailingCopy,
    FailingImage,
    LostParent,
}

impl Trouble {
    pub(crate) fn new(faults: Faults) -> Self {
        Trouble {
            random: Random::new(faults.seed),
            used: vec![0; faults.faults.len()],
            bursts: vec![0; faults.bursts.len()],
            requests: HashMap::new(),
            unseen: HashMap::new(),
            puts: 0,
            crashed: faults.crash_after_puts == Some(0),
            faults,
        }
    }

    /// What happens to a request for this operation, if anything.
    pub(crate) fn draw(&mut self, action: &str) -> Option<Kind> {
        for (Burst { actions, answers, every }, count) in self.faults.bursts.iter().zip(&mut self.bursts) {
            if names(actions, action) {
                let at = *count % (*every).max(1);
                *count = count.wrapping_add(1);
                if at < *answers {
                    return Some(Kind::Throttled);
                }
            }
        }
        for (fault, used) in self.faults.faults.iter().zip(&mut self.used) {
            let left = fault.times.is_none_or(|times| *used < times);
            if left && names(&fault.actions, action) && self.random.chance(fault.probability) {
                *used += 1;
                return Some(fault.kind);
            }
        }
        None
    }

    /// Whether every request is reset.
    pub(crate) fn crashed(&self) -> bool {
        self.crashed
    }

    /// Counts a Put that took effect.
    pub(crate) fn put_done(&mut self) {
        self.puts += 1;
        self.crashed |= self.faults.crash_after_puts.is_some_and(|most| self.puts >= most);
    }

    /// Counts a request with this access key or session token; true where it has expired.
    pub(crate) fn expired(&mut self, credential: &str) -> bool {
        let Some(most) = self.faults.expired.get(credential) else { return false };
        let count = self.requests.entry(credential.to_owned()).or_default();
        *count += 1;
        *count > *most
    }

    /// Whether a Put does not find this snapshot yet.
    pub(crate) fn unseen(&mut self, id: &str, started: Instant) -> bool {
        match self.faults.unseen_snapshots {
            None => false,
            Some(Unseen::For(time)) => started.elapsed() < time,
            Some(Unseen::Requests(most)) => {
                let count = self.unseen.entry(id.to_owned()).or_default();
                *count += 1;
                *count <= most
            }
        }
    }

    /// Takes one off a count; false where none is left.
    pub(crate) fn take(&mut self, countdown: Countdown) -> bool {
        let left = match countdown {
            Countdown::RefusedChecksum => &mut self.faults.refused_checksums,
            Countdown::StartLimit => &mut self.faults.start_limit,
            Countdown::FailingCompletion => &mut self.faults.failing_completions,
            Countdown::FailingCopy => &mut self.faults.failing_copies,
            Countdown::LostParent => &mut self.faults.lost_parents,
            Countdown::FailingImage => &mut self.faults.failing_images,
        };
        let any = *left > 0;
        *left = left.saturating_sub(1);
        any
    }

    /// Whether something of this probability happens now.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.random.chance(probability)
    }
}

/// Requests within the second that runs. AWS's buckets are smoother; a second is what its quotas are given in.
#[derive(Debug, Default)]
pub(crate) struct Windows(HashMap<String, (u64, u32)>);

impl Windows {
    /// Counts a request; false where the second's quota is used up.
    pub(crate) fn admit(&mut self, key: &str, quota: u32, since_start: Duration) -> bool {
        let second = since_start.as_secs();
        let window = match self.0.get_mut(key) {
            Some(window) => window,
            None => self.0.entry(key.to_owned()).or_insert((second, 0)),
        };
        if window.0 != second {
            *window = (second, 0);
        }
        if window.1 >= quota {
            return false;
        }
        window.1 += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::{Effect, Fault};

    #[test]
    fn a_fault_happens_no_more_often_than_told() {
        let fault = Fault::new("Put*", Kind::Error(500, Effect::None)).times(2);
        let mut trouble = Trouble::new(Faults::of([fault]));
        assert_eq!(trouble.draw("StartSnapshot"), None);
        let drawn: Vec<_> = (0..4).map(|_| trouble.draw("PutSnapshotBlock").is_some()).collect();
        assert_eq!(drawn, [true, true, false, false]);
    }

    #[test]
    fn bursts_come_at_their_period() {
        let burst = Burst { actions: "*".to_owned(), answers: 2, every: 5 };
        let mut trouble = Trouble::new(Faults { bursts: vec![burst], ..Faults::default() });
        let drawn: Vec<_> = (0..7).map(|_| trouble.draw("X").is_some()).collect();
        assert_eq!(drawn, [true, true, false, false, false, true, true]);
    }

    #[test]
    fn equal_seeds_fail_equally() {
        let fault = Fault::new("*", Kind::Throttled).probability(0.5);
        let draw = |seed| {
            let mut trouble = Trouble::new(Faults { seed, ..Faults::of([fault.clone()]) });
            (0..64).map(|_| trouble.draw("X").is_some()).collect::<Vec<_>>()
        };
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
    }

    #[test]
    fn a_quota_is_for_a_second() {
        let mut windows = Windows::default();
        let second = Duration::from_secs;
        assert!(windows.admit("a", 1, second(1)));
        assert!(!windows.admit("a", 1, second(1)));
        assert!(windows.admit("b", 1, second(1)));
        assert!(windows.admit("a", 1, second(2)));
    }
}
