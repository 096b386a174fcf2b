//! Hundreds of schedules of faults, drawn by chance, upon parents and grandparents of any shape. Success: the image is
//! as ordered, every block reads as the disk has it, and nothing else is readable in the whole volume. Failure: an
//! error that can be read, nothing that is not tagged as ours, and the next run, without faults, succeeds and leaves
//! nothing pending behind.
//!
//! `NANOOS_SEED` runs the one schedule of this seed, `NANOOS_SCHEDULES` another number of them.

use crate::lab::{Disk, Fill, Lab, REGION, calm, encrypting, hasty, rules, text};
use aws::{Order, Published, Timing};
use ec2_stand_in::{Burst, Delay, Effect, Fault, Faults, Kind, Moment, Rules, Snapshot, Unseen};
use fastrand::Rng;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How many, where nobody says otherwise.
const SCHEDULES: u64 = 320;
/// Of them at the same time: most of the time of each is pauses.
const SIDE_BY_SIDE: usize = 12;
/// Requests of a run at most that a fault may lead to: 24 blocks, each tried as often as the patience of [`hasty`] allows, and some others.
const MOST_REQUESTS: u64 = 6000;

/// What is done in a schedule.
#[derive(Debug)]
struct Schedule {
    rules: Rules,
    /// Earlier images, the oldest first: each made on this machine, or on another one.
    earlier: Vec<&'static str>,
    force: bool,
    /// Each of a run; then comes one without.
    faults: Vec<Faults>,
    /// What is lost between two runs.
    loss: Loss,
    /// Another machine publishes the same so much later.
    joined: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    None,
    /// The next run is on another machine.
    All,
    /// An entry that is not true is in each journal.
    Lies,
    /// What earlier snapshots hold is not known any more.
    Contents,
    /// The earlier image and its snapshot were removed.
    Parent,
    /// The time of pending snapshots is over.
    Time,
}

impl Schedule {
    fn draw(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let base = if rng.bool() { encrypting() } else { rules() };
        let rules = Rules {
            completion: Delay::Answers(if rng.u8(0..5) == 0 { 80 } else { rng.u32(0..6) }),
            registration: Delay::Answers(rng.u32(0..3)),
            complete_twice: rng.bool(),
            put_latency: Duration::from_millis(if rng.bool() { 0 } else { rng.u64(1..30) }),
            seed,
            ..base
        };
        let earlier = (0..[0, 1, 2, 2][rng.usize(0..4)]).map(|_| ["here", "here", "elsewhere"][rng.usize(0..3)]);
        let earlier = earlier.collect();
        let runs = rng.usize(1..3);
        Schedule {
            rules,
            earlier,
            force: rng.u8(0..8) == 0,
            faults: (0..runs).map(|_| faults(&mut rng)).collect(),
            loss: [Loss::None, Loss::All, Loss::Lies, Loss::Contents, Loss::Parent, Loss::Time][rng.usize(0..6)],
            joined: (rng.u8(0..3) == 0).then(|| Duration::from_millis(rng.u64(0..80))),
        }
    }
}

const ACTIONS: &[&str] = &[
    "*",
    "*",
    "Put*",
    "Put*",
    "Put*",
    "StartSnapshot",
    "CompleteSnapshot",
    "DescribeSnapshots",
    "Describe*",
    "RegisterImage",
    "*Block",
    "List*",
];

