//! What is missing in a policy, said so that it can be copied into one.

/// Actions that work on one kind of resource (Service Authorization Reference, "Amazon Elastic Block Store" and "Amazon EC2").
const RESOURCES: &[(&str, &str)] = &[("ebs:", "ec2:*::snapshot/*"), ("ssm:", "ssm:*:*:parameter/*")];

/// The prefix that AWS puts before an action which is not allowed.
const NOT_ALLOWED: &str = "not authorized to perform: ";

/// Says that an action is not allowed, with AWS's words and the statement that would allow it.
pub(crate) fn explain(action: &str, region: &str, message: &str) -> String {
    let missing = missing(message).unwrap_or(action);
    format!("{missing} is not allowed ({message}); a policy needs this statement: {}", statement(missing, region))
}

/// The action that AWS names: a call may need others than its own, such as ec2:CreateTags.
fn missing(message: &str) -> Option<&str> {
    let rest = message.split_once(NOT_ALLOWED)?.1;
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != ':').unwrap_or(rest.len());
    let action = &rest[..end];
    action.contains(':').then_some(action)
}

/// A statement of a policy (IAM user guide, "IAM JSON policy elements: Statement").
fn statement(action: &str, region: &str) -> String {
    let resource = RESOURCES.iter().find(|(prefix, _)| action.starts_with(prefix));
    let resource =
        resource.map_or_else(|| "*".to_owned(), |(_, resource)| format!("arn:{}:{resource}", partition(region)));
    format!(r#"{{"Effect":"Allow","Action":"{action}","Resource":"{resource}"}}"#)
}

/// The partition of AWS that a region belongs to.
fn partition(region: &str) -> &'static str {
    const PARTITIONS: &[(&str, &str)] = &[
        ("cn-", "aws-cn"),
        ("us-gov-", "aws-us-gov"),
        ("us-isob-", "aws-iso-b"),
        ("us-iso-", "aws-iso"),
        ("eusc-", "aws-eusc"),
    ];
    PARTITIONS.iter().find(|(prefix, _)| region.starts_with(prefix)).map_or("aws", |(_, partition)| partition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_action_that_aws_names_counts_and_the_statement_can_be_copied() {
        let text = "You are not authorized to perform this operation. User: arn:aws:iam::1:user/x is not authorized to \
                    perform: ec2:CreateTags because no identity-based policy allows the ec2:CreateTags action";
        let text = explain("ec2:RegisterImage", "eu-central-1", text);
        assert!(text.starts_with("ec2:CreateTags is not allowed (You are not"), "{text}");
        assert!(text.ends_with(r#"statement: {"Effect":"Allow","Action":"ec2:CreateTags","Resource":"*"}"#), "{text}");
        let text = explain("ebs:StartSnapshot", "us-gov-west-1", "no");
        assert!(
            text.ends_with(r#""Action":"ebs:StartSnapshot","Resource":"arn:aws-us-gov:ec2:*::snapshot/*"}"#),
            "{text}"
        );
    }
}
