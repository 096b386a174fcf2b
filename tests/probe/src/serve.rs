//! A file server: the test asks for any path of the machine and gets the file's bytes; `/clock` is
//! what the kernel says of the time.

use crate::clock;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// The port that scenarios forward.
const PORT: u16 = 80;

/// A test's request takes milliseconds; one that breaks off must not block the next.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves one request after the other.
pub(crate) fn forever() -> io::Result<()> {
    let both = TcpListener::bind(("::", PORT));
    let listener = both.or_else(|_| TcpListener::bind(("0.0.0.0", PORT)))?;
    for stream in listener.incoming() {
        if let Err(error) = stream.and_then(answer) {
            println!("probe: a request: {error}");
        }
    }
    Ok(())
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()))?;
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    let content = if path == "/clock" { clock::tell().map(String::into_bytes) } else { fs::read(path) };
    let (status, body) = match content {
        Ok(content) => ("200 OK", content),
        Err(error) => ("404 Not Found", format!("{path}: {error}\n").into_bytes()),
    };
    write!(stream, "HTTP/1.0 {status}\r\nContent-Length: {}\r\n\r\n", body.len())?;
    stream.write_all(&body)
}
