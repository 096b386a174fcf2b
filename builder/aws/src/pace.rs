//! How fast blocks are sent: a rate that grows by addition and shrinks by multiplication (AIMD), so that it finds what the
//! account may do, and so many at the same time as the way there carries.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Blocks a second to start with: an account may send 1,000, unless it has asked for more (AWS General Reference, "Amazon EBS
/// endpoints and quotas"), and not all of them arrive as evenly as they leave.
const FIRST_RATE: f64 = 980.0;
/// However slow, something goes on, 1/s.
const LEAST_RATE: f64 = 1.0;
/// What is left of a rate that was too much.
const SLOWER: f64 = 0.85;
/// And where it is not known yet how much that is.
const MUCH_SLOWER: f64 = 0.3;
/// AWS counts by the second: so long after a slowing down nothing grows.
const HOLD: Duration = Duration::from_secs(1);
/// By so much of the rate that was too much last a rate grows in a second in which all goes well, and by so much at least, 1/s.
const FASTER: f64 = 0.04;
/// Where that goes on, it grows twice as fast after so many seconds, and so on: what was too much in a bad moment may be little.
const DOUBLING: f64 = 4.0;
/// So often at most.
const MOST_DOUBLINGS: f64 = 6.0;
const FASTER_LEAST: f64 = 2.0;
/// The same beyond the rate to start with, which few accounts may exceed.
const FASTER_BEYOND: f64 = 0.005;
/// Answers that come within this time of a slowing down are to requests from before it.
const SETTLING: Duration = Duration::from_millis(200);
/// So long whoever is next waits at most until it looks at the rate again.
const GLANCE: Duration = Duration::from_millis(100);
/// So late a timer may be: its resolution, on a busy machine.
const SLACK: Duration = Duration::from_millis(20);
/// Blocks on their way at the same time: 100 connections of 10 requests a second reach all that EBS takes ("Optimize the
/// performance of the EBS direct APIs"), and fewer suffice close by.
const MOST_IN_FLIGHT: usize = 64;
/// And when the way there stalls.
const LEAST_IN_FLIGHT: usize = 4;

/// The pace towards one region.
#[derive(Debug)]
pub(crate) struct Pace {
    state: Mutex<State>,
    queue: tokio::sync::Mutex<()>,
    freed: Notify,
}

#[derive(Debug)]
struct State {
    /// 1/s.
    rate: f64,
    /// The rate that was too much last, or that nothing was too much for yet, 1/s.
    ceiling: f64,
    /// When the last one started.
    last: Option<Instant>,
    slowed: Option<Instant>,
    /// When the first one started.
    begun: Option<Instant>,
    in_flight: usize,
    most_in_flight: usize,
    narrowed: Option<Instant>,
    /// Successes since the last time that more were allowed at the same time.
    streak: usize,
    /// Successes.
    taken: u64,
    done: Window,
}

