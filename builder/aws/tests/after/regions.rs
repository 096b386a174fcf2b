//! Regions of an account.

use crate::lab::{Lab, says};
use aws::{Timing, check_regions, regions};
use ec2_stand_in::{Effect, Fault, Faults, Kind};
use std::time::Duration;

#[tokio::test]
async fn those_that_the_account_may_use_are_told_sorted() {
    let lab = Lab::new();
    let told = regions(&lab.session().await).await.unwrap();
    assert_eq!(told, ["ap-east-1", "eu-central-1", "eu-west-1", "us-east-1", "us-east-2", "us-west-2"]);
}

#[tokio::test]
async fn one_that_is_off_or_none_is_told_before_anything_is_done_there() {
    let (lab, names) = (Lab::new(), |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    let session = lab.session().await;
    check_regions(&session, &names(&["us-east-1", "ap-east-1"])).await.unwrap();
    let error = check_regions(&session, &names(&["us-east-1", "me-south-1"])).await.unwrap_err();
    says(&error, &["me-south-1 is not enabled for this account", "enable-region --region-name me-south-1"]);
    let error = check_regions(&session, &names(&["eu-center-1"])).await.unwrap_err();
    says(&error, &["eu-center-1 is no region of AWS", "there are ap-east-1, eu-central-1", "me-south-1"]);
}

#[tokio::test]
async fn a_region_that_is_off_or_does_not_answer_is_told_as_such() {
    let mut lab = Lab::new();
    let error = regions(&lab.account().await.region("me-south-1")).await.unwrap_err();
    says(&error, &["ec2:DescribeRegions in me-south-1", "whether the region is enabled for the account"]);
    lab.timing = Timing { first: Duration::from_millis(200), ..lab.timing };
    lab.cloud.set_faults(Faults::of([Fault::new("*", Kind::Reset(ec2_stand_in::Moment::BeforeBody))]));
    let error = regions(&lab.session().await).await.unwrap_err();
    says(&error, &["no answer", "is eu-central-1 a region of AWS, and does this machine reach it?"]);
    lab.cloud.set_faults(Faults::of([Fault::new("*", Kind::Error(503, Effect::None)).times(2)]));
    lab.timing.first = Duration::from_secs(10);
    assert_eq!(regions(&lab.session().await).await.unwrap().len(), 6);
}

#[tokio::test]
async fn where_it_is_not_allowed_the_statement_is_told() {
    let lab = Lab::new();
    lab.cloud.set_faults(Faults::of([Fault::new("DescribeRegions", Kind::Denied)]));
    let error = regions(&lab.session().await).await.unwrap_err();
    says(&error, &[r#"{"Effect":"Allow","Action":"ec2:DescribeRegions","Resource":"*"}"#]);
}
