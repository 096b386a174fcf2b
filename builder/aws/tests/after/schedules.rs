//! Faults by chance: whatever fails, nothing costs money that nobody is told of, and the next run succeeds.

use crate::lab::{Lab, OTHER, REGION};
use aws::{Encryption, Launch, Promotion, Silent, Target, Timing, list, promote, remove, verify};
use ec2_stand_in::{Effect, Fault, Faults, ImageState, InstanceState, Kind, Moment};
use std::time::Duration;

/// Runs of each kind.
const RUNS: u64 = 60;

/// Impatient, so that some runs fail.
fn hasty(lab: &mut Lab) {
    lab.timing = Timing {
        call: Duration::from_millis(150),
        pause: Duration::from_millis(2),
        longest_pause: Duration::from_millis(20),
        seen: Duration::from_millis(80),
        poll: Duration::from_millis(2),
        completion: Duration::from_millis(500),
        ..lab.timing.clone()
    };
}

/// A few faults of any kind, of any of these operations.
fn faults(random: &mut fastrand::Rng, actions: &[&str]) -> Faults {
    let kinds = [
        Kind::Error(500, Effect::None),
        Kind::Error(503, Effect::Taken),
        Kind::Throttled,
        Kind::Reset(Moment::BeforeBody),
        Kind::Reset(Moment::BeforeAnswer),
        Kind::Reset(Moment::MidAnswer),
        Kind::Stall(Moment::BeforeAnswer, Duration::from_millis(30)),
        Kind::Denied,
    ];
    let mut any = || {
        let action = random.choice(actions).copied().unwrap_or("*");
        let fault = Fault::new(action, *random.choice(&kinds).unwrap()).probability(random.f64());
        if random.bool() { fault.times(random.u32(1..12)) } else { fault }
    };
    let faults = [any(), any(), any()];
    Faults { seed: random.u64(..), unseen_images: random.u32(0..3), ..Faults::of(faults) }
}

#[tokio::test]
async fn an_instance_that_stays_is_told_of() {
    let mut lab = Lab::new();
    hasty(&mut lab);
    let (image, session) = (lab.image(1).await.image, lab.session().await);
    let actions =
        ["RunInstances", "DescribeInstances", "GetConsoleOutput", "TerminateInstances", "DescribeImages", "*"];
    let (mut well, mut told) = (0, 0);
    // How many instances stay depends on how fast this machine is: a few of these runs are enough on most.
    for seed in 0..4 * RUNS {
        if seed >= RUNS && well > 5 && told > 2 {
            break;
        }
        let mut random = fastrand::Rng::with_seed(seed);
        lab.cloud.set_faults(faults(&mut random, &actions));
        lab.cloud.set_console(if random.bool() { "ready\n" } else { "" });
        let how = Launch {
            check: "console:ready".parse().unwrap(),
            instance_type: None,
            subnet: None,
            security_group: None,
            timeout: Duration::from_millis(100),
        };
        let cancel = tokio::time::sleep(Duration::from_millis(random.u64(0..300)));
        let result = verify(&session, &image, &how, cancel, &lab.report()).await;
        let text = result.as_ref().map_or_else(|error| format!("{error:#}"), |verified| verified.evidence.clone());
        lab.cloud.set_faults(Faults::default());
        for instance in lab.cloud.instances(REGION) {
            if matches!(instance.state(), InstanceState::ShuttingDown | InstanceState::Terminated) {
                continue;
            }
            assert!(
                text.contains(&instance.id) || text.contains("may run all the same"),
                "{seed}: {instance:?}: {text}"
            );
            // And it is found by its tag.
            let ids = list(&session).await.unwrap().instances.into_iter().map(|one| one.id).collect::<Vec<_>>();
            assert_eq!(ids, std::slice::from_ref(&instance.id), "{seed}");
            remove(&session, &ids, &Silent).await.unwrap()[0].1.as_ref().unwrap();
            told += 1;
        }
        well += u32::from(result.is_ok());
    }
    assert!(well > 5 && told > 2, "{well} went well, {told} instances stayed");
}

