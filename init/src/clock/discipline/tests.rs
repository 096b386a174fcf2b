//! The discipline against simulated time: hardware that drifts, networks that jitter, servers that lie.

use super::*;
use proptest::prelude::*;

const START: i64 = 1_800_000_000 * SECOND;

/// A machine with a clock as the kernel steers it, and a server that knows the true time.
struct World {
    discipline: Discipline,
    /// True time since the start, s.
    now: f64,
    /// How much faster the hardware runs than it should, s/s.
    drift: f64,
    /// The machine's clocks against the true time since the start, s.
    raw: f64,
    real: f64,
    /// What the kernel was told.
    offset: f64,
    frequency: f64,
    seed: u64,
}

/// A network, s: each way takes at least `way`, and up to `jitter` more.
#[derive(Clone, Copy)]
struct Net {
    way: f64,
    jitter: f64,
}

const LAN: Net = Net { way: 100e-6, jitter: 100e-6 };

impl World {
    fn new(drift: f64, off: f64, seed: u64) -> Self {
        let discipline = Discipline::default();
        World { discipline, now: 0.0, drift, raw: 0.0, real: off, offset: 0.0, frequency: 0.0, seed }
    }

    /// Between 0 and 1 (Knuth's generator: the tests must not depend on chance).
    fn random(&mut self) -> f64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 11) as f64 / (1u64 << 53) as f64
    }

    fn pass(&mut self, seconds: f64) {
        let mut left = seconds;
        while left > 0.0 {
            let step = left.min(1.0);
            self.now += step;
            let raw = step * (1.0 + self.drift);
            let slewed = self.offset / 16.0 * step;
            self.raw += raw;
            self.real += raw * (1.0 + self.frequency) + slewed;
            self.offset -= slewed;
            left -= step;
        }
    }

    /// How far the machine's clock is off, s.
    fn off(&self) -> f64 {
        self.real - self.now
    }

    /// A question and its answer by a server that is off by `lie`.
    fn ask(&mut self, net: Net, lie: f64) -> Sample {
        let sent = self.raw;
        let way = net.way + net.jitter * self.random();
        self.pass(way);
        let time = self.now + lie;
        let way = net.way + net.jitter * self.random();
        self.pass(way);
        let (raw, delay) = (nanos((sent + self.raw) / 2.0), nanos(self.raw - sent));
        Sample { raw, time: START + nanos(time), delay, ..Sample::default() }
    }

    fn take(&mut self, sample: Sample, opinion: Opinion) -> Verdict {
        let clocks = Clocks { raw: nanos(self.raw), real: START + nanos(self.real) };
        let verdict = self.discipline.on_sample(sample, clocks, opinion);
        let steering = match verdict {
            Verdict::Steer(steering) => steering,
            Verdict::Step(by, steering) => {
                self.real += seconds(by);
                steering
            }
            Verdict::Doubt(_) | Verdict::Outlier(_) => return verdict,
        };
        self.offset = seconds(steering.offset);
        self.frequency = (steering.frequency as f64 / 65536e6).clamp(-500e-6, 500e-6);
        verdict
    }

    fn poll(&mut self, net: Net, lie: f64) -> Verdict {
        let sample = self.ask(net, lie);
        let verdict = self.take(sample, Opinion::Single);
        self.pass(self.discipline.interval().as_secs_f64());
        verdict
    }

    fn polls(&mut self, count: usize, net: Net) {
        for _ in 0..count {
            self.poll(net, 0.0);
        }
    }
}

#[test]
fn a_clock_that_is_years_behind_is_set_when_the_server_has_said_so_twice() {
    let mut world = World::new(50e-6, -2e8, 1);
    assert!(matches!(world.poll(LAN, 0.0), Verdict::Doubt(by) if by > 190_000_000 * SECOND));
    assert!(world.now < 2.1, "the second question comes soon: {}", world.now);
    assert!(matches!(world.poll(LAN, 0.0), Verdict::Step(..)));
    assert!(world.off().abs() < 0.002, "{}", world.off());
}

#[test]
fn what_is_certain_sets_the_clock_at_once() {
    let mut world = World::new(0.0, -2e8, 1);
    let sample = world.ask(LAN, 0.0);
    assert!(matches!(world.take(sample, Opinion::Certain), Verdict::Step(..)));
    assert!(world.discipline.is_set());
    assert_eq!(world.discipline.interval(), Duration::from_secs(16));
}

#[test]
fn half_a_second_is_steered_away_without_a_step() {
    let mut world = World::new(20e-6, 0.49, 1);
    for _ in 0..12 {
        let before = world.real;
        assert!(matches!(world.poll(LAN, 0.0), Verdict::Steer(_)));
        assert!(world.real > before, "time went backwards");
    }
    assert!(world.off().abs() < 0.001, "{}", world.off());
}

#[test]
fn before_the_clock_is_set_a_server_that_contradicts_itself_is_not_believed() {
    let mut world = World::new(0.0, 0.0, 1);
    for poll in 0..40 {
        let lie = if poll % 2 == 0 { 3e8 } else { 5e8 };
        assert!(matches!(world.poll(LAN, lie), Verdict::Doubt(_)));
    }
    assert!(world.off().abs() < 1e-9);
    assert!(world.now > 16.0 * 30.0, "it is not asked every two seconds forever");
}