/// One to three kinds of faults at the same time.
fn faults(rng: &mut Rng) -> Faults {
    let mut faults = Faults { seed: rng.u64(..), ..Faults::default() };
    for _ in 0..rng.usize(1..4) {
        let action = ACTIONS[rng.usize(0..ACTIONS.len())];
        let probability = 0.05 + 0.25 * rng.f64();
        let moment = [Moment::BeforeBody, Moment::MidBody, Moment::BeforeAnswer, Moment::MidAnswer][rng.usize(0..4)];
        let effect = if rng.bool() { Effect::Taken } else { Effect::None };
        let mut add = |kind, probability| faults.faults.push(Fault::new(action, kind).probability(probability));
        match rng.usize(0..21) {
            0 | 1 => add(Kind::Error(if rng.bool() { 500 } else { 503 }, effect), probability),
            2 | 3 => add(Kind::Reset(moment), probability),
            4 => add(Kind::Throttled, probability),
            5 => add(Kind::Stall(moment, Duration::from_millis(400)), 0.02),
            6 => add(Kind::Unread, probability),
            7 => {
                faults.bursts.push(Burst { actions: action.to_owned(), answers: rng.u32(1..6), every: rng.u32(8..24) });
            }
            8 => faults.unseen_snapshots = Some(Unseen::Requests(rng.u32(1..60))),
            9 => faults.refused_checksums = rng.u32(1..12),
            10 => faults.clock_skew = if rng.bool() { 3600 } else { -3600 },
            11 => faults.expired = [("AKIDEXAMPLE".to_owned(), rng.u64(0..60))].into(),
            12 => {
                faults.flapping_pending = probability;
                faults.flapping_missing = probability * rng.f64();
            }
            13 => faults.unseen_images = rng.u32(1..8),
            14 => {
                let kind = if rng.bool() { Kind::Error(500, effect) } else { Kind::Reset(moment) };
                faults.faults.push(Fault::new("RegisterImage", kind).times(rng.u32(1..40)));
            }
            15 => faults.start_limit = rng.u32(1..5),
            16 => faults.failing_completions = rng.u32(1..4),
            17 => {
                faults.failing_images = 1;
                faults.corrupt_reads = probability;
                faults.lost_parents = rng.u32(0..2);
            }
            _ => faults.crash_after_puts = Some(rng.u64(0..24)),
        }
    }
    faults
}

/// The disks of a schedule, the one that is published in the end last.
fn disks(seed: u64, earlier: usize) -> Vec<Disk> {
    let mut rng = Rng::with_seed(!seed);
    let mut disks = vec![Disk::of(rng.u32(8..20), seed)];
    for _ in 0..earlier {
        let mut disk = disks[disks.len() - 1].clone();
        change(&mut rng, &mut disk);
        disks.push(disk);
    }
    disks
}

/// Makes the next disk of one: about as large, larger, smaller, or in pieces.
fn change(rng: &mut Rng, disk: &mut Disk) {
    for index in 0..disk.0.len() {
        match rng.usize(0..8) {
            0 => disk.set(index, Fill::Noise(rng.u64(..))),
            1 => disk.set(index, Fill::Zeros),
            _ => {}
        }
    }
    let end = disk.0[disk.0.len() - 1].0 + 1;
    match rng.usize(0..5) {
        0 | 1 => disk.0.truncate(disk.0.len() - rng.usize(0..=disk.0.len() / 3)),
        2 => disk.0.retain(|(index, _)| *index == 0 || rng.usize(0..4) > 0),
        3 => disk.0.push((end + rng.u32(1..4000), Fill::Noise(rng.u64(..)))),
        _ => disk.0.extend((end..end + rng.u32(0..4)).map(|index| (index, Fill::Noise(rng.u64(..))))),
    }
    // It differs, whatever was drawn.
    disk.set(0, Fill::Noise(rng.u64(..)));
}

/// Counts over all schedules.
#[derive(Debug, Default)]
struct Counts {
    first: AtomicU64,
    second: AtomicU64,
    requests: AtomicU64,
    most: AtomicU64,
    /// With a parent, with two, and with zeros over what a parent had beside the disk.
    children: AtomicU64,
    grandchildren: AtomicU64,
    overwriting: AtomicU64,
}