#[tokio::test]
async fn a_promotion_that_fails_is_made_good_by_the_next_one() {
    let (mut lab, mut well) = (Lab::new(), 0);
    hasty(&mut lab);
    let (account, session) = (lab.account().await, lab.session().await);
    for seed in 0..RUNS {
        let mut random = fastrand::Rng::with_seed(seed);
        let image = lab.image_with_swap(seed).await.image;
        let to = vec![Target::Region(OTHER.to_owned()), Target::Account("210987654321".to_owned())];
        let promotion = Promotion { image: image.clone(), to, encryption: Encryption::Default };
        let faulty =
            faults(&mut random, &["CopyImage", "DescribeImages", "Modify*", "CreateTags", "DescribeSnapshots"]);
        lab.cloud.set_faults(Faults { failing_copies: random.u32(0..2), ..faulty });
        let results = promote(&account, &session, &promotion, &lab.report()).await;
        well += u32::from(results.is_ok_and(|results| results.iter().all(|(_, result)| result.is_ok())));
        lab.cloud.set_faults(Faults::default());
        // A copy that failed, and could not be removed in that trouble, has the name: it is told, and removed.
        for failed in lab.cloud.images(OTHER).into_iter().filter(|image| image.state() == ImageState::Failed) {
            let ids = [failed.id];
            remove(&account.region(OTHER), &ids, &Silent).await.unwrap()[0].1.as_ref().unwrap();
        }
        let results = promote(&account, &session, &promotion, &lab.report()).await.unwrap();
        for (target, result) in results {
            result.unwrap_or_else(|error| panic!("{seed}: {target}: {error:#}"));
        }
        let copies = lab.cloud.images(OTHER);
        assert_eq!((copies.len(), copies[0].tags.clone()), (1, lab.described(REGION, &image).tags), "{seed}");
        assert_eq!(
            (lab.cloud.snapshots(OTHER).len(), lab.described(REGION, &image).shared_with.len()),
            (2, 1),
            "{seed}"
        );
        for (made, from) in copies[0].mappings.iter().zip(lab.described(REGION, &image).mappings) {
            let made = lab.cloud.snapshot(OTHER, made.snapshot.as_ref().unwrap()).unwrap();
            let from = lab.cloud.snapshot(REGION, from.snapshot.as_ref().unwrap()).unwrap();
            assert_eq!((&made.tags, from.shared_with.len()), (&from.tags, 1), "{seed}");
        }
        for (region, id) in [(OTHER, copies[0].id.clone()), (REGION, image)] {
            remove(&account.region(region), &[id], &Silent).await.unwrap()[0].1.as_ref().unwrap();
        }
    }
    assert!((6..RUNS as u32).contains(&well), "{well} of {RUNS} went well");
}

#[tokio::test]
async fn a_removal_that_fails_is_made_good_by_the_next_one_and_takes_nothing_else() {
    let (mut lab, mut well) = (Lab::new(), 0);
    hasty(&mut lab);
    let session = lab.session().await;
    let stays = lab.image_with_swap(RUNS).await;
    for seed in 0..RUNS {
        let mut random = fastrand::Rng::with_seed(seed);
        let goes = lab.image_with_swap(seed).await;
        let ids = [goes.image.clone()];
        lab.cloud.set_faults(faults(&mut random, &["DeregisterImage", "DeleteSnapshot", "Describe*"]));
        let results = remove(&session, &ids, &Silent).await;
        let went_well = results.is_ok_and(|results| results[0].1.is_ok());
        lab.cloud.set_faults(Faults::default());
        let rest = list(&session).await.unwrap();
        // Without an image, the snapshot is known as unused.
        let unused = rest.unused(std::time::SystemTime::now(), Duration::ZERO);
        let mut ids: Vec<String> = unused.iter().map(|snapshot| snapshot.id.clone()).collect();
        ids.extend(rest.images.iter().filter(|image| image.id == goes.image).map(|image| image.id.clone()));
        // It may also be gone where no answer said so.
        assert!(!went_well || ids.is_empty(), "{seed}: {ids:?}");
        for (id, result) in remove(&session, &ids, &Silent).await.unwrap() {
            result.unwrap_or_else(|error| panic!("{seed}: {id}: {error:#}"));
        }
        let rest = list(&session).await.unwrap();
        assert_eq!((rest.images.len(), rest.snapshots.len(), &rest.images[0].id), (1, 2, &stays.image), "{seed}");
        assert!(rest.snapshots.iter().all(|snapshot| snapshot.used_by == [stays.image.as_str()]), "{seed}");
        well += u32::from(went_well);
    }
    assert!((6..RUNS as u32).contains(&well), "{well} of {RUNS} went well");
}
