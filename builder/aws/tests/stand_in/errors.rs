//! Failures are reported with what can be done about them.

use crate::lab::{Disk, Fill, Lab, REGION, hasty, text};
use aws::Encryption;
use ec2_stand_in::{Effect, Fault, Faults, Kind, Moment, Unseen};
use std::time::{Duration, Instant};

#[tokio::test]
async fn an_action_that_is_not_allowed_is_named_with_the_statement_that_is_missing() {
    for (action, service) in [
        ("StartSnapshot", "ebs"),
        ("PutSnapshotBlock", "ebs"),
        ("CompleteSnapshot", "ebs"),
        ("DescribeSnapshots", "ec2"),
        ("DescribeImages", "ec2"),
        ("RegisterImage", "ec2"),
        ("CreateTags", "ec2"),
    ] {
        let (lab, order) = (Lab::new(), Disk::of(6, 1).order());
        lab.cloud.set_faults(Faults::of([Fault::new(action, Kind::Denied)]));
        let error = text(&lab.publish(&order).await.unwrap_err());
        assert!(error.contains(&format!("{service}:{action} is not allowed")), "{error}");
        let resource = if service == "ebs" { "arn:aws:ec2:*::snapshot/*" } else { "*" };
        let statement = format!(r#"{{"Effect":"Allow","Action":"{service}:{action}","Resource":"{resource}"}}"#);
        assert!(error.contains(&statement), "{error}");
        // Nobody tries again what is not allowed: at most the blocks that were on their way.
        assert!(lab.count(action) <= 6, "{action}: {}", lab.count(action));
        lab.cloud.set_faults(Faults::default());
        lab.check(&lab.publish(&order).await.unwrap(), &order);
    }
}

#[tokio::test]
async fn what_need_not_be_allowed_is_done_without() {
    let (lab, mut order) = (Lab::new(), Disk::of(6, 1).order());
    let faults =
        ["GetEbsEncryptionByDefault", "ListSnapshotBlocks", "GetSnapshotBlock", "DeleteSnapshot", "DeregisterImage"];
    lab.cloud.set_faults(Faults {
        failing_completions: 1,
        ..Faults::of(faults.map(|action| Fault::new(action, Kind::Denied)))
    });
    lab.check(&lab.publish(&order).await.unwrap(), &order);
    let mut disk = Disk::of(6, 1);
    disk.set(0, Fill::Noise(9));
    order = disk.order();
    lab.check(&lab.publish_from("elsewhere", &order).await.unwrap(), &order);
}

#[tokio::test]
async fn credentials_that_are_unknown_or_have_expired_are_told() {
    let (mut lab, order) = (Lab::new(), Disk::of(6, 1).order());
    lab.key = "AKIAUNKNOWN";
    let error = text(&lab.publish(&order).await.unwrap_err());
    assert!(error.contains("does not take these credentials") && error.contains("profile"), "{error}");
    assert!(lab.cloud.tally().total() <= 3);
    let identity = lab.session().await.identity().await.unwrap_err();
    assert!(identity.to_string().contains("InvalidClientTokenId"), "{identity}");

    // By EBS, and by EC2, which has words of its own for it.
    for requests in [4, 0] {
        (lab.key, lab.token) = ("ASIAIOSFODNN7EXAMPLE", Some("token"));
        lab.cloud.set_faults(Faults { expired: [("token".to_owned(), requests)].into(), ..Faults::default() });
        lab.cloud.reset_tally();
        let error = text(&lab.publish(&order).await.unwrap_err());
        assert!(error.contains("credentials have expired") && error.contains("aws sso login"), "{error}");
        assert!(lab.cloud.tally().total() <= 12, "{:?}", lab.cloud.tally());
    }
    lab.token = Some("another");
    lab.check(&lab.publish(&order).await.unwrap(), &order);
}

#[tokio::test]
async fn a_clock_that_is_an_hour_off_is_no_hindrance() {
    for skew in [-3600, 3600] {
        let (lab, order) = (Lab::new(), Disk::of(30, 1).order());
        lab.cloud.set_faults(Faults { clock_skew: skew, ..Faults::default() });
        lab.check(&lab.publish(&order).await.unwrap(), &order);
        assert!(lab.cloud.tally().total_refused() <= 3);
        assert_eq!(lab.session().await.identity().await.unwrap().account, ec2_stand_in::ACCOUNT);

        // Several regions share the clock: the first answer that shows the error puts it right.
        let account = lab.account().await;
        let regions = ["eu-west-1", "us-east-2", "us-west-2", "us-east-1", "ap-east-1"].map(str::to_owned);
        let report: std::sync::Arc<dyn aws::Report> = std::sync::Arc::new(aws::Silent);
        for (_, result) in aws::publish(&account, &regions, &order, &lab.state("here"), &report).await {
            result.unwrap();
        }
    }
}

/// As a machine's clock is set while blocks are on their way, or it wakes up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_during_an_upload_is_no_hindrance() {
    let rules = ec2_stand_in::Rules { put_latency: Duration::from_millis(20), ..crate::lab::rules() };
    for skew in [-3600, 3600] {
        let (lab, order) = (Lab::with(rules.clone()), Disk::of(200, 1).order());
        let jump = async {
            while lab.count("PutSnapshotBlock") < 60 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            lab.cloud.set_faults(Faults { clock_skew: skew, ..Faults::default() });
        };
        let (published, ()) = tokio::join!(lab.publish(&order), jump);
        lab.check(&published.unwrap(), &order);
    }
}

