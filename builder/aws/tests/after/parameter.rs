//! An image's id as a parameter.

use crate::lab::{Lab, REGION, says};
use aws::{Silent, Timing, put_parameter};
use ec2_stand_in::{Effect, Fault, Faults, Kind, Moment};
use std::time::Duration;

const NAME: &str = "/web/image";
const IMAGE: &str = "ami-0123456789abcdef0";

#[tokio::test]
async fn it_says_the_image_and_the_same_is_not_written_twice() {
    let (lab, next) = (Lab::new(), "ami-0123456789abcdef1");
    let session = lab.session().await;
    assert_eq!(put_parameter(&session, NAME, IMAGE, &Silent).await.unwrap(), 1);
    assert_eq!(put_parameter(&session, NAME, IMAGE, &Silent).await.unwrap(), 1);
    assert_eq!(put_parameter(&session, NAME, next, &Silent).await.unwrap(), 2);
    let parameter = &lab.cloud.parameters(REGION)[0];
    assert_eq!((parameter.value.as_str(), parameter.kind.as_str()), (next, "String"));
    assert_eq!((parameter.data_type.as_str(), parameter.version), ("aws:ec2:image", 2));
    assert_eq!(lab.count("PutParameter"), 2);
}

#[tokio::test]
async fn a_name_that_is_none_is_refused_without_a_call() {
    let lab = Lab::new();
    let error = put_parameter(&lab.session().await, "web/image", IMAGE, &Silent).await.unwrap_err();
    says(&error, &["starts with a slash, as /web/image"]);
    assert_eq!(lab.cloud.tally().total(), 0);
}

#[tokio::test]
async fn what_is_refused_or_denied_is_told_with_what_to_do() {
    let lab = Lab::new();
    let session = lab.session().await;
    let refuse = |code| lab.cloud.set_faults(Faults::of([Fault::new("PutParameter", Kind::Refused(400, code))]));
    refuse("ParameterMaxVersionLimitExceeded");
    let error = put_parameter(&session, NAME, IMAGE, &Silent).await.unwrap_err();
    says(&error, &["parameter /web/image: ssm:PutParameter in eu-central-1", "label-parameter-version"]);
    refuse("ParameterLimitExceeded");
    says(&put_parameter(&session, NAME, IMAGE, &Silent).await.unwrap_err(), &["a higher quota"]);
    lab.cloud.set_faults(Faults::of([Fault::new("PutParameter", Kind::Denied)]));
    let error = put_parameter(&session, NAME, IMAGE, &Silent).await.unwrap_err();
    says(&error, &[r#""Action":"ssm:PutParameter","Resource":"arn:aws:ssm:*:*:parameter/*"}"#]);
    assert!(lab.cloud.parameters(REGION).is_empty());
}

#[tokio::test]
async fn whoever_may_write_and_not_read_writes() {
    let lab = Lab::new();
    lab.cloud.set_faults(Faults::of([Fault::new("GetParameter", Kind::Denied)]));
    put_parameter(&lab.session().await, NAME, IMAGE, lab.report().as_ref()).await.unwrap();
    assert_eq!(lab.cloud.parameters(REGION)[0].value, IMAGE);
    assert!(lab.told.text().contains("warning: /web/image is written without a look at it"), "{}", lab.told.text());
}

#[tokio::test]
async fn trouble_is_overcome() {
    let lab = Lab::new();
    lab.cloud.set_faults(Faults::of([
        Fault::new("PutParameter", Kind::Refused(400, "TooManyUpdates")).times(1),
        Fault::new("PutParameter", Kind::Reset(Moment::BeforeAnswer)).times(1),
        Fault::new("PutParameter", Kind::Throttled).times(1),
        Fault::new("GetParameter", Kind::Error(500, Effect::None)).times(2),
    ]));
    put_parameter(&lab.session().await, NAME, IMAGE, &Silent).await.unwrap();
    assert_eq!(lab.cloud.parameters(REGION)[0].value, IMAGE);
}

#[tokio::test]
async fn a_value_that_is_not_taken_is_an_error() {
    let mut lab = Lab::new();
    lab.timing = Timing { seen: Duration::from_millis(50), ..lab.timing };
    // It is checked afterwards, and never appears.
    lab.cloud.set_faults(Faults::of([Fault::new("GetParameter", Kind::Refused(400, "ParameterNotFound"))]));
    let error = put_parameter(&lab.session().await, NAME, IMAGE, &Silent).await.unwrap_err();
    says(&error, &["does not say ami-0123456789abcdef0", "but nothing", "ec2:DescribeImages"]);
}
