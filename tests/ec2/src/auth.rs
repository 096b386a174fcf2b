//! Who asks, from the `Authorization` header. Signatures are not verified; everything around them is.

use crate::clock;
use crate::http::Head;
use crate::refusal::{Refusal, Service};
use crate::rules::{OptIn, Rules};
use crate::trouble::Trouble;
use std::time::SystemTime;

/// Seconds by which a request's date may be off (Signature Version 4).
const TOLERANCE: i64 = 300;

/// An identity in a region.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) account: String,
    pub(crate) region: String,
}

impl Caller {
    /// The name of the identity.
    pub(crate) fn arn(&self) -> String {
        format!("arn:aws:iam::{}:user/builder", self.account)
    }
}

/// `AKID/date/region/service/aws4_request` of an `Authorization` header.
fn scope(head: &Head) -> Option<(&str, &str, &str, &str)> {
    let rest = head.header("authorization")?.strip_prefix("AWS4-HMAC-SHA256 ")?;
    let mut fields = rest.split(',').map(str::trim);
    let credential = fields.clone().find_map(|field| field.strip_prefix("Credential="))?;
    if !["SignedHeaders=", "Signature="].iter().all(|name| fields.any(|field| field.starts_with(name))) {
        return None;
    }
    let mut parts = credential.rsplitn(5, '/');
    let (end, service, region) = (parts.next()?, parts.next()?, parts.next()?);
    let (date, key) = (parts.next()?, parts.next()?);
    (end == "aws4_request").then_some((key, date, region, service))
}

/// Tells who asks.
///
/// # Errors
/// As AWS refuses requests without a signature, with unknown or expired credentials, or of another time.
pub(crate) fn identify(
    service: Service,
    head: &Head,
    rules: &Rules,
    trouble: &mut Trouble,
    now: SystemTime,
) -> Result<Caller, Refusal> {
    if head.header("authorization").is_none() {
        return Err(missing(service));
    }
    let Some((key, date, region, scope_service)) = scope(head) else {
        let message = "Authorization header requires 'Credential', 'Signature' and 'SignedHeaders' parameters.";
        return Err(Refusal::new(400, pick(service, "IncompleteSignature", "IncompleteSignatureException"), message));
    };
    let Some(account) = rules.accounts.get(key) else { return Err(unknown(service)) };
    if scope_service != service.prefix() {
        let message = format!("Credential should be scoped to correct service: '{}'. ", service.prefix());
        return Err(Refusal::new(403, pick(service, "SignatureDoesNotMatch", "InvalidSignatureException"), message));
    }
    // Where an account has not opted in, nothing knows its credentials. STS's global endpoint is everywhere.
    let known = rules.regions.get(region).is_some_and(|opt_in| *opt_in != OptIn::NotOptedIn);
    if !known && service != Service::Sts {
        return Err(unknown(service));
    }
    let stamp = head.header("x-amz-date").unwrap_or("");
    let Some(asked) = clock::parse_basic(stamp).filter(|_| stamp.starts_with(date)) else {
        let message = "Date in Credential scope does not match the date of the request.";
        return Err(Refusal::new(403, pick(service, "SignatureDoesNotMatch", "InvalidSignatureException"), message));
    };
    check_date(service, asked, clock::seconds(now))?;
    let token = head.header("x-amz-security-token");
    // Both are counted, so no short cut.
    let expired = trouble.expired(key) | token.is_some_and(|token| trouble.expired(token));
    if expired {
        return Err(expired_token(service));
    }
    Ok(Caller { account: account.clone(), region: region.to_owned() })
}

fn pick(service: Service, query: &'static str, json: &'static str) -> &'static str {
    if matches!(service, Service::Ec2 | Service::Sts) { query } else { json }
}

fn missing(service: Service) -> Refusal {
    let code = pick(service, "MissingAuthenticationToken", "MissingAuthenticationTokenException");
    let status = if service == Service::Ssm { 400 } else { 403 };
    Refusal::new(status, code, "Request is missing Authentication Token")
}

fn unknown(service: Service) -> Refusal {
    let message = "The security token included in the request is invalid.";
    match service {
        Service::Ec2 => {
            Refusal::new(401, "AuthFailure", "AWS was not able to validate the provided access credentials")
        }
        Service::Sts => Refusal::new(403, "InvalidClientTokenId", message),
        Service::Ebs => Refusal::new(403, "UnrecognizedClientException", message),
        Service::Ssm => Refusal::new(400, "UnrecognizedClientException", message),
    }
}

fn expired_token(service: Service) -> Refusal {
    let message = "The security token included in the request is expired";
    match service {
        Service::Ec2 => Refusal::new(400, "RequestExpired", "Request has expired."),
        Service::Sts => Refusal::new(403, "ExpiredToken", message),
        Service::Ebs => Refusal::new(403, "ExpiredTokenException", message),
        Service::Ssm => Refusal::new(400, "ExpiredTokenException", message),
    }
}

fn check_date(service: Service, asked: i64, now: i64) -> Result<(), Refusal> {
    let (early, late) = (now - TOLERANCE, now + TOLERANCE);
    let (asked_text, now_text) = (clock::basic(asked), clock::basic(now));
    let message = if asked < early {
        if service == Service::Ec2 {
            return Err(Refusal::new(400, "RequestExpired", "Request has expired."));
        }
        let early = clock::basic(early);
        format!("Signature expired: {asked_text} is now earlier than {early} ({now_text} - 5 min.)")
    } else if asked > late {
        if service == Service::Ec2 {
            return Err(unknown(service));
        }
        let late = clock::basic(late);
        format!("Signature not yet current: {asked_text} is still later than {late} ({now_text} + 5 min.)")
    } else {
        return Ok(());
    };
    let status = if service == Service::Ssm { 400 } else { 403 };
    Err(Refusal::new(status, pick(service, "SignatureDoesNotMatch", "InvalidSignatureException"), message))
}

/// The refusal of an operation that a policy does not allow.
pub(crate) fn denied(service: Service, action: &str, caller: &Caller, resource: Option<&str>) -> Refusal {
    let (arn, prefix) = (caller.arn(), service.prefix());
    match service {
        Service::Ec2 | Service::Sts => {
            let code = if service == Service::Ec2 { "UnauthorizedOperation" } else { "AccessDenied" };
            let message = format!(
                "You are not authorized to perform this operation. User: {arn} is not authorized to perform: \
                 {prefix}:{action} because no identity-based policy allows the {prefix}:{action} action"
            );
            Refusal::new(403, code, message)
        }
        Service::Ebs | Service::Ssm => {
            let status = if service == Service::Ssm { 400 } else { 403 };
            let resource = resource.unwrap_or("*");
            let message = format!(
                "User: {arn} is not authorized to perform: {prefix}:{action} on resource: {resource} because no \
                 identity-based policy allows the {prefix}:{action} action"
            );
            Refusal::new(status, "AccessDeniedException", message)
        }
    }
}
