//! Sessions that expire while blocks are on their way. Where credentials come from is the environment's matter: these tests run once more, each in a process
//! of its own.

use crate::lab::{Disk, Lab, REGION, rules, text};
use aws::{Access, Account, Silent, publish_in};
use ec2_stand_in::{Faults, Rules};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const KEY: &str = "ASIAIOSFODNN7EXAMPLE";
/// Where the inner test finds its files; unset where it is run by itself.
const DIRECTORY: &str = "NANOOS_TEST_RENEWAL";

/// Runs a test of this file with credentials from a directory.
fn run(test: &str, directory: &Path) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("renewal::{test}"), "--ignored", "--nocapture"]);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
        command.env_remove(name);
    }
    command.env("AWS_SHARED_CREDENTIALS_FILE", directory.join("credentials"));
    command.env("AWS_CONFIG_FILE", directory.join("config")).env("AWS_EC2_METADATA_DISABLED", "true");
    let output = command.env(DIRECTORY, directory).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("1 passed"), "{told}{}", String::from_utf8_lossy(&output.stderr));
}

fn write_token(directory: &Path, token: &str) {
    let text =
        format!("[default]\naws_access_key_id = {KEY}\naws_secret_access_key = secret\naws_session_token = {token}\n");
    std::fs::write(directory.join("credentials"), text).unwrap();
}

fn directory() -> Option<PathBuf> {
    std::env::var_os(DIRECTORY).map(PathBuf::from)
}

async fn account(lab: &Lab) -> Account {
    let access = Access { endpoint: Some(lab.cloud.endpoint()), timing: lab.timing.clone(), ..Access::default() };
    Account::open(access).await
}

#[test]
fn a_session_that_is_renewed_during_an_upload_is_taken_up() {
    let directory = tempfile::tempdir().unwrap();
    write_token(directory.path(), "one");
    run("inner_renewed", directory.path());
}

#[tokio::test]
#[ignore = "run by the test above, with an environment"]
async fn inner_renewed() {
    let Some(directory) = directory() else { return };
    let lab = Lab::with(Rules { put_latency: Duration::from_millis(10), ..rules() });
    let order = Disk::of(120, 1).order();
    lab.cloud.set_faults(Faults { expired: [("one".to_owned(), 40)].into(), ..Faults::default() });
    let session = account(&lab).await.region(REGION);
    let renew = async {
        while lab.count("PutSnapshotBlock") < 5 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        write_token(&directory, "two");
    };
    let state = lab.state("here");
    let (published, ()) = tokio::join!(publish_in(&session, &order, &state, &Silent), renew);
    lab.check(&published.unwrap(), &order);
    assert!(lab.cloud.tally().errors["ExpiredTokenException"] > 0);
}

#[test]
fn a_source_whose_sessions_are_all_over_is_not_asked_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let json =
        format!(r#"{{"Version":1,"AccessKeyId":"{KEY}","SecretAccessKey":"s","SessionToken":"'$$-$(date +%N)'"}}"#);
    let script = directory.path().join("session.sh");
    std::fs::write(&script, format!("echo '{json}'\n")).unwrap();
    let config = format!("[default]\ncredential_process = sh {}\n", script.display());
    std::fs::write(directory.path().join("config"), config).unwrap();
    run("inner_over", directory.path());
}

#[tokio::test]
#[ignore = "run by the test above, with an environment"]
async fn inner_over() {
    if directory().is_none() {
        return;
    }
    let lab = Lab::new();
    lab.cloud.set_faults(Faults { expired: [(KEY.to_owned(), 0)].into(), ..Faults::default() });
    let session = account(&lab).await.region(REGION);
    let error = publish_in(&session, &Disk::of(5, 1).order(), &lab.state("here"), &Silent).await.unwrap_err();
    assert!(text(&error).contains("credentials have expired"));
    assert!((2..6).contains(&lab.cloud.tally().total()), "{:?}", lab.cloud.tally());
}
