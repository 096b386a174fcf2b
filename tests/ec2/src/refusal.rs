//! Errors, and how each service writes them.

use crate::http::Response;
use serde_json::json;

/// A service, told apart by the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Service {
    Ebs,
    Ec2,
    Sts,
    Ssm,
}

impl Service {
    /// As in a credential scope and in the names of permissions.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Service::Ebs => "ebs",
            Service::Ec2 => "ec2",
            Service::Sts => "sts",
            Service::Ssm => "ssm",
        }
    }
}

/// A request that was refused.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) reason: Option<&'static str>,
}

/// What an operation comes to.
pub(crate) type Outcome = Result<Response, Refusal>;

impl Refusal {
    pub(crate) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Refusal { status, code, message: message.into(), reason: None }
    }

    /// An error of EC2 with its most frequent status.
    pub(crate) fn ec2(code: &'static str, message: impl Into<String>) -> Self {
        Refusal::new(400, code, message)
    }

    /// A ValidationException of the EBS direct APIs.
    pub(crate) fn validation(reason: &'static str, message: impl Into<String>) -> Self {
        Refusal { reason: Some(reason), ..Refusal::new(400, "ValidationException", message) }
    }

    /// A ResourceNotFoundException of the EBS direct APIs.
    pub(crate) fn no_snapshot(id: &str) -> Self {
        let message = format!("The snapshot '{id}' does not exist.");
        Refusal { reason: Some("SNAPSHOT_NOT_FOUND"), ..Refusal::new(404, "ResourceNotFoundException", message) }
    }

    /// Too many requests a second.
    pub(crate) fn throttled(service: Service) -> Self {
        match service {
            Service::Ebs => Refusal {
                reason: Some("ACCOUNT_THROTTLED"),
                ..Refusal::new(400, "RequestThrottledException", "Request limit exceeded.")
            },
            Service::Ec2 => Refusal::new(503, "RequestLimitExceeded", "Request limit exceeded."),
            Service::Sts => Refusal::new(400, "Throttling", "Rate exceeded"),
            Service::Ssm => Refusal::new(400, "ThrottlingException", "Rate exceeded"),
        }
    }

    /// A server's own failure.
    pub(crate) fn internal(service: Service, status: u16) -> Self {
        let (code, message) = match (service, status) {
            (Service::Ebs, 500) => ("InternalServerException", "An internal error has occurred."),
            (Service::Ssm, 500) => ("InternalServerError", "An internal error has occurred."),
            (Service::Sts, 500) => ("InternalFailure", "An internal error has occurred."),
            (Service::Ec2, 500) => ("InternalError", "An internal error has occurred"),
            (Service::Ec2, _) => ("Unavailable", "The service is unavailable. Please try again shortly."),
            _ => ("ServiceUnavailable", "The service is temporarily unavailable."),
        };
        Refusal::new(status, code, message)
    }

    /// As the service writes it.
    pub(crate) fn response(&self, service: Service, request_id: &str) -> Response {
        let (code, message) = (self.code, escaped(&self.message));
        match service {
            Service::Ebs => {
                let mut body = json!({ "Message": self.message });
                if let Some(reason) = self.reason {
                    body["Reason"] = reason.into();
                }
                Response::json(self.status, &body).header("x-amzn-ErrorType", code)
            }
            Service::Ssm => Response::json(self.status, &json!({ "__type": code, "message": self.message }))
                .header("x-amzn-ErrorType", code),
            Service::Ec2 => Response::xml(
                self.status,
                &format!(
                    "<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>\
                     <RequestID>{request_id}</RequestID></Response>"
                ),
            ),
            Service::Sts => Response::xml(
                self.status,
                &format!(
                    "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
                     <Code>{code}</Code><Message>{message}</Message></Error><RequestId>{request_id}</RequestId>\
                     </ErrorResponse>"
                ),
            ),
        }
    }
}

/// Text inside an XML element.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // Not a character of XML 1.0: it would make the whole answer unreadable.
            control if control < ' ' && !matches!(control, '\t' | '\n' | '\r') => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}
