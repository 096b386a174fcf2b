//! How the clock follows its servers, without sockets or clocks: samples go in, what to do comes out.
//!
//! Samples are kept against CLOCK_MONOTONIC_RAW, which nobody steers: a straight line through the last of them is the
//! hardware's drift and the true time, whatever was done to the machine's clock meanwhile. Each weighs by its round trip:
//! one that took longer than the shortest may be off by half of the difference, and the shortest by a share of
//! what they usually differ by. The line's slope becomes the clock's
//! frequency; the kernel takes the rest away, by a sixteenth each second, without waking anybody.

use super::packet::Leap;
use std::time::Duration;

/// The clock is set where it is off by more, and steered where it is not, ns.
pub const STEP: i64 = 500_000_000;
/// Shortest and longest poll interval, log₂ s.
const SHORTEST: u32 = 4;
const LONGEST: u32 = 10;
/// Between the first polls of a machine whose clock is still to be set: NTP's own pace for a burst.
const HURRY: Duration = Duration::from_secs(2);
/// How often it hurries; after that the server is no better than any other.
const HURRIES: u32 = 3;
/// Good samples before polls grow rarer.
const GOOD: u32 = 3;
/// Samples on the line.
const WINDOW: usize = 16;
/// What a sample with the shortest round trip may be off, s: interrupts and scheduling on both sides.
const NOISE: f64 = 50e-6;
/// What the hardware's frequency may change by between polls, s/s: the processor's crystal when it grows warmer.
const WANDER: f64 = 1e-7;
/// What the hardware may be off by as long as nothing is known of it, s/s.
const UNKNOWN: f64 = 200e-6;
/// What remains of this knowledge when the line is begun anew, s/s.
const KNOWN: f64 = 50e-6;
/// A prediction good enough for a rarer poll, s.
const GOOD_ENOUGH: f64 = 500e-6;
/// As many samples aside of the line, but not of each other, begin a new one.
const OUTLIERS: usize = 3;
/// A clock that was set once is set again only when the servers have insisted for so long, ns: time that jumps is
/// worse for an application than time that is off. A step backwards, which programs expect least, takes longer.
const FORWARD_PATIENCE: i64 = 5 * 60 * SECOND;
const BACKWARD_PATIENCE: i64 = 30 * 60 * SECOND;
/// And with at least so many samples.
const INSISTENCE: u32 = 4;
/// Samples that insist on the same may differ by this, ns, and by what the worst hardware drifts (1/2000).
const SAME: i64 = 100_000_000;
const SECOND: i64 = 1_000_000_000;

/// What one question to a clock brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sample {
    /// CLOCK_MONOTONIC_RAW in the middle between question and answer, ns.
    pub raw: i64,
    /// The true time at that moment, Unix time in ns.
    pub time: i64,
    /// The round trip without the server's own part, ns.
    pub delay: i64,
    /// How far the server itself may be from the truth, ns.
    pub distance: i64,
    /// The leap second that the server warns of.
    pub leap: Leap,
}

impl Sample {
    /// What tells the true time from the raw clock, ns.
    #[must_use]
    pub fn ahead(&self) -> i64 {
        self.time.saturating_sub(self.raw)
    }
}

/// The machine's clocks, read at the same moment, ns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// CLOCK_MONOTONIC_RAW.
    pub raw: i64,
    /// CLOCK_REALTIME.
    pub real: i64,
}

/// How much a sample is to be believed as long as the clock was never set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opinion {
    /// It comes from the machine's own host, or several servers agree.
    Certain,
    /// One server's word.
    Single,
}

/// What is to be done with the machine's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Steer it.
    Steer(Steering),
    /// Set it by so many ns, then steer it.
    Step(i64, Steering),
    /// It would be set by so many ns, if that were believed.
    Doubt(i64),
    /// Nothing: the sample is so many ns aside of the others.
    Outlier(i64),
}

/// How the kernel steers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steering {
    /// What is still to be added, ns.
    pub offset: i64,
    /// How much faster than its hardware the clock must run, 2⁻¹⁶ parts per million.
    pub frequency: i64,
    /// How far the clock probably is from the servers once the offset is added, ns.
    pub error: i64,
}

/// The state between samples.
#[derive(Debug)]
pub struct Discipline {
    line: Vec<Sample>,
    outliers: Vec<Sample>,
    /// What is known of the hardware's frequency without the line, and how well, s/s.
    known: (f64, f64),
    doubt: Option<Doubt>,
    poll: u32,
    good: u32,
    hurries: u32,
}

/// A time too far from the clock's to be believed at once.
#[derive(Debug)]
struct Doubt {
    since: i64,
    last: Sample,
    count: u32,
}

/// A straight line through samples, in s from some moment.
#[derive(Debug)]
struct Line {
    /// Of the raw clock against [`Line::base`], at the moment.
    value: f64,
    slope: f64,
    base: i64,
    trips: Trips,
    weight: f64,
    middle: f64,
    spread: f64,
    /// How much worse the samples lie than their round trips say: at least 1.
    badness: f64,
    newest: f64,
    count: f64,
}