impl Counts {
    fn count(&self, snapshot: &Snapshot, order: &Order) {
        let beside = |index: &u32| order.contents.blocks().binary_search_by_key(index, |block| block.0).is_err();
        for (counter, counts) in [
            (&self.children, snapshot.parent.is_some()),
            (&self.grandchildren, snapshot.lineage.len() > 1),
            (&self.overwriting, snapshot.blocks.keys().any(beside)),
        ] {
            counter.fetch_add(u64::from(counts), Ordering::Relaxed);
        }
    }
}

async fn run(seed: u64, counts: &Counts) {
    let schedule = Schedule::draw(seed);
    let mut disks = disks(seed, schedule.earlier.len());
    let mut order = disks.pop().unwrap().order();
    let mut lab = Lab::with(schedule.rules.clone());
    let mut earlier = None;
    for (machine, disk) in schedule.earlier.iter().zip(disks) {
        let order = disk.order();
        let published = lab.publish_from(machine, &order).await.unwrap();
        lab.check(&published, &order);
        earlier = Some(published);
    }
    order.force = schedule.force;
    order.machine.swap = u32::try_from(seed % 3).unwrap();
    let (mut machine, mut done, mut flaps) = ("here", None, schedule.joined.is_some());
    for (number, faults) in schedule.faults.iter().enumerate() {
        flaps |= faults.flapping_missing > 0.0;
        lab.timing = Timing {
            attempt: Duration::from_millis(if stalls(faults) { 250 } else { 3000 }),
            completion: Duration::from_millis(if schedule.loss == Loss::Time { 150 } else { 2000 }),
            ..hasty()
        };
        lab.cloud.reset_tally();
        lab.cloud.set_faults(faults.clone());
        let result = match schedule.joined {
            Some(later) => joined(&lab, machine, later, &order).await,
            None => lab.publish_from(machine, &order).await,
        };
        let requests = lab.cloud.tally().total();
        counts.requests.fetch_add(requests, Ordering::Relaxed);
        counts.most.fetch_max(requests, Ordering::Relaxed);
        assert!(requests < MOST_REQUESTS, "{requests} requests: {:?}", lab.cloud.tally());
        lab.cloud.set_faults(Faults::default());
        match result {
            Ok(published) => {
                lab.check(&published, &order);
                done = Some(published);
                [&counts.first, &counts.second][number.min(1)].fetch_add(1, Ordering::Relaxed);
                break;
            }
            Err(error) => check_failure(&lab, &text(&error)),
        }
        machine = lose(&lab, schedule.loss, machine, earlier.as_ref());
    }
    let published = finish(&mut lab, &order, machine, done.as_ref(), flaps).await;
    counts.count(&lab.snapshot(published.snapshot.as_ref().unwrap()), &order);
}

fn stalls(faults: &Faults) -> bool {
    faults.faults.iter().any(|fault| matches!(fault.kind, Kind::Stall(..)))
}

/// Nothing is there that is not known as ours, and the error says where it happened.
fn check_failure(lab: &Lab, error: &str) {
    assert!(error.contains(REGION) || error.contains("snap-") || error.contains("ami-"), "{error}");
    for snapshot in lab.cloud.snapshots(REGION) {
        assert!(snapshot.tags.contains_key("nanoos:content"), "{error}");
    }
    for image in lab.cloud.images(REGION) {
        assert!(image.tags.contains_key("nanoos:content"), "{error}");
    }
}

/// Two machines at the same time, the second one a bit later.
async fn joined(lab: &Lab, machine: &str, later: Duration, order: &Order) -> anyhow::Result<Published> {
    let later = async {
        tokio::time::sleep(later).await;
        lab.publish_from("another", order).await
    };
    let (one, other) = tokio::join!(lab.publish_from(machine, order), later);
    for result in [&one, &other] {
        match result {
            Ok(published) => lab.check(published, order),
            Err(error) => check_failure(lab, &text(error)),
        }
    }
    one.or(other)
}