#[tokio::test]
async fn a_snapshot_that_is_not_seen_at_first_is_waited_for() {
    for unseen in [Unseen::Requests(15), Unseen::For(Duration::from_millis(300))] {
        let (lab, order) = (Lab::new(), Disk::of(12, 1).order());
        lab.cloud.set_faults(Faults { unseen_snapshots: Some(unseen), ..Faults::default() });
        lab.check(&lab.publish(&order).await.unwrap(), &order);
        assert_eq!(lab.cloud.snapshots(REGION).len(), 1);
    }
}

#[tokio::test]
async fn an_answer_that_never_comes_is_not_waited_for() {
    let (mut lab, order) = (Lab::new(), Disk::of(12, 1).order());
    lab.timing.attempt = Duration::from_millis(500);
    let stall = |action, moment| Fault::new(action, Kind::Stall(moment, Duration::from_secs(30))).times(1);
    lab.cloud.set_faults(Faults::of([
        stall("StartSnapshot", Moment::BeforeAnswer),
        stall("PutSnapshotBlock", Moment::BeforeBody),
        stall("PutSnapshotBlock", Moment::MidAnswer),
        stall("CompleteSnapshot", Moment::BeforeAnswer),
        stall("DescribeSnapshots", Moment::BeforeAnswer),
        stall("RegisterImage", Moment::BeforeAnswer),
    ]));
    lab.check(&lab.publish(&order).await.unwrap(), &order);
    assert_eq!((lab.cloud.snapshots(REGION).len(), lab.cloud.images(REGION).len()), (1, 1));
}

#[tokio::test]
async fn start_limits_and_a_service_that_is_down_for_a_while_are_waited_out() {
    let (lab, order) = (Lab::new(), Disk::of(12, 1).order());
    lab.cloud.set_faults(Faults {
        start_limit: 4,
        ..Faults::of([
            Fault::new("*", Kind::Error(503, Effect::None)).times(8),
            Fault::new("*", Kind::Throttled).times(8),
            Fault::new("*", Kind::Reset(Moment::MidBody)).times(8),
        ])
    });
    lab.check(&lab.publish(&order).await.unwrap(), &order);
    assert_eq!(lab.cloud.snapshots(REGION).len(), 1);
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_named_with_the_number_of_attempts() {
    let (mut lab, order) = (Lab::new(), Disk::of(6, 1).order());
    lab.timing = hasty();
    for (action, says) in
        [("DescribeImages", "ec2:DescribeImages in eu-central-1: "), ("PutSnapshotBlock", "ebs:PutSnapshotBlock in ")]
    {
        for (kind, why) in
            [(Kind::Error(500, Effect::None), "internal error"), (Kind::Reset(Moment::BeforeBody), "no answer")]
        {
            lab.cloud.set_faults(Faults::of([Fault::new(action, kind)]));
            let error = text(&lab.publish(&order).await.unwrap_err());
            assert!(error.contains(says) && error.contains(why) && error.contains("tried "), "{error}");
        }
    }
    drop(std::mem::replace(&mut lab.cloud, ec2_stand_in::StandIn::start(crate::lab::rules()).unwrap()));
    lab.cloud.set_faults(Faults::default());
    lab.check(&lab.publish(&order).await.unwrap(), &order);
}

#[tokio::test]
async fn an_answer_that_can_not_be_used_is_an_error_at_once_and_the_next_run_goes_on() {
    for action in ["StartSnapshot", "PutSnapshotBlock", "CompleteSnapshot", "RegisterImage"] {
        let (lab, order) = (Lab::new(), Disk::of(6, 1).order());
        lab.cloud.set_faults(Faults::of([Fault::new(action, Kind::Endless)]));
        let start = Instant::now();
        let error = text(&lab.publish(&order).await.unwrap_err());
        assert!(error.contains(action) && error.contains("its answer is longer than 64 MiB"), "{error}");
        // Nobody waits whether another builder completes it.
        assert!(start.elapsed() < lab.timing.completion / 4, "{action}: {:?}", start.elapsed());
        lab.cloud.set_faults(Faults::default());
        lab.check(&lab.publish(&order).await.unwrap(), &order);
        assert_eq!((lab.cloud.snapshots(REGION).len(), lab.cloud.images(REGION).len()), (1, 1), "{action}");
    }
}

#[tokio::test]
async fn tags_and_keys_that_aws_refuses_are_told_before_anything_is_sent() {
    let (lab, mut order) = (Lab::new(), Disk::of(6, 1).order());
    order.tags.insert("aws:mine".to_owned(), "x".to_owned());
    let error = text(&lab.publish(&order).await.unwrap_err());
    assert!(error.contains("ebs:StartSnapshot in eu-central-1") && error.contains("aws:"), "{error}");
    assert_eq!((lab.count("PutSnapshotBlock"), lab.cloud.snapshots(REGION).len()), (0, 0));
    order.tags = [("long".to_owned(), "x".repeat(300))].into();
    order.encryption = Encryption::Encrypted;
    let published = lab.publish(&order).await.unwrap();
    assert_eq!(lab.image(&published.image).tags["long"].len(), 255);
}
