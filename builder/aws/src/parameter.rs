//! An image's id as a parameter of the Systems Manager, where Terraform and CloudFormation look it up.

use crate::account::Session;
use crate::failure::{Failure, Kind};
use crate::report::Report;
use crate::retry::Patience;
use anyhow::{Result, anyhow, bail, ensure};
use aws_sdk_ssm::types::{Parameter, ParameterType};
use tokio::time::{Instant, sleep};

/// The type of values that the Systems Manager checks for being images.
const IMAGE: &str = "aws:ec2:image";
/// A name's length at most (PutParameter, "Name").
const LONGEST_NAME: usize = 1011;
/// Levels of a name at most (PutParameter, "Name").
const MOST_LEVELS: usize = 15;

/// What can be done about a refusal, by AWS's word for it.
const ADVICE: &[(&str, &str)] = &[
    (
        "ParameterMaxVersionLimitExceeded",
        "its oldest version has a label, and so can't make room: move the label (aws ssm label-parameter-version)",
    ),
    ("ParameterLimitExceeded", "the account has as many parameters as it may: delete some, or ask for a higher quota"),
    ("HierarchyLevelLimitExceededException", "the name has too many levels"),
    ("HierarchyTypeMismatchException", "it exists, with another type: choose another name, or delete that one"),
    ("ParameterPatternMismatchException", "it exists, with a pattern that no id of an image fits: choose another name"),
    ("ParameterAlreadyExists", "it exists, and can't be overwritten: choose another name, or delete that one"),
    ("UnsupportedParameterType", "it exists, with another type: choose another name, or delete that one"),
];

/// Makes sure that a name is one that the Systems Manager takes.
///
/// # Errors
/// When it is not.
pub fn check_parameter_name(name: &str) -> Result<()> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-/".contains(&byte);
    ensure!(
        !name.is_empty() && name.bytes().all(fits),
        "{name:?} can't be a parameter's name: that has letters, digits and _.-/ only"
    );
    ensure!(
        name.len() <= LONGEST_NAME,
        "a parameter's name has {LONGEST_NAME} characters at most, and not {}",
        name.len()
    );
    let levels: Vec<&str> = name.strip_prefix('/').unwrap_or(name).split('/').collect();
    ensure!(
        levels.len() == 1 || name.starts_with('/'),
        "{name} can't be a parameter's name: one with levels starts with a slash, as /{name}"
    );
    ensure!(levels.iter().all(|level| !level.is_empty()), "{name} can't be a parameter's name: a level of it is empty");
    ensure!(levels.len() <= MOST_LEVELS, "{name} can't be a parameter's name: it has more than {MOST_LEVELS} levels");
    let start = levels[0].to_ascii_lowercase();
    ensure!(
        !start.starts_with("aws") && !start.starts_with("ssm"),
        "{name} can't be a parameter's name: those that start with aws or ssm are AWS's own"
    );
    Ok(())
}

/// Publishes an image's id as a parameter, and returns the parameter's version. Where it says so already, nothing is written.
///
/// The Systems Manager takes such a value first and checks it afterwards, so that the parameter is read until it says what was written;
/// where it may not be read, that is only told.
///
/// # Errors
/// When the name is none, or AWS refuses it, or does not take the value.
pub async fn put_parameter(session: &Session, name: &str, image: &str, report: &dyn Report) -> Result<i64> {
    check_parameter_name(name)?;
    let readable = match read(session, name).await {
        Ok(Some(parameter)) if says(&parameter, image) => return Ok(parameter.version),
        Ok(_) => true,
        // It may be allowed to write and not to read: then it is written.
        Err(failure) if failure.kind == Kind::Denied => {
            report.warn(format!("{name} is written without a look at it: {failure}"));
            false
        }
        Err(failure) => return Err(failure.into()),
    };
    let ask = || {
        let call = session.ssm.put_parameter().name(name).value(image).overwrite(true);
        call.r#type(ParameterType::String).data_type(IMAGE).send()
    };
    let answer = session.call("ssm:PutParameter", Patience::ordinary(&session.timing), ask).await;
    let version = answer.map_err(|failure| explain(name, &failure))?.version;
    if readable {
        taken(session, name, image).await?;
    }
    Ok(version)
}

/// Waits until a parameter says what was written.
async fn taken(session: &Session, name: &str, image: &str) -> Result<()> {
    let start = Instant::now();
    loop {
        let parameter = read(session, name).await?;
        if parameter.as_ref().is_some_and(|parameter| says(parameter, image)) {
            return Ok(());
        }
        if start.elapsed() > session.timing.seen {
            bail!(
                "the parameter {name} in {} does not say {image} after {} s, but {}: the Systems Manager takes only an image that \
                 whoever writes may see (ec2:DescribeImages)",
                session.region,
                session.timing.seen.as_secs(),
                parameter.and_then(|parameter| parameter.value).as_deref().unwrap_or("nothing")
            );
        }
        sleep(session.timing.poll).await;
    }
}

async fn read(session: &Session, name: &str) -> Result<Option<Parameter>, Failure> {
    let ask = || session.ssm.get_parameter().name(name).send();
    match session.call("ssm:GetParameter", Patience::ordinary(&session.timing), ask).await {
        Ok(answer) => Ok(answer.parameter),
        Err(failure) if failure.is("ParameterNotFound") => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn says(parameter: &Parameter, image: &str) -> bool {
    parameter.value() == Some(image) && parameter.data_type() == Some(IMAGE)
}

fn explain(name: &str, failure: &Failure) -> anyhow::Error {
    match ADVICE.iter().find(|(code, _)| failure.is(code)) {
        Some((_, advice)) => anyhow!("parameter {name}: {failure}: {advice}"),
        None => anyhow!("parameter {name}: {failure}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_the_systems_manager_takes() {
        for good in ["a", "web.image_1-x", "/web/images/nginx", &"x".repeat(LONGEST_NAME)] {
            check_parameter_name(good).unwrap();
        }
        let long = "x".repeat(LONGEST_NAME + 1);
        let deep = "/a".repeat(MOST_LEVELS + 1);
        for (bad, says) in [
            ("", "letters, digits"),
            ("a b", "letters, digits"),
            ("é", "letters, digits"),
            ("a/b", "as /a/b"),
            ("/a//b", "empty"),
            ("/", "empty"),
            ("awsimage", "AWS's own"),
            ("/Aws/x", "AWS's own"),
            ("ssm-x", "AWS's own"),
            (&long, "1011"),
            (&deep, "15 levels"),
        ] {
            let error = check_parameter_name(bad).unwrap_err().to_string();
            assert!(error.contains(says), "{bad}: {error}");
        }
    }

    #[test]
    fn what_is_refused_is_told_with_what_to_do() {
        for (code, advice) in ADVICE {
            let mut failure = Failure::unexpected("ssm:PutParameter", "eu-west-1", "no");
            (failure.kind, failure.code) = (Kind::Refused, (*code).to_owned());
            let text = explain("/web", &failure).to_string();
            assert_eq!(text, format!("parameter /web: ssm:PutParameter in eu-west-1: no ({code}): {advice}"));
        }
    }
}
