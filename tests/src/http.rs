//! The least HTTP client: one GET over HTTP/1.0, which needs neither chunks nor kept connections.

use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// How long one exchange may take, step by step. A machine under emulation is slow but not that slow.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of an answer that are read at most.
const MAX_ANSWER: u64 = 16 << 20;

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The number of the status line.
    pub status: u16,
    /// Header lines as they came, without the status line.
    pub headers: String,
    /// The content.
    pub body: Vec<u8>,
}

/// Asks the server at this port of 127.0.0.1.
///
/// # Errors
/// When nobody answers, or no HTTP.
pub fn get(port: u16, path: &str) -> Result<Response> {
    get_from(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), path)
}

/// Asks the server at an address, in the calling thread's network.
///
/// # Errors
/// When nobody answers, or no HTTP.
pub fn get_from(address: SocketAddr, path: &str) -> Result<Response> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).with_context(|| format!("connect to {address}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes()).context("send a request")?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).context("read an answer")?;
    parse(&answer)
}

fn parse(answer: &[u8]) -> Result<Response> {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        bail!("an answer of {} bytes that is no HTTP", answer.len());
    };
    let head = String::from_utf8_lossy(&answer[..end]);
    let (status_line, headers) = head.split_once("\r\n").unwrap_or((&head, ""));
    let status = status_line
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1)?.parse().ok())
        .with_context(|| format!("{status_line:?} is no status line"))?;
    Ok(Response { status, headers: headers.to_owned(), body: answer[end + 4..].to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_apart() {
        let response = parse(b"HTTP/1.1 404 Not Found\r\nA: b\r\n\r\nno\r\n\r\n").unwrap();
        assert_eq!(response, Response { status: 404, headers: "A: b".to_owned(), body: b"no\r\n\r\n".to_vec() });
    }

    #[test]
    fn what_is_no_http_is_an_error() {
        assert!(parse(b"").is_err());
        assert!(parse(b"SSH-2.0\r\n\r\n").is_err());
        assert!(parse(b"HTTP/1.1 twohundred\r\n\r\n").is_err());
    }
}
