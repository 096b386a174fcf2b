//! As much of HTTP/1.1 (RFC 9112) as the metadata service speaks: one short request, one short answer.

use anyhow::{Context, Result, bail, ensure};
use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Status line and fields of an answer. The service sends less than one KB.
const LONGEST_HEAD: usize = 8 << 10;

/// An answer that has more content than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong(usize);

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "longer than {} KB", self.0 >> 10)
    }
}

impl std::error::Error for TooLong {}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Its status code.
    pub status: u16,
    /// Its content.
    pub body: Vec<u8>,
}

/// Asks a server and waits for its answer. Blocks until `deadline` at most.
pub(super) fn ask(server: SocketAddr, request: &str, longest_body: usize, deadline: Instant) -> Result<Response> {
    let left = || Some(deadline.saturating_duration_since(Instant::now())).filter(|left| *left > Duration::ZERO);
    let left = || left().context("no answer in time");
    let mut stream = TcpStream::connect_timeout(&server, left()?).context("connect")?;
    stream.set_write_timeout(Some(left()?)).context("set a timeout")?;
    stream.write_all(request.as_bytes()).context("send the request")?;
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        stream.set_read_timeout(Some(left()?)).context("set a timeout")?;
        let length = match stream.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => bail!("no answer in time"),
            length => length.context("read the answer")?,
        };
        bytes.extend_from_slice(buffer.get(..length).unwrap_or_default());
        if let Some(response) = parse(&bytes, length == 0, longest_body)? {
            return Ok(response);
        }
    }
}

/// Reads an answer, as far as it has come; `None` when more of it must follow. `is_end`: the server has closed the
/// connection.
///
/// # Errors
/// What is wrong with it; [`TooLong`].
pub fn parse(bytes: &[u8], is_end: bool, longest_body: usize) -> Result<Option<Response>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        ensure!(bytes.len() <= LONGEST_HEAD, "an answer with too long a head");
        ensure!(!is_end, "the answer breaks off");
        return Ok(None);
    };
    let (head, body) = bytes.split_at_checked(end + 4).unwrap_or_default();
    let head = str::from_utf8(head).context("an answer with a head that is no text")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(status).context("an answer that is not HTTP")?;
    let mut length = None;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("transfer-encoding") {
            bail!("an answer in transfer encoding {}, which is not supported", value.trim());
        }
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse::<usize>().context("an answer with a Content-Length that is no number")?);
        }
    }
    ensure!(length.unwrap_or(body.len()) <= longest_body, TooLong(longest_body));
    match length {
        Some(length) => match body.get(..length) {
            Some(body) => Ok(Some(Response { status, body: body.to_vec() })),
            None if is_end => bail!("the answer breaks off"),
            None => Ok(None),
        },
        None => Ok(is_end.then(|| Response { status, body: body.to_vec() })),
    }
}

/// `HTTP/1.1 200 OK`.
fn status(line: &str) -> Option<u16> {
    let code = line.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    code.parse().ok().filter(|code| (100..600).contains(code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str, is_end: bool) -> Result<Option<(u16, String)>, String> {
        let read = parse(text.as_bytes(), is_end, 10).map_err(|error| format!("{error:#}"))?;
        Ok(read.map(|response| (response.status, String::from_utf8(response.body).unwrap())))
    }

    #[test]
    fn an_answer_is_whole_by_its_length_or_by_its_end() {
        let whole = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nServer: x\r\n\r\nabc";
        assert_eq!(parsed(whole, false), Ok(Some((200, "abc".to_owned()))));
        assert_eq!(parsed(&whole[..whole.len() - 1], false), Ok(None));
        assert_eq!(parsed(&whole[..whole.len() - 1], true), Err("the answer breaks off".to_owned()));
        assert_eq!(parsed(&whole[..20], false), Ok(None));
        let endless = "HTTP/1.0 404 Not Found\r\n\r\nab";
        assert_eq!(parsed(endless, false), Ok(None));
        assert_eq!(parsed(endless, true), Ok(Some((404, "ab".to_owned()))));
    }

    #[test]
    fn what_it_does_not_speak_is_refused() {
        let refused = |text: &str| parsed(text, false).unwrap_err();
        assert!(refused("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").contains("chunked"));
        assert!(refused("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n").contains("longer than"));
        assert!(refused("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n").contains("no number"));
        assert!(refused("HTTP/1.1 200 OK\r\n\r\n01234567890").contains("longer than"));
        assert!(refused("SSH-2.0-x\r\n\r\n").contains("not HTTP"));
        assert!(refused(&"x".repeat(LONGEST_HEAD + 1)).contains("too long a head"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, is_end: bool) {
            let _ = parse(&bytes, is_end, 100);
        }

        #[test]
        fn no_text_makes_it_panic(text in "HTTP/1\\.[01] [0-9]{0,4}.{0,9}\r\n(Content-Length: ?[0-9]{0,30}\r\n)?.{0,20}\r\n\r\n.{0,20}") {
            let _ = parse(text.as_bytes(), true, 100);
        }
    }
}
