//! What a call failed of, told apart by what can be done about it.

use crate::permission;
use crate::transport::Refusal;
use aws_sdk_ec2::error::ProvideErrorMetadata;
use aws_sdk_ec2::error::SdkError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use http_body_util::LengthLimitError;
use std::error::Error;
use std::fmt;
use std::time::SystemTime;

/// An action of AWS as policies name it, such as `ebs:PutSnapshotBlock`.
pub(crate) type Action = &'static str;

/// What can be done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The account's limit is reached: slower, and again.
    Throttled,
    /// The service is troubled: again.
    Transient,
    /// No answer, or none in time: again.
    Unreachable,
    /// The request's time is refused, and the answer tells another: again, with that.
    Skewed,
    /// The session's credentials have expired: again, with new ones.
    Expired,
    /// There are no credentials, or AWS does not know them.
    Credentials,
    /// A policy does not allow it.
    Denied,
    /// What it is about does not exist, or is not seen yet.
    Missing,
    /// The request is refused.
    Refused,
    /// There is no answer that counts, and asking again is of no use: nobody who is trusted answers, or at too great length.
    Unusable,
}

impl Kind {
    /// Whether a request that failed so may have taken effect.
    pub(crate) fn is_uncertain(self) -> bool {
        matches!(self, Kind::Unreachable | Kind::Transient | Kind::Unusable)
    }
}

/// A call that failed.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Which one.
    pub(crate) action: Action,
    /// Where.
    pub(crate) region: String,
    /// What can be done.
    pub kind: Kind,
    /// AWS's word for it, such as `InvalidAMIName.Duplicate`; empty where there was no answer.
    pub(crate) code: String,
    /// AWS's explanation, or the reason why there was no answer.
    pub(crate) message: String,
    /// The answer's time.
    pub(crate) date: Option<SystemTime>,
    /// Whether an earlier attempt had no answer, and so may have taken effect.
    pub(crate) uncertain: bool,
    /// Whether it is the block that was refused, and not the snapshot.
    pub(crate) damaged: bool,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { action, region, message, code, .. } = self;
        write!(f, "{action} in {region}: ")?;
        match self.kind {
            Kind::Denied => f.write_str(&permission::explain(action, region, message)),
            Kind::Credentials if code == NO_CREDENTIALS => {
                write!(
                    f,
                    "no credentials are found: {message} (aws sso login renews those of a session; --profile names others)"
                )
            }
            Kind::Credentials => write!(
                f,
                "AWS does not take these credentials ({code}: {message}): check the profile or the variables they come from, and \
                 whether the region is enabled for the account"
            ),
            Kind::Expired => write!(
                f,
                "the credentials have expired ({code}: {message}): renew them, as with aws sso login, and run the same command \
                 again: it goes on where it stopped"
            ),
            Kind::Skewed => write!(f, "AWS refuses the request's time ({message}): set this machine's clock"),
            Kind::Unreachable => write!(f, "no answer: {message}"),
            _ if code.is_empty() => f.write_str(message),
            _ => write!(f, "{message} ({code})"),
        }
    }
}

impl Error for Failure {}

/// What an answer's code says, where it says it by itself.
const CODES: &[(Kind, &[&str])] = &[
    (
        Kind::Throttled,
        &[
            "Throttling",
            "ThrottlingException",
            "ThrottledException",
            "RequestThrottled",
            "RequestThrottledException",
            "RequestLimitExceeded",
            "TooManyRequestsException",
            "BandwidthLimitExceeded",
            "SlowDown",
            // 400, by StartSnapshot: too many calls at the same time.
            "ConcurrentLimitExceededException",
            // By RegisterImage and CopyImage, of which some may be under way at a time.
            "ResourceLimitExceeded",
            // By PutParameter: another writes it at the same time.
            "TooManyUpdates",
        ],
    ),
    (
        Kind::Transient,
        &[
            "InternalError",
            "InternalFailure",
            "InternalServerException",
            "ServiceUnavailable",
            "Unavailable",
            "RequestTimeout",
        ],
    ),
    (Kind::Expired, &["ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"]),
    (Kind::Denied, &["AccessDenied", "AccessDeniedException", "UnauthorizedOperation"]),
    (
        Kind::Missing,
        &[
            "ResourceNotFoundException",
            "InvalidSnapshot.NotFound",
            "InvalidAMIID.NotFound",
            "InvalidAMIID.Unavailable",
            "InvalidInstanceID.NotFound",
        ],
    ),
    (
        Kind::Credentials,
        &[
            "AuthFailure",
            "IncompleteSignature",
            "InvalidAccessKeyId",
            "InvalidClientTokenId",
            "InvalidSignatureException",
            "MissingAuthenticationToken",
            "MissingAuthenticationTokenException",
            "OptInRequired",
            "SignatureDoesNotMatch",
            "UnrecognizedClientException",
        ],
    ),
    // With status 500, but waiting is of no use.
    (Kind::Refused, &["InsufficientInstanceCapacity", "InsufficientHostCapacity", "InsufficientCapacity"]),
    (Kind::Skewed, &["RequestExpired", "RequestInTheFuture", "RequestTimeTooSkewed"]),
];

/// In the place of AWS's word where it was not asked.
const NO_CREDENTIALS: &str = "there are none";
/// How EBS says that it waited in vain for the rest of a block.
const UNREAD: &str = "Failed to read block data";

