//! The launch check: whatever happens, no instance stays.

use crate::lab::{Lab, REGION, rules, says};
use aws::{Architecture, Check, Count, Launch, Report, Timing, Verified, verify};
use ec2_stand_in::{Effect, Fault, Faults, InstanceState, Kind, Moment};
use std::future::{Future, pending};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

fn launch(check: &str) -> Launch {
    Launch {
        check: check.parse().unwrap(),
        instance_type: None,
        subnet: None,
        security_group: None,
        timeout: Duration::from_secs(10),
    }
}

async fn run(lab: &Lab, image: &str, how: &Launch) -> anyhow::Result<Verified> {
    verify(&lab.session().await, image, how, pending(), &lab.report()).await
}

/// Asserts that there is no instance that goes on.
#[track_caller]
fn none_stays(lab: &Lab) {
    for instance in lab.cloud.instances(REGION) {
        assert!(matches!(instance.state(), InstanceState::ShuttingDown | InstanceState::Terminated), "{instance:?}");
    }
}

#[tokio::test]
async fn a_line_of_the_console_shows_that_it_is_up() {
    let lab = Lab::new();
    let image = lab.image(1).await.image;
    lab.cloud.set_console("boot\r\n\u{1b}[32mnginx: ready to serve\u{1b}[0m\r\n");
    let verified = run(&lab, &image, &launch("console:ready to serve")).await.unwrap();
    assert_eq!(verified.evidence, "console: nginx: ready to serve");
    none_stays(&lab);
    let instance = lab.instance();
    assert_eq!(verified.instance, instance.id);
    assert_eq!((instance.tags["nanoos:check"].as_str(), instance.instance_type.as_str()), (image.as_str(), "t3.micro"));
    let asked = |name: &str| instance.request[name].as_str();
    assert_eq!(asked("InstanceInitiatedShutdownBehavior"), "terminate");
    assert_eq!(asked("MetadataOptions.HttpTokens"), "required");
    assert_eq!((asked("MinCount"), asked("MaxCount"), asked("ClientToken").len()), ("1", "1", 64));
}

#[tokio::test]
async fn an_open_port_shows_that_it_is_up_and_the_type_fits_the_image() {
    let lab = Lab::new();
    let mut order = lab.order(1);
    order.machine.architecture = Architecture::Arm64;
    let image = lab.publish(&order).await.image;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let verified = run(&lab, &image, &launch(&format!("tcp:{port}"))).await.unwrap();
    assert_eq!(verified.evidence, format!("127.0.0.1:{port} takes connections"));
    assert_eq!(lab.instance().instance_type, "t4g.micro");
    none_stays(&lab);
}

#[tokio::test]
async fn without_a_public_address_the_private_one_counts() {
    let mut rules = rules();
    (rules.instances.public_ip, rules.instances.private_ip) = (None, "127.0.0.1".to_owned());
    let lab = Lab::with(rules);
    let image = lab.image(1).await.image;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    run(&lab, &image, &launch(&format!("tcp:{}", listener.local_addr().unwrap().port()))).await.unwrap();
    none_stays(&lab);
}

#[tokio::test]
async fn what_does_not_come_is_an_error_with_the_end_of_the_console() {
    let lab = Lab::new();
    let image = lab.image(1).await.image;
    lab.cloud.set_console("starting\nKernel panic - not syncing: no root\n");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (check, hint) in [("console:ready", "a line with \"ready\""), (&format!("tcp:{closed}"), "its security group")]
    {
        let how = Launch { timeout: Duration::from_millis(300), ..launch(check) };
        let error = run(&lab, &image, &how).await.unwrap_err();
        says(&error, &["within 0.3 s", hint, "console:\n  starting\n  Kernel panic - not syncing: no root"]);
        none_stays(&lab);
    }
}