impl Pace {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Pace {
            state: Mutex::new(State {
                rate: FIRST_RATE,
                ceiling: FIRST_RATE,
                last: None,
                slowed: None,
                begun: None,
                in_flight: 0,
                most_in_flight: MOST_IN_FLIGHT,
                narrowed: None,
                streak: 0,
                taken: 0,
                done: Window { start: now, count: 0, before: None },
            }),
            queue: tokio::sync::Mutex::default(),
            freed: Notify::new(),
        }
    }

    /// Waits until one more may start.
    pub(crate) async fn turn(&self) -> Turn<'_> {
        // In the order in which they ask; and only the first one looks at the rate, which may have changed when it is its turn.
        let _first = self.queue.lock().await;
        loop {
            let freed = self.freed.notified();
            let now = Instant::now();
            let turn = self.state().take(now);
            match turn {
                Ok(()) => return Turn(self),
                Err(Some(start)) => sleep_until(start.min(now + GLANCE)).await,
                Err(None) => freed.await,
            }
        }
    }

    /// Blocks that were taken so far.
    pub(crate) fn taken(&self) -> u64 {
        self.state().taken
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leave to send one block; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a>(&'a Pace);

impl Turn<'_> {
    /// The block was taken.
    pub(crate) fn succeeded(&self) {
        self.0.state().succeed(Instant::now());
    }

    /// AWS says that it was too much.
    pub(crate) fn throttled(&self) {
        self.0.state().slow_down(Instant::now());
    }

    /// It took longer than `patience`.
    pub(crate) fn stalled(&self, patience: Duration) {
        self.0.state().narrow(Instant::now(), patience);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.state().in_flight -= 1;
        self.0.freed.notify_one();
    }
}

impl State {
    /// Starts one, or tells when it may; nothing where one must end first.
    fn take(&mut self, now: Instant) -> Result<(), Option<Instant>> {
        if self.in_flight >= self.most_in_flight {
            return Err(None);
        }
        let start = self.start(now);
        if start > now {
            return Err(Some(start));
        }
        self.in_flight += 1;
        self.begun.get_or_insert(now);
        // A timer that was late by some is made up for.
        self.last = Some(now.checked_sub(SLACK).map_or(start, |earliest| start.max(earliest)));
        Ok(())
    }

    /// When the next one may start.
    fn start(&self, now: Instant) -> Instant {
        self.last.map_or(now, |last| last + Duration::from_secs_f64(1.0 / self.rate))
    }

    fn succeed(&mut self, now: Instant) {
        self.taken += 1;
        self.done.add(now);
        self.rate += self.growth(now) / self.rate;
        self.streak += 1;
        if self.streak >= self.most_in_flight && self.most_in_flight < MOST_IN_FLIGHT {
            self.most_in_flight += 1;
            self.streak = 0;
        }
    }

    /// How much faster it gets in a second, 1/s.
    fn growth(&self, now: Instant) -> f64 {
        let since = match self.slowed {
            Some(slowed) if now < slowed + HOLD => return 0.0,
            Some(slowed) => slowed + HOLD,
            None => self.begun.unwrap_or(now),
        };
        let doublings = (now.saturating_duration_since(since).as_secs_f64() / DOUBLING).min(MOST_DOUBLINGS);
        let steady = if self.rate < FIRST_RATE { self.ceiling * FASTER } else { self.rate * FASTER_BEYOND };
        steady.max(FASTER_LEAST) * doublings.exp2()
    }

    fn slow_down(&mut self, now: Instant) {
        if self.slowed.is_some_and(|at| now < at + SETTLING) {
            return;
        }
        self.slowed = Some(now);
        // The rate may be far above what was ever reached.
        (self.ceiling, self.rate) = match self.done.rate(now) {
            Some(reached) => ((2.0 * reached).min(self.rate), reached.min(self.rate) * SLOWER),
            None => (self.rate, self.rate * MUCH_SLOWER),
        };
        self.rate = self.rate.max(LEAST_RATE);
        self.last = self.last.max(Some(now));
    }

    fn narrow(&mut self, now: Instant, patience: Duration) {
        self.streak = 0;
        if self.narrowed.is_some_and(|at| now < at + patience) {
            return;
        }
        self.narrowed = Some(now);
        self.most_in_flight = (self.most_in_flight / 2).max(LEAST_IN_FLIGHT);
    }
}

/// Successes of the current second and of the one before.
#[derive(Debug)]
struct Window {
    start: Instant,
    count: u32,
    before: Option<f64>,
}

impl Window {
    const LENGTH: Duration = Duration::from_secs(1);
    /// Less of a second tells nothing.
    const TELLING: Duration = Duration::from_millis(200);

    fn add(&mut self, now: Instant) {
        self.roll(now);
        self.count += 1;
    }

    fn roll(&mut self, now: Instant) {
        let past = now.saturating_duration_since(self.start);
        if past >= Window::LENGTH {
            self.before = Some(f64::from(self.count) / past.as_secs_f64());
            (self.start, self.count) = (now, 0);
        }
    }

    fn rate(&mut self, now: Instant) -> Option<f64> {
        let past = now.saturating_duration_since(self.start);
        let current = (past >= Window::TELLING).then(|| f64::from(self.count) / past.as_secs_f64());
        // The better of the two: the current one may just have been stopped by the service.
        match (current, self.before) {
            (Some(current), Some(before)) => Some(current.max(before)),
            (current, before) => current.or(before),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a service does that takes `limit` blocks in each second, over some seconds: rates at which blocks were taken.
    fn against(limit: u32, seconds: u32) -> Vec<u32> {
        let (pace, start) = (Pace::new(), Instant::now());
        let mut state = pace.state();
        let mut taken = vec![0; seconds as usize];
        let mut now = start;
        loop {
            now = state.start(now).max(now);
            state.take(now).unwrap();
            let second = (now - start).as_secs() as usize;
            let Some(count) = taken.get_mut(second) else { break };
            if *count < limit {
                *count += 1;
                state.succeed(now);
            } else {
                state.slow_down(now);
            }
            state.in_flight -= 1;
        }
        taken
    }

    #[test]
    fn the_rate_finds_the_accounts_limit_from_above_and_from_below() {
        for limit in [20, 100, 600, 3000] {
            let taken = against(limit, 60);
            let late: u32 = taken[30..].iter().sum();
            assert!(f64::from(late) >= 0.7 * f64::from(limit * 30), "{limit}: {taken:?}");
        }
    }

    #[test]
    fn a_throttling_at_the_start_is_made_up_for_within_half_a_minute() {
        let (pace, mut now) = (Pace::new(), Instant::now());
        let mut state = pace.state();
        now += Duration::from_millis(300);
        state.done.count = 10;
        state.slow_down(now);
        assert!(state.rate < 40.0, "{}", state.rate);
        let start = now;
        while state.rate < 900.0 {
            now = state.start(now).max(now);
            state.take(now).unwrap();
            state.succeed(now);
            state.in_flight -= 1;
        }
        assert!(now - start < Duration::from_secs(30), "{:?}", now - start);
    }

    #[test]
    fn many_refusals_at_once_are_one_and_a_silent_service_is_never_given_up() {
        let (pace, now) = (Pace::new(), Instant::now());
        let mut state = pace.state();
        for _ in 0..50 {
            state.slow_down(now);
        }
        assert!((state.rate - FIRST_RATE * MUCH_SLOWER).abs() < 1.0);
        for second in 1..100 {
            state.slow_down(now + Duration::from_secs(second));
        }
        assert!(state.rate >= LEAST_RATE);
    }

    #[test]
    fn a_way_that_stalls_carries_fewer_at_a_time_and_later_more_again() {
        let (pace, now) = (Pace::new(), Instant::now());
        let mut state = pace.state();
        let patience = Duration::from_secs(20);
        for _ in 0..50 {
            state.narrow(now, patience);
        }
        assert_eq!(state.most_in_flight, MOST_IN_FLIGHT / 2);
        for round in 1..20 {
            state.narrow(now + patience * round, patience);
        }
        assert_eq!(state.most_in_flight, LEAST_IN_FLIGHT);
        for _ in 0..MOST_IN_FLIGHT * MOST_IN_FLIGHT {
            state.succeed(now);
        }
        assert_eq!(state.most_in_flight, MOST_IN_FLIGHT);
    }

    #[tokio::test]
    async fn a_turn_that_ends_lets_the_next_one_start() {
        let pace = Pace::new();
        pace.state().most_in_flight = 1;
        let first = pace.turn().await;
        assert!(tokio::time::timeout(Duration::from_millis(20), pace.turn()).await.is_err());
        drop(first);
        tokio::time::timeout(Duration::from_secs(60), pace.turn()).await.expect("a turn");
    }
}