/// The reason of a ValidationException that is about a block's bytes (EBS direct APIs, "ValidationException", "Reason").
const DAMAGED: &[u8] = b"\"INVALID_BLOCK\"";

impl Failure {
    /// Of what the SDK says.
    pub(crate) fn of<E>(action: Action, region: &str, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let failure = |kind, code: &str, message: String| Failure {
            action,
            region: region.to_owned(),
            kind,
            code: code.to_owned(),
            message,
            date: error.raw_response().and_then(date),
            uncertain: false,
            damaged: false,
        };
        if let SdkError::ServiceError(service) = error {
            let (code, message) = (service.err().code().unwrap_or_default(), service.err().message());
            let status = service.raw().status().as_u16();
            let message = message.map_or_else(|| format!("status {status}"), ToOwned::to_owned);
            // Of a Put whose body came too slowly.
            let unread = code == "ValidationException" && message.starts_with(UNREAD);
            let kind = if unread { Kind::Unreachable } else { kind(code, status) };
            let damaged = service.raw().body().bytes().is_some_and(|body| contains(body, DAMAGED));
            return Failure { damaged, ..failure(kind, code, message) };
        }
        if let Some(reason) = credentials(error) {
            return failure(Kind::Credentials, NO_CREDENTIALS, reason);
        }
        if let Some(refusal) = refusal(error) {
            return failure(Kind::Unusable, "", refusal);
        }
        match error {
            SdkError::ConstructionFailure(_) => failure(Kind::Unusable, "", chain(error)),
            SdkError::TimeoutError(_) => failure(Kind::Unreachable, "", "none in time".to_owned()),
            _ => failure(Kind::Unreachable, "", chain(error)),
        }
    }

    /// Of a call that nobody can sign.
    pub(crate) fn without_credentials(action: Action, region: &str, error: &(dyn Error + 'static)) -> Self {
        let failure = Failure::unexpected(action, region, chain(error));
        Failure { kind: Kind::Credentials, code: NO_CREDENTIALS.to_owned(), ..failure }
    }

    /// That it is not what was hoped for, although AWS answered.
    pub(crate) fn unexpected(action: Action, region: &str, message: impl Into<String>) -> Self {
        let (region, message) = (region.to_owned(), message.into());
        Failure {
            action,
            region,
            kind: Kind::Transient,
            code: String::new(),
            message,
            date: None,
            uncertain: false,
            damaged: false,
        }
    }

    /// Whether AWS calls it so.
    pub(crate) fn is(&self, code: &str) -> bool {
        self.code == code
    }
}

fn kind(code: &str, status: u16) -> Kind {
    let known = CODES.iter().find(|(_, codes)| codes.contains(&code)).map(|(kind, _)| *kind);
    known.unwrap_or(match status {
        429 => Kind::Throttled,
        500.. => Kind::Transient,
        // An answer of something between us and AWS, such as a proxy.
        408 => Kind::Unreachable,
        _ => Kind::Refused,
    })
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// When the answer was given (RFC 9110, section 6.6.1).
fn date(response: &HttpResponse) -> Option<SystemTime> {
    let date = response.headers().get("date")?;
    DateTime::from_str(date, Format::HttpDate).ok()?.try_into().ok()
}

/// Why there are no credentials, where that is the reason.
fn credentials(error: &(dyn Error + 'static)) -> Option<String> {
    let mut current = Some(error);
    while let Some(error) = current {
        if error.is::<aws_credential_types::provider::error::CredentialsError>() {
            return Some(chain(error));
        }
        current = error.source();
    }
    None
}

/// Why asking again is of no use, where that is so.
fn refusal(error: &(dyn Error + 'static)) -> Option<String> {
    let mut current = Some(error);
    while let Some(error) = current {
        if let Some(refusal) = error.downcast_ref::<Refusal>() {
            return Some(refusal.to_string());
        }
        if error.is::<LengthLimitError>() {
            return Some(Refusal::TooLong.to_string());
        }
        current = error.source();
    }
    None
}

/// An error with all of its reasons, each once.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut current = error.source();
    while let Some(error) = current {
        let reason = error.to_string();
        if !text.ends_with(&reason) {
            text = format!("{text}: {reason}");
        }
        current = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_counts_before_the_status_and_a_status_where_no_code_is_known() {
        assert_eq!(kind("ConcurrentLimitExceededException", 400), Kind::Throttled);
        assert_eq!(kind("RequestThrottledException", 400), Kind::Throttled);
        assert_eq!(kind("", 429), Kind::Throttled);
        assert_eq!(kind("", 503), Kind::Transient);
        assert_eq!(kind("InternalServerException", 500), Kind::Transient);
        assert_eq!(kind("ExpiredTokenException", 403), Kind::Expired);
        assert_eq!(kind("UnauthorizedOperation", 403), Kind::Denied);
        assert_eq!(kind("ValidationException", 400), Kind::Refused);
        assert_eq!(kind("", 400), Kind::Refused);
    }

    #[test]
    fn each_code_means_one_thing() {
        let codes: Vec<&str> = CODES.iter().flat_map(|(_, codes)| codes.iter().copied()).collect();
        let different: std::collections::BTreeSet<_> = codes.iter().collect();
        assert_eq!(different.len(), codes.len());
    }
}