impl Default for Discipline {
    fn default() -> Self {
        Discipline {
            line: Vec::with_capacity(WINDOW + 1),
            outliers: Vec::new(),
            known: (0.0, UNKNOWN),
            doubt: None,
            poll: SHORTEST,
            good: 0,
            hurries: 0,
        }
    }
}

impl Discipline {
    /// Whether the clock follows some server.
    #[must_use]
    pub fn is_set(&self) -> bool {
        !self.line.is_empty()
    }

    /// How long until the next sample is wanted.
    #[must_use]
    pub fn interval(&self) -> Duration {
        if !self.is_set() && (1..=HURRIES).contains(&self.hurries) {
            HURRY
        } else {
            Duration::from_secs(1 << self.poll)
        }
    }

    /// A server gave an answer that cannot be believed: whatever it insisted on counts no more.
    pub fn on_refusal(&mut self) {
        self.doubt = None;
    }

    /// Takes a sample in. The clocks are read after it; what the verdict says holds at their moment.
    pub fn on_sample(&mut self, sample: Sample, clocks: Clocks, opinion: Opinion) -> Verdict {
        let aside = sample.ahead().saturating_sub(clocks.real.saturating_sub(clocks.raw));
        if aside.saturating_abs() > STEP {
            return self.on_doubtful(sample, aside, clocks, opinion);
        }
        self.doubt = None;
        // Among the round trips that its samples are judged by is the new one: the first question often takes longer.
        let trips = Trips::of(self.line.iter().chain([&sample]));
        if let Some(line) = Line::through(&self.line, trips, sample.raw, self.known) {
            let deviation = line.deviation(&sample);
            let expected = line.expected(&sample);
            if deviation.abs() > 3.0 * expected {
                self.poll = SHORTEST;
                self.good = 0;
                self.outliers.push(sample);
                if !self.begin_anew(line.slope) {
                    return Verdict::Outlier(nanos(deviation));
                }
            } else {
                self.outliers.clear();
                self.line.push(sample);
                self.pace(&line, deviation.abs() <= 2.0 * expected);
            }
        } else {
            self.line.push(sample);
        }
        if self.line.len() > WINDOW {
            self.line.remove(0);
        }
        Verdict::Steer(self.steering(clocks))
    }

    /// The time differs from the clock's by more than steering can mend.
    fn on_doubtful(&mut self, sample: Sample, aside: i64, clocks: Clocks, opinion: Opinion) -> Verdict {
        self.poll = SHORTEST;
        self.good = 0;
        let doubt = match self.doubt.take().filter(|doubt| doubt.fits(&sample)) {
            Some(Doubt { since, count, .. }) => Doubt { since, last: sample, count: count.saturating_add(1) },
            None => Doubt { since: sample.raw, last: sample, count: 1 },
        };
        let patience = if aside > 0 { FORWARD_PATIENCE } else { BACKWARD_PATIENCE };
        let believed = if self.is_set() {
            doubt.count >= INSISTENCE && sample.raw.saturating_sub(doubt.since) >= patience
        } else {
            opinion == Opinion::Certain || doubt.count > 1
        };
        if !believed {
            self.hurries = self.hurries.saturating_add(1);
            self.doubt = Some(doubt);
            return Verdict::Doubt(aside);
        }
        if let Some(line) = Line::through(&self.line, Trips::of(&self.line), sample.raw, self.known) {
            self.known = (line.slope, KNOWN);
        }
        self.outliers.clear();
        self.line.clear();
        self.line.push(sample);
        let stepped = Clocks { real: clocks.real.saturating_add(aside), ..clocks };
        Verdict::Step(aside, self.steering(stepped))
    }

    /// When samples lie aside of the line, but on one of their own, that one is taken: the hardware has changed, or the
    /// servers have.
    fn begin_anew(&mut self, slope: f64) -> bool {
        if self.outliers.len() < OUTLIERS {
            return false;
        }
        if !self.outliers.is_sorted_by(agree) {
            self.outliers.remove(0);
            return false;
        }
        self.known = (slope, KNOWN);
        self.line = std::mem::take(&mut self.outliers);
        true
    }

    /// Polls grow rarer while samples lie where they are expected and the next one can be foretold, else more frequent.
    fn pace(&mut self, line: &Line, good: bool) {
        if !good {
            self.good = 0;
            self.poll = (self.poll - 1).max(SHORTEST);
            return;
        }
        self.good += 1;
        let ahead = f64::from(1u32 << (self.poll + 1));
        if self.good >= GOOD && self.poll < LONGEST && line.uncertainty(ahead) <= GOOD_ENOUGH.max(line.noise()) {
            self.poll += 1;
            self.good = 0;
        }
    }