#[test]
fn a_clock_that_is_set_is_set_again_only_after_the_server_has_insisted() {
    for (lie, patience) in [(10.0, 300.0), (-10.0, 1800.0)] {
        let mut world = World::new(20e-6, 0.0, 1);
        world.polls(20, LAN);
        let before = world.now;
        while matches!(world.poll(LAN, lie), Verdict::Doubt(_)) {
            assert!(world.off().abs() < 0.001);
        }
        assert!((world.off() - lie).abs() < 0.01, "{}", world.off());
        assert!(world.now - before > patience && world.now - before < patience + 1100.0, "{}", world.now - before);
    }
}

#[test]
fn a_first_question_that_took_long_is_corrected_by_the_second() {
    let mut world = World::new(20e-6, 0.0, 1);
    // The answer waited 100 ms for the network to find the way.
    let honest = world.ask(LAN, 0.0);
    let late = Sample { time: honest.time + nanos(0.05), delay: honest.delay + nanos(0.1), ..honest };
    assert!(matches!(world.take(late, Opinion::Single), Verdict::Steer(_)));
    world.pass(16.0);
    assert!(world.off() > 0.02);
    assert!(matches!(world.poll(LAN, 0.0), Verdict::Steer(_)));
    world.polls(5, LAN);
    assert!(world.off().abs() < 0.001, "{}", world.off());
}

#[test]
fn polls_grow_rarer_and_come_back_when_the_hardware_changes() {
    let mut world = World::new(30e-6, 0.1, 1);
    world.polls(60, LAN);
    assert_eq!(world.discipline.interval(), Duration::from_secs(1024));
    assert!(world.off().abs() < 0.0005, "{}", world.off());
    // As when the machine is moved to another host.
    world.drift = -60e-6;
    world.polls(2, LAN);
    assert_eq!(world.discipline.interval(), Duration::from_secs(16));
    world.polls(20, LAN);
    assert!(world.off().abs() < 0.0005, "{}", world.off());
}

#[test]
fn without_a_server_the_clock_keeps_its_frequency() {
    let mut world = World::new(150e-6, 0.0, 1);
    world.polls(60, LAN);
    world.pass(3600.0);
    assert!(world.off().abs() < 0.005, "off by {} after an hour alone", world.off());
    world.polls(20, LAN);
    assert!(world.off().abs() < 0.0005, "{}", world.off());
}

#[test]
fn a_leap_second_that_the_kernel_inserts_disturbs_nothing() {
    let mut world = World::new(30e-6, 0.0, 1);
    world.polls(30, LAN);
    // Both clocks have counted a second twice, the raw one has not.
    world.real -= 1.0;
    for _ in 0..30 {
        world.poll(LAN, -1.0);
        assert!((world.off() + 1.0).abs() < 0.001, "{}", world.off());
    }
}

#[test]
fn a_network_that_grows_slower_is_followed() {
    let mut world = World::new(30e-6, 0.0, 1);
    world.polls(30, LAN);
    world.polls(60, Net { way: 0.02, jitter: 0.001 });
    assert!(world.off().abs() < 0.001, "{}", world.off());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn it_converges_below_a_millisecond(
        drift in -200e-6..200e-6f64, off in -0.5..0.5f64, way in 0.0..0.05f64, jitter in 0.0..0.002f64, seed: u64,
    ) {
        let mut world = World::new(drift, off, seed);
        let net = Net { way, jitter };
        // Ten minutes of the shortest interval; it may have grown by then.
        world.polls(38, net);
        for _ in 0..60 {
            world.poll(net, 0.0);
            prop_assert!(world.off().abs() < 0.001, "{} at {}, frequency {} for {drift}", world.off(), world.now,
                world.frequency);
        }
    }

    #[test]
    fn spikes_and_lies_do_not_move_it(
        drift in -200e-6..200e-6f64, lies in prop::collection::vec(-1e9..1e9f64, 20), small in -0.4..0.4f64, seed: u64,
    ) {
        let mut world = World::new(drift, 0.2, seed);
        world.polls(38, LAN);
        for lie in lies {
            // One way takes up to a second more than the other; a server is off by years; by less than half a second.
            let spike = world.random();
            let honest = world.ask(LAN, 0.0);
            let late = Sample { time: honest.time + nanos(spike / 2.0), delay: honest.delay + nanos(spike), ..honest };
            world.take(late, Opinion::Single);
            for lie in [lie, small] {
                world.pass(16.0);
                let sample = world.ask(LAN, lie);
                world.take(sample, Opinion::Single);
                prop_assert!(world.off().abs() < 0.002, "{} at {}", world.off(), world.now);
            }
            for _ in 0..2 {
                world.pass(16.0);
                let honest = world.ask(LAN, 0.0);
                world.take(honest, Opinion::Single);
                prop_assert!(world.off().abs() < 0.002, "{} at {}", world.off(), world.now);
            }
        }
    }

    #[test]
    fn nothing_that_a_server_says_breaks_it(
        samples in prop::collection::vec((any::<i64>(), any::<i64>(), any::<i64>(), any::<i64>()), 1..40),
    ) {
        let mut discipline = Discipline::default();
        for (raw, time, delay, real) in samples {
            let sample = Sample { raw, time, delay, ..Sample::default() };
            discipline.on_sample(sample, Clocks { raw, real }, Opinion::Certain);
            let wait = discipline.interval().as_secs();
            prop_assert!((2..=1024).contains(&wait));
            prop_assert!(discipline.line.len() <= WINDOW && discipline.outliers.len() <= OUTLIERS);
        }
    }
}
