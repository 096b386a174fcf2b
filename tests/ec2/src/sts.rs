//! STS: who asks, and sessions of roles.

use crate::auth::Caller;
use crate::clock;
use crate::http::Response;
use crate::refusal::{Outcome, Refusal};
use crate::rules::ACCOUNT;
use crate::server::Call;
use std::time::{Duration, SystemTime};

/// The one operation that nobody signs: its token says who asks.
pub(crate) const UNSIGNED: &str = "AssumeRoleWithWebIdentity";
/// The key of every session.
const SESSION_KEY: &str = "ASIAIOSFODNN7EXAMPLE";
/// How long a session lasts.
const SESSION: Duration = Duration::from_secs(3600);

/// Whoever has a token.
pub(crate) fn anybody() -> Caller {
    Caller { account: ACCOUNT.to_owned(), region: "us-east-1".to_owned() }
}

pub(crate) fn perform(action: &str, call: &Call<'_>) -> Outcome {
    match action {
        "GetCallerIdentity" => Ok(identity(call)),
        "AssumeRole" => session(action, call),
        UNSIGNED if call.params.get("WebIdentityToken").is_some_and(|token| !token.is_empty()) => session(action, call),
        UNSIGNED => Err(Refusal::new(400, "InvalidIdentityToken", "No OpenIDConnect token was given")),
        _ => {
            let message = format!("Could not find operation {action} for version 2011-06-15");
            Err(Refusal::new(400, "InvalidAction", message))
        }
    }
}

fn session(action: &str, call: &Call<'_>) -> Outcome {
    let parameter = |name| call.params.get(name).filter(|value| !value.is_empty());
    let (Some(role), Some(name)) = (parameter("RoleArn"), parameter("RoleSessionName")) else {
        return Err(Refusal::new(400, "ValidationError", "RoleArn and RoleSessionName are required"));
    };
    let (expires, role) = (clock::iso8601(SystemTime::now() + SESSION), role.rsplit('/').next().unwrap_or(role));
    let account = call.account();
    Ok(Response::xml(
        200,
        &format!(
            "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><AssumedRoleUser>\
             <AssumedRoleId>AROACKCEVSQ6C2EXAMPLE:{name}</AssumedRoleId>\
             <Arn>arn:aws:sts::{account}:assumed-role/{role}/{name}</Arn></AssumedRoleUser><Credentials>\
             <AccessKeyId>{SESSION_KEY}</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>\
             <SessionToken>session</SessionToken><Expiration>{expires}</Expiration></Credentials></{action}Result>\
             <ResponseMetadata><RequestId>01234567-89ab-cdef-0123-456789abcdef</RequestId></ResponseMetadata>\
             </{action}Response>"
        ),
    ))
}

fn identity(call: &Call<'_>) -> Response {
    let (arn, account) = (call.caller.arn(), call.account());
    Response::xml(
        200,
        &format!(
            "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
             <Arn>{arn}</Arn><UserId>AIDACKCEVSQ6C2EXAMPLE</UserId><Account>{account}</Account>\
             </GetCallerIdentityResult><ResponseMetadata><RequestId>01234567-89ab-cdef-0123-456789abcdef</RequestId>\
             </ResponseMetadata></GetCallerIdentityResponse>"
        ),
    )
}
