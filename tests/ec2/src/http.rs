//! HTTP/1.1, as little as the SDKs need: one request after the other on a connection.

use std::io::{self, BufRead, Read, Write};
use std::sync::Arc;

/// Bytes of a request line and its headers at most.
const MAX_HEAD: u64 = 64 << 10;

/// Bytes of a body at most: eight blocks, more than any operation takes.
const MAX_BODY: u64 = 4 << 20;

/// A request line and its headers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Head {
    pub(crate) method: String,
    /// Decoded, without the query.
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    /// The connection ends after the answer.
    pub(crate) close: bool,
}

impl Head {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn expects_continue(&self) -> bool {
        self.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue"))
    }

    fn chunked(&self) -> bool {
        self.header("transfer-encoding").is_some_and(|value| value.to_ascii_lowercase().contains("chunked"))
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Content,
}

/// What an answer carries. A block is shared, not copied.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Owned(Vec<u8>),
    Block(Arc<[u8]>),
}

impl Content {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Content::Owned(bytes) => bytes,
            Content::Block(bytes) => bytes,
        }
    }
}

impl Response {
    pub(crate) fn new(status: u16, body: Content) -> Self {
        Response { status, headers: Vec::new(), body }
    }

    pub(crate) fn json(status: u16, body: &serde_json::Value) -> Self {
        Response::new(status, Content::Owned(body.to_string().into_bytes())).header("Content-Type", "application/json")
    }