/// What becomes of the state between two runs; the machine of the next one.
fn lose(lab: &Lab, loss: Loss, machine: &'static str, earlier: Option<&Published>) -> &'static str {
    let files = |extension: &'static str| {
        let files = std::fs::read_dir(lab.dir.path().join(machine)).unwrap().flatten().map(|entry| entry.path());
        files.filter(move |path| path.extension().is_some_and(|found| found == extension))
    };
    match loss {
        Loss::None => {}
        Loss::All => return "a third one",
        Loss::Lies => {
            for path in files("sent") {
                let mut bytes = std::fs::read(&path).unwrap();
                bytes.extend([[7, 0, 0, 0], [!7, 255, 255, 255]].concat());
                std::fs::write(path, bytes).unwrap();
            }
        }
        Loss::Contents => files("blocks").for_each(|path| std::fs::remove_file(path).unwrap()),
        Loss::Parent => {
            if let Some(Published { image, snapshot: Some(snapshot), .. }) = earlier {
                lab.cloud.remove(REGION, image, snapshot);
            }
        }
        Loss::Time => lab.cloud.advance(Duration::from_secs(4321 * 60)),
    }
    machine
}

/// The run without faults.
async fn finish(lab: &mut Lab, order: &Order, machine: &str, done: Option<&Published>, flaps: bool) -> Published {
    lab.timing = calm();
    lab.cloud.reset_tally();
    let published = lab.publish_from(machine, order).await.unwrap_or_else(|error| panic!("without faults: {error:#}"));
    lab.check(&published, order);
    if order.force {
        return published;
    }
    if let Some(done) = done {
        assert_eq!((&published.image, &published.snapshot), (&done.image, &done.snapshot));
        assert_eq!(published.sent, 0);
    }
    assert_eq!(
        lab.cloud.images(REGION).iter().filter(|image| image.tags["nanoos:content"] == order.contents.id()).count(),
        1
    );
    // Whoever is told that there is none begins another one, and two at the same time may find different parents.
    let pending = lab.pending();
    for of_swap in [false, true] {
        let mine = |snapshot: &&Snapshot| match snapshot.tags.contains_key("nanoos:swap") {
            true => of_swap,
            false => !of_swap && snapshot.tags["nanoos:content"] == order.contents.id(),
        };
        let pending = pending.iter().filter(mine).count();
        assert!(pending <= usize::from(flaps), "{pending} pending, of swap: {of_swap}");
    }
    published
}

#[test]
fn whatever_fails_the_image_is_right_or_the_next_run_goes_on() {
    let number = |name| std::env::var(name).ok().map(|value| value.parse::<u64>().unwrap());
    let (seeds, next): (Vec<u64>, AtomicU64) = match number("NANOOS_SEED") {
        Some(seed) => (vec![seed], AtomicU64::new(0)),
        None => ((0..number("NANOOS_SCHEDULES").unwrap_or(SCHEDULES)).collect(), AtomicU64::new(0)),
    };
    let (counts, failed) = (Counts::default(), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE.min(seeds.len()) {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap()) {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    let whole = std::panic::AssertUnwindSafe(|| runtime.block_on(run(*seed, &counts)));
                    if std::panic::catch_unwind(whole).is_err() {
                        eprintln!("the schedule of NANOOS_SEED={seed} failed: {:?}", Schedule::draw(*seed));
                        failed.lock().unwrap().push(*seed);
                    }
                }
            });
        }
    });
    let Counts { first, second, requests, most, children, grandchildren, overwriting } = counts;
    println!(
        "{} schedules: {first:?} succeeded at the first run, {second:?} at the second; {requests:?} requests, {most:?} at most in a run; \
         {children:?} upon a parent, {grandchildren:?} upon two, {overwriting:?} with zeros over what is not the disk's",
        seeds.len()
    );
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "NANOOS_SEED={failed:?}");
    if seeds.len() as u64 >= SCHEDULES {
        let enough = |counter: AtomicU64, least| counter.into_inner() >= least;
        assert!(enough(children, 50) && enough(grandchildren, 10) && enough(overwriting, 20), "few parents are drawn");
    }
}