#[tokio::test]
async fn one_that_ends_by_itself_is_told_at_once() {
    let lab = Lab::new();
    let (image, session) = (lab.image(1).await.image, lab.session().await);
    lab.cloud.set_console("no configuration: power off\n");
    let how = launch("console:ready");
    let report = lab.report();
    let checking = verify(&session, &image, &how, pending(), &report);
    let ending = async {
        while lab.cloud.instances(REGION).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // An instance that powers off terminates.
        lab.end_instance(&lab.instance().id);
    };
    let (checked, ()) = tokio::join!(checking, ending);
    let error = checked.unwrap_err();
    says(&error, &["of ami-", "no configuration: power off"]);
    assert!(format!("{error}").contains("shutting-down") || format!("{error}").contains("terminated"), "{error}");
}

#[tokio::test]
async fn an_interrupted_check_and_one_that_is_dropped_terminate_the_instance() {
    let lab = Lab::new();
    let (image, session, report) = (lab.image(1).await.image, lab.session().await, lab.report());
    let how = launch("console:never");
    let soon = || tokio::time::sleep(Duration::from_millis(150));
    let error = verify(&session, &image, &how, soon(), &report).await.unwrap_err();
    says(&error, &["the check of ami-", "was interrupted"]);
    none_stays(&lab);
    // A signal that was there before.
    verify(&session, &image, &how, std::future::ready(()), &report).await.unwrap_err();
    none_stays(&lab);
    drop(tokio::time::timeout(Duration::from_millis(150), verify(&session, &image, &how, pending(), &report)).await);
    let gone = || lab.cloud.instances(REGION).iter().all(|one| one.state() != InstanceState::Running);
    within(Duration::from_secs(5), gone).await;
    none_stays(&lab);
    assert_eq!(lab.cloud.instances(REGION).len(), 3);
}

async fn within(time: Duration, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(time, wait).await.expect("it does not come to hold");
}

/// Panics when it is told something of an instance.
struct Panicking;

impl Report for Panicking {
    fn step(&self, text: String) {
        assert!(!text.contains("wait for"), "told too much");
    }

    fn warn(&self, _: String) {}

    fn count(&self, _: &str, _: u64) -> Box<dyn Count> {
        Box::new(aws::Silent)
    }
}

#[tokio::test]
async fn a_panic_of_the_check_terminates_the_instance() {
    let lab = Lab::new();
    let (image, session) = (lab.image(1).await.image, lab.session().await);
    let report: Arc<dyn Report> = Arc::new(Panicking);
    let error = verify(&session, &image, &launch("console:x"), pending(), &report).await.unwrap_err();
    says(&error, &["the check itself failed: told too much"]);
    lab.instance();
    none_stays(&lab);
}

/// A signal that can't be waited for.
struct Broken;

impl Future for Broken {
    type Output = ();

    fn poll(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        panic!("no signals here")
    }
}

#[tokio::test]
async fn a_panic_of_the_signal_counts_as_one() {
    let lab = Lab::new();
    let (image, session) = (lab.image(1).await.image, lab.session().await);
    verify(&session, &image, &launch("console:x"), Broken, &lab.report()).await.unwrap_err();
    none_stays(&lab);
}

#[tokio::test]
async fn lost_answers_launch_one_instance_and_trouble_is_overcome() {
    let lab = Lab::new();
    let image = lab.image(1).await.image;
    lab.cloud.set_console("ready\n");
    lab.cloud.set_faults(Faults::of([
        Fault::new("RunInstances", Kind::Reset(Moment::BeforeAnswer)).times(2),
        Fault::new("DescribeInstances", Kind::Error(503, Effect::None)).times(2),
        Fault::new("DescribeInstances", Kind::Refused(400, "InvalidInstanceID.NotFound")).times(2),
        Fault::new("GetConsoleOutput", Kind::Throttled).times(2),
        Fault::new("TerminateInstances", Kind::Reset(Moment::BeforeAnswer)).times(1),
        Fault::new("TerminateInstances", Kind::Error(500, Effect::None)).times(2),
    ]));
    run(&lab, &image, &launch("console:ready")).await.unwrap();
    lab.instance();
    none_stays(&lab);
}

