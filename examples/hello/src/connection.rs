//! One connection: one request, one answer, both bounded in size and time.

use crate::page;
use crate::request::{self, MAX_HEAD, Request, Status};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// How long a peer may take for its whole request, and again for taking the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much of a body that nobody asked for is read before the connection is closed.
const MAX_LEFTOVER: usize = 64 * 1024;

/// Reads a request and answers it.
///
/// # Errors
/// What the socket answers when the peer is gone.
pub(crate) fn answer(stream: &TcpStream) -> io::Result<()> {
    let request = read_request(stream, Instant::now() + PATIENCE)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    (&*stream).write_all(&response(request))?;
    // Closing a socket that still holds unread bytes resets the connection, and the peer may lose the answer.
    stream.shutdown(Shutdown::Write)?;
    drain(stream, Instant::now() + PATIENCE)
}

/// The request, or the status that refuses it.
fn read_request(mut stream: &TcpStream, deadline: Instant) -> io::Result<Result<Request, Status>> {
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
            return Ok(Err(Status::RequestTimeout));
        };
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => head.extend_from_slice(&buffer[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if request::is_complete(&head) {
            return Ok(request::parse(&head));
        }
        if head.len() > MAX_HEAD {
            return Ok(Err(Status::HeadTooLarge));
        }
    }
}

fn response(request: Result<Request, Status>) -> Vec<u8> {
    let (status, head_only, content_type, body) = match request {
        Ok(Request { head_only, path }) if path == "/" => (Status::Ok, head_only, "text/html", page::html()),
        Ok(Request { head_only, .. }) => refusal(Status::NotFound, head_only),
        Err(status) => refusal(status, false),
    };
    let allow = if status == Status::MethodNotAllowed { "Allow: GET, HEAD\r\n" } else { "" };
    let mut response = format!(
        "HTTP/1.1 {}\r\nContent-Type: {content_type}; charset=utf-8\r\nContent-Length: {}\r\n{allow}Connection: close\r\n\r\n",
        status.line(),
        body.len()
    );
    if !head_only {
        response.push_str(&body);
    }
    response.into_bytes()
}

fn refusal(status: Status, head_only: bool) -> (Status, bool, &'static str, String) {
    (status, head_only, "text/plain", format!("{}\n", status.line()))
}

/// Reads until the peer closes, within bounds.
fn drain(mut stream: &TcpStream, deadline: Instant) -> io::Result<()> {
    let mut buffer = [0; 1024];
    let mut leftover = 0;
    while leftover < MAX_LEFTOVER {
        let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
            break;
        };
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer)? {
            0 => break,
            count => leftover += count,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    /// What a client that sends `parts` gets.
    fn exchange(parts: &[&[u8]]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || answer(&listener.accept().unwrap().0));
        let mut client = TcpStream::connect(address).unwrap();
        for part in parts {
            client.write_all(part).unwrap();
        }
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        drop(client);
        server.join().unwrap().unwrap();
        text
    }

    #[test]
    fn each_request_gets_its_status() {
        for (request, expected) in [
            (&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], "HTTP/1.1 200 OK\r\n"),
            (b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 404 Not Found\r\n"),
            (b"DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 405 Method Not Allowed\r\n"),
            (b"garbage\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n"),
        ] {
            let answer = exchange(&[request]);
            assert!(answer.starts_with(expected), "{answer}");
        }
    }

    #[test]
    fn a_request_in_pieces_is_put_together() {
        let answer = exchange(&[b"GET / HT", b"TP/1.1\r\nHost: a\r", b"\n\r\n"]);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }

    #[test]
    fn a_head_that_never_ends_is_refused() {
        let answer = exchange(&[b"GET / HTTP/1.1\r\n", &[b'a'; MAX_HEAD]]);
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }

    #[test]
    fn a_body_that_nobody_wants_does_not_cost_the_answer() {
        let answer = exchange(&[b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", &[b'x'; 20_000]]);
        assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    }

    #[test]
    fn head_gets_the_length_without_the_page() {
        let answer = exchange(&[b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"]);
        let (headers, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(headers.contains("Content-Length: ") && !headers.contains("Content-Length: 0"), "{headers}");
        assert_eq!(body, "");
    }
}