    pub(crate) fn xml(status: u16, body: &str) -> Self {
        let body = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{body}");
        Response::new(status, Content::Owned(body.into_bytes())).header("Content-Type", "text/xml;charset=UTF-8")
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The status line and the headers.
    pub(crate) fn head(&self, close: bool) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if close {
            head.push_str("Connection: close\r\n");
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", self.body.bytes().len()));
        head.into_bytes()
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        400 => "Bad Request",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        409 => "Conflict",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Other",
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// Reads the next request's head; None where the peer has closed the connection.
pub(crate) fn read_head(reader: &mut impl BufRead) -> io::Result<Option<Head>> {
    let mut left = MAX_HEAD;
    let mut line = String::new();
    // An empty line before a request is to be ignored (RFC 9112, 2.2).
    while line.is_empty() {
        match read_line(reader, &mut left)? {
            None => return Ok(None),
            Some(next) => line = next,
        }
    }
    let mut parts = line.split(' ');
    let (Some(method), Some(target), Some(version)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(malformed("no request line"));
    };
    if !version.starts_with("HTTP/1.") || !target.starts_with('/') {
        return Err(malformed("no request line"));
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut head = Head { method: method.to_owned(), path: decode(path, false), query: form(query), ..Head::default() };
    loop {
        let line = read_line(reader, &mut left)?.ok_or_else(|| malformed("headers end early"))?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| malformed("a header without a colon"))?;
        head.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let connection = head.header("connection").unwrap_or("").to_ascii_lowercase();
    head.close = connection.contains("close") || (version == "HTTP/1.0" && !connection.contains("keep-alive"));
    Ok(Some(head))
}

fn read_line(reader: &mut impl BufRead, left: &mut u64) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let read = reader.by_ref().take(*left).read_until(b'\n', &mut line)?;
    *left -= read as u64;
    if read == 0 && *left > 0 {
        return Ok(None);
    }
    if line.pop() != Some(b'\n') {
        return Err(malformed("a line that does not end"));
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(line).map(Some).map_err(|_| malformed("a line that is no UTF-8"))
}

/// Reads a body into a buffer that is used again and again. With `half`, stops in its middle.
pub(crate) fn read_body(reader: &mut impl BufRead, head: &Head, body: &mut Vec<u8>, half: bool) -> io::Result<()> {
    body.clear();
    if head.chunked() {
        return read_chunks(reader, body, half);
    }
    let Some(length) = head.header("content-length") else { return Ok(()) };
    let length: u64 = length.parse().map_err(|_| malformed("Content-Length is no number"))?;
    if length > MAX_BODY {
        return Err(malformed("a body that is too long"));
    }
    let length = if half { length / 2 } else { length };
    if reader.by_ref().take(length).read_to_end(body)? as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

fn read_chunks(reader: &mut impl BufRead, body: &mut Vec<u8>, half: bool) -> io::Result<()> {
    let mut left = MAX_HEAD;
    loop {
        let line = read_line(reader, &mut left)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let size = line.split(';').next().unwrap_or("").trim();
        let size = u64::from_str_radix(size, 16).map_err(|_| malformed("a chunk without its size"))?;
        if size.saturating_add(body.len() as u64) > MAX_BODY {
            return Err(malformed("a body that is too long"));
        }
        if size == 0 {
            // Trailers, up to an empty line.
            while !read_line(reader, &mut left)?.ok_or(io::ErrorKind::UnexpectedEof)?.is_empty() {}
            return Ok(());
        }
        if reader.by_ref().take(size).read_to_end(body)? as u64 != size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if half {
            return Ok(());
        }
        if !read_line(reader, &mut left)?.ok_or(io::ErrorKind::UnexpectedEof)?.is_empty() {
            return Err(malformed("a chunk that is longer than it says"));
        }
    }
}

/// Writes an answer; with `half`, only the first half of its bytes.
pub(crate) fn write(writer: &mut impl Write, response: &Response, close: bool, half: bool) -> io::Result<()> {
    let (head, body) = (response.head(close), response.body.bytes());
    if half {
        let whole = [&head, body].concat();
        return writer.write_all(&whole[..whole.len() / 2]);
    }
    if body.len() < 8192 {
        return writer.write_all(&[&head, body].concat());
    }
    writer.write_all(&head)?;
    writer.write_all(body)
}

/// The pairs of `a=1&b=2`, decoded.
pub(crate) fn form(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key, true), decode(value, true))
        })
        .collect()
}

fn decode(text: &str, plus_is_space: bool) -> String {
    let hex = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (bytes, mut decoded, mut at) = (text.as_bytes(), Vec::with_capacity(text.len()), 0);
    while at < bytes.len() {
        let escape =
            (bytes[at] == b'%').then(|| Some(hex(*bytes.get(at + 1)?)? << 4 | hex(*bytes.get(at + 2)?)?)).flatten();
        match (bytes[at], escape) {
            (_, Some(byte)) => {
                decoded.push(byte);
                at += 2;
            }
            (b'+', None) if plus_is_space => decoded.push(b' '),
            (byte, None) => decoded.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> io::Result<Option<Head>> {
        read_head(&mut text.as_bytes())
    }

    #[test]
    fn a_request_is_taken_apart() {
        let head = head("PUT /a%20b?x=1%2B&y HTTP/1.1\r\nHost: h\r\nX-A:  b \r\n\r\n").unwrap().unwrap();
        assert_eq!((head.method.as_str(), head.path.as_str()), ("PUT", "/a b"));
        assert_eq!((head.query("x"), head.query("y"), head.header("x-a")), (Some("1+"), Some(""), Some("b")));
    }

    #[test]
    fn what_is_no_request_is_an_error() {
        for text in ["x\r\n\r\n", "GET / FTP\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n", "GET / HTTP/1.1\r\n"] {
            assert!(head(text).is_err(), "{text:?}");
        }
        assert!(head(&"x".repeat(100_000)).is_err());
        assert!(head("").unwrap().is_none());
    }

    #[test]
    fn a_body_comes_whole_or_in_chunks() {
        let mut body = Vec::new();
        let chunked = head("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap().unwrap();
        read_body(&mut &b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"[..], &chunked, &mut body, false).unwrap();
        assert_eq!(body, b"abcde");
        for wrong in ["z\r\n", "3\r\nabcd\r\n", "3\r\nab", "ffffffffffffffff\r\n", "3\r\nabc\r\n0\r\n"] {
            assert!(read_body(&mut wrong.as_bytes(), &chunked, &mut body, false).is_err(), "{wrong:?}");
        }
        let sized = head("PUT / HTTP/1.1\r\nContent-Length: 4\r\n\r\n").unwrap().unwrap();
        read_body(&mut &b"abcdef"[..], &sized, &mut body, false).unwrap();
        assert_eq!(body, b"abcd");
        assert!(read_body(&mut &b"abc"[..], &sized, &mut body, false).is_err());
    }

    #[test]
    fn escapes_are_decoded_and_half_ones_kept() {
        assert_eq!(form("a=%41+b&c=%4"), [("a".into(), "A b".into()), ("c".into(), "%4".into())]);
    }
}