#[tokio::test]
async fn an_instance_that_nobody_was_told_of_is_found_and_terminated() {
    let mut lab = Lab::new();
    let image = lab.image(1).await.image;
    lab.timing = Timing { call: Duration::from_millis(200), ..lab.timing };
    let lost = Fault::new("RunInstances", Kind::Error(500, Effect::Taken));
    lab.cloud.set_faults(Faults::of([lost.clone()]));
    let error = run(&lab, &image, &launch("console:ready")).await.unwrap_err();
    says(
        &error,
        &["launch t3.micro: ec2:RunInstances", &lab.instance().id, "was launched all the same, and is terminated"],
    );
    none_stays(&lab);
    // An answer that can't be used is no reason to believe that there is none either.
    lab.cloud.set_faults(Faults::of([Fault::new("RunInstances", Kind::Endless)]));
    let error = run(&lab, &image, &launch("console:ready")).await.unwrap_err();
    says(&error, &["its answer is longer than 64 MiB", "was launched all the same, and is terminated"]);
    assert_eq!(lab.cloud.instances(REGION).len(), 2);
    none_stays(&lab);
    lab.cloud.set_faults(Faults::of([lost, Fault::new("DescribeInstances", Kind::Denied)]));
    let error = run(&lab, &image, &launch("console:ready")).await.unwrap_err();
    says(&error, &["an instance may run all the same, and cost money", "builder aws rm"]);
}

#[tokio::test]
async fn where_terminating_fails_the_instance_and_what_to_do_are_told() {
    let lab = Lab::new();
    let image = lab.image(1).await.image;
    lab.cloud.set_console("ready\n");
    lab.cloud.set_faults(Faults::of([Fault::new("TerminateInstances", Kind::Denied)]));
    for check in ["console:ready", "console:never"] {
        let how = Launch { timeout: Duration::from_millis(300), ..launch(check) };
        let error = run(&lab, &image, &how).await.unwrap_err();
        let id = lab.cloud.instances(REGION).into_iter().find(|one| format!("{error:#}").contains(&one.id)).unwrap().id;
        let command = format!("aws ec2 terminate-instances --region {REGION} --instance-ids {id}");
        says(&error, &["may still run, and cost money", &command, r#""Action":"ec2:TerminateInstances""#]);
    }
}

#[tokio::test]
async fn a_type_or_a_subnet_that_does_not_fit_is_told_with_what_to_do() {
    let lab = Lab::new();
    let image = lab.image(1).await.image;
    for (kind, says_so) in [("t2.micro", "boots UEFI"), ("t4g.micro", "architecture"), ("x9.huge", "--verify-type")] {
        let how = Launch { instance_type: Some(kind.to_owned()), ..launch("tcp:80") };
        says(&run(&lab, &image, &how).await.unwrap_err(), &[&format!("launch {kind}: "), says_so]);
    }
    let how = Launch { subnet: Some("subnet-0123456789abcdef0".to_owned()), ..launch("tcp:80") };
    says(&run(&lab, &image, &how).await.unwrap_err(), &["--verify-subnet"]);
    for (code, advice) in [
        ("VPCIdNotSpecified", "no default VPC"),
        ("VcpuLimitExceeded", "higher quota"),
        ("InsufficientInstanceCapacity", "to spare"),
    ] {
        let status = if code.starts_with("Insufficient") { 500 } else { 400 };
        lab.cloud.reset_tally();
        lab.cloud.set_faults(Faults::of([Fault::new("RunInstances", Kind::Refused(status, code))]));
        says(&run(&lab, &image, &launch("tcp:80")).await.unwrap_err(), &[code, advice]);
        assert_eq!(lab.count("RunInstances"), 1, "{code}");
    }
    assert!(lab.cloud.instances(REGION).is_empty());
}

#[tokio::test]
async fn a_type_that_has_no_latest_console_tells_what_it_has_kept() {
    let lab = Lab::new();
    let image = lab.image(1).await.image;
    lab.cloud.set_console("ready\n");
    let refused = Kind::Refused(400, "UnsupportedOperation");
    lab.cloud.set_faults(Faults::of([Fault::new("GetConsoleOutput", refused).times(1)]));
    run(&lab, &image, &launch("console:ready")).await.unwrap();
    assert_eq!(Check::Port(80), launch("tcp:80").check);
}
