//! Reading a request: bytes in, what is asked for or the status that refuses it out (RFC 9112).

/// Bytes of a request's line and headers; a browser's are well below.
pub(crate) const MAX_HEAD: usize = 8 * 1024;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// Only the headers of the answer are wanted.
    pub(crate) head_only: bool,
    /// The path without its query.
    pub(crate) path: String,
}

/// The status line's number and reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Ok,
    BadRequest,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    HeadTooLarge,
    VersionNotSupported,
}

impl Status {
    /// As the status line spells it (RFC 9110, section 15).
    pub(crate) fn line(self) -> &'static str {
        match self {
            Status::Ok => "200 OK",
            Status::BadRequest => "400 Bad Request",
            Status::NotFound => "404 Not Found",
            Status::MethodNotAllowed => "405 Method Not Allowed",
            Status::RequestTimeout => "408 Request Timeout",
            Status::HeadTooLarge => "431 Request Header Fields Too Large",
            Status::VersionNotSupported => "505 HTTP Version Not Supported",
        }
    }
}

/// Whether `bytes` hold a whole head: everything up to the empty line.
pub(crate) fn is_complete(bytes: &[u8]) -> bool {
    bytes.windows(4).any(|window| window == b"\r\n\r\n")
}

/// Reads a head.
///
/// # Errors
/// The status with which to refuse it.
pub(crate) fn parse(head: &[u8]) -> Result<Request, Status> {
    let head = std::str::from_utf8(head).map_err(|_| Status::BadRequest)?;
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Status::BadRequest);
    };
    match version.strip_prefix("HTTP/") {
        Some("1.1") => {
            let has_host = |line: &str| line.split_once(':').is_some_and(|(name, _)| name.eq_ignore_ascii_case("host"));
            if !lines.any(has_host) {
                return Err(Status::BadRequest);
            }
        }
        Some("1.0") => {}
        Some(_) => return Err(Status::VersionNotSupported),
        None => return Err(Status::BadRequest),
    }
    let head_only = match method {
        "GET" => false,
        "HEAD" => true,
        _ => return Err(Status::MethodNotAllowed),
    };
    let path = path_of(target).ok_or(Status::BadRequest)?;
    Ok(Request { head_only, path: path.to_owned() })
}

/// The path of a request target in origin form (`/path?query`) or absolute form (`http://host/path`).
fn path_of(target: &str) -> Option<&str> {
    let origin = match target.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest.find('/').map_or("/", |at| &rest[at..]),
        _ => target,
    };
    origin.starts_with('/').then(|| origin.split_once('?').map_or(origin, |(path, _)| path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(head: &str) -> Result<(bool, String), Status> {
        parse(head.as_bytes()).map(|request| (request.head_only, request.path))
    }

    #[test]
    fn requests_are_understood_in_every_form() {
        assert_eq!(of("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), Ok((false, "/".to_owned())));
        assert_eq!(of("HEAD /a?b=c HTTP/1.1\r\nAccept: */*\r\nhost: a\r\n\r\n"), Ok((true, "/a".to_owned())));
        assert_eq!(of("GET http://example.org/x HTTP/1.1\r\nHost: a\r\n\r\n"), Ok((false, "/x".to_owned())));
        assert_eq!(of("GET http://example.org HTTP/1.0\r\n\r\n"), Ok((false, "/".to_owned())));
    }

    #[test]
    fn what_is_no_request_is_refused_with_its_own_status() {
        assert_eq!(of("GET / HTTP/1.1\r\n\r\n"), Err(Status::BadRequest)); // no Host
        assert_eq!(of("GET /\r\n\r\n"), Err(Status::BadRequest));
        assert_eq!(of("GET  / HTTP/1.1\r\nHost: a\r\n\r\n"), Err(Status::BadRequest));
        assert_eq!(of("GET * HTTP/1.1\r\nHost: a\r\n\r\n"), Err(Status::BadRequest));
        assert_eq!(of("POST / HTTP/1.1\r\nHost: a\r\n\r\n"), Err(Status::MethodNotAllowed));
        assert_eq!(of("GET / HTTP/2.0\r\n\r\n"), Err(Status::VersionNotSupported));
        assert_eq!(parse(b"\xff / HTTP/1.1\r\n\r\n"), Err(Status::BadRequest));
    }
}