    fn steering(&self, clocks: Clocks) -> Steering {
        let Some(line) = Line::through(&self.line, Trips::of(&self.line), clocks.raw, self.known) else {
            return Steering { offset: 0, frequency: 0, error: 0 };
        };
        let ahead = line.base.saturating_add(nanos(line.value));
        let offset = ahead.saturating_sub(clocks.real.saturating_sub(clocks.raw));
        Steering {
            offset: offset.clamp(-STEP, STEP),
            frequency: (line.slope * 1e6 * 65536.0) as i64,
            error: nanos(line.uncertainty(0.0)),
        }
    }
}

impl Doubt {
    fn fits(&self, sample: &Sample) -> bool {
        let drift = sample.raw.saturating_sub(self.last.raw).saturating_abs() / 2000;
        sample.ahead().saturating_sub(self.last.ahead()).saturating_abs() <= SAME + drift
    }
}

impl Line {
    /// The line by weighted least squares, with what is known of the slope as one more observation; `None` through no
    /// samples.
    fn through(samples: &[Sample], trips: Trips, moment: i64, known: (f64, f64)) -> Option<Self> {
        let base = samples.first()?.ahead();
        let points = || {
            samples.iter().map(move |sample| {
                let x = seconds(sample.raw.saturating_sub(moment));
                let y = seconds(sample.ahead().saturating_sub(base));
                (x, y, 1.0 / trips.variance(sample.delay))
            })
        };
        let weight: f64 = points().map(|(_, _, w)| w).sum();
        let middle = points().map(|(x, _, w)| w * x).sum::<f64>() / weight;
        let level = points().map(|(_, y, w)| w * y).sum::<f64>() / weight;
        let (slope, accuracy) = known;
        let knowledge = 1.0 / (accuracy * accuracy);
        let spread = points().map(|(x, _, w)| w * (x - middle) * (x - middle)).sum::<f64>() + knowledge;
        let product = points().map(|(x, y, w)| w * (x - middle) * (y - level)).sum::<f64>();
        let slope = (product + slope * knowledge) / spread;
        let rest = |x: f64, y: f64| y - level - slope * (x - middle);
        let squares: f64 = points().map(|(x, y, w)| w * rest(x, y) * rest(x, y)).sum();
        let count = points().count() as f64;
        let badness = (squares / (count - 2.0).max(1.0)).max(1.0);
        let newest = samples.last().map_or(0.0, |sample| seconds(sample.raw.saturating_sub(moment)));
        let value = level - slope * middle;
        Some(Line { value, slope, base, trips, weight, middle, spread, badness, newest, count })
    }

    /// How far a sample of this line's moment lies aside, s.
    fn deviation(&self, sample: &Sample) -> f64 {
        seconds(sample.ahead().saturating_sub(self.base)) - self.value
    }

    /// How far it may lie aside, s: one standard deviation.
    fn expected(&self, sample: &Sample) -> f64 {
        let line = self.uncertainty(0.0);
        (line * line + self.badness * self.trips.variance(sample.delay)).sqrt()
    }

    /// How far the line may be from the truth, s from its moment.
    fn uncertainty(&self, ahead: f64) -> f64 {
        let (arm, wander) = (ahead - self.middle, WANDER * (ahead - self.newest));
        (self.badness * (1.0 / self.weight + arm * arm / self.spread) + wander * wander).sqrt()
    }

    /// How far a usual sample lies aside, s.
    fn noise(&self) -> f64 {
        (self.badness * self.count / self.weight).sqrt()
    }
}

/// What round trips tell about how far samples may be off.
#[derive(Debug, Clone, Copy)]
struct Trips {
    shortest: i64,
    /// What the sample with the shortest one may be off, s.
    noise: f64,
}

impl Trips {
    fn of<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> Self {
        let mut delays: Vec<i64> = samples.into_iter().map(|sample| sample.delay).collect();
        delays.sort_unstable();
        let shortest = delays.first().copied().unwrap_or(0);
        // The middle one, which spikes do not move.
        let usual = delays.get(delays.len() / 2).map_or(0.0, |usual| seconds(usual.saturating_sub(shortest)));
        Trips { shortest, noise: NOISE + usual / 4.0 }
    }

    /// Of a sample's time, s².
    fn variance(self, delay: i64) -> f64 {
        let excess = seconds(delay.saturating_sub(self.shortest).max(0)) / 2.0;
        self.noise * self.noise + excess * excess
    }
}

/// Whether two samples in a row may tell the same time, whatever the hardware's drift.
fn agree(one: &Sample, next: &Sample) -> bool {
    let excess = seconds(one.delay.saturating_sub(next.delay).saturating_abs()) / 2.0;
    let drift = seconds(next.raw.saturating_sub(one.raw)) / 2000.0;
    seconds(next.ahead().saturating_sub(one.ahead())).abs() <= 3.0 * (2.0 * NOISE + excess) + drift
}

fn seconds(nanos: i64) -> f64 {
    nanos as f64 * 1e-9
}

fn nanos(seconds: f64) -> i64 {
    (seconds * 1e9) as i64
}

#[cfg(test)]
mod tests;
